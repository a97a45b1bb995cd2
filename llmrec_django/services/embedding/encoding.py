"""From texts to checked vectors; a bad text is found by halving its batch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from llmrec_django.exceptions import DimensionMismatch, EncoderError, EncoderUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.engine.encoders.base import Encoder
    from llmrec_django.models import VectorSpace
    from llmrec_django.services.embedding.claims import Item
    from llmrec_django.types import Float32Matrix, Float32Vector

logger = logging.getLogger(__name__)


def encode_items(
    encoder: Encoder, space: VectorSpace, items: Sequence[Item]
) -> tuple[list[tuple[Item, Float32Vector]], list[tuple[Item, str]]]:
    """Encode items; halve a batch that fails until the bad ones stand alone."""
    if not items:
        return [], []
    try:
        matrix = checked(encoder.encode_documents([item.text for item in items]), len(items), space.dimension)
        return list(zip(items, matrix, strict=True)), []
    except EncoderUnavailable:
        raise
    except Exception as exc:
        if not isinstance(exc, EncoderError | ValueError | RuntimeError | TypeError | IndexError):
            raise
        if len(items) == 1:
            logger.warning("resource not embedded resource=%s cause=%s", items[0].resource_id, type(exc).__name__)
            return [], [(items[0], f"{type(exc).__name__}: {exc}"[:2000])]
        half = len(items) // 2
        left, right = encode_items(encoder, space, items[:half]), encode_items(encoder, space, items[half:])
        return left[0] + right[0], left[1] + right[1]


def checked(matrix: Float32Matrix, n: int, dimension: int) -> Float32Matrix:
    matrix = np.asarray(matrix, dtype=np.float32)
    if matrix.shape != (n, dimension):
        raise DimensionMismatch(f"The encoder returned an array of shape {matrix.shape}, expected {(n, dimension)}.")
    if not np.isfinite(matrix).all():
        raise EncoderError("The encoder returned numbers that are not finite.")
    return matrix
