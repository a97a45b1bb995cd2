"""A learner as one vector, and lists that are not all alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec_django.engine.ranking import history_vector, mmr_order, reciprocal_rank_fusion

EAST, NORTH = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def test_newer_and_stronger_interactions_count_more():
    newer_east = history_vector(np.stack([EAST, NORTH]), [1, 1], decay=0.5)
    assert newer_east[0] > newer_east[1]
    strong_north = history_vector(np.stack([EAST, NORTH]), [0.1, 1], decay=0.9)
    assert strong_north[1] > strong_north[0]
    assert np.linalg.norm(newer_east) == pytest.approx(1, abs=1e-6)


def test_goals_have_the_same_say_beside_a_short_and_a_long_history():
    short = history_vector(EAST[None], [1], decay=0.9, profile=NORTH, profile_share=0.3)
    long = history_vector(np.tile(EAST, (50, 1)), [1] * 50, decay=0.9, profile=NORTH, profile_share=0.3)
    assert np.allclose(short, long, atol=1e-6)
    assert short[1] / short[0] == pytest.approx(0.3 / 0.7, rel=1e-5)


def test_nothing_known_gives_nothing_and_goals_alone_give_goals():
    nothing = np.zeros((0, 2), np.float32)
    assert history_vector(nothing, [], decay=0.9) is None
    assert np.allclose(history_vector(nothing, [], decay=0.9, profile=NORTH), NORTH)
    assert history_vector(np.stack([EAST, -EAST]), [1, 1], decay=1.0) is None, "opposites cancel out"


def test_mmr_takes_the_best_first_and_then_what_is_unlike_it():
    vectors = np.stack([EAST, EAST, NORTH])
    scores = np.array([1.0, 0.99, 0.5])
    assert mmr_order(scores, vectors, 3, 0.0) == [0, 1, 2]
    assert mmr_order(scores, vectors, 2, 0.7) == [0, 2]
    assert mmr_order(np.array([]), np.zeros((0, 2), np.float32), 5, 0.5) == []


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.integers(1, 25), st.floats(0, 1))
def test_mmr_never_repeats_and_returns_as_many_as_there_are(scores, k, diversity):
    vectors = np.random.default_rng(0).standard_normal((len(scores), 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = mmr_order(np.array(scores), vectors, k, diversity)
    assert len(order) == len(set(order)) == min(k, len(scores))
    assert order[0] == int(np.argmax(scores))


def test_what_two_lists_agree_on_comes_first():
    fused = reciprocal_rank_fusion([["a", "b", "c"], ["d", "b"]], constant=1)
    assert fused[0][0] == "b"
    assert fused[0][1] == pytest.approx(1 / 3 + 1 / 3)
    assert reciprocal_rank_fusion([]) == []
