"""What learners did, as arrays: the one form in which models, splits and metrics read it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

ScalarType = TypeVar("ScalarType", bound=np.generic)


@dataclass(frozen=True, eq=False)
class InteractionLog:
    """Interactions of many learners, sorted by learner, then time, then order of arrival.

    Learners and resources are row numbers, 0 to n - 1: who or what they stand for is known to the caller alone.
    Build it with `from_arrays`, which sorts and checks; the arrays are read-only.
    """

    learners: NDArray[np.int32]
    """Learner of each interaction, not decreasing; int32 [n]."""
    resources: NDArray[np.int32]
    """Resource of each interaction; int32 [n]. A learner may meet a resource more than once."""
    weights: NDArray[np.float32]
    """How strongly it speaks for (> 0) or against (< 0) the resource; float32 [n], finite."""
    times: NDArray[np.float64]
    """Seconds since the epoch, or NaN where no time is known; float64 [n]."""
    verbs: NDArray[np.int16]
    """Code of the verb, whose meaning the caller holds; int16 [n], zeros where none were given."""
    values: NDArray[np.float32]
    """Score, rating or progress, or NaN; float32 [n]."""
    taken_up: NDArray[np.bool_]
    """The learner took the resource up, whatever they thought of it later; bool [n]. What disappointed has a weight
    below 0 and was taken up; what was turned down unseen has a weight below 0 and was not."""
    n_learners: int
    """Learners there are, with and without interactions."""
    n_resources: int
    """Resources there are: the catalogue."""

    @classmethod
    def from_arrays(
        cls,
        learners: ArrayLike,
        resources: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        times: ArrayLike | None = None,
        verbs: ArrayLike | None = None,
        values: ArrayLike | None = None,
        taken_up: ArrayLike | None = None,
        n_learners: int | None = None,
        n_resources: int | None = None,
    ) -> InteractionLog:
        """Sort and check columns that stand in order of arrival.

        Args:
            learners: Row numbers; integer [n].
            resources: Row numbers; integer [n].
            weights: Float [n]; 1 for each when None.
            times: Seconds, float [n]; None or NaN where unknown. A learner's interactions without a time keep
                their order of arrival and come after those with one.
            verbs: Codes, integer [n]; 0 for each when None.
            values: Float [n]; NaN when None.
            taken_up: Bool [n]; weights > 0 when None.
            n_learners: Learners in all; the largest number + 1 when None.
            n_resources: The same for resources.

        Raises:
            ValueError: columns differ in length, a number is out of range, or a weight is not finite.
        """
        learner_rows, resource_rows = np.asarray(learners, dtype=np.int64), np.asarray(resources, dtype=np.int64)
        n = len(learner_rows)
        columns: dict[str, NDArray[Any]] = {
            "resources": resource_rows,
            "weights": np.ones(n, np.float32) if weights is None else np.asarray(weights, dtype=np.float32),
            "times": np.full(n, np.nan) if times is None else np.asarray(times, dtype=np.float64),
            "verbs": np.zeros(n, np.int16) if verbs is None else np.asarray(verbs, dtype=np.int16),
            "values": np.full(n, np.nan, np.float32) if values is None else np.asarray(values, dtype=np.float32),
        }
        columns["taken_up"] = columns["weights"] > 0 if taken_up is None else np.asarray(taken_up, dtype=np.bool_)
        for name, column in columns.items():
            if column.shape != (n,):
                raise ValueError(f"Cannot build a log: {name!r} has shape {column.shape}, expected ({n},).")
        n_learners = _count("learners", learner_rows, n_learners)
        n_resources = _count("resources", resource_rows, n_resources)
        if not np.isfinite(columns["weights"]).all():
            raise ValueError("Cannot build a log: a weight is not finite. Leave such interactions out.")
        order = np.lexsort((columns["times"], learner_rows))  # stable; NaN sorts last
        return cls(
            learners=_frozen(learner_rows[order].astype(np.int32)),
            resources=_frozen(resource_rows[order].astype(np.int32)),
            n_learners=n_learners,
            n_resources=n_resources,
            **{name: _frozen(column[order]) for name, column in columns.items() if name != "resources"},
        )

    def __len__(self) -> int:
        return len(self.learners)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where each learner's interactions begin; int64 [n_learners + 1]: learner u has offsets[u]:offsets[u + 1]."""
        return _frozen(np.searchsorted(self.learners, np.arange(self.n_learners + 1)).astype(np.int64))

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Interactions of each learner; int64 [n_learners]."""
        return _frozen(np.diff(self.offsets))

    @cached_property
    def positions(self) -> NDArray[np.int32]:
        """Place of each interaction in its learner's own sequence, oldest 0; int32 [n]."""
        return _frozen((np.arange(len(self)) - self.offsets[self.learners]).astype(np.int32))

    @cached_property
    def is_first(self) -> NDArray[np.bool_]:
        """True where a learner meets a resource for the first time; bool [n]."""
        pairs = self.learners.astype(np.int64) * self.n_resources + self.resources
        first = np.zeros(len(self), dtype=bool)
        first[np.unique(pairs, return_index=True)[1]] = True
        return _frozen(first)

    @property
    def has_clock(self) -> bool:
        """Every interaction has a time, and there is at least one."""
        return len(self) > 0 and bool(np.isfinite(self.times).all())

    def history(self, learner: int) -> NDArray[np.int32]:
        """Resources of one learner, oldest first; int32 [L]."""
        return self.resources[self.offsets[learner] : self.offsets[learner + 1]]

    def histories(self, learners: Iterable[int] | None = None) -> list[NDArray[np.int32]]:
        """Resources of each of `learners` (all when None), oldest first; views, not copies."""
        rows: Iterable[int] = range(self.n_learners) if learners is None else learners
        return [self.history(int(learner)) for learner in rows]

    def take(self, rows: NDArray[np.bool_] | NDArray[np.integer]) -> InteractionLog:
        """Keep some interactions: a mask [n] or increasing indices. Numbers of learners and resources stay."""
        return replace(
            self,
            learners=_frozen(self.learners[rows]),
            resources=_frozen(self.resources[rows]),
            weights=_frozen(self.weights[rows]),
            times=_frozen(self.times[rows]),
            verbs=_frozen(self.verbs[rows]),
            values=_frozen(self.values[rows]),
            taken_up=_frozen(self.taken_up[rows]),
        )

    def positive(self) -> InteractionLog:
        """Only the interactions that speak for their resource."""
        mask = self.weights > 0
        return self if bool(mask.all()) else self.take(mask)

    def choices(self) -> InteractionLog:
        """Only the interactions with resources that were taken up, all weights above 0: a like or not, it is a choice.

        What people choose tells what they choose next, and that better than what they liked tells: what disappointed
        belongs to the pattern too (measured on film ratings, for liked targets as well).
        """
        taken = self.take(self.taken_up & (self.weights != 0))
        return replace(taken, weights=_frozen(np.abs(taken.weights)))

    def without_pings(self) -> InteractionLog:
        """Keep of a run of interactions with one resource only the last: progress reports are no sequence."""
        mask = np.ones(len(self), dtype=bool)
        mask[:-1] = (self.learners[1:] != self.learners[:-1]) | (self.resources[1:] != self.resources[:-1])
        return self if bool(mask.all()) else self.take(mask)

    def without_repeats(self) -> InteractionLog:
        """Keep of a run of interactions with one resource the last of each verb: an hour of progress reports is one
        step, and no long history."""
        moved = np.ones(len(self), dtype=bool)
        moved[1:] = (self.learners[1:] != self.learners[:-1]) | (self.resources[1:] != self.resources[:-1])
        if bool(moved.all()):
            return self
        runs = np.cumsum(moved) * (int(self.verbs.max(initial=0)) + 1) + self.verbs
        _, from_the_end = np.unique(runs[::-1], return_index=True)
        return self if len(from_the_end) == len(self) else self.take(np.sort(len(self) - 1 - from_the_end))

    def shortened(self, lengths: NDArray[np.integer]) -> InteractionLog:
        """Keep only the last `lengths[u]` interactions of each learner u; int [n_learners]."""
        kept = np.minimum(lengths, self.lengths)
        return self.take(self.positions >= (self.lengths - kept)[self.learners])

    def drop_last(self, n: int = 1) -> InteractionLog:
        """Leave out the last `n` interactions of each learner; learners with no more than `n` keep none."""
        return self.take(self.positions < (self.lengths[self.learners] - n))

    def take_last(self, n: int = 1) -> InteractionLog:
        """Keep only the last `n` interactions of each learner."""
        return self.take(self.positions >= (self.lengths[self.learners] - n))

    def before(self, time: float) -> InteractionLog:
        """Keep what happened before `time` (seconds). Interactions without a time are left out: they may be later."""
        return self.take(self.times < time)

    def cap_learner_weight(self, limit: float) -> InteractionLog:
        """Scale down the weights of learners whose weights sum (in absolute value) to more than `limit`.

        One busy learner, bot or bulk import then moves counts no more than `limit` ordinary interactions do.
        """
        if limit <= 0:
            raise ValueError(f"Cannot cap weights at {limit!r}: the limit must be above 0.")
        totals = np.bincount(self.learners, weights=np.abs(self.weights), minlength=self.n_learners)
        scale = np.minimum(1.0, limit / np.maximum(totals, 1e-12))
        return replace(self, weights=_frozen((self.weights * scale[self.learners]).astype(np.float32)))

    def matrix(self) -> Any:
        """Learners × resources as a scipy `csr_array`, float32 [n_learners, n_resources].

        A pair met more than once counts once, with its largest weight.
        """
        from scipy.sparse import csr_array

        pairs = self.learners.astype(np.int64) * self.n_resources + self.resources
        order = np.lexsort((-self.weights, pairs))
        distinct, first = np.unique(pairs[order], return_index=True)
        rows, columns = np.divmod(distinct, max(1, self.n_resources))
        weights = self.weights[order][first]
        return csr_array(
            (weights, (rows.astype(np.int32), columns.astype(np.int32))), shape=(self.n_learners, self.n_resources)
        )


def stack_histories(histories: Sequence[NDArray[np.integer]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Lay histories end to end.

    Returns:
        Resources int32 [sum of lengths] and offsets int64 [B + 1]: history b is resources[offsets[b]:offsets[b + 1]].
    """
    offsets = np.zeros(len(histories) + 1, dtype=np.int64)
    np.cumsum([len(history) for history in histories], out=offsets[1:])
    if offsets[-1] == 0:
        return np.zeros(0, dtype=np.int32), offsets
    return np.concatenate([np.asarray(history, dtype=np.int32) for history in histories]), offsets


def _count(what: str, rows: NDArray[np.int64], given: int | None) -> int:
    needed = int(rows.max()) + 1 if len(rows) else 0
    if len(rows) and int(rows.min()) < 0:
        raise ValueError(f"Cannot build a log: {what!r} holds {int(rows.min())}, expected row numbers from 0.")
    if given is not None and given < needed:
        raise ValueError(f"Cannot build a log: {what!r} holds {needed - 1}, expected row numbers below {given}.")
    return needed if given is None else given


def _frozen(array: NDArray[ScalarType]) -> NDArray[ScalarType]:
    array.setflags(write=False)
    return array
