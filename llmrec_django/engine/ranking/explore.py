"""Drawing places of a list by lot, with the probabilities that later estimates need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def draw_places(
    scores: ArrayLike, n_places: int, pool: int, rng: np.random.Generator, *, by_score: bool = False
) -> list[tuple[int, float]]:
    """Draw `n_places` candidates, one place after the other and none twice.

    Each place is drawn from what is left of the pool: the first `pool` + `n_places` - 1 candidates. So the propensity
    of a place is the probability of its candidate given what the places before it took, and the first place has
    `pool` candidates to choose from.

    Args:
        scores: Best first, comparable with each other; float [n].
        n_places: Places to fill; fewer when there are fewer candidates.
        pool: Candidates for one place, at least 1.
        by_score: Chances by softmax of the standardised scores; else all alike.

    Returns:
        (index into `scores`, propensity) of each place.
    """
    left = list(range(min(len(np.atleast_1d(np.asarray(scores))), pool + n_places - 1)))
    values = np.asarray(scores, dtype=np.float64)[: len(left)]
    spread = float(values.std()) if len(values) else 0.0
    strength = (values - values.max()) / spread if by_score and spread > 0 else np.zeros(len(values))
    drawn: list[tuple[int, float]] = []
    for _ in range(min(n_places, len(left))):
        candidates = left[:pool]
        chances = np.exp(strength[candidates])
        chances /= chances.sum()
        place = int(rng.choice(len(candidates), p=chances))
        drawn.append((candidates[place], float(chances[place])))
        left.remove(candidates[place])
    return drawn
