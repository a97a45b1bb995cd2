import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import AP, RR, P, R, Success, nDCG

from llmrec_django.engine.evaluation import metrics

RANKED = np.array([[7, 3, 9, 1, 5], [2, 4, 6, 8, 0], [1, 2, -1, -1, -1]])
RELEVANT = [np.array([3, 1, 8]), np.array([9]), np.array([1, 2])]


def scores(k: int) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in metrics.accuracy(RANKED, RELEVANT, [k]).items()}


def test_hand_computed_values_at_four():
    dcg, ideal = 1 / math.log2(3) + 1 / math.log2(5), 1 + 1 / math.log2(3) + 1 / 2
    got = scores(4)
    assert got["precision@4"] == pytest.approx([2 / 4, 0, 2 / 4])
    assert got["recall@4"] == pytest.approx([2 / 3, 0, 1])
    assert got["F1@4"] == pytest.approx([4 / 7, 0, 2 / 3])
    assert got["hit rate@4"] == [1, 0, 1]
    assert got["MRR@4"] == pytest.approx([1 / 2, 0, 1])
    assert got["MAP@4"] == pytest.approx([(1 / 2 + 2 / 4) / 3, 0, 1])
    assert got["NDCG@4"] == pytest.approx([dcg / ideal, 0, 1])


def test_the_best_reachable_sum_has_min_k_relevant_hits():
    got = metrics.accuracy(np.array([[0, 1]]), [np.arange(10)], [2])
    assert got["NDCG@2"].tolist() == [1]
    assert got["MAP@2"] == pytest.approx([2 / 10])


def test_a_learner_without_relevant_resources_says_nothing():
    got = metrics.accuracy(np.array([[0, 1], [0, 1]]), [np.array([0]), np.array([], dtype=int)], [2])
    for values in got.values():
        assert math.isnan(values[1])
        assert metrics.mean(values) == values[0]
    assert math.isnan(metrics.mean(np.array([np.nan])))


def test_an_empty_list_scores_nothing_where_something_was_relevant():
    got = metrics.accuracy(np.full((1, 5), -1), [np.array([0])], [5])
    assert all(values.tolist() == [0] for values in got.values())


def test_a_list_that_repeats_a_resource_is_refused():
    with pytest.raises(ValueError, match="names a resource twice"):
        metrics.accuracy(np.array([[3, 3]]), [np.array([3])])


def test_relevant_resources_named_twice_count_once():
    got = metrics.accuracy(np.array([[3, 1]]), [np.array([3, 3])], [2])
    assert got["recall@2"].tolist() == [1]


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    with pytest.raises(ValueError, match="at least 1"):
        metrics.accuracy(RANKED, RELEVANT, [k])


lists = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.permutations(range(12)).map(lambda row: row[:n]), min_size=1, max_size=5),
        st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=5, max_size=5),
    )
)


@given(lists, st.integers(1, 14))
def test_values_are_those_of_trec_eval(drawn, k):
    rows, truth = drawn
    ranked = np.array(rows)
    got = metrics.accuracy(ranked, [np.array(sorted(wanted)) for wanted in truth[: len(rows)]], [k])
    measures = {"NDCG": nDCG @ k, "recall": R @ k, "precision": P @ k, "MAP": AP @ k, "hit rate": Success @ k}
    measures["MRR"] = RR @ k
    qrels = [
        ir_measures.Qrel(f"u{u}", f"r{item:02}", 1) for u, wanted in enumerate(truth[: len(rows)]) for item in wanted
    ]
    run = [
        ir_measures.ScoredDoc(f"u{u}", f"r{item:02}", -float(rank))
        for u, row in enumerate(rows)
        for rank, item in enumerate(row)
    ]
    wanted = {(str(m.measure), m.query_id): m.value for m in ir_measures.iter_calc(list(measures.values()), qrels, run)}
    for name, measure in measures.items():
        expected = [wanted[str(measure), f"u{u}"] for u in range(len(rows))]
        assert got[f"{name}@{k}"] == pytest.approx(expected), name


@given(lists, st.integers(1, 12))
def test_values_lie_between_zero_and_one_and_recall_grows_with_k(drawn, k):
    rows, truth = drawn
    relevant = [np.array(sorted(wanted)) for wanted in truth[: len(rows)]]
    got = metrics.accuracy(np.array(rows), relevant, [k, k + 1])
    assert all(((values >= 0) & (values <= 1 + 1e-12)).all() for values in got.values())
    assert (got[f"recall@{k + 1}"] >= got[f"recall@{k}"]).all()


def test_moving_a_hit_up_never_lowers_a_value():
    relevant = [np.array([3])]
    low = metrics.accuracy(np.array([[0, 1, 2, 3]]), relevant, [4])
    high = metrics.accuracy(np.array([[0, 3, 2, 1]]), relevant, [4])
    assert all((high[name] >= low[name]).all() for name in low)
    assert high["NDCG@4"] > low["NDCG@4"]


def test_coverage_counts_distinct_resources():
    assert metrics.catalogue_coverage(np.array([[0, 1], [1, -1]]), 4) == 0.5
    assert metrics.catalogue_coverage(np.zeros((0, 2), dtype=int), 0) == 0


def test_gini_is_zero_for_equal_exposure_and_near_one_for_a_single_star():
    assert metrics.gini(np.array([[0, 1], [2, 3]]), 4) == pytest.approx(0)
    assert metrics.gini(np.array([[0], [0], [0]]), 4) == pytest.approx(3 / 4)
    assert math.isnan(metrics.gini(np.array([[-1]]), 4))


def test_novelty_is_the_bits_of_the_share_of_learners():
    got = metrics.novelty(np.array([[0, 1], [1, -1], [-1, -1]]), np.array([7, 3]), n_learners=7)
    assert got[:2] == pytest.approx([(0 + 1) / 2, 1])
    assert math.isnan(got[2])
    assert np.isfinite(metrics.novelty(np.array([[0]]), np.array([0]), n_learners=7)).all()


def test_intra_list_diversity_is_the_mean_of_one_minus_cosine():
    vectors = np.array([[1, 0], [0, 1], [1, 0], [0, 0]], dtype=np.float32)
    got = metrics.intra_list_diversity(np.array([[0, 1, 2], [0, 2, -1], [0, 3, -1], [0, 1, 3]]), vectors)
    assert got[[0, 1, 3]] == pytest.approx([2 / 3, 0, 1])
    assert math.isnan(got[2])
