"""What activity would say of a resource nobody has chosen yet: what it says of those whose texts are like its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.relevance.item_features import Whitening, nearest_texts
from llmrec_django.services.training.sources import (
    CONTENT_SIZE,
    CONTENT_WHITENING,
    Asked,
    Material,
    NeighbourSource,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.services.training.sources import Source
    from llmrec_django.types import Float32Matrix

NAME = "borrowed"
BASE = "transitions"
"""The source whose scores are lent: it is there for every catalogue."""
LENDERS = 30
"""Resources that lend their scores to one that nobody has chosen."""
TEMPERATURE = 0.1
"""Weight of a lender: softmax(cosine / temperature)."""
MAX_LENDERS = 20_000
"""Of a large catalogue only the most chosen lend: about those activity knows most."""


@dataclass(frozen=True, eq=False)
class BorrowedSource:
    """score(j) = Σ_l share(j, l) · score of l by the base source, over the chosen resources l whose texts are nearest.

    What a learner has met already may lend: it is the best hint of all.
    """

    name: str
    base: NeighbourSource
    rows: NDArray[np.int64]
    """Resources that are judged, increasing; of others it cannot say; int64 [R]."""
    lenders: NDArray[np.int32]
    """Rows of the resources that lend to each; int32 [R, K]."""
    shares: NDArray[np.float32]
    """How much each counts; a row adds up to 1, or to 0 where there is no text; float32 [R, K]."""
    pool: NDArray[np.int32]
    """All resources that may lend; int32 [P]."""
    pool_texts: Float32Matrix
    """Their whitened texts; float32 [P, F]."""
    whitening: Whitening

    def score(self, asked: Asked) -> Float32Matrix:
        return self.lent(self.base.score(asked))

    def lent(self, given: Float32Matrix) -> Float32Matrix:
        """Score by what the base scored; float32 [B, N]."""
        scores = np.full(given.shape, np.nan, dtype=np.float32)
        if not len(self.rows):
            return scores
        lenders, shares = np.asarray(self.lenders), np.asarray(self.shares)
        lent = np.empty((len(given), len(self.rows)), dtype=np.float32)
        for row, theirs in enumerate(given):
            lent[row] = np.einsum("rk,rk->r", theirs.take(lenders), shares)
        lent[:, self._textless] = np.nan
        scores[:, self.rows] = lent
        return scores

    @cached_property
    def _textless(self) -> NDArray[np.int64]:
        """Places in `rows` of those without a text."""
        return np.flatnonzero(~np.asarray(self.shares).any(axis=1))

    def only(self, rows: NDArray[np.int64]) -> BorrowedSource:
        """Judge no more than `rows`: where others have been chosen themselves, that says more."""
        kept = np.isin(self.rows, rows)
        return replace(self, rows=self.rows[kept], lenders=self.lenders[kept], shares=self.shares[kept])

    def with_texts(self, rows: NDArray[np.int64], text_vectors: Float32Matrix) -> BorrowedSource:
        """Judge resources whose texts came after training.

        Args:
            rows: Of them; int64 [A].
            text_vectors: float32 [A, V].
        """
        if text_vectors.shape[1:] != self.whitening.mean.shape or not len(rows):
            return self
        lenders, shares = _lenders(self.whitening(text_vectors), self.pool, np.asarray(self.pool_texts))
        kept = ~np.isin(self.rows, rows)
        every = np.concatenate([self.rows[kept], rows])
        order = np.argsort(every, kind="stable")
        return replace(
            self,
            rows=every[order],
            lenders=np.concatenate([self.lenders[kept], lenders])[order],
            shares=np.concatenate([self.shares[kept], shares])[order],
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "rows": self.rows,
            "lenders": self.lenders,
            "shares": self.shares,
            "pool": self.pool,
            "pool_texts": self.pool_texts,
            "mean": self.whitening.mean,
            "matrix": self.whitening.matrix,
        }


def score_each(sources: Sequence[Source], asked: Asked) -> dict[str, Float32Matrix]:
    """Score by several sources, and by none of them twice; source → float32 [B, N]."""
    raw: dict[str, Float32Matrix] = {}
    for source in sources:
        if isinstance(source, BorrowedSource) and any(other is source.base for other in sources) and BASE in raw:
            raw[source.name] = source.lent(raw[BASE])
        else:
            raw[source.name] = source.score(asked)
    return raw


def fit_borrowed(material: Material, others: Sequence[Source]) -> BorrowedSource | None:
    """Find the lenders of every resource that has a text.

    A resource never lends to itself: of each the source says what it would say if nobody had chosen it.

    Args:
        material: What sources are fitted on.
        others: Sources fitted before; the base among them.

    Returns:
        None without texts, or without the base.

    Note:
        O(N·P·F) time, P at most `MAX_LENDERS`.
    """
    base = next((source for source in others if source.name == BASE), None)
    if material.texts is None or not isinstance(base, NeighbourSource):
        return None
    whitening = Whitening.fit(material.texts, CONTENT_SIZE, CONTENT_WHITENING)
    texts = whitening(material.texts)
    has_text = texts.any(axis=1)
    chosen = np.bincount(material.chosen.resources, minlength=len(texts))
    pool = np.flatnonzero(has_text & (chosen > 0))
    if len(pool) < 2:
        return None
    pool = np.sort(pool[np.argsort(-chosen[pool], kind="stable")[:MAX_LENDERS]])
    rows = np.flatnonzero(has_text)
    place = np.full(len(texts), -1)
    place[pool] = np.arange(len(pool))
    lenders, shares = _lenders(texts[rows], pool.astype(np.int32), texts[pool], same=place[rows])
    return BorrowedSource(NAME, base, rows, lenders, shares, pool.astype(np.int32), texts[pool], whitening)


def rebuild_borrowed(name: str, base: Source, arrays: Mapping[str, Any]) -> BorrowedSource:
    """Rebuild a source from `to_arrays` and its base.

    Raises:
        KeyError: an array is missing.
    """
    if not isinstance(base, NeighbourSource):
        raise KeyError(BASE)
    return BorrowedSource(
        name,
        base,
        np.asarray(arrays["rows"]),
        arrays["lenders"],
        arrays["shares"],
        np.asarray(arrays["pool"]),
        arrays["pool_texts"],
        Whitening(np.asarray(arrays["mean"]), np.asarray(arrays["matrix"])),
    )


def _lenders(
    texts: Float32Matrix, pool: NDArray[np.int32], pool_texts: Float32Matrix, same: NDArray[np.integer] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    places, shares = nearest_texts(texts, pool_texts, LENDERS, TEMPERATURE, same=same)
    return pool[places], shares
