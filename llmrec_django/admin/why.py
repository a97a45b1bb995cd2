"""What the page says that explains one learner's recommendations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.db import DatabaseError
from django.utils.translation import get_language, gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.charts import Scale
from llmrec_django.models import Placement, RecommendationList, Resource
from llmrec_django.models.learner import verb_label
from llmrec_django.services.reasons import source_label
from llmrec_django.services.why import find_resources, why

if TYPE_CHECKING:
    from llmrec_django.models import LearnerProfile
    from llmrec_django.services.why import Explained, Why
    from llmrec_django.types import Evidence, EvidenceResource

STEPS = {
    "trained": _("trained version"),
    "content": _("nearness of texts"),
    "words": _("words of the goals"),
    "popular": _("popular lately"),
    "newest": _("newest"),
    "editorial": _("an editorial rule"),
}
"""What brought a resource into a list."""
RULES = {
    "tenant": _("It belongs to another tenant."),
    "available": _("It is not published, or this is not its time."),
    "screened": _("The safety screen keeps it out, or has not looked at it yet."),
    "kinds": _("The placement shows other kinds."),
    "languages": _("It is in a language that is not shown to this learner."),
    "exclude_ids": _("The page asked to leave it out."),
    "exclude_keys": _("The page asked to leave it out."),
    "editorial": _("An editorial rule leaves it out."),
    "only": _("It is not among those that were asked for."),
    "among": _("It is not among those that were asked for."),
    "seen": _("The learner has met it already, and the placement does not show it again yet."),
    "dismissed": _("The learner turned it down."),
    "like_dismissed": _("It is nearly the same as something that the learner turned down."),
    "visible": _("This site does not let the learner see it (visible_to)."),
}
"""What each rule of eligibility means; see `retrieval.exclusion`."""


class AskForm(forms.Form):
    """Where a list would be shown, and which resource to explain besides."""

    placement = forms.ChoiceField(label=_("Placement"), required=False)
    resource = forms.CharField(
        label=_("Explain also"), required=False, max_length=255, help_text=_("Key, number or words of the title.")
    )

    def __init__(self, tenant: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        placements = Placement.objects.filter(tenant=tenant).order_by("name")
        self.fields["placement"].choices = [  # type: ignore[attr-defined]
            ("", pgettext_lazy("placement", "None")),
            *((placement.name, str(placement)) for placement in placements),
        ]


def why_context(learner: LearnerProfile, asked: Any) -> dict[str, Any]:
    """Return what the template of the page needs.

    Args:
        learner: Whose list.
        asked: The query of the address.
    """
    given = {name: asked.get(name, "") for name in ("placement", "resource")}
    if "placement" not in asked:
        given["placement"] = _last_placement(learner)
    form = AskForm(learner.tenant, given)
    said = form.cleaned_data if form.is_valid() else {"placement": "", "resource": ""}
    resources: list[Resource] = []
    not_found = ""
    try:
        resources = find_resources(learner.tenant, said["resource"])
        if said["resource"].strip() and not resources:
            not_found = gettext("There is no such resource in the learner's tenant.")
    except DatabaseError:
        not_found = gettext("Too many resources hold these words: give a key or a number.")
    found = why(learner, placement=said["placement"], resource_ids=[resource.pk for resource in resources])
    return {
        "learner": learner,
        "form": form,
        "not_found": not_found,
        "placement": said["placement"],
        **({"why": None} if found is None else _shown(found)),
    }


def _last_placement(learner: LearnerProfile) -> str:
    """Return where the learner was given a list last, if that is a placement of the tenant; else ""."""
    lists = RecommendationList.objects.filter(learner=learner).order_by("-created_at")
    name = lists.values_list("placement", flat=True).first() or ""
    return name if name and Placement.objects.filter(tenant=learner.tenant, name=name).exists() else ""


def _shown(found: Why) -> dict[str, Any]:
    made = found.made
    return {
        "why": found,
        "explored": min(made.place.explore_places, made.size),
        "listed": [_row(one, found) for one in found.listed],
        "asked": [_row(one, found) for one in found.asked],
        "left_out": [_row(one, found) for one in found.left_out],
    }


def _row(one: Explained, found: Why) -> dict[str, Any]:
    standing = one.standing
    scale = Scale.of([abs(said.adds) for said in standing.said if said.adds is not None])
    return {
        "resource": one.resource,
        "title": one.resource.local_title or one.resource.key,
        "item": one.item,
        "step": STEPS.get(one.item.source, one.item.source) if one.item else "",
        "standing": standing,
        "by_score": one.by_score,
        "said": [
            {
                "label": STEPS["popular"] if said.source == "popular" else _source_label(said.source),
                "said": said,
                "width": None if said.adds is None else scale(abs(said.adds)),
            }
            for said in standing.said
        ],
        "excluded": [RULES.get(name, name) for name in one.excluded],
        "verdict": "" if one.item or one.excluded else _verdict(one, found),
        "served": one.served,
        "evidence": [] if one.item is None or one.item.evidence is None else evidence_lines(one.item.evidence),
    }


def _source_label(name: str) -> str:
    return str(STEPS[name]) if name in ("content", "words") else source_label(name)


def _verdict(one: Explained, found: Why) -> str:
    """Say why something that may be shown is not in the list."""
    if found.is_blended and one.standing.score is None:
        return gettext(
            "The version that serves knows nothing of it: it has no text vector yet, or came after training and has "
            "just been added. It can only fill places that are left over."
        )
    n = len(found.made.items)
    return ngettext(
        "It may be shown, but the %(n)d place went to what stands higher.",
        "It may be shown, but the %(n)d places went to what stands higher.",
        n,
    ) % {"n": n}


def evidence_lines(evidence: Evidence) -> list[tuple[str, str]]:
    """Return evidence as (what, said in the active language), without what is empty."""
    own = [_own(one) for one in evidence.own]
    if evidence.together:
        own = [_whole_history(evidence)]
    lines: list[tuple[Any, str]] = [
        (_("Lifted by"), "; ".join(own)),
        (
            _("Goals"),
            gettext("%(percent)d %% of what lifted it") % {"percent": round(100 * evidence.goal_share)}
            if evidence.goal_share
            else "",
        ),
        (_("Words of the goals"), ", ".join(evidence.goal_words)),
        (_("Interests"), ", ".join(evidence.interests)),
        (_("Shared competencies"), ", ".join(evidence.competencies)),
        (_("Shared keywords"), ", ".join(evidence.keywords)),
        (_("Unlocked by"), ", ".join(one.local_title(get_language()) for one in evidence.unlocked_by)),
        (
            _("Popular"),
            gettext("at least %(n)d learners in %(days)d days") % {"n": evidence.popular, "days": evidence.popular_days}
            if evidence.popular
            else "",
        ),
        (_("Level"), str(dict(Resource.Level.choices).get(evidence.level, "")) if evidence.level else ""),
        (
            _("Time"),
            gettext("%(minutes)d of %(week)d minutes a week")
            % {"minutes": evidence.minutes, "week": evidence.minutes_per_week}
            if evidence.minutes
            else "",
        ),
        (
            pgettext_lazy("of a resource", "Added"),
            ngettext("%(n)d day ago", "%(n)d days ago", evidence.new_days) % {"n": evidence.new_days}
            if evidence.new_days is not None
            else "",
        ),
        (_("Editorial rule"), evidence.rule),
    ]
    return [(str(label), text) for label, text in lines if text]


def _whole_history(evidence: Evidence) -> str:
    if evidence.among is None:
        return gettext("the history as a whole")
    return gettext("the history as a whole, most of all “%(title)s”") % {
        "title": evidence.among.local_title(get_language())
    }


def _own(one: EvidenceResource) -> str:
    told = [verb_label(one.verb)] if one.verb else []
    told.append(f"{round(100 * one.share)} %")
    if one.learners:
        told.append(
            ngettext("%(n)d learner chose both", "%(n)d learners chose both", one.learners) % {"n": one.learners}
        )
    return f"{one.local_title(get_language())} ({', '.join(told)})"
