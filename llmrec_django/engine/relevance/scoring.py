"""Ask a trained model, in batches, with torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmrec_django.engine.relevance.data import latest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.engine.relevance.model import RelevanceModel
    from llmrec_django.types import Float32Matrix

BATCH = 256


@torch.no_grad()
def learner_vectors(
    model: RelevanceModel,
    log: InteractionLog,
    learners: NDArray[np.integer],
    *,
    profiles: Float32Matrix | None = None,
    with_learner_embedding: bool = True,
) -> Float32Matrix:
    """S(u) after all that the log holds.

    Args:
        model: Left in evaluation mode.
        log: Histories. A learner without any gets the state of the pseudo-step.
        learners: Rows of the log; int [B].
        profiles: Whitened profile texts of all learners of the log, [U, F].
        with_learner_embedding: Add E(u), where the model has one for the log's learners.

    Returns:
        float32 [B, D], in the order of `learners`.
    """
    model.eval()
    log = log.without_pings()
    device = next(model.parameters()).device
    learners = np.asarray(learners, dtype=np.int64)
    vectors = model.resource_vectors()
    result = np.zeros((len(learners), vectors.shape[1]), dtype=np.float32)
    order = np.argsort(log.lengths[learners], kind="stable")  # alike lengths together: little padding
    for begin in range(0, len(order), BATCH):
        part = order[begin : begin + BATCH]
        rows = learners[part]
        batch: dict[str, Any] = {
            name: torch.as_tensor(array, device=device)
            for name, array in latest(log, rows, model.config.max_length).items()
        }
        profile = (
            torch.zeros(len(rows), model.n_features, device=device)
            if profiles is None
            else torch.as_tensor(profiles[rows], device=device)
        )
        last = model.transformer.last(
            vectors[batch["resources"]],
            batch["verbs"],
            batch["values"],
            batch["gaps"],
            model.profile_vectors(profile),
            batch["lengths"],
        )[:, 0]
        if with_learner_embedding and model.learner is not None:
            last = last + model.learner(torch.as_tensor(rows, device=device))
        result[part] = last.float().cpu().numpy()
    return result


@torch.no_grad()
def target_ranks(
    model: RelevanceModel,
    log: InteractionLog,
    learners: NDArray[np.integer],
    targets: NDArray[np.integer],
    *,
    profiles: Float32Matrix | None = None,
    among: NDArray[np.bool_] | None = None,
    with_learner_embedding: bool = True,
) -> NDArray[np.int64]:
    """Rank of one target for each learner in the catalogue, without what the learner had before.

    Args:
        model: To be judged.
        log: The learners' histories.
        learners: Rows of the log; [B].
        targets: One resource for each; [B].
        profiles: Whitened profile texts of all learners, [U, F].
        among: Resources that the target competes with; bool [N]; None: all.
        with_learner_embedding: See `learner_vectors`.

    Returns:
        int64 [B], 1 is best. Of resources with equal scores the target counts as the last, so that a model that
        tells nothing apart earns nothing.
    """
    states = learner_vectors(model, log, learners, profiles=profiles, with_learner_embedding=with_learner_embedding)
    resources = model.resource_vectors().float().cpu().numpy()
    ranks = np.zeros(len(learners), dtype=np.int64)
    for begin in range(0, len(learners), BATCH):
        rows = slice(begin, begin + BATCH)
        scores = states[rows] @ resources.T  # [b, N]
        own = scores[np.arange(len(scores)), targets[rows]]
        if among is not None:
            scores[:, ~among] = -np.inf
        for row, learner in enumerate(learners[rows]):
            scores[row, log.history(int(learner))] = -np.inf
        scores[np.arange(len(scores)), targets[rows]] = own
        ranks[rows] = (scores >= own[:, None]).sum(axis=1)
    return ranks


def mean_ndcg(ranks: NDArray[np.int64], k: int = 10) -> float:
    """NDCG@k of one relevant resource for each learner; 0 for no learners."""
    return float(np.where(ranks <= k, 1 / np.log2(ranks + 1), 0).mean()) if len(ranks) else 0.0
