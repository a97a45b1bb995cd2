"""How good each source and their blend are on what was held out, and whether the blend has earned to serve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.evaluation import metrics
from llmrec_django.engine.evaluation.bootstrap import bootstrap_mean, paired_difference
from llmrec_django.engine.evaluation.ranking import batch_size
from llmrec_django.engine.evaluation.segments import history_segments, segment_means, segment_names
from llmrec_django.engine.ranking.blend import fold_of
from llmrec_django.engine.ranking.examples import collect_examples
from llmrec_django.engine.ranking.topk import rank_top_k
from llmrec_django.services.training.mix import fit_mix, fit_mix_folds
from llmrec_django.services.training.sources import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.engine.evaluation.bootstrap import Estimate
    from llmrec_django.engine.evaluation.splits import Split
    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.services.training.mix import Mix
    from llmrec_django.services.training.sources import Source
    from llmrec_django.types import Float32Matrix

K = 10
MAX_LEARNERS = 10_000
"""Learners that the table is made from, drawn at random: enough for intervals of ± .004."""
BLEND = "blend"
NO_BASELINE = ("relevance", "linear_next")
"""Sources that are not simple: the blend need not beat its own best part."""
MIN_LEARNERS = 10
"""With fewer held-out interactions no difference can be told."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was measured."""

    mix: Mix
    """Fitted on all held-out interactions: the one to serve."""
    n_learners: int
    table: list[dict[str, Any]]
    """One row for each source and the blend, best first: "source", metrics, and "low", "high" of NDCG."""
    segments: dict[str, dict[str, Any]]
    """History length → NDCG of each source and the number of learners."""
    learners: NDArray[np.int32]
    """Whom the table is about; int32 [B]."""
    ndcg: Mapping[str, NDArray[np.float64]]
    """Of each of them, for each source and the blend."""
    differences: dict[str, Estimate] = field(default_factory=dict)
    """How much better the blend is than each baseline."""

    @property
    def best_baseline(self) -> str:
        """The baseline with the highest NDCG."""
        return max(self.differences, key=lambda name: float(np.mean(self.ndcg[name])))

    def verdict(self) -> tuple[bool, str]:
        """Return whether the blend beats every baseline for sure, and that in words."""
        if self.n_learners < MIN_LEARNERS:
            return False, (
                f"Only {self.n_learners} learners have an interaction to hold out; {MIN_LEARNERS} are needed to tell "
                "anything apart."
            )
        if not self.differences:
            return False, "There was no baseline to compare with."
        lost = {name: d for name, d in self.differences.items() if not d.is_above_zero}
        mean = float(np.mean(self.ndcg[BLEND]))
        if not lost:
            best = self.best_baseline
            gain = self.differences[best]
            return True, (
                f"NDCG@{K} {mean:.4f} on {self.n_learners} held-out interactions beats every baseline; the best, "
                f"{best}, by {gain.mean:.4f} (95 % interval {gain.low:.4f} to {gain.high:.4f})."
            )
        name = min(lost, key=lambda name: lost[name].low)
        return False, (
            f"NDCG@{K} {mean:.4f} on {self.n_learners} held-out interactions does not surely beat {name}: the "
            f"difference is {lost[name].mean:.4f} (95 % interval {lost[name].low:.4f} to {lost[name].high:.4f})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON can hold them."""
        return {
            "ndcg": float(np.mean(self.ndcg[BLEND])) if self.n_learners else None,
            "k": K,
            "learners": self.n_learners,
            "table": self.table,
            "segments": self.segments,
            "differences": {
                name: {"mean": _number(d.mean), "low": _number(d.low), "high": _number(d.high)}
                for name, d in self.differences.items()
            },
        }


def evaluate(
    sources: Sequence[Source], split: Split, *, profiles: Float32Matrix | None = None, seed: int = 0
) -> Evaluation:
    """Fit the blend on what a split holds out and measure it, and each source, on the same.

    The blend that is measured is fitted without the learners it is measured on (in folds).

    Args:
        sources: Fitted on `split.train`.
        split: What is asked.
        profiles: Text vectors of the log's learners; float32 [U, V].
        seed: Of draws.
    """

    def scorer(source: Source) -> Callable[[InteractionLog, NDArray[np.int32]], Float32Matrix]:
        return lambda log, learners: source.score(Asked.of(log, learners, profiles))

    names = [source.name for source in sources]
    examples = collect_examples({source.name: scorer(source) for source in sources}, split, seed=seed)
    folds = fit_mix_folds(examples)
    known = chosen_by_somebody(split.train)
    sample = split.sample(MAX_LEARNERS, seed=seed)
    ranked = {name: np.full((len(sample), K), -1, dtype=np.int32) for name in (BLEND, *names)}
    step = batch_size(split.train.n_resources)
    histories = sample.histories()
    for begin in range(0, len(sample), step):
        rows = slice(begin, begin + step)
        learners, seen = sample.learners[rows], histories[rows]
        asked = Asked.of(split.train, learners, profiles)
        raw = {source.name: source.score(asked) for source in sources}
        lengths = split.train.lengths[learners]
        blended = np.zeros_like(raw[names[0]], dtype=np.float32)
        fold = fold_of(learners, len(folds))
        for part in np.unique(fold):
            inside = fold == part
            theirs = {name: scores[inside] for name, scores in raw.items()}
            blended[inside] = folds[part].combine(theirs, lengths[inside], known)
        for name, scores in (*raw.items(), (BLEND, blended)):
            ranked[name][rows], _ = rank_top_k(scores, K, seen)
    return _measure(ranked, sample, fit_mix(examples))


def chosen_by_somebody(log: InteractionLog) -> NDArray[np.bool_]:
    """Mark the resources that an interaction speaks for; bool [N]."""
    marked: NDArray[np.bool_] = np.bincount(log.positive().resources, minlength=log.n_resources) > 0
    return marked


def _measure(ranked: Mapping[str, NDArray[np.int32]], split: Split, mix: Mix) -> Evaluation:
    table: list[dict[str, Any]] = []
    ndcg = {}
    segments: dict[str, dict[str, Any]] = {}
    groups = history_segments(split.train.lengths[split.learners])
    for name, lists in ranked.items():
        found = metrics.accuracy(lists, split.relevant, (K,))
        ndcg[name] = found[f"NDCG@{K}"]
        interval = bootstrap_mean(ndcg[name])
        table.append(
            {
                "source": name,
                **{metric: _number(metrics.mean(values)) for metric, values in found.items()},
                "low": _number(interval.low),
                "high": _number(interval.high),
                "coverage": _number(metrics.catalogue_coverage(lists, split.train.n_resources)),
                "Gini": _number(metrics.gini(lists, split.train.n_resources)),
            }
        )
        for label, (value, count) in zip(
            segment_names(), segment_means(ndcg[name], groups, len(segment_names())), strict=True
        ):
            segments.setdefault(label, {"learners": count})[name] = _number(value)
    table.sort(key=lambda row: -(row[f"NDCG@{K}"] or 0.0))
    differences = {
        name: paired_difference(ndcg[BLEND], ndcg[name]) for name in ranked if name != BLEND and name not in NO_BASELINE
    }
    return Evaluation(mix, len(split), table, segments, split.learners, ndcg, differences)


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if np.isfinite(value) else None
