"""Places kept for resources that nobody has chosen yet: without them nobody ever would.

What learners chose says more about them than texts do, so by scores alone a new resource is rarely among the first.
The last places of a list cost its readers least, so these are where new resources show themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_django.conf import conf

if TYPE_CHECKING:
    from llmrec_django.retrieval.eligibility import Eligibility
    from llmrec_django.services.scoring import Scored

SHORT = 10
"""A list up to this long, from `SHORTEST` on, keeps its last place; a longer one keeps places behind this one."""
SHORTEST = 5
LEAST_SCORE = 0.0
"""What suits a learner less than an average candidate gets no place: else the only new resource of a site would stand
in every list of it."""


def places_for_new(n: int) -> int:
    """Return how many of the places of a list are kept for new resources, 0 or more.

    Args:
        n: Places in all.
    """
    share = float(conf.NEW_SHARE)
    if share <= 0 or n < SHORTEST:
        return 0
    return 1 if n <= SHORT else round((n - SHORT) * share)


def with_new(
    ranked: list[tuple[int, float]], scored: Scored, eligibility: Eligibility, n: int
) -> list[tuple[int, float]]:
    """Let the best new resources have the places that are kept for them.

    Args:
        ranked: (resource id, score) of a list, best first.
        scored: What it was made from.
        eligibility: What may be shown.
        n: Places of the list.

    Returns:
        As `ranked`, up to `n` long. Unchanged where enough new ones are in it already, or none of the others suits.
    """
    ranked = ranked[:n]
    new = scored.new_ids
    places = places_for_new(n) if len(new) else 0
    there = {pk for pk, _ in ranked}
    missing = places - len(there & new)
    if missing <= 0:
        return ranked
    best = scored.best_new(eligibility, places)
    added = [row for row in best if row[0] not in there and row[1] > LEAST_SCORE][:missing]
    free = n - len(ranked)
    result = list(ranked)
    for place in range(len(result) - 1, -1, -1):
        if len(added) <= free:
            break
        if result[place][0] not in new:
            del result[place]
            free += 1
    return result + added
