"""What every model must do, on data whose answer is obvious."""

import numpy as np
import pytest

from llmrec_django.engine.cf import (
    content,
    ease,
    ials,
    item_knn,
    linear_next,
    popularity,
    transitions,
    user_knn,
)
from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.ranking.topk import rank_top_k

N_LEARNERS, N_RESOURCES = 40, 12


def checkerboard() -> InteractionLog:
    """Even learners meet even resources and odd ones odd, each but one that is left for the test."""
    learners, resources = [], []
    for learner in range(N_LEARNERS):
        own = np.roll(np.arange(learner % 2, N_RESOURCES, 2), learner // 2)
        learners += [learner] * (len(own) - 1)
        resources += own[1:].tolist()
    return InteractionLog.from_arrays(learners, resources, n_learners=N_LEARNERS, n_resources=N_RESOURCES)


def left_out(learner: int) -> int:
    return int(np.roll(np.arange(learner % 2, N_RESOURCES, 2), learner // 2)[0])


def vectors() -> np.ndarray:
    """Even resources lie on one side, odd ones on the other."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(N_RESOURCES, 8)).astype(np.float32) * 0.1
    rows[:, 0] = np.where(np.arange(N_RESOURCES) % 2, -1, 1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


PERSONAL = {
    "transitions": lambda log: transitions.fit(log, transitions.TransitionsConfig(smoothing=1.0)),
    "ease": lambda log: ease.fit(log, ease.EaseConfig(reg=1.0)),
    "item-kNN": lambda log: item_knn.fit(log, item_knn.ItemKnnConfig(shrinkage=1.0)),
    "linear next": lambda log: linear_next.fit(log, linear_next.LinearNextConfig(reg=1.0)),
    "user-kNN": lambda log: user_knn.fit(log, user_knn.UserKnnConfig(neighbours=10)),
    "ials": lambda log: ials.fit(log, ials.IalsConfig(factors=4)),
    "content": lambda log: content.fit(vectors(), content.ContentConfig()),
}
ITEM_TO_ITEM = ["transitions", "ease", "item-kNN", "linear next"]


@pytest.fixture(scope="module")
def log():
    return checkerboard()


@pytest.fixture(scope="module", params=PERSONAL)
def model(request, log):
    return PERSONAL[request.param](log)


def test_it_finds_the_one_resource_that_was_left_out(model, log):
    histories = log.histories()
    ranked, _ = rank_top_k(model.score(histories), 1, histories)
    assert ranked[:, 0].tolist() == [left_out(learner) for learner in range(N_LEARNERS)]


def test_scores_are_the_whole_catalogue_in_float32(model, log):
    scores = model.score(log.histories([0, 1, 2]))
    assert scores.shape == (3, N_RESOURCES)
    assert scores.dtype == np.float32


def test_batches_of_any_size_give_the_same_scores(model, log):
    histories = log.histories()
    one_by_one = np.concatenate([model.score([history]) for history in histories])
    np.testing.assert_allclose(one_by_one, model.score(histories), rtol=1e-4, atol=1e-5)


def test_a_learner_without_history_has_no_favourite(model):
    scores = model.score([np.zeros(0, dtype=np.int32)])
    assert scores.shape == (1, N_RESOURCES)
    assert not np.nan_to_num(scores).any()


def test_a_learner_never_met_in_training_gets_scores_from_their_history_alone(model):
    ranked, _ = rank_top_k(model.score([np.array([0, 4])]), 4, [np.array([0, 4])])
    assert set(ranked[0].tolist()) == {2, 6, 8, 10}


def test_no_histories_give_no_rows(model):
    assert model.score([]).shape == (0, N_RESOURCES)


def test_it_is_rebuilt_from_its_arrays(model, log):
    arrays = model.to_arrays()
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    histories = log.histories()
    np.testing.assert_array_equal(type(model).from_arrays(arrays).score(histories), model.score(histories))


@pytest.mark.parametrize("name", [*PERSONAL, "popularity"])
def test_nothing_to_learn_from_is_no_error(name):
    empty = InteractionLog.from_arrays([], [], n_learners=3, n_resources=N_RESOURCES)
    fits = {**PERSONAL, "popularity": lambda log: popularity.fit(log, popularity.PopularityConfig())}
    scores = fits[name](empty).score([np.array([0, 1])])
    assert scores.shape == (1, N_RESOURCES)
    assert not np.isinf(scores).any()


@pytest.mark.parametrize("name", [name for name in PERSONAL if name != "content"])
def test_what_speaks_against_a_resource_is_not_counted_for_it(name, log):
    against = InteractionLog.from_arrays(
        np.concatenate([log.learners, np.arange(N_LEARNERS)]),
        np.concatenate([log.resources, (np.arange(N_LEARNERS) + 1) % 2]),
        weights=np.concatenate([log.weights, -np.ones(N_LEARNERS)]),
    )
    np.testing.assert_allclose(
        PERSONAL[name](against).score(log.histories()), PERSONAL[name](log).score(log.histories()), atol=1e-6
    )


@pytest.mark.parametrize("name", ITEM_TO_ITEM)
def test_neighbours_are_the_strongest_entries_of_the_matrix(name, log):
    model = PERSONAL[name](log)
    dense = model.matrix if isinstance(model.matrix, np.ndarray) else model.matrix.toarray()
    ids, weights = model.neighbours(3)
    assert ids.shape == weights.shape == (N_RESOURCES, 3)
    for row in range(N_RESOURCES):
        found = ids[row][ids[row] >= 0]
        assert row not in found
        np.testing.assert_array_equal(weights[row][: len(found)], dense[row, found])
        others = np.delete(dense[row], found)
        assert (others <= max(weights[row][len(found) - 1] if len(found) else 0, 0)).all()
        assert (np.diff(weights[row]) <= 0).all()


@pytest.mark.parametrize("name", ITEM_TO_ITEM)
def test_scores_from_all_neighbours_are_the_scores_of_the_matrix_without_what_lowers(name, log):
    model = PERSONAL[name](log)
    dense = model.matrix if isinstance(model.matrix, np.ndarray) else model.matrix.toarray()
    full = type(model)(np.maximum(dense, 0), decay=model.decay, max_history=model.max_history)
    histories = log.histories()
    np.testing.assert_allclose(model.truncated(N_RESOURCES).score(histories), full.score(histories), rtol=1e-5)


@pytest.mark.parametrize("name", ["ease", "linear next"])
def test_a_catalogue_too_large_for_a_dense_matrix_is_refused(name, log):
    module = {"ease": ease, "linear next": linear_next}[name]
    config = {"ease": ease.EaseConfig(), "linear next": linear_next.LinearNextConfig()}[name]
    with pytest.raises(ValueError, match="on 12 resources.*At most 11"):
        module.fit(log, config, max_resources=11)
