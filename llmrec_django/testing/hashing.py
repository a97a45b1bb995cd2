"""An encoder for tests: instant, without dependencies, and yet similar texts get similar vectors."""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from llmrec_django.engine.encoders.base import Encoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmrec_django.types import Float32Matrix

# Han, Hiragana, Katakana and Hangul are written without spaces (or nearly so): there, pairs of neighbouring
# characters do the work of words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]+|[^\W_]+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]")


class HashingEncoder(Encoder):
    """Sum of hashed words, of unit length: texts are near each other as far as they share words.

    Not for real use: "car" and "automobile" are as far apart as any two words.

    Args:
        dimension: Length of the vectors; the fewer, the more often unrelated words collide.
    """

    def __init__(self, dimension: int = 64) -> None:
        if dimension < 2:
            raise ValueError(f"dimension must be 2 or more, not {dimension!r}")
        self._dimension = dimension

    @property
    def encoder_id(self) -> str:
        return f"hashing/1 {self._dimension}"

    @property
    def dimension(self) -> int:
        return self._dimension

    def encode_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts; see the base class. A text without words gets one fixed vector."""
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for feature in _features(text):
                place, sign = _place_and_sign(feature)
                row[place % self._dimension] += sign
            if not row.any():
                row[0] = 1.0
            row /= np.linalg.norm(row)
        return vectors


def _features(text: str) -> Iterator[str]:
    for run in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if _UNSPACED.match(run) and len(run) > 1:
            yield from (run[start : start + 2] for start in range(len(run) - 1))
        else:
            yield run


@functools.lru_cache(maxsize=100_000)
def _place_and_sign(feature: str) -> tuple[int, float]:
    digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    # The sign makes collisions cancel out on average instead of always looking like likeness.
    return number >> 1, 1.0 if number & 1 else -1.0
