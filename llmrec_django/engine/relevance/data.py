"""From an interaction log to the batches that the model learns from. numpy only.

Letters of the shapes: B rows of the batch, L interactions in the longest of them, U learners, n interactions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import ArrayLike, NDArray

    from llmrec_django.engine.interactions import InteractionLog

GAP_EDGES_S = (60.0, 3600.0, 6 * 3600.0, 86400.0, 3 * 86400.0, 7 * 86400.0, 30 * 86400.0, 120 * 86400.0)
GAP_BUCKETS = len(GAP_EDGES_S) + 2
"""0 is "unknown": no earlier interaction in sight, or no clock. 1 is under a minute, and so on."""
MAX_SEEN = 1000
"""Earlier resources of one learner that are kept out of the softmax, the latest ones: bounds the work for floods."""


def gap_buckets(times: ArrayLike) -> NDArray[np.int64]:
    """Return for each interaction of one learner how long after the one before it came, as a bucket.

    Args:
        times: Seconds, oldest first, NaN where unknown; [L].
    """
    gaps = np.diff(np.asarray(times, dtype=np.float64), prepend=np.nan)
    return np.where(np.isnan(gaps), 0, 1 + np.searchsorted(GAP_EDGES_S, gaps, side="right")).astype(np.int64)


def outcome_weights(
    log: InteractionLog, *, negative_weight: float, failure_verbs: Collection[int] = ()
) -> NDArray[np.float32]:
    """Say how strongly the resource of each interaction is to be predicted (> 0), avoided (< 0) or neither (0).

    The strongest thing a learner ever did with a resource decides: what was later completed is the better answer to
    "what next" already when it was first opened. Where the resource was turned down at last, or failed and never
    gone on with, it is to be avoided.

    Args:
        log: All interactions.
        negative_weight: Factor on the weights below 0.
        failure_verbs: Codes that mean a failed attempt.

    Returns:
        float32 [n]; the same at every meeting of a learner with a resource.
    """
    if not len(log):
        return np.zeros(0, np.float32)
    weights = log.weights.astype(np.float32)
    _, pair = np.unique(log.learners.astype(np.int64) * log.n_resources + log.resources, return_inverse=True)
    last = np.zeros(pair.max() + 1, dtype=np.int64)
    np.maximum.at(last, pair, np.arange(len(log)))
    best = np.full(len(last), -np.inf, dtype=np.float32)
    np.maximum.at(best, pair, weights)
    worst_last = np.where(np.isin(log.verbs[last], list(failure_verbs)), -np.abs(weights[last]), weights[last])
    outcome = np.where(worst_last < 0, negative_weight * worst_last, np.maximum(best, 0))
    result: NDArray[np.float32] = outcome[pair].astype(np.float32)
    return result


def with_reversed(log: InteractionLog, weights: NDArray[np.float32]) -> tuple[InteractionLog, NDArray[np.float32]]:
    """Append each learner's interactions, latest first, as those of `log.n_learners` more learners; times negated."""
    rows = (log.offsets[:-1] + log.lengths - 1)[log.learners] - log.positions

    def both(column: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([column, column[rows]])

    doubled = replace(
        log,
        learners=np.concatenate([log.learners, log.learners + np.int32(log.n_learners)]),
        resources=both(log.resources),
        weights=both(log.weights),
        times=np.concatenate([log.times, -log.times[rows]]),
        verbs=both(log.verbs),
        values=both(log.values),
        taken_up=both(log.taken_up),
        n_learners=2 * log.n_learners,
    )
    return doubled, both(weights)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Pieces of learners' sequences, padded on the right to the longest."""

    learners: NDArray[np.int64]
    """[B]"""
    is_reversed: NDArray[np.bool_]
    """The learner's sequence is told from its end; [B]"""
    resources: NDArray[np.int64]
    """What the model reads; [B, L]; padding is 0 and never looked at."""
    verbs: NDArray[np.int64]
    """[B, L]"""
    values: NDArray[np.float32]
    """[B, L]"""
    gaps: NDArray[np.int64]
    """[B, L]"""
    places: NDArray[np.int64]
    """Where something is to be predicted: index into the [B · (L + 1)] states; [M]."""
    targets: NDArray[np.int64]
    """[M]"""
    weights: NDArray[np.float32]
    """[M]"""
    seen: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    """Index into `targets` and resource, [P] each: what the learner had before that target."""


class TrainingData:
    """The log of all learners, cut into pieces and batched anew for each epoch.

    Args:
        log: Sorted interactions, see `InteractionLog`.
        weights: `outcome_weights` of it.
        max_length: Interactions that the model can read.
        batch_positions: Interactions in a batch, padding included, about.
        hide_seen: Leave what a learner had before out of the softmax, and predict a resource at the first meeting.
        reversed_share: Share of learners, others in each epoch, whose sequence is told from its end.
    """

    def __init__(
        self,
        log: InteractionLog,
        weights: NDArray[np.float32],
        *,
        max_length: int,
        batch_positions: int,
        hide_seen: bool,
        reversed_share: float = 0.0,
    ) -> None:
        self.n_learners, self.reversed_share = log.n_learners, reversed_share
        if reversed_share:
            log, weights = with_reversed(log, weights)
        if hide_seen:
            weights = np.where(log.is_first, weights, np.float32(0))
        self.log, self.weights = log, weights
        self.max_length, self.batch_positions, self.hide_seen = max_length, batch_positions, hide_seen
        gaps = np.full(len(log), np.nan)
        gaps[1:] = np.diff(log.times)
        gaps[log.positions == 0] = np.nan
        self._gaps = np.where(np.isnan(gaps), 0, 1 + np.searchsorted(GAP_EDGES_S, gaps, side="right"))

    def pieces(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cut every sequence into pieces [begin, end) of targets, at most `max_length` long.

        The first piece of a long sequence has a random length, so that the cuts lie elsewhere in each epoch.
        """
        learners = np.arange(self.n_learners)
        if self.reversed_share:
            learners[rng.random(self.n_learners) < self.reversed_share] += self.n_learners
        starts, lengths = self.log.offsets[learners], self.log.lengths[learners]
        first = np.minimum(lengths, rng.integers(1, self.max_length + 1, size=len(lengths)))
        first = np.where(lengths <= self.max_length, lengths, first)
        more = -(-(lengths - first) // self.max_length)
        count = np.where(lengths > 0, 1 + more, 0)
        row = np.repeat(np.arange(len(lengths)), count)
        number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        begin = np.where(number == 0, 0, first[row] + (number - 1) * self.max_length)
        end = np.minimum(first[row] + number * self.max_length, lengths[row])
        return starts[row] + begin, starts[row] + end

    def batches(self, rng: np.random.Generator) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Group the pieces of one epoch by length, so that padding is rare, and shuffle the groups.

        Returns:
            (begin, end) of the pieces of each batch.
        """
        begin, end = self.pieces(rng)
        order = rng.permutation(len(begin))
        order = order[np.argsort((end - begin)[order], kind="stable")]
        # Lengths rise along `order`: a batch is full when its count times its longest piece reaches the limit.
        groups, at = [], 0
        lengths = (end - begin)[order]
        while at < len(order):
            size = 1
            # The longest piece is the last: grow by what fits its length, then look again.
            while at + size < len(order) and (size + 1) * lengths[at + size] <= self.batch_positions:
                size += 1
            groups.append(order[at : at + size])
            at += size
        shuffled = rng.permutation(len(groups))
        return [(begin[groups[i]], end[groups[i]]) for i in shuffled]

    def assemble(self, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Batch:
        """Lay pieces out as one batch.

        The model reads one interaction before each target; the pseudo-step stands before the first, and predicts it
        only at the very beginning of a learner's sequence.
        """
        log = self.log
        learners = log.learners[begin].astype(np.int64)
        origin = log.offsets[learners]
        read_from = np.maximum(begin - 1, origin)  # a later piece reads the interaction just before it
        length = max(1, int((end - 1 - read_from).max()))
        index = read_from[:, None] + np.arange(length)  # [B, L]
        real = index < (end - 1)[:, None]
        index = np.where(real, index, 0)
        gaps = np.where(real, self._gaps[index], 0)
        gaps[:, 0] = 0  # what came before the piece is out of sight
        # State s of a row follows s read interactions, so it predicts interaction read_from + s.
        predicts = read_from[:, None] + np.arange(length + 1)  # [B, L + 1]
        wanted = (predicts >= begin[:, None]) & (predicts < end[:, None])
        places = np.flatnonzero(wanted)
        rows = predicts.ravel()[places]
        useful = self.weights[rows] != 0
        places, rows = places[useful], rows[useful]
        return Batch(
            learners=learners % self.n_learners,
            is_reversed=learners >= self.n_learners,
            resources=np.where(real, log.resources[index], 0).astype(np.int64),
            verbs=np.where(real, log.verbs[index], 0).astype(np.int64),
            values=np.where(real, log.values[index], np.float32(np.nan)),
            gaps=gaps.astype(np.int64),
            places=places,
            targets=log.resources[rows].astype(np.int64),
            weights=self.weights[rows],
            seen=self._seen(rows) if self.hide_seen else None,
        )

    def _seen(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        before = np.minimum(rows - self.log.offsets[self.log.learners[rows]], MAX_SEEN)
        which = np.repeat(np.arange(len(rows)), before)
        back = np.arange(len(which)) - np.repeat(np.cumsum(before) - before, before)
        resources = self.log.resources[rows[which] - 1 - back].astype(np.int64)
        other = resources != self.log.resources[rows[which]]  # a target is never hidden from itself
        return which[other], resources[other]


def latest(log: InteractionLog, learners: NDArray[np.integer], max_length: int) -> dict[str, Any]:
    """Lay out the latest interactions of some learners, as the model reads them when it is asked.

    Returns:
        "resources", "verbs", "gaps" int64 and "values" float32, each [B, L] with padding on the right, and "lengths"
        int64 [B].
    """
    end = log.offsets[np.asarray(learners) + 1]
    begin = np.maximum(log.offsets[np.asarray(learners)], end - max_length)
    lengths = end - begin
    index = begin[:, None] + np.arange(max(1, int(lengths.max(initial=0))))
    real = index < end[:, None]
    index = np.where(real, index, 0)
    if not len(log):
        shape = index.shape
        empty = np.zeros(shape, np.int64)
        return {"resources": empty, "verbs": empty, "gaps": empty, "values": np.full(shape, np.nan, np.float32),
                "lengths": lengths}  # fmt: skip
    gaps = np.diff(log.times[index], axis=1, prepend=np.nan)
    buckets = np.where(np.isnan(gaps), 0, 1 + np.searchsorted(GAP_EDGES_S, gaps, side="right"))
    return {
        "resources": np.where(real, log.resources[index], 0).astype(np.int64),
        "verbs": np.where(real, log.verbs[index], 0).astype(np.int64),
        "gaps": np.where(real, buckets, 0).astype(np.int64),
        "values": np.where(real, log.values[index], np.float32(np.nan)),
        "lengths": lengths,
    }
