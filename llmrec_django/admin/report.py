"""What the report of a model version shows: every source and the blend, by segment, and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.charts import Scale, mark, points
from llmrec_django.models import EvaluationRecord, ModelVersion
from llmrec_django.services.reasons import sentences, source_label
from llmrec_django.services.training import BLEND, outcome_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEADLINE = "NDCG@10"
VERSIONS_SHOWN = 30
EVALUATIONS_SHOWN = 60

METRICS = {
    "NDCG": "NDCG",
    "recall": _("recall"),
    "precision": _("precision"),
    "F1": "F1",
    "hit rate": _("hit rate"),
    "MRR": "MRR",
    "MAP": "MAP",
    "coverage": _("coverage"),
    "Gini": pgettext_lazy("metric", "Gini"),
    "novelty": _("novelty"),
    "diversity": _("diversity"),
}
"""What metrics are called, in the order in which they are shown: the database keeps none."""
SPLITS = {
    "leave one out": _("Each learner's last resource was held out."),
    "global time": _("Everything after a moment was held out."),
}


def metric_label(name: str) -> str:
    """Return what a metric with its k is called in the active language."""
    base, at, k = name.partition("@")
    return f"{METRICS.get(base, base)}{at}{k}"


def report_context(version: ModelVersion) -> dict[str, Any]:
    """Return what the template of the report needs.

    Note:
        Three queries, whatever there is.
    """
    metrics = version.metrics or {}
    table = list(metrics.get("table") or ())
    latest = version.evaluations.order_by("-created_at").first()
    return {
        "version": version,
        "headline": HEADLINE,
        "reasons": sentences(version),
        "about": str(SPLITS.get(metrics.get("split", ""), "")),
        "learners": metrics.get("learners") or 0,
        "rows": _headline_rows(table),
        **_whole_table(table),
        "segments": [
            part
            for part in (
                _segments(table, metrics.get("segments"), gettext("By length of history"), gettext("interactions")),
                _segments(
                    table,
                    metrics.get("resources"),
                    gettext("By learners who had chosen what was held out (0: it was new)"),
                    gettext("learners before"),
                ),
            )
            if part
        ],
        "outcome": outcome_of(latest) if latest is not None else "",
        "has_fallen": latest is not None and latest.has_fallen,
        **over_time(version.tenant, version.pk),
    }


def _interval(row: Mapping[str, Any], name: str = HEADLINE) -> Sequence[float | None] | None:
    found: Sequence[float | None] | None = (row.get("intervals") or {}).get(name)
    return found


def _headline_rows(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    scale = Scale.of(value for row in table for value in (row.get(HEADLINE), *(_interval(row) or ())))
    return [
        {
            "label": source_label(row["source"]),
            "is_blend": row["source"] == BLEND,
            "value": row.get(HEADLINE),
            "interval": _interval(row),
            "mark": mark(
                scale, row.get(HEADLINE), _interval(row), kind="blend" if row["source"] == BLEND else "baseline"
            ),
        }
        for row in table
    ]


def _whole_table(table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = [name for name in (table[0] if table else ()) if name not in ("source", "intervals")]
    order = {name: place for place, name in enumerate(METRICS)}
    names = sorted(found, key=lambda name: (int(name.partition("@")[2] or 0), order.get(name.partition("@")[0], 99)))
    return {
        "metric_names": [metric_label(name) for name in names],
        "metric_rows": [
            {
                "label": source_label(row["source"]),
                "is_blend": row["source"] == BLEND,
                "cells": [{"value": row.get(name), "interval": _interval(row, name)} for name in names],
            }
            for row in table
        ],
    }


def _segments(
    table: Sequence[Mapping[str, Any]], segments: Mapping[str, Mapping[str, Any]] | None, title: str, unit: str
) -> dict[str, Any] | None:
    """Compare the blend with the best other sources, segment by segment."""
    ordered_labels = sorted(segments or {}, key=lambda label: int(label.rstrip("+").split("-")[0]))
    found = {label: segments[label] for label in ordered_labels if segments[label].get("learners")} if segments else {}
    if not found:
        return None
    ordered = [row["source"] for row in table]
    others = [name for name in ordered if name != BLEND]
    shown = [BLEND, *others[:2], *(name for name in others[2:] if name == "popularity")]
    shown = [name for name in shown if name in ordered]
    scale = Scale.of(values.get(name) for values in found.values() for name in shown)
    return {
        "title": title,
        "unit": unit,
        "groups": [
            {
                "label": label,
                "learners": values["learners"],
                "rows": [
                    {
                        "label": source_label(name),
                        "is_blend": name == BLEND,
                        "value": values.get(name),
                        "mark": mark(scale, values.get(name), kind="blend" if name == BLEND else "baseline"),
                    }
                    for name in shown
                ],
            }
            for label, values in found.items()
        ],
    }


def over_time(tenant: str, current: int) -> dict[str, Any]:
    """Show the versions of a tenant as they were in training, and what was measured since."""
    newest = ModelVersion.objects.filter(tenant=tenant, finished_at__isnull=False).order_by("-pk")
    trained = [
        (version, version.finished_at, version.metrics["ndcg"], _interval(_row_of(version)))
        for version in newest[:VERSIONS_SHOWN]
        if version.finished_at is not None and (version.metrics or {}).get("ndcg") is not None
    ]
    measured = list(
        EvaluationRecord.objects.filter(version__tenant=tenant)
        .select_related("version")
        .order_by("-created_at")[:EVALUATIONS_SHOWN]
    )
    records = [
        (record, _interval(next((row for row in record.metrics.get("table", ()) if row["source"] == BLEND), {})))
        for record in measured
    ]
    values = [value for _v, _when, value, interval in trained for value in (value, *(interval or ()))]
    values += [value for record, interval in records for value in (record.ndcg, record.expected, *(interval or ()))]
    scale = Scale.of(values)
    times = [when for _v, when, *_rest in trained] + [record.created_at for record in measured]
    placed = points(
        scale,
        [(when, ndcg, interval, f"version {version.status}", str(version)) for version, when, ndcg, interval in trained]
        + [
            (record.created_at, record.ndcg, interval, "fallen" if record.has_fallen else "measured", str(record))
            for record, interval in records
        ],
    )
    return {
        "points": placed if len(placed) > 1 else [],
        "line": [point for point in placed if point.kind in ("measured", "fallen")],
        "top": scale.top,
        "began": min(times, default=None),
        "ended": max(times, default=None),
        "versions": [
            {
                "version": version,
                "is_current": version.pk == current,
                "value": ndcg,
                "interval": interval,
                "mark": mark(scale, ndcg, interval, kind=version.status),
            }
            for version, _when, ndcg, interval in trained
        ],
        "evaluations": [
            {
                "record": record,
                "interval": interval,
                "mark": mark(
                    scale,
                    record.ndcg,
                    interval,
                    reference=record.expected,
                    kind="fallen" if record.has_fallen else "measured",
                ),
            }
            for record, interval in records
        ],
    }


def _row_of(version: ModelVersion) -> Mapping[str, Any]:
    """Return the row of what the version serves."""
    name = version.metrics.get("serves", BLEND)
    found: Mapping[str, Any] = next((row for row in version.metrics.get("table") or () if row["source"] == name), {})
    return found
