"""The page that shows recommendations at work: what they led to, how they are spread, how good what serves is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.formats import number_format
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext, pgettext
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.charts import Scale, mark, points
from llmrec_django.admin.report import HEADLINE, over_time
from llmrec_django.conf import conf, resolve_tenant
from llmrec_django.models import Experiment, Interaction, ModelVersion, Resource
from llmrec_django.models.learner import verb_label
from llmrec_django.services.dashboard import CACHED_S, numbers
from llmrec_django.services.reasons import sentences, source_label
from llmrec_django.services.work_report import WorkReport, measures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from llmrec_django.engine.evaluation.arms import Rate
    from llmrec_django.services.backlog import Backlog
    from llmrec_django.services.dashboard import Numbers
    from llmrec_django.services.work_report import Part, Step

DAYS = (7, 30, 90)
BY = {"placement": _("placement"), "version": _("model version"), "arm": _("arm of an experiment")}
MOST_PARTS = 20
"""Placements, versions or arms shown, those with most items seen."""
VERSIONS_SHOWN = 10


class ChoiceForm(forms.Form):
    """Which span of time, told apart by what, and of which tenant."""

    days = forms.TypedChoiceField(label=_("Time"), required=False, coerce=int)
    by = forms.ChoiceField(label=_("Told apart by"), required=False, choices=list(BY.items()))
    measure = forms.ChoiceField(label=_("Over time"), required=False)
    tenant = forms.ChoiceField(label=_("Tenant"), required=False)

    def __init__(self, tenants: list[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        days: Any = self.fields["days"]
        days.choices = [(n, ngettext("%(n)d day", "%(n)d days", n) % {"n": n}) for n in DAYS]
        measure: Any = self.fields["measure"]
        measure.choices = [(what, capfirst(measure_label(what))) for what in measures()]
        if len(tenants) > 1:
            self.fields["tenant"].choices = [(name, name) for name in tenants]  # type: ignore[attr-defined]
        else:
            del self.fields["tenant"]


def work_context(asked: Any, *, with_quality: bool) -> dict[str, Any]:
    """Return what the template of the page needs.

    Args:
        asked: The query of the address.
        with_quality: Show how good versions are, too.

    Note:
        At most 20 queries, whatever there is; a test counts them.
    """
    tenants = list(Resource.objects.order_by("tenant").values_list("tenant", flat=True).distinct())
    form = ChoiceForm(tenants, _with_defaults(asked, tenants))
    said = form.cleaned_data if form.is_valid() else {}
    days, by, measure = said.get("days") or 30, said.get("by") or "placement", said.get("measure") or "clicked"
    tenant = said.get("tenant") or (tenants[0] if len(tenants) == 1 else resolve_tenant())
    found = numbers(tenant, days=days, by=by, after=_after(asked))
    report = found.report
    parts = report.parts[:MOST_PARTS]
    names = _names(by, parts)
    waiting = [waited.backlog for waited in found.waited]
    return {
        "form": form,
        "by": BY[by],
        "report": report,
        "anew": _anew(asked, report.until),
        "minutes": CACHED_S // 60,
        "todo": list(_todo(tenant, report, waiting)),
        "measures": _measures(report, parts, names),
        "parts": [(names[part.name], part) for part in parts],
        "left": len(report.parts) - len(parts),
        "measured": capfirst(measure_label(measure)),
        "course": _course(report, measure),
        "backlogs": waiting,
        **_courses(found),
        "with_quality": with_quality,
        **(_quality(tenant) if with_quality else {}),
    }


def _after(asked: Any) -> float:
    """Return the moment after which the numbers must have been counted, as `_anew` names it; 0 for any."""
    try:
        after = float(asked.get("after") or 0)
    except ValueError:
        return 0.0
    return after if math.isfinite(after) else 0.0


def _anew(asked: Any, counted: datetime) -> str:
    """Return the query of this page with numbers that are newer than these."""
    query = asked.copy()
    query["after"] = f"{counted.timestamp():.6f}"
    return str(query.urlencode())


def _with_defaults(asked: Any, tenants: list[str]) -> dict[str, Any]:
    first = tenants[0] if tenants else ""
    own = resolve_tenant()
    defaults = {"days": "30", "by": "placement", "measure": "clicked", "tenant": own if own in tenants else first}
    return {name: asked.get(name) or default for name, default in defaults.items()}


def _names(by: str, parts: Iterable[Part]) -> dict[str | None, str]:
    """Return what to call each part."""
    found = [part.name for part in parts]
    if by == "placement":
        return {name: name if name else gettext("no placement named") for name in found}
    if by == "version":
        return {
            name: gettext("version %(id)s") % {"id": name} if name else gettext("without training") for name in found
        }
    ids = {int(name.partition(":")[0]) for name in found if name}
    experiments = dict(Experiment.objects.filter(pk__in=ids).values_list("pk", "name"))
    return {
        name: f"{experiments.get(int(name.partition(':')[0]), '?')} · {name.partition(':')[2]}"
        if name
        else gettext("in no experiment")
        for name in found
    }


def measure_label(what: str) -> str:
    """Return what a measure is called."""
    labels = {"clicked": _("Clicked"), "dismissed": _("Dismissed")}
    return str(labels.get(what) or verb_label(what))


def _measures(report: WorkReport, parts: Iterable[Part], names: dict[str | None, str]) -> list[dict[str, Any]]:
    """Return a table for each measure, the whole first; what never happened is left out, but clicks are not."""
    parts = [part for part in parts if part.counted.shown]
    tables = []
    for what in measures():
        whole = report.whole.counted.rates[what]
        if what != "clicked" and not whole.hits:
            continue
        rates = [part.counted.rates[what] for part in parts]
        scale = Scale.of([rate.high for rate in (whole, *rates) if rate.value is not None])
        rows = [_rate_row(gettext("All"), whole, scale, is_whole=True)]
        if len(parts) > 1 or (parts and parts[0].name):
            rows += [_rate_row(names[part.name], rate, scale) for part, rate in zip(parts, rates, strict=True)]
        tables.append({"label": measure_label(what), "rows": rows})
    return tables


def _rate_row(label: str, rate: Rate, scale: Scale, *, is_whole: bool = False) -> dict[str, Any]:
    interval = (100 * rate.low, 100 * rate.high) if rate.low is not None and rate.high is not None else None
    return {
        "label": label,
        "rate": rate,
        "is_whole": is_whole,
        "percent": None if rate.value is None else 100 * rate.value,
        "interval": interval,
        "mark": mark(scale, rate.value, (rate.low, rate.high), kind="blend" if is_whole else ""),
    }


def _course(report: WorkReport, measure: str) -> dict[str, Any]:
    """Place a rate of each day or week."""
    rows = [(step.begins, step.counted.rates[measure], step.counted) for step in report.over_time if step.counted.shown]
    scale = Scale.of([rate.high for _when, rate, _counted in rows], 1.0)
    placed = points(
        scale,
        [
            (when, rate.value, (rate.low, rate.high), "measured", f"{100 * rate.value:.2f} %")
            for when, rate, _counted in rows
            if rate.value is not None
        ],
    )
    return {
        "points": placed if len(placed) > 1 else [],
        "top": _percent(scale.top),
        "began": rows[0][0] if rows else None,
        "ended": rows[-1][0] if rows else None,
        "rows": [
            {"when": when, "counted": counted, "percent": 100 * (rate.value or 0)} for when, rate, counted in rows
        ],
    }


def _courses(found: Numbers) -> dict[str, Any]:
    """Return small plots of how lists were spread and of what waited, all over the same days, and their numbers."""
    steps = found.report.over_time

    def of_steps(of: Callable[[Step], float | None]) -> list[tuple[datetime, float]]:
        return [(step.begins, value) for step in steps if (value := of(step)) is not None]

    series: list[tuple[str, list[tuple[datetime, float]], Callable[[float], str], float]] = [
        (gettext("Coverage"), of_steps(lambda step: step.spread.coverage), _percent, 1.0),
        (
            pgettext("metric", "Gini"),
            of_steps(lambda step: step.spread.gini),
            lambda value: number_format(value, 3),
            1.0,
        ),
        (
            gettext("Novelty"),
            of_steps(lambda step: step.spread.novelty),
            lambda value: number_format(value, 2),
            math.inf,
        ),
        (gettext("New resources"), of_steps(lambda step: step.spread.new_share), _percent, 1.0),
        (gettext("New learners"), of_steps(lambda step: step.lists.new_share), _percent, 1.0),
    ]
    for waited in found.waited:
        label = gettext("Embedding backlog") + (f" ({waited.backlog.space})" if len(found.waited) > 1 else "")
        series.append((label, list(waited.over_time), lambda value: number_format(value, 0), math.inf))
    days = sorted({when for _label, rows, *_rest in series for when, _value in rows})
    plots = [_small(*one, days) for one in series]
    return {
        "plots": plots,
        "days": [{"when": when, "cells": [plot["cells"].get(when, "–") for plot in plots]} for when in days],
    }


def _small(
    label: str,
    rows: Sequence[tuple[datetime, float]],
    write: Callable[[float], str],
    most: float,
    days: Sequence[datetime],
) -> dict[str, Any]:
    """Place one number, `most` at most, over time; without points where there are fewer than two."""
    scale = Scale.of([value for _when, value in rows], most)
    cells = {when: write(value) for when, value in rows}
    placed = [(when, value, None, "measured", cells[when]) for when, value in rows]
    return {
        "label": label,
        "points": points(scale, placed, (days[0], days[-1])) if len(rows) > 1 else [],
        "top": write(scale.top),
        "began": days[0] if days else None,
        "ended": days[-1] if days else None,
        "latest": write(rows[-1][1]) if rows else "–",
        "cells": cells,
    }


def _percent(share: float) -> str:
    return f"{number_format(100 * share, 1)} %"


def _quality(tenant: str) -> dict[str, Any]:
    """Show versions as they were in training, with what the gate compared, and what was measured since."""
    versions = list(ModelVersion.objects.filter(tenant=tenant).order_by("-pk").defer("config")[:VERSIONS_SHOWN])
    serving = next((v.pk for v in versions if v.status == ModelVersion.Status.ACTIVE), 0)
    return {
        "headline": HEADLINE,
        "quality": over_time(tenant, serving),
        "history": [
            {"version": version, "is_serving": version.pk == serving, "why": sentences(version), "gate": _gate(version)}
            for version in versions
        ],
    }


def _gate(version: ModelVersion) -> list[dict[str, Any]]:
    """Return by how much the blend was better than each baseline, the strongest rival first."""
    found = (version.metrics or {}).get("differences") or {}
    rows = [(name, row) for name, row in found.items() if isinstance(row, dict) and row.get("mean") is not None]
    rows.sort(key=lambda row: row[1]["mean"])
    return [
        {
            "label": source_label(name),
            "mean": row["mean"],
            "low": row.get("low"),
            "high": row.get("high"),
            "is_beaten": (row.get("low") or 0) > 0,
        }
        for name, row in rows
    ]


def _todo(tenant: str, report: WorkReport, waiting: Sequence[Backlog]) -> Iterable[str]:
    """Yield what the site can do next, where something is missing."""
    if not conf.ENABLED:
        yield gettext('Recommendations are switched off: LLMREC["ENABLED"] is False.')
    if conf.STORE_LISTS is None:
        yield gettext('Lists are not kept, so nothing can be counted: LLMREC["STORE_LISTS"] is None.')
    if not report.catalogue:
        yield gettext("There are no published resources: run llmrec_sync, or llmrec_import resources FILE.")
        return
    if not waiting:
        yield gettext("Nothing is embedded: run llmrec_embed, or start a worker.")
    if not report.whole.lists.lists:
        yield gettext("No list was made in this time: put the recommend tag on a page, or ask for lists over the API.")
    elif not report.whole.counted.shown:
        yield gettext(
            "Lists were made, but nobody is known to have seen one: put the llmrec_beacon tag on your pages, or report "
            "over the API what is shown."
        )
    elif report.whole.counted.rates["clicked"].value == 1.0:
        yield gettext(
            "Every item that was seen was clicked, so most likely only clicks are reported: put the llmrec_beacon tag "
            "on your pages, or report over the API what is shown."
        )
    if not Interaction.objects.filter(tenant=tenant).exists():
        yield gettext("Nothing is known yet of what learners do: run llmrec_sync, or llmrec_import interactions FILE.")
    elif not ModelVersion.objects.filter(tenant=tenant, status=ModelVersion.Status.ACTIVE).exists():
        yield gettext("No trained version serves: run llmrec_train.")
