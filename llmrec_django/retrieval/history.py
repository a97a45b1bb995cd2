"""What learners did last, and the vectors of what they want."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from llmrec_django.conf import conf
from llmrec_django.models import Interaction, LearnerProfile, ProfileVector
from llmrec_django.retrieval.sql import Query, read_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from llmrec_django.types import Float32Vector

INTERACTIONS = Interaction._meta.db_table
LEARNERS = LearnerProfile._meta.db_table
PROFILE_VECTORS = ProfileVector._meta.db_table

FEW = 10
"""With fewer resources among a learner's latest interactions, earlier ones are read too: a video that reports its
progress each minute would soon be all that is known of them."""


class Step(NamedTuple):
    """One interaction with a resource."""

    learner_id: int
    resource_id: int
    verb: str
    value: float | None
    seconds: float
    """Since the epoch."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was read of some learners."""

    steps: list[Step]
    """The latest interactions with resources; those of each learner together, oldest first."""
    length: int
    """So many of each learner at most, before `far_enough`."""
    goals: dict[tuple[int, int], Float32Vector] = field(default_factory=dict)
    """(learner, space) → vector of present goals and interests, where there is one."""

    def of_few(self) -> list[int]:
        """Return the learners whose interactions are cut off and about fewer than `FEW` resources."""
        if len(self.steps) < self.length:
            return []
        counts: dict[int, int] = {}
        resources: dict[int, set[int]] = {}
        for step in self.steps:
            counts[step.learner_id] = counts.get(step.learner_id, 0) + 1
            resources.setdefault(step.learner_id, set()).add(step.resource_id)
        return [pk for pk, n in counts.items() if n >= self.length and len(resources[pk]) < FEW]


def known_of(learner_ids: Sequence[int]) -> Known:
    """Read what is known of learners now, as far back as lists look; one query, rarely a second one."""
    return far_enough(latest_query(learner_ids).run())


def far_enough(known: Known) -> Known:
    """Read ten times as far back of those of whom all that was read is about a few resources."""
    few = known.of_few()
    if not few:
        return known
    # The others stay as they are: nobody's list may depend on who else is asked about.
    kept = [step for step in known.steps if step.learner_id not in set(few)]
    return replace(known, steps=[*kept, *latest_query(few, times=10).run().steps])


def latest_query(learner_ids: Sequence[int], *, times: int = 1) -> Query[Known]:
    """Return a query for the latest interactions of each learner with resources, and their goals in every space.

    It looks back so many `times` over twice LLMREC["HISTORY_LENGTH"]: what a learner turned down is part of it too.
    Without a time limit: it reads so many rows of an index, and no more.
    """
    n = times * 2 * int(conf.HISTORY_LENGTH)
    sql = (
        "SELECT l.id, i.resource_id, i.verb, i.value, extract(epoch FROM i.occurred_at)::float8, i.id, NULL::bytea "
        f"FROM unnest(%s::bigint[]) AS l(id), LATERAL (SELECT * FROM {INTERACTIONS} "
        "WHERE learner_id = l.id AND resource_id IS NOT NULL AND verb = ANY(%s) "
        "ORDER BY occurred_at DESC, id DESC LIMIT %s) i "
        "UNION ALL SELECT p.learner_id, p.space_id, NULL, NULL, NULL, NULL, vector_send(p.vector) "
        f"FROM {PROFILE_VECTORS} p JOIN {LEARNERS} l ON l.id = p.learner_id AND l.content_hash = p.content_hash "
        "WHERE p.learner_id = ANY(%s) ORDER BY 1, 5, 6"
    )
    ids = list(learner_ids)

    def read(rows: list[tuple[Any, ...]]) -> Known:
        goals = [row for row in rows if row[6] is not None]
        vectors = [read_vectors([row[6]])[0] for row in goals]  # of spaces that differ in dimension
        return Known(
            [Step(*row[:5]) for row in rows if row[6] is None],
            n,
            {(row[0], row[1]): vector for row, vector in zip(goals, vectors, strict=True)},
        )

    return Query(sql, (ids, list(conf.VERBS), n, ids), read)
