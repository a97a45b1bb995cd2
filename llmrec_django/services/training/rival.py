"""A new version against the one that serves: on what neither has seen, or else both configurations on the same part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmrec_django.engine.evaluation.bootstrap import paired_difference
from llmrec_django.engine.evaluation.metrics import ndcg, relevance_hits
from llmrec_django.engine.evaluation.ranking import batch_size
from llmrec_django.engine.ranking.topk import rank_top_k
from llmrec_django.exceptions import ArtifactError
from llmrec_django.services.reasons import Reason
from llmrec_django.services.training.dataset import rows_in
from llmrec_django.services.training.evaluate import BLEND, Evaluation, K, as_gain
from llmrec_django.services.training.sources import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from llmrec_django.engine.evaluation.bootstrap import Estimate
    from llmrec_django.engine.evaluation.splits import Split
    from llmrec_django.models import ModelVersion
    from llmrec_django.services.training.dataset import Dataset
    from llmrec_django.types import Float32Matrix

MIN_NEW = 100
"""With fewer interactions since the active version was trained the two cannot be told apart."""
MARGIN = 0.01
"""Share of the active version's NDCG that the new one may be worse by, at worst."""

Outcome = Literal["holds", "worse", "unknown"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it."""

    holds: bool
    """What is new may take the place of the active version."""
    reasons: list[Reason]
    keep: Evaluation | None = None
    """What the active version's configuration reaches on the same part, where it is that which should be learned once
    more from everything, because the new one may be worse."""


def compare(
    active: ModelVersion,
    dataset: Dataset,
    split: Split,
    evaluation: Evaluation,
    profiles: Float32Matrix | None,
    refit: Callable[[], Evaluation | None],
) -> Comparison:
    """Compare with the active version on held-out interactions that came after its window.

    It has seen what came before, so on that it would look better than it is. Where too few came after it to tell, its
    configuration is trained on the same part as the new one.

    Args:
        active: What serves.
        dataset: Everything.
        split: What `evaluation` is about.
        evaluation: Of what is new.
        profiles: Text vectors of the log's learners; float32 [U, V].
        refit: Returns the evaluation of the active version's configuration on `split`, or None if the configuration
            is the same; LLMRecError if it cannot be trained any more.
    """
    outcome, reasons = _on_what_is_new(active, dataset, split, evaluation, profiles)
    if outcome != "unknown":
        return Comparison(outcome == "holds", reasons)
    theirs = refit()
    if theirs is None:
        return Comparison(True, [*reasons, Reason("same_configuration", {"version": active.pk})])
    difference = paired_difference(evaluation.ndcg[BLEND], theirs.ndcg[BLEND])
    reasons.append(Reason("against_refitted", {"version": active.pk, **as_gain(difference)}))
    if _outcome(difference, theirs.ndcg[BLEND]) == "holds":
        return Comparison(True, reasons)
    return Comparison(False, reasons, theirs)


def _on_what_is_new(
    active: ModelVersion,
    dataset: Dataset,
    split: Split,
    evaluation: Evaluation,
    profiles: Float32Matrix | None,
) -> tuple[Outcome, list[Reason]]:
    learners = evaluation.learners
    new = np.nonzero(came_after(active, dataset, split, learners))[0]
    values = {"version": active.pk, "learners": len(new)}
    if len(new) < MIN_NEW:
        return "unknown", [Reason("too_few_new", values)]
    relevant = relevant_of(split, learners[new])
    try:
        lists = rank_active(active, dataset, split, learners[new], profiles)[BLEND]
    except ArtifactError as exc:
        return "unknown", [Reason("not_comparable", {"version": active.pk, "error": str(exc)})]
    theirs = ndcg(*relevance_hits(lists, relevant), K)
    difference = paired_difference(evaluation.ndcg[BLEND][new], theirs)
    outcome = _outcome(difference, theirs)
    reasons = [Reason("against_active", {**values, **as_gain(difference)})]
    if outcome == "unknown":
        reasons.append(Reason("cannot_tell"))
    return outcome, reasons


def _outcome(difference: Estimate, theirs: NDArray[np.float64]) -> Outcome:
    margin = MARGIN * float(theirs.mean())
    if difference.low >= 0 or difference.low > -margin:
        return "holds"
    return "worse" if difference.high < 0 else "unknown"


def came_after(
    active: ModelVersion, dataset: Dataset, split: Split, learners: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Mark the learners whose held-out interaction the active version has not seen; bool [len(learners)].

    Args:
        split: Leave one out, of the whole log: what is held out follows what a learner has in `train`.
    """
    if active.last_interaction_at is None:
        return np.zeros(len(learners), dtype=bool)
    held_out = dataset.log.times[dataset.log.offsets[learners] + split.train.lengths[learners]]
    after: NDArray[np.bool_] = held_out > active.last_interaction_at.timestamp()
    return after


def relevant_of(split: Split, learners: NDArray[np.integer]) -> list[NDArray[np.int32]]:
    """Return what is held out of some of a split's learners."""
    position = np.full(split.train.n_learners, -1)
    position[split.learners] = np.arange(len(split))
    return [split.relevant[place] for place in position[learners]]


def rank_active(
    active: ModelVersion,
    dataset: Dataset,
    split: Split,
    learners: NDArray[np.integer],
    profiles: Float32Matrix | None,
    *,
    with_sources: bool = False,
) -> Mapping[str, NDArray[np.int32]]:
    """Rank the catalogue of today by the scores that the active version serves by, from what each has in `split.train`.

    Args:
        active: What serves.
        dataset: The catalogue of today, and everybody's interactions.
        split: Of it.
        learners: Rows of the log; int [B].
        profiles: Text vectors of the log's learners in the version's own space; float32 [U, V].
        with_sources: Rank by each source of the version alone too.

    Returns:
        The lists of the blend, and of each source; int32 [B, K]. A resource that came after training is
        judged by its text, as in serving; one without a text is in none.

    Raises:
        ArtifactError: its files are missing or damaged.
    """
    from llmrec_django.services.scorer import present_scorer_of  # it reads this package

    scorer = present_scorer_of(active)
    row_of = rows_in(scorer.resource_ids, dataset.resource_ids)  # [N] → its row there, -1 where it is unknown
    there = row_of >= 0
    code_of = np.array([scorer.verbs.index(v) if v in scorer.verbs else -1 for v in dataset.verbs], dtype=np.int16)
    scorers: dict[str, Callable[[Asked], Float32Matrix]] = {BLEND: scorer.score}
    if with_sources:
        scorers |= {source.name: source.score for source in scorer.sources}
    ranked = {name: np.full((len(learners), K), -1, dtype=np.int32) for name in scorers}
    step = batch_size(dataset.log.n_resources)
    for begin in range(0, len(learners), step):
        part = learners[begin : begin + step]
        asked = Asked.of(split.train, part, profiles)
        known = (row_of[asked.log.resources] >= 0) & (code_of[asked.log.verbs] >= 0)
        log = asked.log.take(known)
        log = replace(
            log,
            resources=row_of[log.resources].astype(np.int32),
            verbs=code_of[log.verbs],
            n_resources=len(scorer.resource_ids),
        )
        theirs = Asked(log, asked.profiles)
        seen = split.train.histories(part)
        for name, score in scorers.items():
            scores = np.full((len(part), dataset.log.n_resources), -np.inf, dtype=np.float32)
            scores[:, there] = score(theirs)[:, row_of[there]]
            ranked[name][begin : begin + step], _ = rank_top_k(scores, K, seen)
    return ranked
