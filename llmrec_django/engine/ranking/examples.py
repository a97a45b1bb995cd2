"""What blend weights are fitted on: candidates of many learners, of which one is what they went on to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.evaluation.ranking import batch_size
from llmrec_django.engine.evaluation.segments import SEGMENT_STARTS, history_segments
from llmrec_django.engine.ranking.topk import rank_top_k

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.engine.evaluation.splits import Split
    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.types import Float32Matrix

    LearnerScorer = Callable[[InteractionLog, NDArray[np.int32]], Float32Matrix]
    """Scores the catalogue for learners whose histories a log holds: (log, rows [B]) → float32 [B, N]."""


@dataclass(frozen=True, eq=False)
class BlendExamples:
    """n learners with up to C candidates each: the best few of every source, and what the learner went on to."""

    sources: tuple[str, ...]
    scores: Float32Matrix
    """Raw scores; float32 [S, n, C]; NaN where a source cannot say and in padding."""
    is_candidate: NDArray[np.bool_]
    """False for padding; bool [n, C]."""
    target: NDArray[np.int64]
    """Column of what the learner went on to; int64 [n]."""
    learners: NDArray[np.int32]
    """Row of the learner; int32 [n]."""
    lengths: NDArray[np.int64]
    """Interactions in the history that was scored; int64 [n]."""
    is_shortened: NDArray[np.bool_]
    """The history was cut short to stand for a learner about whom less is known; bool [n]."""

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: NDArray[np.integer]) -> BlendExamples:
        """Keep some examples."""
        return replace(
            self,
            scores=self.scores[:, rows],
            is_candidate=self.is_candidate[rows],
            target=self.target[rows],
            learners=self.learners[rows],
            lengths=self.lengths[rows],
            is_shortened=self.is_shortened[rows],
        )


def collect_examples(
    sources: Mapping[str, LearnerScorer],
    split: Split,
    *,
    per_source: int = 100,
    max_learners: int = 5000,
    per_segment: int = 1000,
    segment_starts: Sequence[int] = SEGMENT_STARTS,
    seed: int = 0,
) -> BlendExamples:
    """Score held-out interactions with every source and keep the candidates.

    Segments with fewer than `per_segment` learners are filled up with learners whose history is cut to its latest
    interactions. What they had seen before the cut stays excluded, and the models have learned from it, but never
    from what is asked for.

    Args:
        sources: Models fitted on `split.train`.
        split: Where a learner has several held-out resources, the first counts.
        per_source: Candidates from each source.
        max_learners: With their own histories, drawn at random.
        per_segment: Learners wanted in each segment.
        segment_starts: Shortest history of each segment.
        seed: Of the draws.

    Returns:
        Only learners whose held-out resource is among the candidates: of the others nothing can be learned about
        the order of candidates. In random order.

    Note:
        4·S·n·C bytes, C at most S·per_source + 1: 100 MB for 5,000 learners and 8 sources.
    """
    rng = np.random.default_rng(seed)
    own = split.sample(max_learners, seed=seed)
    parts = [_score(sources, own, split.train, own.histories(), per_source, is_shortened=False)]
    counts = np.bincount(
        history_segments(split.train.lengths[own.learners], segment_starts), minlength=len(segment_starts)
    )
    for segment, (start, end) in enumerate(zip(segment_starts, [*segment_starts[1:], None], strict=True)):
        missing = per_segment - int(counts[segment])
        if missing <= 0 or end is None:  # the last segment cannot be made by cutting: it is the longest
            continue
        longer = split.train.lengths[split.learners] >= end
        rows = np.nonzero(longer)[0]
        rows = np.sort(rng.permutation(rows)[:missing])
        asked = replace(split, learners=split.learners[rows], relevant=tuple(split.relevant[row] for row in rows))
        lengths = split.train.lengths.copy()
        lengths[asked.learners] = rng.integers(start, end, size=len(rows))
        cut = split.train.shortened(lengths)
        parts.append(_score(sources, asked, cut, asked.histories(), per_source, is_shortened=True))
    joined = _join(tuple(sources), parts)
    return joined.take(rng.permutation(len(joined)))


def _score(
    sources: Mapping[str, LearnerScorer],
    split: Split,
    log: InteractionLog,
    seen: Sequence[NDArray[np.integer]],
    per_source: int,
    *,
    is_shortened: bool,
) -> list[dict[str, Any]]:
    """Score a batch of learners at a time and keep their candidates."""
    batches = []
    step = batch_size(log.n_resources)
    for begin in range(0, len(split), step):
        learners = split.learners[begin : begin + step]
        left_out = seen[begin : begin + step]
        target = np.array([relevant[0] for relevant in split.relevant[begin : begin + step]], dtype=np.int64)
        raw = {name: np.asarray(scorer(log, learners), dtype=np.float32) for name, scorer in sources.items()}
        chosen = np.zeros((len(learners), log.n_resources), dtype=bool)
        for scores in raw.values():
            ranked, _ = rank_top_k(scores, per_source, left_out)
            rows, places = np.nonzero(ranked >= 0)
            chosen[rows, ranked[rows, places]] = True
        hit = np.nonzero(chosen[np.arange(len(learners)), target])[0]
        chosen, target = chosen[hit], target[hit]
        counts = chosen.sum(axis=1)
        rows, resources = np.nonzero(chosen)
        columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = (len(hit), int(counts.max(initial=1)))
        ids = np.full(shape, -1, dtype=np.int64)
        ids[rows, columns] = resources
        kept = np.full((len(raw), *shape), np.nan, dtype=np.float32)
        for place, scores in enumerate(raw.values()):
            kept[place, rows, columns] = scores[hit[rows], resources]
        batches.append(
            {
                "scores": kept,
                "is_candidate": ids >= 0,
                "target": (ids == target[:, None]).argmax(axis=1),
                "learners": learners[hit],
                "lengths": log.lengths[learners[hit]],
                "is_shortened": np.full(len(hit), is_shortened),
            }
        )
    return batches


def _join(sources: tuple[str, ...], parts: Sequence[Sequence[dict[str, Any]]]) -> BlendExamples:
    batches = [batch for part in parts for batch in part]
    n = sum(len(batch["target"]) for batch in batches)
    width = max([batch["is_candidate"].shape[1] for batch in batches], default=1)
    scores = np.full((len(sources), n, width), np.nan, dtype=np.float32)
    is_candidate = np.zeros((n, width), dtype=bool)
    begin = 0
    for batch in batches:
        rows, columns = batch["is_candidate"].shape
        scores[:, begin : begin + rows, :columns] = batch["scores"]
        is_candidate[begin : begin + rows, :columns] = batch["is_candidate"]
        begin += rows

    def column(name: str, dtype: type) -> NDArray[Any]:
        return np.concatenate([batch[name] for batch in batches]).astype(dtype) if batches else np.zeros(0, dtype)

    return BlendExamples(
        sources,
        scores,
        is_candidate,
        target=column("target", np.int64),
        learners=column("learners", np.int32),
        lengths=column("lengths", np.int64),
        is_shortened=column("is_shortened", np.bool_),
    )
