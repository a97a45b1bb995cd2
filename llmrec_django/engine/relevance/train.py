"""The training loop."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmrec_django.engine.relevance.checkpoint import load_checkpoint, save_checkpoint
from llmrec_django.engine.relevance.config import RelevanceConfig
from llmrec_django.engine.relevance.data import TrainingData, outcome_weights
from llmrec_django.engine.relevance.distributed import Group
from llmrec_django.engine.relevance.loss import full_softmax_loss, sampled_softmax_loss
from llmrec_django.engine.relevance.model import RelevanceModel
from llmrec_django.engine.relevance.run_log import RunLog
from llmrec_django.engine.relevance.scoring import mean_ndcg, target_ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.engine.relevance.data import Batch
    from llmrec_django.types import Float32Matrix

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """One held-out next resource for some learners."""

    learners: NDArray[np.int64]
    """[V]"""
    targets: NDArray[np.int64]
    """[V]"""

    def sample(self, size: int, seed: int) -> Validation:
        """Keep `size` of them, drawn at random."""
        if len(self.learners) <= size:
            return self
        rows = np.sort(np.random.default_rng(seed).choice(len(self.learners), size, replace=False))
        return Validation(self.learners[rows], self.targets[rows])


@dataclass(slots=True, eq=False)
class FitResult:
    """A trained model and how it came about."""

    model: RelevanceModel
    epochs: int
    """Passes over the data after which the kept weights were best."""
    ndcg: float
    """NDCG@10 on validation at that point, among resources of the training data; NaN without validation."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry for each epoch: "epoch", "loss", "seconds", and "ndcg" with validation."""


def fit(
    config: RelevanceConfig,
    log: InteractionLog,
    features: Float32Matrix,
    *,
    n_verbs: int = 1,
    profiles: Float32Matrix | None = None,
    failure_verbs: Collection[int] = (),
    learner_weight_limit: float = math.inf,
    validation: Validation | None = None,
    epochs: int | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    run_log: RunLog | None = None,
    progress: bool = False,
    should_stop: Callable[[], bool] | None = None,
) -> FitResult:
    """Train on a log.

    With `validation`, trains until NDCG@10 has not risen for `config.patience` epochs and returns the best weights.
    Targets compete there as they do in the loss, with what training data hold: how many new resources wait beside
    those says nothing about how well the weights are trained.
    With `epochs`, trains for exactly so many: the way to refit on all data, once validation has shown how many.

    Args:
        config: What to build and how to train it.
        log: The learners' interactions, without the validation targets.
        features: Whitened text vectors of the catalogue, [N, F]; zeros for no text.
        n_verbs: Verb codes run from 0 to n_verbs - 1.
        profiles: Whitened profile texts of all learners, [U, F]; zeros for none.
        failure_verbs: Codes of failed attempts, see `outcome_weights`.
        learner_weight_limit: One learner's interactions weigh at most so much together.
        validation: Held-out targets.
        epochs: Number of passes.
        device: Where torch computes: "cpu", "cuda", "cuda:1", "mps".
        checkpoint: File that the state is written to after each epoch. Found at the start, and written by a run with
            the same config on the same data, training goes on from it. Deleted at the end. With several processes
            all must see it.
        run_log: Takes loss, rate and validation score.
        progress: Show a progress bar.
        should_stop: Asked after each epoch; True ends training there, with the best weights so far.

    Raises:
        ValueError: neither `validation` nor `epochs` is given, or nothing is left to predict.

    Note:
        Seeds torch's global generator: runs of equal input on one CPU give equal weights. O(interactions) time for
        each epoch.
    """
    if validation is None and epochs is None:
        raise ValueError("Cannot train the relevance model. Give validation targets or a number of epochs.")
    run_log = run_log or RunLog()
    log = log.without_pings()
    weights = outcome_weights(log, negative_weight=config.negative_weight, failure_verbs=failure_verbs)
    if not (weights > 0).any():
        raise ValueError("Cannot train the relevance model. No interaction speaks for a resource. Collect some first.")
    data = TrainingData(
        log,
        weights,
        max_length=config.max_length,
        batch_positions=config.batch_positions,
        hide_seen=not config.seen_in_softmax,
        reversed_share=config.reversed_share,
    )
    if validation is not None:
        validation = validation.sample(config.validation_learners, config.seed)

    torch.manual_seed(config.seed)
    met = np.zeros(log.n_resources, dtype=bool)
    met[log.resources] = True
    model = RelevanceModel(
        config,
        torch.as_tensor(features),
        torch.as_tensor(met),
        n_verbs,
        log.n_learners if config.learner_embeddings else 0,
    ).to(device)
    group = Group.from_environment(device)
    torch.manual_seed(config.seed + group.rank)  # equal weights, other dropout in each process
    shares = learner_shares(log, data.weights[: len(log)], learner_weight_limit)
    trainer = _Trainer(config, model, data, profiles, group, shares)
    settled = (sorted(config.to_dict().items()), epochs, n_verbs, sorted(failure_verbs))
    held = (validation.learners, validation.targets) if validation is not None else ()
    fingerprint = _fingerprint(settled, log, features, profiles, shares, *held)
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    best_epoch, best_ndcg, first_epoch = 0, -math.inf, 0

    saved = load_checkpoint(checkpoint) if checkpoint is not None else None
    if saved is not None and saved["fingerprint"] == fingerprint:
        trainer.load_state_dict(saved["trainer"])
        if group.rank:  # the dropout that is stored is the first process's
            torch.manual_seed(config.seed + group.rank + group.size * trainer.step)
        history, best = saved["history"], saved["best"]
        best_epoch, best_ndcg = saved["best_epoch"], saved["best_ndcg"]
        first_epoch = len(history)
        logger.info("resuming training at epoch=%d from checkpoint=%s", first_epoch + 1, checkpoint)
        for entry in history:  # the log of this run is complete too
            run_log.log(round(trainer.step * entry["epoch"] / len(history)), entry)

    for epoch in range(first_epoch, epochs or config.max_epochs):
        if epochs is None and epoch - best_epoch >= config.patience and epoch > 0:
            break
        began = time.monotonic()
        loss = trainer.epoch(epoch, run_log, progress)
        entry = {"epoch": epoch + 1.0, "loss": loss, "seconds": time.monotonic() - began}
        if validation is not None:
            with trainer.averaged_weights():
                ranks = target_ranks(
                    model,
                    log,
                    validation.learners,
                    validation.targets,
                    profiles=profiles,
                    among=trainer.known,
                    with_learner_embedding=False,  # lists are made without
                )
            entry["ndcg"] = group.agree(mean_ndcg(ranks))
            if entry["ndcg"] > best_ndcg:
                best_epoch, best_ndcg = epoch + 1, entry["ndcg"]
                best = trainer.averaged()
        history.append(entry)
        run_log.log(trainer.step, entry)
        logger.info("relevance %s", " ".join(f"{name}={value:.5g}" for name, value in entry.items()))
        if checkpoint is not None and group.is_first:
            save_checkpoint(
                checkpoint,
                {
                    "fingerprint": fingerprint,
                    "config": config.to_dict(),
                    "trainer": trainer.state_dict(),
                    "history": history,
                    "best": best,
                    "best_epoch": best_epoch,
                    "best_ndcg": best_ndcg,
                },
            )
        if should_stop is not None and should_stop():
            break

    if epochs is not None or not best:
        best, best_epoch = trainer.averaged(), len(history)
        best_ndcg = history[-1].get("ndcg", math.nan) if history else math.nan
    model.load_state_dict(best, strict=False)
    model.eval()
    if checkpoint is not None and group.is_first:
        checkpoint.unlink(missing_ok=True)
    return FitResult(model, best_epoch, best_ndcg, history)


class _Trainer:
    """What training needs and serving does not: data, optimizer, running averages."""

    def __init__(
        self,
        config: RelevanceConfig,
        model: RelevanceModel,
        data: TrainingData,
        profiles: Float32Matrix | None,
        group: Group,
        shares: NDArray[np.float32],
    ) -> None:
        self.group = group
        self.config, self.model, self.data = config, model, data
        log = data.log
        self.device = next(model.parameters()).device
        self.profiles = profiles
        self.shares = torch.as_tensor(shares, device=self.device) if (shares < 1).any() else None
        self.step = 0
        self.steps_per_epoch = 1
        matrices: list[Tensor] = []
        others: list[Tensor] = []
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                decayed = parameter.ndim == 2 and not isinstance(module, torch.nn.Embedding)
                (matrices if decayed else others).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        # Only resources that somebody chose or turned down compete: what nobody could have met yet is no worse for it.
        known = np.unique(log.resources[data.weights != 0])
        self.known = np.zeros(log.n_resources, dtype=bool)
        self.known[known] = True
        self.candidates = torch.as_tensor(known, dtype=torch.int64, device=self.device)
        self.place = torch.full((log.n_resources,), -1, device=self.device)  # of a resource among the candidates
        self.place[self.candidates] = torch.arange(len(known), device=self.device)
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.full = len(known) <= config.full_softmax_limit
        share = np.bincount(log.resources, minlength=log.n_resources)[known].astype(np.float64) ** 0.75
        self.draw_probability = torch.as_tensor(share / share.sum(), dtype=torch.float32, device=self.device)

    def epoch(self, number: int, run_log: RunLog, progress: bool) -> float:
        """Pass over the data once; return the mean loss."""
        rng = np.random.default_rng([self.config.seed, number])
        batches = self.group.share(self.data.batches(rng))
        self.steps_per_epoch = max(1, len(batches))
        total, count = torch.zeros((), device=self.device), 0
        self.model.train()
        for begin, end in _progress_bar(batches, f"epoch {number + 1}", progress and self.group.is_first):
            batch = self.data.assemble(begin, end)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * self._warmth()
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
                loss, penalty = self.losses(batch)
            self.optimizer.zero_grad(set_to_none=True)
            (loss + penalty).backward()
            self.group.average_gradients(self.model.parameters())
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
            self.optimizer.step()
            self.step += 1
            self._update_average()
            total += loss.detach()
            count += 1
            if self.step % 50 == 0:
                run_log.log(self.step, {"batch_loss": float(loss.detach()), "gradient_norm": float(norm)})
        return float(total) / max(1, count)

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of one batch and the λ terms beside it."""
        config, model = self.config, self.model

        def tensor(array: NDArray[Any]) -> Tensor:
            return torch.as_tensor(array, device=self.device)

        read, targets, weights = tensor(batch.resources), tensor(batch.targets), tensor(batch.weights)
        counted: Tensor | float = 1.0
        if self.shares is not None:
            rows = tensor(batch.places) // (read.shape[1] + 1)
            whole = weights.abs().sum().clamp_min(1e-12)
            weights = weights * self.shares[tensor(batch.learners)[rows]]
            # The loss is a mean over the batch: without this a batch of nothing but a flood would count in full.
            counted = weights.abs().sum() / whole
        n_resources = len(model.features)
        own = torch.rand(n_resources, device=self.device) >= config.delta_dropout
        if self.full:
            vectors = model.resource_vectors(own=own)  # [N, D]
            penalty = config.reg_resource * model.delta.weight.square().sum()
        else:
            drawn = torch.multinomial(self.draw_probability, config.sampled_negatives, replacement=True)
            negatives = self.candidates[drawn]
            rows, places = torch.unique(torch.cat([read.flatten(), targets, negatives]), return_inverse=True)
            vectors = model.resource_vectors(rows, own[rows])
            read, target_at, negative_at = (
                places[: read.numel()].view(read.shape),
                places[read.numel() : read.numel() + len(targets)],
                places[read.numel() + len(targets) :],
            )
            penalty = config.reg_resource * model.delta(rows).square().sum()
        profile = torch.zeros(len(read), model.n_features, device=self.device)
        if self.profiles is not None:
            shown = torch.rand(len(read), 1, device=self.device) >= config.profile_dropout
            profile = tensor(self.profiles[batch.learners]) * shown
        states = model.transformer(
            vectors[read],
            tensor(batch.verbs),
            tensor(batch.values),
            tensor(batch.gaps),
            model.profile_vectors(profile),
            tensor(batch.is_reversed),
        )  # [B, L + 1, D]
        if model.learner is not None:
            embedding = model.learner(tensor(batch.learners))  # [B, D]
            penalty = penalty + config.reg_learner * embedding.square().sum() / len(read)
            known = torch.rand(len(read), 1, device=self.device) >= config.learner_dropout
            states = states + (embedding * known).unsqueeze(1)
        states = states.flatten(0, 1)[tensor(batch.places)]  # [M, D], real positions only
        if self.full:
            seen = None
            if batch.seen is not None:
                which, hidden = tensor(batch.seen[0]), self.place[tensor(batch.seen[1])]
                seen = (which[hidden >= 0], hidden[hidden >= 0])
            loss = full_softmax_loss(states, vectors[self.candidates], self.place[targets], weights, seen)
            return loss * counted, penalty
        loss = sampled_softmax_loss(
            states,
            vectors[target_at],
            vectors[negative_at],
            targets,
            negatives,
            config.sampled_negatives * self.draw_probability[drawn],
            weights,
        )
        return loss * counted, penalty

    def _warmth(self) -> float:
        steps = self.config.warmup_frac * self.steps_per_epoch
        return min(1.0, (self.step + 1) / max(1.0, steps))

    @torch.no_grad()
    def _update_average(self) -> None:
        horizon = self.config.average_epochs * self.steps_per_epoch
        # Early on the average is over fewer steps: initial weights are forgotten fast.
        share = 1 / max(1.0, min(horizon, self.step / 2))
        torch._foreach_lerp_(list(self.average.values()), [p.data for p in self.model.parameters()], share)

    def averaged(self) -> dict[str, Tensor]:
        """A copy of the running average of all weights."""
        return {name: tensor.clone() for name, tensor in self.average.items()}

    @contextlib.contextmanager
    def averaged_weights(self) -> Any:
        """Lend the averaged weights to the model."""
        current = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.model.load_state_dict(self.average, strict=False)
        try:
            yield
        finally:
            self.model.load_state_dict(current, strict=False)
            self.model.train()

    def state_dict(self) -> dict[str, Any]:
        """All that decides how training goes on."""
        return {
            "model": {name: p.detach() for name, p in self.model.named_parameters()},
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.model.load_state_dict(state["model"], strict=False)
        self.average = {name: tensor.to(self.device) for name, tensor in state["average"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.steps_per_epoch = state["step"], state["steps_per_epoch"]
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["cuda_rng"])


def learner_shares(log: InteractionLog, weights: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """Return what the weights of each learner are multiplied by, so that none adds up to more than `limit`; [U]."""
    totals = np.bincount(log.learners, weights=np.abs(weights), minlength=log.n_learners)
    return np.minimum(1.0, limit / np.maximum(totals, 1e-12)).astype(np.float32)


def _fingerprint(settled: Any, log: InteractionLog, *arrays: NDArray[Any] | None) -> str:
    """Name all that decides how training goes: a run goes on from a checkpoint only where all of it is the same."""
    digest = hashlib.sha256(repr(settled).encode())
    of_log = (log.learners, log.resources, log.verbs, log.weights, log.values, log.times)
    for array in (*of_log, *arrays):
        digest.update(b"none" if array is None else repr((array.shape, array.dtype.str)).encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _progress_bar(items: Any, title: str, shown: bool) -> Any:
    if not shown:
        return items
    from tqdm.auto import tqdm

    return tqdm(items, desc=title, unit="batch", leave=False)
