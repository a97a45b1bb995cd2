"""What all models have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix


class Scorer(Protocol):
    """Scores the whole catalogue for learners given as histories."""

    def score(self, histories: Sequence[NDArray[np.integer]]) -> Float32Matrix:
        """Score every resource for each of B histories, oldest first; float32 [B, N], NaN where it cannot say."""
