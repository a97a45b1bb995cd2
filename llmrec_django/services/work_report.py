"""What recommendations led to in a span of time: rates with intervals, and how lists are spread over the catalogue.

Everything is added up by the database; what comes back has a row for each placement, version or arm and each day.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import connections, router
from django.db.models import Count
from django.db.models.functions import Trunc
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.engine.evaluation.arms import Rate, Sums, rate_of
from llmrec_django.models import Interaction, RecommendationItem, RecommendationList, Resource
from llmrec_django.services.arms_report import counted_verbs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LISTS, ITEMS = RecommendationList._meta.db_table, RecommendationItem._meta.db_table
RESOURCES, INTERACTIONS = Resource._meta.db_table, Interaction._meta.db_table

PARTS = {
    "placement": "list.placement",
    "version": "list.version_id::text",
    "arm": "CASE WHEN list.experiment_id IS NULL THEN NULL ELSE list.experiment_id || ':' || list.arm END",
}
"""By what lists can be told apart → SQL of its name; NULL: none."""
SAMPLE = 100_000
"""So many interactions, the latest, say how well known a resource is."""
QUERIES = 4
"""That a report takes, whatever there is."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Items that learners saw, and what became of them."""

    learners: int = 0
    """Who saw any; a list of somebody unknown counts as a learner of its own."""
    shown: int = 0
    rates: Mapping[str, Rate] = field(default_factory=dict)
    """"clicked", "dismissed", "completed" and each other target verb, per item that was seen."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists that were made, seen or not."""

    lists: int = 0
    learners: int = 0
    fallback: int = 0
    """Lists that popular or new resources had to fill."""
    named: int = 0
    """Lists whose learner is known."""
    new_learners: int = 0
    """Of those, for learners who had done nothing before."""

    @property
    def new_share(self) -> float | None:
        """Share of new learners' lists in those whose learner is known."""
        return self.new_learners / self.named if self.named else None

    @property
    def fallback_share(self) -> float | None:
        """Share of lists that were filled up."""
        return self.fallback / self.lists if self.lists else None


@dataclass(frozen=True, slots=True)
class Spread:
    """How what was seen is spread over the catalogue."""

    resources: int = 0
    """Different ones that were seen."""
    coverage: float | None = None
    """Share of the catalogue that was seen by anybody; in [0, 1]."""
    gini: float | None = None
    """0: all of the catalogue is seen alike; 1: one resource alone."""
    novelty: float | None = None
    """Mean self-information of what was seen, in bits: 1 for what half of the learners met, 10 for a thousandth."""
    new_share: float | None = None
    """Of what was seen, resources added less than LLMREC["NEW_DAYS"] days before."""


@dataclass(frozen=True, slots=True)
class Part:
    """One placement, version or arm."""

    name: str | None
    counted: Counted = field(default_factory=Counted)
    lists: Lists = field(default_factory=Lists)
    spread: Spread = field(default_factory=Spread)


@dataclass(frozen=True, slots=True)
class Step:
    """One day or week."""

    begins: datetime
    counted: Counted = field(default_factory=Counted)
    lists: Lists = field(default_factory=Lists)
    spread: Spread = field(default_factory=Spread)
    """Over the resources there were by its end, of those that are published now."""


@dataclass(frozen=True, slots=True)
class WorkReport:
    """A span of time."""

    since: datetime
    until: datetime
    whole: Part
    parts: tuple[Part, ...]
    """Those with most items seen first."""
    over_time: tuple[Step, ...]
    """Days or weeks in which something was seen or a list was made, the first one first."""
    catalogue: int
    """Resources that are published now."""


def report_work(
    tenant: str, since: datetime, until: datetime, *, by: str = "placement", step: str = "day"
) -> WorkReport:
    """Report what was seen from `since` to before `until` (aware), and the lists made then.

    Rates are per item that was seen on a screen; what learners did about it counts whenever they did it.

    Args:
        by: A key of `PARTS`.
        step: "day" or "week", in the active time zone.
    """
    whole, parts, seen = _seen(tenant, since, until, PARTS[by], step)
    lists, lists_of, lists_in = _lists(tenant, since, until, PARTS[by], step)
    grown = _grown(tenant, until, step)
    catalogue = sum(grown.values())
    spread, spread_of, spread_in = _spread(tenant, since, until, PARTS[by], step, grown)
    names = sorted({*parts, *lists_of}, key=lambda name: (-parts.get(name, Counted()).shown, name or ""))
    return WorkReport(
        since=since,
        until=until,
        whole=Part(None, whole, lists, spread),
        parts=tuple(
            Part(name, parts.get(name, Counted()), lists_of.get(name, Lists()), spread_of.get(name, Spread()))
            for name in names
        ),
        over_time=tuple(
            Step(
                begins=datetime.fromisoformat(day).replace(tzinfo=timezone.get_current_timezone()),
                counted=seen.get(day, _nothing()),
                lists=lists_in.get(day, Lists()),
                spread=spread_in.get(day, Spread()),
            )
            for day in sorted({*seen, *lists_in})
        ),
        catalogue=catalogue,
    )


def measures() -> list[str]:
    """Return what is counted of items that were seen, in the order in which it is shown."""
    return ["clicked", *counted_verbs(), "dismissed"]


def _hits() -> tuple[list[str], list[str]]:
    """Return SQL that says of an item whether each measure is true, and the parameters of that."""
    columns = {"clicked": "clicked_at", "dismissed": "dismissed_at", "completed": "completed_at"}
    conditions, params = [], []
    for what in measures():
        if what in columns:
            conditions.append(f"item.{columns[what]} IS NOT NULL")
        else:
            conditions.append("jsonb_exists(item.outcomes, %s)")
            params.append(what)
    return conditions, params


def _seen(
    tenant: str, since: datetime, until: datetime, part: str, step: str
) -> tuple[Counted, dict[str | None, Counted], dict[str, Counted]]:
    names = measures()
    conditions, hit_params = _hits()
    hits = [f"h{n}" for n in range(len(names))]
    counts = ", ".join(
        f"count(*) FILTER (WHERE {condition}) AS {hit}" for condition, hit in zip(conditions, hits, strict=True)
    )
    of_learner = ", ".join(["sum(n)::float8 AS n", *(f"sum({hit})::float8 AS {hit}" for hit in hits)])
    sums = ", ".join(
        ["count(*)", "sum(n)", "sum(n * n)", *(f"sum({hit}), sum({hit} * {hit}), sum({hit} * n)" for hit in hits)]
    )

    def grouped(kind: str, name: str) -> str:
        # Twice: first each learner, whose items go together, then all of them.
        return (
            f"SELECT '{kind}', name, {sums} FROM (SELECT {name}::text AS name, learner_id, alone, {of_learner} "
            "FROM seen GROUP BY 1, 2, 3) of_learner GROUP BY name"
        )

    sql = (
        f"WITH seen AS MATERIALIZED (SELECT {part} AS part, {_day('item.shown_at')} AS step, list.learner_id, "
        f"CASE WHEN list.learner_id IS NULL THEN list.id END AS alone, count(*) AS n, {counts} "
        f"FROM {ITEMS} item JOIN {LISTS} list ON list.id = item.list_id "
        "WHERE item.shown_at >= %s AND item.shown_at < %s AND list.tenant = %s AND NOT list.is_shadow "
        "GROUP BY 1, 2, 3, 4) "
        f"{grouped('whole', 'NULL')} UNION ALL {grouped('part', 'part')} UNION ALL {grouped('step', 'step')}"
    )
    whole, parts, steps = _nothing(), {}, {}
    for kind, name, *values in _rows(sql, [*_day_params(step), *hit_params, since, until, tenant]):
        counted = _counted(names, values)
        if kind == "whole":
            whole = counted
        elif kind == "part":
            parts[name or None] = counted
        else:
            steps[name] = counted
    return whole, parts, steps


def _nothing() -> Counted:
    return Counted(rates={name: Rate(None) for name in measures()})


def _counted(names: Sequence[str], values: Sequence[Any]) -> Counted:
    learners, shown, squared, *rest = values
    if not shown:
        return _nothing()
    rates = {
        name: rate_of(Sums(learners, hits, shown, hits_squared, by_chances, squared))
        for name, hits, hits_squared, by_chances in zip(names, rest[::3], rest[1::3], rest[2::3], strict=True)
    }
    return Counted(learners, int(shown), rates)


def _lists(
    tenant: str, since: datetime, until: datetime, part: str, step: str
) -> tuple[Lists, dict[str | None, Lists], dict[str, Lists]]:
    sql = (
        f"WITH made AS MATERIALIZED (SELECT {part} AS part, {_day('list.created_at')} AS step, "
        "list.learner_id, list.fallback, list.created_at "
        f"FROM {LISTS} list WHERE list.tenant = %s AND list.created_at >= %s AND list.created_at < %s "
        "AND NOT list.is_shadow), "
        "began AS (SELECT learner_id, (SELECT min(i.occurred_at) "
        f"FROM {INTERACTIONS} i WHERE i.learner_id = who.learner_id) AS at "
        "FROM (SELECT DISTINCT learner_id FROM made WHERE learner_id IS NOT NULL) who) "
        "SELECT GROUPING(part, step), part, step, count(*), count(DISTINCT made.learner_id), "
        "count(*) FILTER (WHERE fallback <> ''), count(made.learner_id), "
        "count(made.learner_id) FILTER (WHERE began.at IS NULL OR began.at >= made.created_at) "
        "FROM made LEFT JOIN began USING (learner_id) GROUP BY GROUPING SETS ((), (part), (step))"
    )
    whole, parts, steps = Lists(), {}, {}
    for left_out, name, day, *counts in _rows(sql, [*_day_params(step), tenant, since, until]):
        if left_out == 0b11:
            whole = Lists(*counts)
        elif left_out == 0b01:
            parts[name or None] = Lists(*counts)
        else:
            steps[day] = Lists(*counts)
    return whole, parts, steps


def _grown(tenant: str, until: datetime, step: str) -> dict[str, int]:
    """Return on which day or week how many of the resources that are published now were added, the first one first."""
    added = Resource.objects.in_tenant(tenant).available(until)
    days = added.annotate(day=Trunc("created_at", step)).values_list("day").annotate(n=Count("pk")).order_by("day")
    return {f"{day:%Y-%m-%d}": n for day, n in days}


def _spread(
    tenant: str, since: datetime, until: datetime, part: str, step: str, grown: Mapping[str, int]
) -> tuple[Spread, dict[str | None, Spread], dict[str, Spread]]:
    sql = (
        f"WITH counted AS MATERIALIZED (SELECT {part} AS part, {_day('item.shown_at')} AS step, "
        "item.resource_id, count(*) AS n, "
        "count(*) FILTER (WHERE item.shown_at < r.created_at + %s * interval '1 day') AS new "
        f"FROM {ITEMS} item JOIN {LISTS} list ON list.id = item.list_id JOIN {RESOURCES} r ON r.id = item.resource_id "
        "WHERE item.shown_at >= %s AND item.shown_at < %s AND list.tenant = %s AND NOT list.is_shadow "
        "GROUP BY 1, 2, 3), "
        "seen AS (SELECT GROUPING(part, step) AS left_out, part, step, resource_id, sum(n) AS n, sum(new) AS new "
        "FROM counted GROUP BY GROUPING SETS ((resource_id), (part, resource_id), (step, resource_id))), "
        f"latest AS MATERIALIZED (SELECT resource_id, learner_id FROM {INTERACTIONS} WHERE tenant = %s "
        f"AND resource_id IS NOT NULL ORDER BY occurred_at DESC LIMIT {SAMPLE}), "
        "met AS (SELECT resource_id, count(DISTINCT learner_id) AS n FROM latest GROUP BY resource_id), "
        "learners AS (SELECT count(DISTINCT learner_id) AS n FROM latest), "
        "ordered AS (SELECT seen.*, row_number() OVER (PARTITION BY left_out, part, step ORDER BY seen.n) AS place, "
        "ln((coalesce(met.n, 0) + 1)::float8 / (learners.n + 1)) / ln(2::float8) AS bits "
        "FROM seen CROSS JOIN learners LEFT JOIN met ON met.resource_id = seen.resource_id) "
        "SELECT left_out, part, step, count(*), sum(n), sum(n * place), sum(new), -sum(n * bits) "
        "FROM ordered GROUP BY left_out, part, step"
    )
    whole, parts, steps = Spread(), {}, {}
    params = [*_day_params(step), float(conf.NEW_DAYS), since, until, tenant, tenant]
    for left_out, name, day, *values in _rows(sql, params):
        sums = [float(value) for value in values]
        if left_out == 0b11:
            whole = _spread_of(sums, sum(grown.values()))
        elif left_out == 0b01:
            parts[name or None] = _spread_of(sums, sum(grown.values()))
        else:
            steps[day] = _spread_of(sums, sum(n for added, n in grown.items() if added <= day))
    return whole, parts, steps


def _spread_of(sums: Sequence[float], catalogue: int) -> Spread:
    resources, shown, by_place, new, bits = sums
    # What nobody saw stands before all that was seen: their places move up by so many.
    n = max(float(catalogue), resources)
    gini = (2 * (by_place + (n - resources) * shown) - (n + 1) * shown) / (n * shown)
    return Spread(int(resources), resources / n, gini, bits / shown, new / shown)


def _day(column: str) -> str:
    """Return SQL of the day or week of a moment as text; it takes `_day_params`."""
    return f"to_char(date_trunc(%s, {column} AT TIME ZONE %s), 'YYYY-MM-DD')"


def _day_params(step: str) -> list[str]:
    return [step, timezone.get_current_timezone_name()]


def _rows(sql: str, params: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    with connections[router.db_for_read(RecommendationList)].cursor() as cursor:
        cursor.execute(sql, params)
        yield from cursor.fetchall()
