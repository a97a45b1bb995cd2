"""What many learners meet, ever and lately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.types import Float32Matrix

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class PopularityConfig:
    """Over which time interactions are counted."""

    half_life_days: float = float("inf")
    """An interaction this old counts half of one now; infinity counts all the same."""


SCORING_FIELDS = ()
"""Fields that change scores only, not the fit: none."""
SEARCH_SPACE: Mapping[str, tuple[Any, ...]] = {"half_life_days": (3.0, 7.0, 14.0, 30.0, 60.0, 120.0, 365.0)}
"""Values `choose` tries."""


@dataclass(frozen=True, eq=False)
class PopularityModel:
    """The same score for every learner."""

    scores: NDArray[np.float32]
    """Weighted interactions of each resource as a share of all; float32 [N], adding up to 1."""

    @property
    def n_resources(self) -> int:
        """Size of the catalogue, N."""
        return len(self.scores)

    def score(self, histories: Sequence[NDArray[np.integer]]) -> Float32Matrix:
        """Return the shares for each of B histories, whatever is in them; float32 [B, N], read-only."""
        return np.broadcast_to(self.scores, (len(histories), self.n_resources))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything the model is made of, as arrays that any container can hold."""
        return {"scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a model from `to_arrays`."""
        return cls(arrays["scores"])


def fit(log: InteractionLog, config: PopularityConfig, *, now: float | None = None) -> PopularityModel:
    """Count interactions by resource, older ones less where a half-life is set.

    Args:
        log: Positive interactions. Without a clock "lately" means nothing: all count the same.
        config: See the fields.
        now: Seconds; the newest interaction when None.
    """
    log = log.positive()
    weights = log.weights.astype(np.float64)
    if np.isfinite(config.half_life_days) and log.has_clock:
        age = (log.times.max() if now is None else now) - log.times
        weights = weights * np.exp2(-np.maximum(age, 0.0) / (config.half_life_days * DAY))
    counts = np.bincount(log.resources, weights=weights, minlength=log.n_resources)
    return PopularityModel((counts / max(counts.sum(), 1e-12)).astype(np.float32))
