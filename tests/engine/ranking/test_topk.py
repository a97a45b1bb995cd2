import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llmrec_django.engine.ranking.topk import rank_top_k, tie_keys


def test_best_first_without_what_was_seen():
    ranked, scores = rank_top_k(np.array([[0.1, 0.9, 0.5, 0.7]]), 2, [np.array([1])])
    assert ranked.tolist() == [[3, 2]]
    assert scores[0] == pytest.approx([0.7, 0.5])


def test_places_that_cannot_be_filled_hold_minus_one():
    ranked, scores = rank_top_k(np.array([[1.0, np.nan, -np.inf]]), 5)
    assert ranked.tolist() == [[0, -1, -1, -1, -1]]
    assert np.isneginf(scores[0, 1:]).all()


def test_only_allowed_resources_are_taken():
    assert rank_top_k(np.array([[3.0, 2.0, 1.0]]), 3, allowed=np.array([False, True, True]))[0].tolist() == [[1, 2, -1]]


def test_ties_go_by_the_keys_and_by_default_not_by_row():
    scores = np.zeros((1, 1000))
    keys = np.arange(1000, dtype=np.uint64)[::-1].copy()
    assert rank_top_k(scores, 3, keys=keys)[0].tolist() == [[999, 998, 997]]
    ranked = rank_top_k(scores, 50)[0][0]
    assert abs(ranked.mean() - 500) < 150
    assert (np.diff(ranked) < 0).any()
    assert (np.diff(ranked) > 0).any()


def test_keys_are_distinct_and_stable():
    assert len(np.unique(tie_keys(np.arange(10_000)))) == 10_000
    assert int(tie_keys(np.array([0]))[0]) == 0xE220A8397B1DCDAF


def test_the_scores_given_stay_as_they_are():
    scores = np.array([[1.0, 2.0]], dtype=np.float32)
    rank_top_k(scores, 1, [np.array([1])])
    assert scores.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_nothing_to_rank_gives_empty_places(shape):
    assert rank_top_k(np.zeros(shape), 2)[0].tolist() == [[-1, -1]] * shape[0]


@given(
    arrays(np.float32, (3, 9), elements=st.sampled_from([0.0, 1.0, 2.0, -np.inf, np.nan])),
    st.integers(0, 11),
    st.lists(st.lists(st.integers(0, 8), max_size=9), min_size=3, max_size=3),
)
def test_it_agrees_with_sorting_everything(scores, k, seen):
    keys = tie_keys(np.arange(9))
    ranked, _ = rank_top_k(scores, k, [np.array(row, dtype=int) for row in seen])
    for row in range(3):
        left = [i for i in range(9) if i not in seen[row] and scores[row, i] > -np.inf]
        expected = sorted(left, key=lambda i: (-scores[row, i], keys[i]))[:k]
        assert ranked[row].tolist() == expected + [-1] * (k - len(expected))


def test_many_equals_at_the_last_place_go_by_key_beside_rows_without():
    scores = np.array([[5.0, 1, 1, 1, 1, 1], [6.0, 5, 4, 3, 2, 1]])
    keys = np.array([0, 9, 4, 7, 1, 8], dtype=np.uint64)
    assert rank_top_k(scores, 3, keys=keys)[0].tolist() == [[0, 4, 2], [0, 1, 2]]
