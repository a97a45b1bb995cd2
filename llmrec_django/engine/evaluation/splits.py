"""Which interactions a model may learn from, and which it is asked for.

Every split keeps one promise: of a learner who is asked about, `train` holds nothing from the held-out interaction on.
What each scheme lets through beyond that is said in its docstring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmrec_django.engine.interactions import InteractionLog


@dataclass(frozen=True, eq=False)
class Split:
    """A log to learn from and the questions that the rest of it answers."""

    scheme: str
    """How it was made, for the report."""
    train: InteractionLog
    """What models may be fitted on; also the history of each learner asked about."""
    learners: NDArray[np.int32]
    """Learners asked about; int32 [B]."""
    relevant: tuple[NDArray[np.int32], ...]
    """The resources held out of each of them; never ones in their history. B arrays, none empty."""

    def __len__(self) -> int:
        return len(self.learners)

    def histories(self) -> list[NDArray[np.int32]]:
        """What each learner asked about had met before, oldest first; B arrays, possibly empty."""
        return self.train.histories(self.learners)

    def sample(self, n: int, *, seed: int = 0) -> Split:
        """Ask about at most `n` learners, drawn at random; `train` stays whole."""
        if len(self) <= n:
            return self
        kept = np.sort(np.random.default_rng(seed).choice(len(self), size=n, replace=False))
        return Split(self.scheme, self.train, self.learners[kept], tuple(self.relevant[row] for row in kept))


def leave_one_out(log: InteractionLog, *, min_history: int = 1) -> Split:
    """Hold out each learner's last resource: the one they met last for the first time.

    Leaks: a learner's own future never, other learners' does: train holds what they did after the held-out moment.
    Models that follow the calendar (popular lately) look better than they will be; `global_time` shows that.

    Args:
        log: Interactions; those that speak against a resource are never held out. Repeats of a resource are no
            question, because seen resources are not recommended; whatever follows the held-out interaction is dropped.
        min_history: Learners who would keep fewer interactions are not asked about; all they did stays in train.
    """
    candidates = np.nonzero(log.is_first & (log.weights > 0))[0]
    held_out = np.full(log.n_learners, len(log), dtype=np.int64)  # interaction of each learner; none by default
    held_out[log.learners[candidates]] = candidates  # the last assignment is the latest
    asked = held_out < len(log)
    asked[asked] = log.positions[held_out[asked]] >= min_history
    held_out[~asked] = len(log)
    learners = np.nonzero(asked)[0].astype(np.int32)
    train = log.take(np.arange(len(log)) < held_out[log.learners])
    relevant = tuple(log.resources[row : row + 1] for row in held_out[learners])
    return Split("leave one out", train, learners, relevant)


def global_time(log: InteractionLog, time: float, *, min_history: int = 0) -> Split:
    """Learn from what happened before `time`, ask for everything met for the first time from then on.

    Leaks nothing: this is what a model trained at `time` would have faced.

    Args:
        log: Interactions with times.
        time: Seconds since the epoch; see `time_of_share`.
        min_history: Learners with fewer interactions before `time` are not asked about. 0 asks about newcomers too.

    Raises:
        ValueError: the log has no clock.
    """
    if not log.has_clock:
        raise ValueError("Cannot split by time: some interactions have none. Use leave_one_out.")
    train = log.before(time)
    asked_for = log.take((log.times >= time) & log.is_first & (log.weights > 0))
    learners = np.nonzero((asked_for.lengths > 0) & (train.lengths >= min_history))[0].astype(np.int32)
    return Split("global time", train, learners, tuple(asked_for.histories(learners)))


def time_of_share(log: InteractionLog, share: float) -> float:
    """Find the time from which on the last `share` of the interactions, in [0, 1], happened."""
    return float(np.quantile(log.times, 1.0 - share, method="higher"))


def cold_resources(log: InteractionLog, resources: NDArray[np.integer]) -> Split:
    """Take some resources out of everybody's past and ask for them: how well are brand-new resources placed?

    Leaks the order: what a learner did after meeting such a resource stays in their history.

    Args:
        log: Interactions.
        resources: Those to take out.
    """
    is_cold = np.zeros(log.n_resources, dtype=bool)
    is_cold[resources] = True
    cold = is_cold[log.resources]
    asked_for = log.take(cold & log.is_first & (log.weights > 0))
    learners = np.nonzero(asked_for.lengths > 0)[0].astype(np.int32)
    return Split("cold resources", log.take(~cold), learners, tuple(asked_for.histories(learners)))
