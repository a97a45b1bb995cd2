import numpy as np
import pytest
import torch

from llmrec_django.engine.relevance import loss as loss_module
from llmrec_django.engine.relevance.loss import full_softmax_loss, sampled_softmax_loss


def leaves(m=7, n=11, d=5):
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(m, d, generator=generator, dtype=torch.float64)
    resources = torch.randn(n, d, generator=generator, dtype=torch.float64)
    targets = torch.randint(n, (m,), generator=generator)
    return states.requires_grad_(), resources.requires_grad_(), targets


def plain_loss(states, resources, targets, weights, seen=None):
    """The definition, for autograd to differentiate."""
    logits = states @ resources.T
    if seen is not None:
        hidden = torch.zeros_like(logits, dtype=torch.bool)
        hidden[seen] = True
        logits = logits.masked_fill(hidden, -torch.inf)
    r = torch.softmax(logits, dim=1)[torch.arange(len(targets)), targets]
    losses = torch.where(weights > 0, -torch.log(r), -torch.log(1 - r))
    return (weights.abs() * losses).sum() / weights.abs().sum()


def test_the_gradient_of_a_state_is_the_target_minus_the_expected_resource():
    states, resources, targets = leaves()
    r = torch.softmax(states @ resources.T, dim=1)
    by_formula = -(resources[targets] - r @ resources)  # -( R(i) - sum_j r_j R(j) ), for each interaction

    summed = -torch.log(r[torch.arange(len(targets)), targets]).sum()
    (by_autograd,) = torch.autograd.grad(summed, states)
    torch.testing.assert_close(by_autograd, by_formula)

    (ours,) = torch.autograd.grad(
        full_softmax_loss(states, resources, targets, torch.ones(len(targets), dtype=torch.float64)), states
    )
    torch.testing.assert_close(ours * len(targets), by_formula, rtol=1e-5, atol=1e-6)


def test_the_embeddings_add_two_lambda_e():
    delta = torch.randn(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(0.25 * delta.square().sum(), delta)
    torch.testing.assert_close(gradient, 2 * 0.25 * delta)


@pytest.mark.parametrize("chunk_floats", [11, 25, 10**6])
@pytest.mark.parametrize("hide", [False, True])
def test_full_softmax_agrees_with_autograd_in_chunks_of_any_size(monkeypatch, chunk_floats, hide):
    monkeypatch.setattr(loss_module, "CHUNK_FLOATS", chunk_floats)
    states, resources, targets = leaves()
    weights = torch.tensor([1.0, 0.3, -0.5, 2.0, -0.1, 1.0, 0.7], dtype=torch.float64)
    seen = None
    if hide:
        pairs = [(row, i) for row in (6, 0, 2, 5) for i in (1, 4, 8) if i != int(targets[row])]
        seen = (torch.tensor([p[0] for p in pairs]), torch.tensor([p[1] for p in pairs]))
    expected = plain_loss(states, resources, targets, weights, seen)
    found = full_softmax_loss(states, resources, targets, weights, seen)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(
        torch.autograd.grad(found, (states, resources)),
        torch.autograd.grad(expected, (states, resources)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_what_was_turned_down_is_pushed_away():
    states, resources, targets = leaves()
    weights = torch.full((len(targets),), -1.0, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(full_softmax_loss(states, resources, targets, weights), states)
    before = (states * resources[targets]).sum()
    after = ((states - 0.1 * gradient) * resources[targets]).sum()
    assert after < before


def test_no_targets_cost_nothing():
    states = torch.zeros(0, 3, requires_grad=True)
    resources = torch.ones(4, 3, requires_grad=True)
    empty = torch.zeros(0, dtype=torch.int64)
    found = full_softmax_loss(states, resources, empty, torch.zeros(0))
    found.backward()
    assert float(found.detach()) == 0
    assert float(resources.grad.abs().sum()) == 0


def test_sampled_softmax_estimates_the_sum_over_the_catalogue_without_bias():
    """exp(loss) · e^s is the estimated sum; its mean over many samples must be the sum itself."""
    states, resources, _ = leaves(m=1, n=40)
    states, resources = states.detach(), resources.detach()
    target = torch.tensor([3])
    share = torch.arange(1.0, 41.0, dtype=torch.float64)
    share /= share.sum()
    generator = torch.Generator().manual_seed(0)
    estimates = []
    for _ in range(4000):
        negatives = torch.multinomial(share, 20, replacement=True, generator=generator)
        loss = sampled_softmax_loss(
            states, resources[target], resources[negatives], target, negatives, 20 * share[negatives], torch.ones(1)
        )
        estimates.append(float(torch.exp(loss + (states @ resources[target].T).float())))
    true_sum = float(torch.exp(states @ resources.T).sum())
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - true_sum) < 4 * error
    assert error < 0.05 * true_sum


def test_sampled_softmax_over_everything_is_the_full_one():
    states, resources, targets = leaves()
    weights = torch.tensor([1.0, 0.3, -0.5, 2.0, -0.1, 1.0, 0.7], dtype=torch.float64)
    everything = torch.arange(len(resources))
    found = sampled_softmax_loss(
        states, resources[targets], resources, targets, everything, torch.ones(len(resources)), weights
    )
    torch.testing.assert_close(found.double(), plain_loss(states, resources, targets, weights), rtol=1e-5, atol=1e-6)
