"""One score from many models, with weights that depend on how much is known about the learner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec_django.engine.evaluation.segments import SEGMENT_STARTS, history_segments
from llmrec_django.engine.ranking.calibrate import Calibration, fit_calibration, fit_softmax

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.engine.ranking.examples import BlendExamples
    from llmrec_django.types import Float32Matrix


@dataclass(frozen=True, slots=True)
class BlendConfig:
    """How the weights are fitted."""

    segment_starts: tuple[int, ...] = SEGMENT_STARTS
    """Shortest history of each segment."""
    pull: float = 50.0
    """How many learners' worth of evidence the weights over all learners are for each segment."""
    correcting: tuple[str, ...] = ("popularity", "popular_lately")
    """Sources whose weight may be below 0: what all others hold already in part, and so count more than once."""
    correcting_learners: int = 1000
    """Learners that it takes to say so, in each segment. Never said of the first one, of whom nothing else is known."""
    calibration_learners: int = 2000
    """Learners that calibrations are fitted on, at most."""
    least_share: float = 0.01
    """Weights that are a smaller share of all in their segment are 0: on held-out interactions that changed nothing
    measurable at up to twice this."""


@dataclass(frozen=True, eq=False)
class Blend:
    """score(j) = Σ over the sources of weight[segment of the learner, source] · calibrated score of j.

    Only differences within one learner mean anything. A source that cannot say anything about a learner, or is not
    there at all, adds the same to every resource and so drops out.
    """

    sources: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    weights: NDArray[np.float64]
    """≥ 0, but for those that correct others; float64 [segments, sources]."""
    segment_starts: tuple[int, ...] = SEGMENT_STARTS

    @cached_property
    def says(self) -> tuple[dict[str, float], ...]:
        """For each segment what share each source has in the weights above 0; without those that have none."""
        shares = np.maximum(self.weights, 0.0)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return tuple(
            {source: share for source, share in zip(self.sources, row, strict=True) if share > 0}
            for row in shares.tolist()
        )

    def combine(self, scores: Mapping[str, Float32Matrix], lengths: NDArray[np.integer]) -> Float32Matrix:
        """Blend raw scores.

        Args:
            scores: Source → float32 [B, N], all of one shape, NaN where it cannot say. N may be the catalogue or
                any candidates.
            lengths: Interactions in each learner's history; int [B].

        Returns:
            float32 [B, N].

        Raises:
            KeyError: a source that the blend does not know.
        """
        unknown = set(scores) - set(self.sources)
        if unknown:
            raise KeyError(f"Cannot blend scores of {sorted(unknown)!r}. Known sources are {self.sources!r}.")
        segments = history_segments(lengths, self.segment_starts)
        shape = next(iter(scores.values())).shape if scores else (len(lengths), 0)
        total = np.zeros(shape, dtype=np.float32)
        for place, source in enumerate(self.sources):
            weights = self.weights[segments, place].astype(np.float32)  # [B]
            if source in scores and weights.any():
                total += weights[:, None] * self.calibrations[place](scores[source])
        return total

    def parts(self, scores: Mapping[str, Float32Matrix], lengths: NDArray[np.integer]) -> dict[str, Float32Matrix]:
        """What each source adds to the score of each resource: source → float32 [B, N]. For reasons."""
        return {source: self.combine({source: raw}, lengths) for source, raw in scores.items()}

    def without(self, source: str) -> Blend:
        """Set the weights of a source to 0, leaving the others as they are. To compare fairly, fit again instead."""
        weights = self.weights.copy()
        weights[:, self.sources.index(source)] = 0.0
        return replace(self, weights=weights)

    def scaled(self, factors: Mapping[str, float]) -> Blend:
        """Multiply the weights of sources by factors ≥ 0; a source that is not named, or not in the blend, stays."""
        scale = np.array([factors.get(source, 1.0) for source in self.sources], dtype=np.float64)
        return replace(self, weights=self.weights * scale)

    def with_least_say(self, source: str, shares: Sequence[float]) -> Blend:
        """Raise the weights of a source until it has so large a share in those above 0, in each segment.

        Args:
            source: Where it is not in the blend, nothing changes.
            shares: For each segment, in [0, 1).
        """
        if source not in self.sources:
            return self
        place = self.sources.index(source)
        weights = self.weights.copy()
        others = np.maximum(np.delete(weights, place, axis=1), 0.0).sum(axis=1)
        least = np.asarray(shares, dtype=np.float64)
        weights[:, place] = np.maximum(weights[:, place], others * least / (1 - least))
        return replace(self, weights=weights)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "sources": list(self.sources),
            "calibrations": [calibration.to_dict() for calibration in self.calibrations],
            "weights": self.weights.tolist(),
            "segment_starts": list(self.segment_starts),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict`."""
        return cls(
            sources=tuple(values["sources"]),
            calibrations=tuple(Calibration.from_dict(part) for part in values["calibrations"]),
            weights=np.array(values["weights"], dtype=np.float64),
            segment_starts=tuple(values["segment_starts"]),
        )


def fit_blend(examples: BlendExamples, config: BlendConfig | None = None, *, without: Sequence[str] = ()) -> Blend:
    """Fit calibrations and weights on held-out interactions.

    First one set of weights over all natural examples, then one for each segment, pulled towards it. Calibrations are
    fitted on natural examples too.

    Args:
        examples: From models that have not seen the held-out interactions, or the weights will trust those most that
            remember best.
        config: See the fields; defaults when None.
        without: Sources to leave out: their weights are 0, the others are fitted as if they were not there.

    Returns:
        A blend of `examples.sources`. Without any examples all weights are equal.
    """
    config = config or BlendConfig()
    used = [place for place, source in enumerate(examples.sources) if source not in without]
    natural = examples.take(np.nonzero(~examples.is_shortened)[0])
    if not len(natural):
        natural = examples
    for_calibration = natural.take(np.arange(min(len(natural), config.calibration_learners)))
    calibrations = tuple(
        fit_calibration(for_calibration.scores[place], for_calibration.is_candidate, for_calibration.target)
        for place in range(len(examples.sources))
    )

    correcting = [column for column, place in enumerate(used) if examples.sources[place] in config.correcting]

    def weights_of(part: BlendExamples, start: NDArray[np.float64], pull: float, *, corrects: bool) -> Any:
        features = np.stack([calibrations[place](part.scores[place]) for place in used], axis=2)
        may = correcting if corrects and np.sum(~part.is_shortened) >= config.correcting_learners else []
        if not may:
            start = np.maximum(start, 0.0)
        return fit_softmax(features, part.is_candidate, part.target, start=start, pull=pull, may_correct=may)[0]

    n_segments = len(config.segment_starts)
    weights = np.zeros((n_segments, len(examples.sources)))
    if used:
        # A pull of one learner keeps weights finite where one source is always right.
        overall = weights_of(natural, np.full(len(used), 1.0 / len(used)), 1.0, corrects=True)
        segments = history_segments(examples.lengths, config.segment_starts)
        for segment in range(n_segments):
            part = examples.take(np.nonzero(segments == segment)[0])
            weights[segment, used] = weights_of(part, overall, config.pull, corrects=segment > 0)
        # What changes no place is not worth asking for in each list.
        weights[np.abs(weights) < config.least_share * np.abs(weights).sum(axis=1, keepdims=True)] = 0.0
    return Blend(examples.sources, calibrations, weights, config.segment_starts)


def fit_folds(
    examples: BlendExamples, config: BlendConfig | None = None, *, n_folds: int = 5, without: Sequence[str] = ()
) -> tuple[Blend, ...]:
    """Fit one blend for each fold, on the learners outside it: scores on the fold are then honest.

    The fold of a learner is `fold_of(learner, n_folds)`.
    """
    fold = fold_of(examples.learners, n_folds)
    return tuple(
        fit_blend(examples.take(np.nonzero(fold != part)[0]), config, without=without) for part in range(n_folds)
    )


def fold_of(learners: NDArray[np.integer], n_folds: int) -> NDArray[np.int64]:
    """Share learners out over folds by a hash of their row number; int64 [B], 0 to n_folds - 1."""
    from llmrec_django.engine.ranking.topk import tie_keys

    return (tie_keys(learners) % np.uint64(n_folds)).astype(np.int64)
