"""A learner as one vector, without training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.types import Float32Matrix, Float32Vector


def history_vector(
    vectors: Float32Matrix,
    weights: Sequence[float],
    *,
    decay: float,
    profile: Float32Vector | None = None,
    profile_weight: float = 1.0,
) -> Float32Vector | None:
    """Average what a learner did, newer and stronger interactions counting more.

    Args:
        vectors: Unit vectors of the resources, newest first; float32 [L, D]; L may be 0.
        weights: Strength of each interaction, ≥ 0; length L.
        decay: Factor per step back in time, in (0, 1].
        profile: Unit vector of goals and interests, float32 [D], or None.
        profile_weight: Its weight, where the newest interaction of strength 1 has weight 1.

    Returns:
        float32 [D] of unit length; None when there is nothing to average.
    """
    parts = []
    if len(vectors):
        strength = np.asarray(weights, dtype=np.float32) * np.power(decay, np.arange(len(vectors)), dtype=np.float32)
        parts.append(strength @ vectors)  # [D]
    if profile is not None:
        parts.append(np.float32(profile_weight) * profile)
    if not parts:
        return None
    total: Float32Vector = np.sum(parts, axis=0, dtype=np.float32)
    length = float(np.linalg.norm(total))
    return total / np.float32(length) if length > 1e-6 else None
