import dataclasses
import json

import numpy as np
import pytest
import torch

from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.relevance.data import latest
from llmrec_django.engine.relevance.model import RelevanceModel
from llmrec_django.engine.relevance.run_log import open_run_log
from llmrec_django.engine.relevance.scoring import learner_vectors, mean_ndcg, target_ranks
from llmrec_django.engine.relevance.train import Validation, fit, learner_shares


def split(log):
    held = log.take_last(1)
    return log.drop_last(1), Validation(held.learners.astype(np.int64), held.resources.astype(np.int64))


def no_text(log, width=8):
    return np.zeros((log.n_resources, width), np.float32)


def test_learns_what_follows_what(cycle, small):
    train, validation = split(cycle)
    result = fit(small, train, no_text(train), validation=validation)
    assert result.ndcg > 0.95
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    # Popularity, the best that can be done without the order, is far behind.
    ranks = target_ranks(result.model, train, validation.learners, validation.targets)
    assert (ranks == 1).mean() > 0.9


def test_what_nobody_chose_does_not_count_against_the_weights(checkerboard, small):
    """Beside each chosen resource stand ten new ones with its very text."""
    train, validation = split(checkerboard)
    crowded = dataclasses.replace(train, n_resources=11 * 24)
    result = fit(small, crowded, np.tile(np.eye(24, dtype=np.float32), (11, 1)), validation=validation)
    asked = (result.model, crowded, validation.learners, validation.targets)
    chosen = np.arange(crowded.n_resources) < 24
    assert result.ndcg == pytest.approx(mean_ndcg(target_ranks(*asked, among=chosen)), abs=1e-6)
    assert result.ndcg > mean_ndcg(target_ranks(*asked)) + 0.1


def test_learns_who_likes_what(checkerboard, small):
    train, validation = split(checkerboard)
    result = fit(small, train, no_text(train), validation=validation)
    states = learner_vectors(result.model, train, validation.learners)
    scores = states @ result.model.resource_vectors().detach().numpy().T
    even = scores[:, 0::2].mean(axis=1) > scores[:, 1::2].mean(axis=1)
    assert (even == (validation.learners % 2 == 0)).mean() > 0.97


def test_a_resource_without_interactions_is_ranked_by_its_text(checkerboard, small):
    """Text says even or odd. Resources 22 and 23 are new: nobody in training met them."""
    rng = np.random.default_rng(0)
    features = rng.normal(scale=0.3, size=(24, 8)).astype(np.float32)
    features[:, 0] = np.where(np.arange(24) % 2 == 0, 1, -1)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    known = checkerboard.take(checkerboard.resources < 22)
    result = fit(small, known, features, epochs=15)
    states = learner_vectors(result.model, known, np.arange(200))
    resources = result.model.resource_vectors().detach().numpy()
    prefers_even = states @ resources[22] > states @ resources[23]
    assert (prefers_even == (np.arange(200) % 2 == 0)).mean() > 0.95


def test_a_profile_steers_a_newcomer(checkerboard, small):
    """Learners' profiles tell their taste; a newcomer has a profile and nothing else."""
    profiles = np.zeros((200, 8), np.float32)
    profiles[0::2, 0], profiles[1::2, 0] = 1, -1
    config = dataclasses.replace(small, profile_dropout=0.1)
    result = fit(config, checkerboard, no_text(checkerboard), profiles=profiles, epochs=15)
    nobody = InteractionLog.from_arrays([], [], n_learners=2, n_resources=24)
    states = learner_vectors(result.model, nobody, np.arange(2), profiles=profiles[:2])
    scores = states @ result.model.resource_vectors().detach().numpy().T
    assert scores[0, 0::2].mean() > scores[0, 1::2].mean()
    assert scores[1, 0::2].mean() < scores[1, 1::2].mean()


def test_what_learners_turn_down_sinks(checkerboard, small):
    """Everybody meets resource 24 at last and completes it, does something that means nothing, or dismisses it."""
    config = dataclasses.replace(small, negative_weight=1.0)
    chances = []
    for weight in (1.0, 0.0, -1.0):
        log = InteractionLog.from_arrays(
            np.concatenate([checkerboard.learners, np.arange(200)]),
            np.concatenate([checkerboard.resources, np.full(200, 24)]),
            weights=np.concatenate([np.ones(len(checkerboard)), np.full(200, weight)]),
            n_resources=25,
        )
        result = fit(config, log, no_text(log), epochs=6)
        states = learner_vectors(result.model, checkerboard, np.arange(200))
        logits = torch.as_tensor(states) @ result.model.resource_vectors().detach().T
        chances.append(float(torch.softmax(logits, dim=1)[:, 24].mean()))
    completed, nothing, dismissed = chances
    assert completed > 5 * nothing
    assert dismissed < 0.8 * nothing


@pytest.mark.parametrize("sampled", [False, True])
def test_one_learners_flood_weighs_no_more_than_the_limit(cycle, small, sampled):
    """A bot walks backwards through a long ring, many times as long as everybody's walks together."""
    config = dataclasses.replace(small, full_softmax_limit=5 if sampled else 20_000, sampled_negatives=30)
    flood = 6000
    log = InteractionLog.from_arrays(
        np.concatenate([cycle.learners, np.full(flood, 200)]),
        np.concatenate([cycle.resources, np.arange(flood)[::-1] % 12]),
        times=np.concatenate([cycle.times, np.arange(flood) * 86400.0]),
        n_resources=12,
    )
    config = dataclasses.replace(config, seen_in_softmax=True)  # else only its first meetings count
    states = {
        limit: fit(config, log, no_text(log), learner_weight_limit=limit, epochs=20).model for limit in (5.0, np.inf)
    }

    def forwards(model):
        """Return how often the next number comes before the one before it, for who has met one resource."""
        places = np.arange(12)
        begun = InteractionLog.from_arrays(places, places, n_resources=12)
        scores = learner_vectors(model, begun, places) @ model.resource_vectors().detach().numpy().T
        return (scores[places, (places + 1) % 12] > scores[places, places - 1]).mean()

    assert forwards(states[5.0]) > 0.9
    assert forwards(states[np.inf]) < 0.7


def test_a_batch_of_nothing_but_a_flood_does_not_count_in_full(small):
    flood = InteractionLog.from_arrays(np.zeros(3000, int), np.arange(3000) % 12, n_resources=12)
    config = dataclasses.replace(small, seen_in_softmax=True)
    whole, limited = (
        fit(config, flood, no_text(flood), learner_weight_limit=limit, epochs=1).history[0]["loss"]
        for limit in (np.inf, 30)
    )
    assert 0.005 * whole < limited < 0.05 * whole


def test_the_limit_changes_nothing_where_nobody_reaches_it(cycle, small):
    plain = fit(small, cycle, no_text(cycle), epochs=1).model.state_dict()
    limited = fit(small, cycle, no_text(cycle), learner_weight_limit=100, epochs=1).model.state_dict()
    assert all(torch.equal(plain[name], limited[name]) for name in plain)


def test_a_learners_shares_add_up_to_the_limit():
    log = InteractionLog.from_arrays([0] * 20 + [1] * 3, list(range(20)) + [0, 1, 2])
    weights = np.where(log.learners == 0, -1, 1).astype(np.float32)
    np.testing.assert_allclose(learner_shares(log, weights, 5), [0.25, 1])


def test_learner_embeddings_help_those_who_have_one(checkerboard, small):
    train, validation = split(checkerboard)
    config = dataclasses.replace(small, learner_embeddings=True, reg_learner=1e-5, learner_dropout=0.1)
    model = fit(config, train, no_text(train), epochs=25).model
    with_it = learner_vectors(model, train, validation.learners)
    blind = learner_vectors(model, train, validation.learners, with_learner_embedding=False)
    assert not np.allclose(with_it, blind)
    nobody = InteractionLog.from_arrays([], [], n_learners=200, n_resources=24)
    resources = model.resource_vectors().detach().numpy()
    scores = learner_vectors(model, nobody, np.arange(200)) @ resources.T  # E(u) alone tells the taste
    even = scores[:, 0::2].mean(axis=1) > scores[:, 1::2].mean(axis=1)
    assert (even == (np.arange(200) % 2 == 0)).mean() > 0.9


def test_training_stops_by_what_is_served_without_learner_embeddings(checkerboard, small):
    train, validation = split(checkerboard)
    config = dataclasses.replace(small, learner_embeddings=True, reg_learner=0.0, learner_dropout=0.0, max_epochs=4)
    result = fit(config, train, no_text(train), validation=validation)
    asked = (result.model, train, validation.learners, validation.targets)
    served = mean_ndcg(target_ranks(*asked, with_learner_embedding=False))
    assert result.ndcg == pytest.approx(served, abs=1e-6)
    assert result.ndcg != pytest.approx(mean_ndcg(target_ranks(*asked)), abs=1e-3)


def test_sampled_softmax_learns_too(cycle, small):
    train, validation = split(cycle)
    config = dataclasses.replace(small, full_softmax_limit=5, sampled_negatives=6)
    assert fit(config, train, no_text(train), validation=validation).ndcg > 0.9


def test_the_same_seed_gives_the_same_weights(cycle, small):
    first = fit(small, cycle, no_text(cycle), epochs=2).model.state_dict()
    again = fit(small, cycle, no_text(cycle), epochs=2).model.state_dict()
    other = fit(dataclasses.replace(small, seed=1), cycle, no_text(cycle), epochs=2).model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["adaptor.weight"], other["adaptor.weight"])


def test_a_killed_run_goes_on_as_if_nothing_had_happened(cycle, small, tmp_path):
    train, validation = split(cycle)
    config = dataclasses.replace(small, max_epochs=4, patience=4)
    whole = fit(config, train, no_text(train), validation=validation)

    class Killed(BaseException):
        pass

    calls = []

    def die_after_two():
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return False

    path = tmp_path / "run" / "checkpoint.pt"
    with pytest.raises(Killed):
        fit(config, train, no_text(train), validation=validation, checkpoint=path, should_stop=die_after_two)
    assert path.exists()
    run_log = open_run_log(tmp_path / "logs")
    resumed = fit(config, train, no_text(train), validation=validation, checkpoint=path, run_log=run_log)
    run_log.close()
    assert len(resumed.history) == 4
    lines = map(json.loads, (tmp_path / "logs" / "log.jsonl").read_text().splitlines())
    logged = [(line["step"], line["epoch"]) for line in lines if "epoch" in line]
    assert [epoch for _, epoch in logged] == [1, 2, 3, 4], "the log of the run that goes on is whole"
    assert [step for step, _ in logged] == sorted(step for step, _ in logged)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert not path.exists()


@pytest.mark.parametrize("changed", ["verbs", "failures", "profiles", "values", "times", "held out"])
def test_a_checkpoint_of_other_circumstances_is_not_gone_on_with(cycle, small, tmp_path, changed):
    path, (train, validation) = tmp_path / "checkpoint.pt", split(cycle)
    profiles = np.random.default_rng(0).normal(size=(train.n_learners, 8)).astype(np.float32)
    options = {"n_verbs": 2, "failure_verbs": [1], "profiles": profiles, "validation": validation}
    with pytest.raises(KeyboardInterrupt):
        fit(small, train, no_text(train), checkpoint=path, should_stop=_interrupt, **options)
    if changed == "verbs":
        options["n_verbs"] = 3
    elif changed == "failures":
        options["failure_verbs"] = []
    elif changed == "profiles":
        options["profiles"] = -profiles
    elif changed == "held out":
        options["validation"] = Validation(validation.learners[1:], validation.targets[1:])
    else:
        train = dataclasses.replace(train, **{changed: np.full_like(getattr(train, changed), 0.5)})
    result = fit(small, train, no_text(train), checkpoint=path, should_stop=lambda: True, **options)
    assert len(result.history) == 1, "it began anew"


def test_a_checkpoint_of_other_data_is_not_gone_on_with(cycle, checkerboard, small, tmp_path):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(small, cycle, no_text(cycle), epochs=3, checkpoint=path, should_stop=_interrupt)
    result = fit(small, checkerboard, no_text(checkerboard), epochs=3, checkpoint=path)
    assert len(result.history) == 3
    fresh = fit(small, checkerboard, no_text(checkerboard), epochs=3)
    assert torch.equal(result.model.adaptor.weight, fresh.model.adaptor.weight)


@pytest.mark.parametrize("damage", ["random", "empty", "format", "list"])
def test_a_checkpoint_that_cannot_be_read_is_said_and_training_begins_anew(cycle, small, tmp_path, caplog, damage):
    path = tmp_path / "checkpoint.pt"
    if damage in ("format", "list"):
        torch.save({"format": 0} if damage == "format" else [1], path)
    else:
        path.write_bytes(np.random.default_rng(0).bytes(5000) if damage == "random" else b"")
    result = fit(small, cycle, no_text(cycle), epochs=2, checkpoint=path)
    assert len(result.history) == 2
    assert "training begins anew" in caplog.text
    assert not path.exists()


def _interrupt():
    raise KeyboardInterrupt


def test_stops_when_validation_no_longer_rises(cycle, small):
    """Shuffled targets cannot be learned: training ends long before the limit."""
    train, validation = split(cycle)
    rng = np.random.default_rng(0)
    shuffled = Validation(validation.learners, rng.permutation(validation.targets))
    config = dataclasses.replace(small, max_epochs=200, patience=3)
    result = fit(config, train, no_text(train), validation=shuffled)
    assert len(result.history) < 100
    assert result.ndcg == max(entry["ndcg"] for entry in result.history)
    assert result.epochs == 1 + int(np.argmax([entry["ndcg"] for entry in result.history]))


def test_needs_to_know_when_to_stop_and_something_to_learn(cycle, small):
    with pytest.raises(ValueError, match="Give validation targets or a number of epochs"):
        fit(small, cycle, no_text(cycle))
    empty = InteractionLog.from_arrays([], [], n_learners=3, n_resources=4)
    with pytest.raises(ValueError, match="No interaction speaks for a resource"):
        fit(small, empty, np.zeros((4, 8), np.float32), epochs=1)


def test_equal_scores_earn_nothing():
    assert mean_ndcg(np.array([1, 2, 11])) == pytest.approx((1 + 1 / np.log2(3)) / 3)
    assert mean_ndcg(np.array([], dtype=np.int64)) == 0


@pytest.fixture
def reading(small):
    """A model, and four learners with 0, 1, 5 and 7 interactions as it reads them."""
    torch.manual_seed(0)
    model = RelevanceModel(small, torch.randn(12, 8), torch.ones(12, dtype=torch.bool), n_verbs=3).eval()
    lengths = torch.tensor([0, 1, 5, 7])
    resources, profile = torch.randn(4, 7, small.embedding_size), torch.randn(4, small.embedding_size)
    verbs, gaps, values = torch.randint(3, (4, 7)), torch.randint(4, (4, 7)), torch.rand(4, 7)
    with torch.no_grad():
        states = model.transformer(resources, verbs, values, gaps, profile)
    return model.transformer, (resources, verbs, values, gaps), profile, lengths, states


def test_the_last_state_alone_is_the_last_of_all_states(reading):
    transformer, steps, profile, lengths, states = reading
    with torch.no_grad():
        last = transformer.last(*steps, profile, lengths)
        padded = transformer.last(*(torch.cat([part, part[:, :1]], dim=1) for part in steps), profile, lengths)
    expected = states[torch.arange(4), lengths]
    assert torch.allclose(last[:, 0], expected, atol=1e-5)
    assert torch.allclose(padded[:, 0], expected, atol=1e-5)  # what follows is not looked at


def test_a_state_without_the_latest_or_without_all_is_that_of_a_shorter_history(reading):
    transformer, steps, profile, lengths, states = reading
    left_out = torch.zeros(4, 4, 7, dtype=torch.bool)
    for row, length in enumerate(lengths.tolist()):
        left_out[row, 1, max(0, length - 1) :] = True
        left_out[row, 2, max(0, length - 3) :] = True
    left_out[:, 3] = True
    with torch.no_grad():
        found = transformer.last(*steps, profile, lengths, left_out)
    for variant, fewer in enumerate((0, 1, 3, 7)):
        expected = states[torch.arange(4), (lengths - fewer).clamp(min=0)]
        assert torch.allclose(found[:, variant], expected, atol=1e-5)


def test_a_state_without_what_stands_further_back_is_like_that_of_the_shortened_history(checkerboard, small):
    """Not the same: what other positions took from it stays. But it must tell what a learner's state rests on."""
    config = dataclasses.replace(small, layers=2)
    features = np.random.default_rng(0).normal(size=(24, 8)).astype(np.float32)
    model = fit(config, checkerboard, features, epochs=4).model.eval()
    likeness = []
    with torch.no_grad():
        vectors = model.resource_vectors()
        for learner in range(40):
            steps = latest(checkerboard, np.array([learner]), config.max_length)
            read = {name: torch.as_tensor(array) for name, array in steps.items()}
            length = int(read["lengths"][0])
            if length < 4:
                continue

            def last(places, left_out=None, read=read):
                there = {name: read[name][:, places] for name in ("resources", "verbs", "values", "gaps")}
                nobody = model.profile_vectors(torch.zeros(1, 8))
                steps = (vectors[there["resources"]], there["verbs"], there["values"], there["gaps"])
                return model.transformer.last(*steps, nobody, torch.tensor([len(places)]), left_out)[0]

            whole = list(range(length))
            left_out = torch.eye(length, dtype=torch.bool)[None]
            found = (last(whole) - last(whole, left_out)) @ vectors.T  # [length, N]
            exact = torch.cat([last(whole) - last(whole[:gone] + whole[gone + 1 :]) for gone in whole]) @ vectors.T
            likeness += [np.corrcoef(found[gone], exact[gone])[0, 1] for gone in whole[:-1]]
    assert len(likeness) > 50
    assert np.mean(likeness) > 0.5
