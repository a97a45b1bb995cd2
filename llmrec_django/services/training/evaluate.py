"""How good each source and their blend are on what was held out, and whether the blend has earned to serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.evaluation.bootstrap import Estimate, paired_difference
from llmrec_django.engine.evaluation.metrics import ndcg, relevance_hits
from llmrec_django.engine.evaluation.ranking import batch_size
from llmrec_django.engine.evaluation.report import HEADLINE, EvaluationReport, report
from llmrec_django.engine.ranking.blend import fold_of
from llmrec_django.engine.ranking.examples import collect_examples
from llmrec_django.engine.ranking.topk import rank_top_k
from llmrec_django.services.reasons import Reason
from llmrec_django.services.training.mix import fit_mix, fit_mix_folds
from llmrec_django.services.training.sources import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.engine.evaluation.splits import Split
    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.services.training.mix import Mix
    from llmrec_django.services.training.sources import Source
    from llmrec_django.types import Float32Matrix

K = 10
"""Methods are compared by the first so many of their lists."""
MAX_LEARNERS = 10_000
"""Learners that the table is made from, drawn at random: enough for intervals of ± .004."""
BLEND = "blend"
POPULARITY = "popularity"
BASELINES = ("popularity", "popular_lately", "item_knn", "transitions", "ease", "content")
"""Sources that every version is measured against, whether or not they are part of it: a comparison that could leave
some out would be no hurdle."""
NO_BASELINE = ("relevance", "linear_next", "borrowed")
"""Sources that are not simple: the blend need not beat its own best part."""
MIN_LEARNERS = 10
"""With fewer held-out interactions no difference can be told."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was measured."""

    mix: Mix
    """Fitted on all held-out interactions: the one to serve."""
    report: EvaluationReport
    """Every source and the blend, compared with the blend."""
    learners: NDArray[np.int32]
    """Whom the report is about; int32 [B]."""
    ndcg: Mapping[str, NDArray[np.float64]]
    """NDCG of each of them, for each source and the blend."""
    measured_only: tuple[str, ...] = ()
    """Baselines that are compared with, but are not part of the blend."""

    @property
    def n_learners(self) -> int:
        """How many the report is about."""
        return self.report.n_learners

    @property
    def differences(self) -> dict[str, Estimate]:
        """How much better the blend is than each baseline."""
        return {
            method.name: Estimate(
                -method.difference.mean, -method.difference.high, -method.difference.low, len(self.learners)
            )
            for method in self.report.methods
            if method.difference is not None and method.name not in NO_BASELINE
        }

    @property
    def best_baseline(self) -> str:
        """The baseline with the highest NDCG."""
        return max(self.differences, key=lambda name: float(np.mean(self.ndcg[name])))

    @property
    def plain_baseline(self) -> str:
        """The baseline to serve where the blend may not: the best, but popularity where none is surely better.

        Of many baselines on few learners one looks best by chance.
        """
        best = self.best_baseline
        if POPULARITY not in self.differences or best == POPULARITY:
            return best
        return best if paired_difference(self.ndcg[best], self.ndcg[POPULARITY]).is_above_zero else POPULARITY

    def verdict(self) -> tuple[bool, list[Reason]]:
        """Return whether the blend beats every baseline for sure, and why."""
        if self.n_learners < MIN_LEARNERS:
            return False, [Reason("few_learners", {"learners": self.n_learners, "needed": MIN_LEARNERS})]
        differences = self.differences
        if not differences:
            return False, [Reason("no_baseline")]
        lost = {name: d for name, d in differences.items() if not d.is_above_zero}
        name = min(lost, key=lambda name: lost[name].low) if lost else self.best_baseline
        gain = differences[name]
        values = {
            "k": K,
            "ndcg": float(np.mean(self.ndcg[BLEND])),
            "learners": self.n_learners,
            "baseline": name,
            **as_gain(gain),
        }
        reasons = [Reason("loses_to_baseline" if lost else "beats_baselines", values)]
        if self.measured_only:
            reasons.append(Reason("measured_only", {"sources": ", ".join(self.measured_only)}))
        return not lost, reasons

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON can hold them; see `numbers`."""
        return {
            **numbers(self.report),
            "measured_only": list(self.measured_only),
            "differences": {
                name: {"mean": _number(d.mean), "low": _number(d.low), "high": _number(d.high)}
                for name, d in self.differences.items()
            },
        }


def as_gain(difference: Estimate) -> dict[str, float]:
    """Name a difference as the sentences of `reasons` do."""
    return {"gain": difference.mean, "low": difference.low, "high": difference.high}


def evaluate(
    sources: Sequence[Source],
    split: Split,
    *,
    others: Sequence[Source] = (),
    profiles: Float32Matrix | None = None,
    texts: Float32Matrix | None = None,
    ks: Sequence[int] = (K,),
    seed: int = 0,
) -> Evaluation:
    """Fit the blend on what a split holds out and measure it, and each source, on the same.

    The blend that is measured is fitted without the learners it is measured on (in folds).

    Args:
        sources: Fitted on `split.train`; what is blended.
        others: Fitted on it too; measured beside them, and no part of the blend.
        split: What is asked.
        profiles: Text vectors of the log's learners; float32 [U, V].
        texts: Unit text vectors of the catalogue, for the diversity of lists; float32 [N, V], zeros for none.
        ks: Lengths of lists to score, `K` among them.
        seed: Of draws.
    """

    def scorer(source: Source) -> Callable[[InteractionLog, NDArray[np.int32]], Float32Matrix]:
        return lambda log, learners: source.score(Asked.of(log, learners, profiles))

    every = [*sources, *others]
    names = [source.name for source in every]
    examples = collect_examples({source.name: scorer(source) for source in sources}, split, seed=seed)
    folds = fit_mix_folds(examples)
    known = chosen_by_somebody(split.train)
    sample = split.sample(MAX_LEARNERS, seed=seed)
    ranked = {name: np.full((len(sample), max(ks)), -1, dtype=np.int32) for name in (BLEND, *names)}
    step = batch_size(split.train.n_resources)
    histories = sample.histories()
    for begin in range(0, len(sample), step):
        rows = slice(begin, begin + step)
        learners, seen = sample.learners[rows], histories[rows]
        asked = Asked.of(split.train, learners, profiles)
        raw = {source.name: source.score(asked) for source in every}
        lengths = split.train.lengths[learners]
        blended = np.zeros_like(raw[names[0]], dtype=np.float32)
        fold = fold_of(learners, len(folds))
        for part in np.unique(fold):
            inside = fold == part
            theirs = {name: scores[inside] for name, scores in raw.items()}
            blended[inside] = folds[part].combine(theirs, lengths[inside], known)
        for name, scores in (*raw.items(), (BLEND, blended)):
            ranked[name][rows], _ = rank_top_k(scores, max(ks), seen)
    found = report(sample, ranked, ks=ks, reference=BLEND, vectors=texts)
    per_learner = {name: ndcg(*relevance_hits(lists, sample.relevant), K) for name, lists in ranked.items()}
    only = tuple(source.name for source in others)
    return Evaluation(fit_mix(examples), found, sample.learners, per_learner, only)


def chosen_by_somebody(log: InteractionLog) -> NDArray[np.bool_]:
    """Mark the resources that an interaction speaks for; bool [N]."""
    marked: NDArray[np.bool_] = np.bincount(log.positive().resources, minlength=log.n_resources) > 0
    return marked


def numbers(found: EvaluationReport) -> dict[str, Any]:
    """Return a report as JSON can hold it, in the form in which versions keep it.

    Returns:
        "ndcg": of the blend; "table": one row for each source and the blend, best first, with "source", metrics of
        accuracy and of lists, and "intervals" (metric → low, high); "segments": history length → NDCG of each and
        "learners"; "resources": the same by how many had chosen what was held out, "0" for new resources.
    """
    of_blend = {method.name: method for method in found.methods}.get(BLEND)
    return {
        "ndcg": None if of_blend is None else _number(of_blend.accuracy[HEADLINE].mean),
        "k": K,
        "split": found.scheme,
        "learners": found.n_learners,
        "table": [
            {
                "source": method.name,
                **{name: _number(value.mean) for name, value in method.accuracy.items()},
                **{name: _number(value) for name, value in method.lists.items()},
                "intervals": {name: [_number(v.low), _number(v.high)] for name, v in method.accuracy.items()},
            }
            for method in found.methods
        ],
        "segments": _by_segment({method.name: method.segments for method in found.methods}),
        "resources": _by_segment({method.name: method.resources for method in found.methods}),
    }


def _by_segment(of_methods: Mapping[str, Mapping[str, tuple[float, int]]]) -> dict[str, dict[str, Any]]:
    turned: dict[str, dict[str, Any]] = {}
    for name, segments in of_methods.items():
        for label, (value, count) in segments.items():
            turned.setdefault(label, {"learners": count})[name] = _number(value)
    return turned


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if np.isfinite(value) else None
