"""Why a version serves or does not: kept as a code with numbers, said in the reader's language."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy, override

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrec_django.models import ModelVersion

SENTENCES: Mapping[str, Any] = {
    "few_learners": ngettext_lazy(
        "Only %(learners)d learner has an interaction to hold out; %(needed)d are needed to tell anything apart.",
        "Only %(learners)d learners have an interaction to hold out; %(needed)d are needed to tell anything apart.",
        "learners",
    ),
    "no_baseline": _("There was no baseline to compare with."),
    "beats_baselines": _(
        "NDCG@%(k)d %(ndcg).4f on %(learners)d held-out interactions beats every baseline; the best, %(baseline)s, by "
        "%(gain).4f (95 %% interval %(low).4f to %(high).4f)."
    ),
    "loses_to_baseline": _(
        "NDCG@%(k)d %(ndcg).4f on %(learners)d held-out interactions does not surely beat %(baseline)s: the difference "
        "is %(gain).4f (95 %% interval %(low).4f to %(high).4f)."
    ),
    "measured_only": _("Compared with, but not part of it: %(sources)s."),
    "baseline_serves": _(
        "Version %(version)d was rejected; of the baselines %(baseline)s is the best on the same interactions."
    ),
    "plain_baseline_serves": _(
        "Version %(version)d was rejected; on the same interactions no baseline is surely better than %(baseline)s."
    ),
    "against_active": _(
        "Against version %(version)d, on %(learners)d interactions that it had not seen, the difference is %(gain).4f "
        "(95 %% interval %(low).4f to %(high).4f)."
    ),
    "against_refitted": _(
        "Against the configuration of version %(version)d, trained on the same part, the difference is %(gain).4f "
        "(95 %% interval %(low).4f to %(high).4f)."
    ),
    "worse_than_active": _("It may be worse by more than %(margin)d %%: version %(version)d goes on serving."),
    "too_few_new": _(
        "Only %(learners)d of them came after version %(version)d was trained: too few to compare with it."
    ),
    "cannot_tell": _("That does not tell which is better."),
    "same_configuration": _("The configuration is that of version %(version)d."),
    "keeps_configuration": _(
        "The new configuration may be worse by more than %(margin)d %%: that of version %(version)d is kept, and has "
        "learned once more from everything."
    ),
    "not_comparable": _("Version %(version)d cannot be compared with: %(error)s"),
    "broken_off": _("The run was broken off."),
    "failed": _("The run failed: %(error)s"),
    "activated_by_hand": _("Activated in the admin."),
    "activated_by_command": _("Activated by llmrec_train --activate."),
}
"""What each code says. Errors in them are in English, as everywhere."""


SOURCES = {
    "blend": _("blend"),
    "relevance": _("relevance model"),
    "transitions": _("transitions"),
    "linear_next": _("linear next step"),
    "ease": "EASE",
    "item_knn": "item-kNN",
    "user_knn": "user-kNN",
    "ials": "iALS",
    "content": _("nearness of texts"),
    "borrowed": _("lent by like texts"),
    "popularity": _("popularity"),
    "popular_lately": _("popular lately"),
}
"""What sources are called; others are called by their name."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence to be."""

    code: str
    """A key of `SENTENCES`."""
    values: dict[str, Any] = field(default_factory=dict)
    """What its placeholders stand for, as JSON can hold it."""

    def __str__(self) -> str:
        """Say it in the active language."""
        return str(SENTENCES[self.code] % self.values)


def source_label(name: str) -> str:
    """Return what a source is called in the active language."""
    return str(SOURCES.get(name, name))


def explain(version: ModelVersion, reasons: Iterable[Reason]) -> None:
    """Set why a version is what it is: the codes, and the English for logs and programs. Does not save."""
    reasons = list(reasons)
    version.why_data = [{"code": reason.code, **reason.values} for reason in reasons]
    version.why = in_english(reasons)


def in_english(reasons: Iterable[Reason]) -> str:
    """Say the reasons in English, one after the other."""
    with override(None):
        return " ".join(map(str, reasons))


def sentences(version: ModelVersion) -> list[str]:
    """Say why a version is what it is, in the active language; its stored text where there is nothing but that."""
    found = []
    for entry in version.why_data or []:
        values = {name: value for name, value in entry.items() if name != "code"}
        if "baseline" in values:
            values["baseline"] = source_label(values["baseline"])
        if "sources" in values:
            values["sources"] = ", ".join(map(source_label, str(values["sources"]).split(", ")))
        try:
            found.append(str(Reason(entry["code"], values)))
        except (KeyError, TypeError, ValueError):  # written by another release
            return [version.why] if version.why else []
    return found or ([version.why] if version.why else [])
