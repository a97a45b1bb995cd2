"""What sets one model apart from the others."""

import dataclasses

import numpy as np
import pytest

from llmrec_django.engine.cf import content, ease, ials, item_knn, linear_next, popularity, transitions, user_knn
from llmrec_django.engine.cf.item_to_item import ItemToItemModel, recency_weights
from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.exceptions import MissingDependency

DAY = 86_400.0


def chain(n_learners: int = 30, n_resources: int = 8) -> InteractionLog:
    """Everybody walks 0, 1, 2, … from a start of their own."""
    learners = np.repeat(np.arange(n_learners), 4)
    resources = (np.arange(n_learners)[:, None] + np.arange(4)).ravel() % n_resources
    return InteractionLog.from_arrays(learners, resources, n_resources=n_resources)


def test_the_latest_resource_weighs_most():
    weights = recency_weights([np.array([3, 1, 2, 1])], 4, decay=0.5, max_history=3).toarray()
    assert weights.tolist() == [[0, 1 + 0.25, 0.5, 0]]


def test_a_history_of_length_nought_is_allowed():
    assert recency_weights([np.array([1])], 2, decay=1, max_history=0).toarray().tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "model",
    [
        transitions.fit(chain(), transitions.TransitionsConfig(window=2, reverse=0.3)),
        linear_next.fit(chain(), linear_next.LinearNextConfig(reg=1.0)),
    ],
    ids=["transitions", "linear next"],
)
def test_order_decides_what_comes_next(model):
    assert model.score([np.array([2, 3])]).argmax() == 4
    assert model.score([np.array([6, 7])]).argmax() == 0


def test_steps_are_counted_by_gap_and_weighed_by_where_they_lead():
    log = InteractionLog.from_arrays([0, 0, 0, 1, 1], [0, 1, 2, 0, 2], weights=[1, 1, 0.5, 1, 1], n_resources=3)
    config = transitions.TransitionsConfig(window=2, gap_decay="linear")
    assert transitions.count_steps(log, config).toarray().tolist() == [
        [0, 1, 0.5 / 2 + 1],
        [0, 0, 0.5],
        [0, 0, 0],
    ]


def test_no_step_leads_from_one_learner_to_the_next():
    log = InteractionLog.from_arrays([0, 1], [0, 1])
    assert transitions.count_steps(log, transitions.TransitionsConfig(window=5)).nnz == 0


def test_transition_shares_are_smoothed_and_the_reverse_is_added():
    log = InteractionLog.from_arrays([0, 0, 1, 1], [0, 1, 0, 1])
    config = transitions.TransitionsConfig(window=1, smoothing=2.0, reverse=0.5)
    matrix = transitions.fit(log, config).matrix.toarray()
    assert matrix == pytest.approx(np.array([[0, 2 / 4], [0.5 * 2 / 4, 0]]))


def test_ease_is_the_closed_form():
    rng = np.random.default_rng(0)
    dense = (rng.random((60, 9)) < 0.3).astype(float)
    learners, resources = np.nonzero(dense)
    model = ease.fit(
        InteractionLog.from_arrays(learners, resources, n_resources=9), ease.EaseConfig(reg=2.0, length_power=0)
    )
    inverse = np.linalg.inv(dense.T @ dense + 2.0 * np.eye(9))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(model.matrix, expected, atol=1e-5)


def test_item_knn_is_the_shrunk_cosine():
    log = InteractionLog.from_arrays([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], n_resources=3)
    config = item_knn.ItemKnnConfig(shrinkage=1.0, length_power=0.0)
    matrix = item_knn.fit(log, config).matrix.toarray()
    assert matrix[0, 1] == matrix[1, 0] == pytest.approx(2 / (np.sqrt(3 * 2) + 1))
    assert matrix[2].tolist() == [0, 0, 0]


def test_item_knn_keeps_only_the_nearest():
    rng = np.random.default_rng(0)
    log = InteractionLog.from_arrays(rng.integers(0, 50, 600), rng.integers(0, 20, 600))
    all_of_them = item_knn.fit(log, item_knn.ItemKnnConfig(neighbours=20)).matrix.toarray()
    nearest = item_knn.fit(log, item_knn.ItemKnnConfig(neighbours=3)).matrix.toarray()
    assert ((nearest > 0).sum(axis=1) == 3).all()
    assert np.sort(nearest, axis=1)[:, -3:] == pytest.approx(np.sort(all_of_them, axis=1)[:, -3:])


def test_user_knn_follows_the_most_alike_learners():
    log = InteractionLog.from_arrays([0, 0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 0, 5])
    scores = user_knn.fit(log, user_knn.UserKnnConfig(neighbours=1)).score([np.array([0, 1])])[0]
    assert scores[2] > 0
    assert scores[[3, 4, 5]].tolist() == [0, 0, 0]


def test_user_knn_minds_what_came_after_what_is_shared():
    log = InteractionLog.from_arrays([0, 0, 0, 0, 0], [3, 1, 0, 2, 4])
    config = user_knn.UserKnnConfig(nearness=1.0, backward=0.3, length_power=0.0, rarity_power=0.0)
    scores = user_knn.fit(log, config).score([np.array([0])])[0]
    assert scores == pytest.approx([0.0, 0.3, 1.0, 0.15, 0.5])


def test_user_knn_counts_from_the_shared_resource_that_the_asker_met_last():
    log = InteractionLog.from_arrays([0, 0, 0, 0], [0, 2, 1, 3])
    config = user_knn.UserKnnConfig(backward=0.0, length_power=0.0, rarity_power=0.0, agreement=1.0, decay=1.0)
    model = user_knn.fit(log, config)
    assert model.score([np.array([0, 1])])[0].tolist() == [0, 0, 0, 2]
    assert model.score([np.array([1, 0])])[0] == pytest.approx([0, 1, 2, 2 / 3])


def test_with_agreement_one_learner_who_shares_two_outweighs_two_who_share_one():
    log = InteractionLog.from_arrays([0, 0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 3, 1, 3])
    flat = user_knn.UserKnnConfig(agreement=1.0, nearness=0.0, length_power=0.0, rarity_power=0.0, decay=1.0)
    asked = [np.array([0, 1])]
    plain = user_knn.fit(log, flat).score(asked)[0]
    assert plain[2] == plain[3]
    squared = user_knn.fit(log, dataclasses.replace(flat, agreement=2.0)).score(asked)[0]
    assert squared[2] == 2 * squared[3]


def test_user_knn_looks_at_a_sample_of_the_readers_of_what_everybody_met(monkeypatch):
    monkeypatch.setattr(user_knn, "MAX_READERS", 10)
    learners = np.repeat(np.arange(50), 2)
    resources = np.stack([np.zeros(50, int), 1 + np.arange(50) % 5], axis=1).ravel()
    scores = user_knn.fit(
        InteractionLog.from_arrays(learners, resources), user_knn.UserKnnConfig(length_power=0.0, rarity_power=0.0)
    ).score([np.array([0])])[0]
    assert scores.sum() == 10
    assert (scores > 0).sum() > 1


def test_a_flood_moves_counts_no_more_than_its_cap():
    learners = np.concatenate([np.zeros(2000), np.repeat(np.arange(1, 21), 2)])
    resources = np.concatenate([np.tile([0, 1], 1000), np.tile([0, 2], 20)])
    log = InteractionLog.from_arrays(learners, resources, n_resources=3)
    capped = log.cap_learner_weight(10)
    for module, config in (
        (transitions, transitions.TransitionsConfig(window=1)),
        (popularity, popularity.PopularityConfig()),
    ):
        flooded = module.fit(log, config).score([np.array([0])])[0]
        calm = module.fit(capped, config).score([np.array([0])])[0]
        assert flooded[1] > flooded[2], module
        assert calm[2] > calm[1], module


def test_popular_lately_forgets_what_was_popular():
    log = InteractionLog.from_arrays([0, 1, 2, 3, 4], [0, 0, 0, 1, 1], times=np.array([0, 0, 0, 60, 60]) * DAY)
    ever = popularity.fit(log, popularity.PopularityConfig())
    lately = popularity.fit(log, popularity.PopularityConfig(half_life_days=30))
    assert ever.scores == pytest.approx([0.6, 0.4])
    assert lately.scores == pytest.approx([(3 / 4) / (2 + 3 / 4), 2 / (2 + 3 / 4)])


def test_without_a_clock_popular_lately_is_popular():
    log = InteractionLog.from_arrays([0, 1, 2], [0, 0, 1], times=[1.0, np.nan, 2.0])
    lately = popularity.fit(log, popularity.PopularityConfig(half_life_days=1))
    assert lately.scores == pytest.approx([2 / 3, 1 / 3])


def test_content_cannot_say_anything_about_what_has_no_text():
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0.9, 0.1, 0], [0, 0, 0]], dtype=np.float32)
    model = content.fit(vectors, content.ContentConfig(whitening=0))
    scores = model.score([np.array([0]), np.array([3]), np.array([0, 3])])
    assert np.isnan(scores[:, 3]).all()
    assert np.isnan(scores[1]).all()
    assert scores[0, 2] > 0 > scores[0, 1]
    np.testing.assert_array_equal(scores[2], scores[0])
    ids, weights = model.neighbours(2)
    assert ids.tolist() == [[2, -1], [-1, -1], [0, -1], [-1, -1]]
    assert (weights[ids < 0] == 0).all()


def test_vectors_that_are_all_alike_are_no_error():
    model = content.fit(np.ones((5, 4), dtype=np.float32) / 2, content.ContentConfig(whitening=1.0))
    assert np.isfinite(np.nan_to_num(model.score([np.array([1])]))).all()


def test_whitening_makes_components_equal():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(500, 6)) * [5, 3, 1, 1, 0.5, 0.1]).astype(np.float32)
    prepared = content.fit(vectors, content.ContentConfig(whitening=1.0)).vectors
    assert prepared.std(axis=0).max() / prepared.std(axis=0).min() < 1.3


def test_factors_of_a_learner_solve_the_weighted_least_squares():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(6, 3)).astype(np.float32)
    config = ials.IalsConfig(factors=3, reg=0.5, alpha=4.0, decay=0.5)
    vector = ials.IalsModel(factors, config).learner_vectors([np.array([2, 5])])[0]
    confidence = np.ones(6)
    confidence[[2, 5]] += 4.0 * np.array([0.5, 1.0])
    wanted = np.zeros(6)
    wanted[[2, 5]] = 1
    system = (factors.T * confidence) @ factors + 0.5 * np.eye(3)
    np.testing.assert_allclose(vector, np.linalg.solve(system, (factors.T * confidence) @ wanted), rtol=1e-4)


def test_factorisation_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "implicit.als", None)
    with pytest.raises(MissingDependency, match=r"llmrec_django\[cf\]"):
        ials.fit(chain(), ials.IalsConfig())


def test_a_dense_and_a_sparse_matrix_score_alike():
    model = transitions.fit(chain(), transitions.TransitionsConfig())
    dense = ItemToItemModel(model.matrix.toarray(), decay=model.decay)
    histories = chain().histories()
    np.testing.assert_allclose(dense.score(histories), model.score(histories), rtol=1e-6)
    np.testing.assert_array_equal(dense.neighbours(4)[0], model.neighbours(4)[0])
