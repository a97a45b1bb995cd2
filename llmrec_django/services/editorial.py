"""Editorial rules at work: what is pinned, moved or left out of one list, and what its reader is told of it."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.utils import timezone

from llmrec_django import caching
from llmrec_django.conf import conf
from llmrec_django.models import EditorialRule, Resource
from llmrec_django.models.editorial import rules_cache_key
from llmrec_django.retrieval.candidates import eligible_among, first_visible
from llmrec_django.retrieval.sql import database
from llmrec_django.services.levels import leaning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmrec_django.models import Placement
    from llmrec_django.retrieval.eligibility import Eligibility

logger = logging.getLogger(__name__)

CACHED_S = 30
"""Rules that are changed past the model (raw SQL, another server's cache) count after so long."""
MOST_RULES = 200
"""Of a tenant, the latest; one list is not made by thousands of wishes."""
SOURCE = "editorial"
"""What a pinned item names as what brought it in."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that count for one list; empty for none."""

    pins: tuple[EditorialRule, ...] = ()
    moves: tuple[EditorialRule, ...] = ()
    excludes: tuple[EditorialRule, ...] = ()
    placed: dict[int, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """Resource → "pinned" or "boosted", and what its reader is told; filled in while ranking."""

    @property
    def excluded(self) -> Q | None:
        """What is not recommended, as a condition on the resource table; None: nothing."""
        condition = Q(pk__in=[])
        for rule in self.excludes:
            condition |= rule.condition()
        return condition if self.excludes else None

    def tilted(
        self, found: Sequence[tuple[int, float]], level: float | None, n: int, levels: Mapping[int, str]
    ) -> list[tuple[int, float]]:
        """Return candidates with scores moved by a learner's level and by boosts, best first.

        Args:
            found: (resource id, score), best first.
            level: The learner's place on the scale of levels; None: unknown.
            n: Places that they are for.
            levels: Of the candidates, by id; those without one may be left out.
        """
        rows = leaning(found, level, n, levels)
        if not self.moves or len(rows) < 2:
            return rows
        moved = self._moved({pk for pk, _ in rows})
        spread = rows[0][1] - rows[min(n, len(rows)) - 1][1]
        if spread <= 0:  # all alike: places count instead
            spread, rows = 1.0, [(pk, score - place / n) for place, (pk, score) in enumerate(rows)]
        shifts: dict[int, float] = {}
        for rule, ids in moved:
            sign = 1 if rule.effect == EditorialRule.Effect.BOOST else -1
            for pk in ids:
                shifts[pk] = shifts.get(pk, 0.0) + sign * rule.strength
                if sign > 0 and rule.strength > 0:
                    self.placed.setdefault(pk, ("boosted", rule.reasons()))
        # Stable: ties stay in the order that their query settled.
        return sorted(((pk, score + spread * shifts.get(pk, 0.0)) for pk, score in rows), key=lambda row: -row[1])

    def _moved(self, ids: set[int]) -> list[tuple[EditorialRule, set[int]]]:
        """Return each rule with the candidates it is about; one query for all that are about sets."""
        about = [{rule.resource_id} & ids if rule.resource_id else set() for rule in self.moves]
        sets = [n for n, rule in enumerate(self.moves) if not rule.resource_id]
        if sets:
            conditions = {f"fits_{n}": self.moves[n].condition() for n in sets}
            fitting = (
                Resource.objects.filter(reduce(or_, conditions.values()), pk__in=ids)
                .annotate(**{name: ExpressionWrapper(q, BooleanField()) for name, q in conditions.items()})
                .values_list("pk", *conditions)
            )
            for pk, *fits in fitting:
                for n, does in zip(sets, fits, strict=True):
                    if does:
                        about[n].add(pk)
        return list(zip(self.moves, about, strict=True))

    def pinned(
        self, eligibility: Eligibility, k: int, best_of: Callable[[Q, int], Sequence[int]]
    ) -> list[tuple[int, float, str]]:
        """Return what stands first in a list as (resource id, score, source), and take down why.

        Named resources come first, those of the placement before those of everywhere and newer rules before older
        ones; then, of sets, what fits the learner best. At most `MOST_PINNED`, and never one that is not eligible.

        Args:
            best_of: Gives the ids of the best eligible resources that meet a condition, so many at most.
        """
        most = min(int(conf.MOST_PINNED), k)
        if not self.pins or most < 1:
            return []
        named = {rule.resource_id: rule for rule in reversed(self.pins) if rule.resource_id}
        ids = list(reversed(named))
        passing = eligible_among(ids, eligibility)
        shown = [pk for pk, _ in first_visible([(pk, 0.0) for pk in ids if pk in passing], eligibility, most)]
        why = {pk: named[pk] for pk in shown}
        for rule in self.pins:
            if len(why) >= most:
                break
            if not rule.resource_id:
                for pk in best_of(rule.condition(), most):
                    if len(why) < most:
                        why.setdefault(pk, rule)
        for pk, rule in why.items():
            self.placed[pk] = ("pinned", rule.reasons())
        return [(pk, 1.0, SOURCE) for pk in why]


NONE = Rules()


def rules_for(tenant: str, place: Placement) -> Rules:
    """Return the rules that count on a placement now; those of everywhere alone where it is not stored.

    One query, cached. Never raises: a list is worth more than the wishes about it.
    """
    now = timezone.now()
    rules = [
        rule
        for rule in _rules_of(tenant)
        if rule.is_in_force(now) and (rule.placement_id is None or rule.placement_id == place.pk)
    ]
    if not rules:
        return Rules()
    rules.sort(key=lambda rule: rule.placement_id is None)  # stable: newest first in each
    effect = EditorialRule.Effect
    return Rules(
        pins=tuple(rule for rule in rules if rule.effect == effect.PIN),
        moves=tuple(rule for rule in rules if rule.effect in (effect.BOOST, effect.BURY)),
        excludes=tuple(rule for rule in rules if rule.effect == effect.EXCLUDE),
    )


def _rules_of(tenant: str) -> list[EditorialRule]:
    key = rules_cache_key(tenant)
    rules: list[EditorialRule] | None = caching.read(key)
    if rules is None:
        try:
            using = database()
            with transaction.atomic(using=using) if connections[using].in_atomic_block else nullcontext():
                rules = list(EditorialRule.objects.filter(tenant=tenant, enabled=True).order_by("-pk")[:MOST_RULES])
        except DatabaseError:
            logger.exception("editorial rules not read, lists go without them tenant=%s", tenant)
            rules = []
        caching.keep(key, rules, CACHED_S)
    return rules
