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
    profile_share: float = 0.35,
) -> Float32Vector | None:
    """Average what a learner did, newer and stronger interactions counting more.

    Args:
        vectors: Unit vectors of the resources, newest first; float32 [L, D]; L may be 0.
        weights: Strength of each interaction, ≥ 0; length L.
        decay: Factor per step back in time, in (0, 1].
        profile: Unit vector of goals and interests, float32 [D], or None.
        profile_share: Its weight beside the whole history, however long that is; in [0, 1].

    Returns:
        float32 [D] of unit length; None when there is nothing to average.
    """
    history = None
    if len(vectors):
        strength = np.asarray(weights, dtype=np.float32) * np.power(decay, np.arange(len(vectors)), dtype=np.float32)
        history = _unit(strength @ vectors)  # [D]
    if history is None or profile is None:
        return history if profile is None else profile
    return _unit(np.float32(1 - profile_share) * history + np.float32(profile_share) * profile)


def _unit(vector: Float32Vector) -> Float32Vector | None:
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 1e-6 else None
