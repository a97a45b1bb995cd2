"""Joining lists whose scores cannot be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


def reciprocal_rank_fusion(
    lists: Sequence[Sequence[Hashable]], *, constant: float = 60.0
) -> list[tuple[Hashable, float]]:
    """Join ranked lists: score(x) = Σ 1 / (constant + rank of x), over the lists that hold x.

    Reciprocal rank fusion (Cormack, Clarke & Büttcher, SIGIR 2009).

    Args:
        lists: Each best first, without repeats.
        constant: Larger gives low ranks more say.

    Returns:
        (item, score), best first; ties keep the order of first appearance. Empty for no items.
    """
    scores: dict[Hashable, float] = {}
    for ranked in lists:
        for rank, item in enumerate(ranked, start=1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (constant + rank)
    return sorted(scores.items(), key=lambda entry: -entry[1])
