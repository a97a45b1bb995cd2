"""A new version against the one that serves, on what neither has seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmrec_django.engine.evaluation.bootstrap import paired_difference
from llmrec_django.engine.evaluation.metrics import ndcg, relevance_hits
from llmrec_django.engine.evaluation.ranking import batch_size
from llmrec_django.engine.ranking.topk import rank_top_k
from llmrec_django.services.training.dataset import rows_in
from llmrec_django.services.training.sources import Asked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmrec_django.engine.evaluation.splits import Split
    from llmrec_django.models import ModelVersion
    from llmrec_django.services.training.dataset import Dataset
    from llmrec_django.services.training.evaluate import Evaluation
    from llmrec_django.types import Float32Matrix

MIN_NEW = 100
"""With fewer interactions since the active version was trained the two cannot be told apart."""
MARGIN = 0.01
"""Share of the active version's NDCG that the new one may be worse by, at worst."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it."""

    holds: bool
    """The new version is not worse, or nothing can be said."""
    text: str


def compare(
    active: ModelVersion, dataset: Dataset, split: Split, evaluation: Evaluation, profiles: Float32Matrix | None
) -> Comparison:
    """Compare with the active version on held-out interactions that came after its window.

    It has seen what came before, so on that it would look better than it is.

    Raises:
        ArtifactError: the files of the active version cannot be read.
    """
    learners = evaluation.learners
    if active.last_interaction_at is None:
        return Comparison(True, "")
    held_out = dataset.log.times[dataset.log.offsets[learners] + split.train.lengths[learners]]
    new = np.nonzero(held_out > active.last_interaction_at.timestamp())[0]
    if len(new) < MIN_NEW:
        return Comparison(
            True, f"Only {len(new)} of them came after version {active.pk} was trained: too few to compare with it."
        )
    position = np.full(dataset.log.n_learners, -1)
    position[split.learners] = np.arange(len(split))
    relevant = [split.relevant[place] for place in position[learners[new]]]
    theirs = _ndcg(active, dataset, split, learners[new], relevant, profiles)
    ours = evaluation.ndcg["blend"][new]
    difference = paired_difference(ours, theirs)
    margin = -MARGIN * float(theirs.mean())
    text = (
        f"Against version {active.pk}, on {len(new)} interactions that it had not seen, the difference is "
        f"{difference.mean:.4f} (95 % interval {difference.low:.4f} to {difference.high:.4f})."
    )
    return Comparison(difference.low > margin, text)


def _ndcg(
    active: ModelVersion,
    dataset: Dataset,
    split: Split,
    learners: NDArray[np.integer],
    relevant: list[NDArray[np.int32]],
    profiles: Float32Matrix | None,
) -> NDArray[np.float64]:
    from llmrec_django.services.scoring import scorer_of  # it reads this package

    scorer = scorer_of(active)
    row_of = rows_in(scorer.resource_ids, dataset.resource_ids)  # [N] → its row there, -1 where it is unknown
    code_of = np.array([scorer.verbs.index(v) if v in scorer.verbs else -1 for v in dataset.verbs], dtype=np.int16)
    ranked = np.full((len(learners), 10), -1, dtype=np.int32)
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
        scores = np.full((len(part), dataset.log.n_resources), -np.inf, dtype=np.float32)
        scores[:, row_of >= 0] = scorer.score(Asked(log, asked.profiles))[:, row_of[row_of >= 0]]
        ranked[begin : begin + step], _ = rank_top_k(scores, 10, split.train.histories(part))
    hits, n_relevant = relevance_hits(ranked, relevant)
    return ndcg(hits, n_relevant, 10)
