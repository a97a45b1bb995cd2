"""What the arms of an experiment led to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import connections, router

from llmrec_django.conf import conf
from llmrec_django.engine.evaluation.arms import Difference, Rate, difference, rate, sample_ratio_p
from llmrec_django.models import RecommendationItem, RecommendationList

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from llmrec_django.models import Experiment

CONTROL = "control"
SAMPLE_RATIO_WARNING = 0.001
"""Below this probability the shares of learners are no accident."""


@dataclass(frozen=True, slots=True)
class ArmReport:
    """One arm: how much was shown to how many, and what they did about it."""

    name: str
    share: float
    """Of learners, that it should get; in [0, 1]."""
    learners: int = 0
    """Who were given at least one list."""
    lists: int = 0
    rates: Mapping[str, Rate] = field(default_factory=dict)
    """"clicked", "completed", "dismissed" and each target verb, per item that was seen."""
    differences: Mapping[str, Difference | None] = field(default_factory=dict)
    """From the control; empty for the control itself."""


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """All arms, the control first."""

    arms: tuple[ArmReport, ...]
    sample_ratio_p: float | None
    """How probable shares of learners as uneven as these are; None: too few learners to tell."""
    moved: int = 0
    """Learners who were in more than one arm, because shares or arms changed; they count in each."""

    @property
    def is_skewed(self) -> bool:
        """The arms did not get the learners they should have: nothing here can be compared."""
        return self.sample_ratio_p is not None and self.sample_ratio_p < SAMPLE_RATIO_WARNING


def report_arms(
    experiment: Experiment, *, since: datetime | None = None, until: datetime | None = None
) -> ExperimentReport:
    """Compare the arms of an experiment by the lists made from `since` to before `until` (aware; None: all).

    Rates are per item that was seen on a screen. The control is the arm named "control", else the first by name.
    What learners do later counts for the list up to LLMREC["ATTRIBUTION_DAYS"] days: the last days are not ripe.
    """
    shares = {arm.name: float(arm.weight) for arm in experiment.arms.all()}
    counted = _counts(experiment, since, until)
    names = sorted({*shares, *counted}, key=lambda name: (name != CONTROL, name))
    total = sum(shares.values()) or 1.0
    arms: list[ArmReport] = []
    for name in names:
        rows = counted.get(name) or _Counts()
        rates = {what: rate(hits, rows.shown) for what, hits in rows.hits.items()}
        against = arms[0].rates if arms else {}
        arms.append(
            ArmReport(
                name=name,
                share=shares.get(name, 0.0) / total,
                learners=len(rows.learners),
                lists=int(sum(rows.lists)),
                rates=rates,
                differences={what: difference(rates[what], against[what]) for what in against},
            )
        )
    learners = [learner for rows in counted.values() for learner in rows.learners]
    return ExperimentReport(
        arms=tuple(arms),
        sample_ratio_p=sample_ratio_p([arm.learners for arm in arms], [arm.share for arm in arms]),
        moved=len(learners) - len(set(learners)),
    )


def counted_verbs() -> list[str]:
    """Return what is counted beside clicks: completions first, then the other target verbs."""
    return ["completed", *(verb for verb in conf.TARGET_VERBS if verb != "completed")]


@dataclass(slots=True)
class _Counts:
    """Columns of one arm, a row a learner."""

    learners: list[int] = field(default_factory=list)
    lists: list[float] = field(default_factory=list)
    shown: Any = field(default_factory=lambda: np.zeros(0))
    hits: dict[str, Any] = field(
        default_factory=lambda: {what: np.zeros(0) for what in ("clicked", "dismissed", *counted_verbs())}
    )


def _counts(experiment: Experiment, since: datetime | None, until: datetime | None) -> dict[str, _Counts]:
    verbs = [verb for verb in counted_verbs() if verb != "completed"]
    sql = (
        "SELECT list.arm, list.learner_id, count(DISTINCT list.id), count(item.shown_at), "
        "count(item.clicked_at) FILTER (WHERE item.shown_at IS NOT NULL), "
        "count(item.dismissed_at) FILTER (WHERE item.shown_at IS NOT NULL), "
        "count(item.completed_at) FILTER (WHERE item.shown_at IS NOT NULL)"
        + ", count(*) FILTER (WHERE item.shown_at IS NOT NULL AND jsonb_exists(item.outcomes, %s))"
        * len(verbs)
        + f" FROM {RecommendationList._meta.db_table} list JOIN {RecommendationItem._meta.db_table} item "
        "ON item.list_id = list.id WHERE list.experiment_id = %s AND list.learner_id IS NOT NULL "
        "AND NOT list.is_shadow "
        + ("AND list.created_at >= %s " if since else "")
        + ("AND list.created_at < %s " if until else "")
        + "GROUP BY list.arm, list.learner_id"
    )
    params: list[Any] = [*verbs, experiment.pk, *([since] if since else []), *([until] if until else [])]
    by_arm: dict[str, list[tuple[Any, ...]]] = {}
    with connections[router.db_for_read(RecommendationList)].cursor() as cursor:
        cursor.execute(sql, params)
        for row in cursor.fetchall():
            by_arm.setdefault(row[0], []).append(row[1:])
    found = {}
    for arm, rows in by_arm.items():
        columns = np.array([row[1:] for row in rows], dtype=np.float64).T
        names = ("clicked", "dismissed", "completed", *verbs)
        found[arm] = _Counts(
            learners=[row[0] for row in rows],
            lists=columns[0].tolist(),
            shown=columns[1],
            hits=dict(zip(names, columns[2:], strict=True)),
        )
    return found
