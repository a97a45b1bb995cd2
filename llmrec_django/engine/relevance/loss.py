"""How wrong the model is about what learners did next.

With r = softmax(S·R), the loss of one interaction with resource i is -log r_i, and

    ∂L/∂S = -( R(i) - Σ_j r_j R(j) )        ∂L/∂R(j) = -( [j = i] - r_j ) S

summed over interactions. What a learner turned down is pushed away with -log(1 - r_i) (Welleck et al. 2020, arXiv
1908.04319); its gradient is the same times -r_i / (1 - r_i).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_FLOATS = 2**21
"""Logits held at once, 8 MB: they stay in the processor's cache between the passes over them."""
MAX_REJECTED = 0.999
"""r_i of a turned-down resource above which its gradient grows no further."""


def full_softmax_loss(
    states: Tensor,
    resources: Tensor,
    targets: Tensor,
    weights: Tensor,
    seen: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Softmax cross-entropy over the whole catalogue.

    Args:
        states: S, float [M, D].
        resources: R of the catalogue, float [N, D].
        targets: What came next, int64 [M].
        weights: Above 0 draws the target near, below 0 pushes it away; float [M].
        seen: Row of `states` and resource, int64 [P] each: pairs left out of the softmax. No target is among them.

    Returns:
        Scalar: Σ |w| · loss / Σ |w|; 0 for M = 0. Differentiable once, in `states` and `resources`.

    Note:
        Never holds [M, N]: the gradient is known in closed form, so each chunk of rows is finished while it is in
        the cache. O(M·N·D) time.
    """
    result: Tensor = _FullSoftmax.apply(states, resources, targets, weights, seen)
    return result


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        resources: Tensor,
        targets: Tensor,
        weights: Tensor,
        seen: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        exact = torch.promote_types(states.dtype, torch.float32)  # logits of half precision are too coarse to sum
        weights = weights.to(exact)
        weights = weights / weights.abs().sum().clamp_min(1e-12)
        loss = torch.zeros((), device=states.device, dtype=exact)
        grad_states = torch.empty_like(states)
        grad_resources = torch.zeros_like(resources)
        step = max(1, CHUNK_FLOATS // len(resources))
        if seen is not None:
            order = torch.argsort(seen[0])
            seen_rows, seen_resources = seen[0][order], seen[1][order]
            edges = torch.searchsorted(seen_rows, torch.arange(0, len(states) + step, step, device=states.device))
        for number, begin in enumerate(range(0, len(states), step)):
            rows = slice(begin, begin + step)
            s, target, weight = states[rows], targets[rows].unsqueeze(1), weights[rows].unsqueeze(1)
            r = (s @ resources.T).to(exact)  # [m, N] logits, turned into r and then into the gradient in place
            if seen is not None:
                pairs = slice(int(edges[number]), int(edges[number + 1]))
                r[seen_rows[pairs] - begin, seen_resources[pairs]] = -torch.inf
            r -= r.amax(dim=1, keepdim=True)
            log_r = r.gather(1, target)
            r.exp_()
            mass = r.sum(dim=1, keepdim=True)
            log_r -= mass.log()  # [m, 1]
            r_target = log_r.exp().clamp_max(MAX_REJECTED)
            loss += torch.where(weight > 0, weight * -log_r, weight * torch.log1p(-r_target)).sum()
            factor = torch.where(weight > 0, weight, weight * r_target / (1 - r_target))  # [m, 1]
            r *= factor / mass
            r.scatter_add_(1, target, -factor)
            gradient = r.to(s.dtype)
            grad_states[rows] = gradient @ resources
            grad_resources += gradient.T @ s
        ctx.save_for_backward(grad_states, grad_resources)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_states, grad_resources = ctx.saved_tensors
        return grad_states * grad, grad_resources * grad, None, None, None


def sampled_softmax_loss(
    states: Tensor,
    target_vectors: Tensor,
    negative_vectors: Tensor,
    targets: Tensor,
    negatives: Tensor,
    expected_counts: Tensor,
    weights: Tensor,
) -> Tensor:
    """Softmax cross-entropy against a sample of the catalogue, for catalogues too large to compare in full.

    The sum over the catalogue is estimated from the sample: e^s of each drawn resource is divided by how often it
    was expected to be drawn (the logQ correction), the target stands for itself, and is left out of its own
    negatives. The estimate is unbiased (cf. arXiv 2507.09331).

    Args:
        states: S, float [M, D].
        target_vectors: R of the targets, float [M, D].
        negative_vectors: R of the drawn resources, float [K, D].
        targets: int64 [M].
        negatives: Drawn with replacement, int64 [K].
        expected_counts: K · probability of each drawn resource, float [K].
        weights: As in `full_softmax_loss`; float [M].

    Returns:
        Scalar, as `full_softmax_loss`.
    """
    positive = (states * target_vectors).sum(dim=1, keepdim=True).float()  # [M, 1]
    drawn = (states @ negative_vectors.T).float() - expected_counts.log()  # [M, K]
    drawn = drawn.masked_fill(targets.unsqueeze(1) == negatives.unsqueeze(0), -torch.inf)
    log_r = functional.log_softmax(torch.cat([positive, drawn], dim=1), dim=1)[:, 0]  # [M]
    rejected = torch.log1p(-log_r.exp().clamp_max(MAX_REJECTED))
    losses = torch.where(weights > 0, -log_r, -rejected)
    return (weights.abs() * losses).sum() / weights.abs().sum().clamp_min(1e-12)
