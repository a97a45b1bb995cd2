import math

import numpy as np
import pytest

from llmrec_django.engine.evaluation.bootstrap import bootstrap_mean, bootstrap_means, paired_difference
from llmrec_django.engine.evaluation.segments import history_segments, segment_means, segment_names


def test_the_interval_is_about_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(3, 2, size=2000)
    estimate = bootstrap_mean(values)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=half / 5)
    assert estimate.high == pytest.approx(values.mean() + half, abs=half / 5)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(1).random(50)
    assert bootstrap_mean(values, seed=4) == bootstrap_mean(values, seed=4)
    assert bootstrap_mean(values, seed=4) != bootstrap_mean(values, seed=5)


def test_learners_without_a_value_are_left_out():
    assert bootstrap_mean(np.array([1.0, np.nan, 1.0])).n == 2
    nobody = bootstrap_mean(np.array([np.nan]))
    assert math.isnan(nobody.mean)
    assert nobody.n == 0
    assert not nobody.is_above_zero


def test_several_measures_at_once_are_what_each_is_alone():
    values = np.random.default_rng(1).random((80, 3))
    for several, column in zip(bootstrap_means(values, seed=3), values.T, strict=True):
        single = bootstrap_mean(column, seed=3)
        assert (several.mean, several.low, several.high) == pytest.approx((single.mean, single.low, single.high))
    values[:60, 1] = np.nan
    alone, holed, _ = bootstrap_means(values)
    assert holed.n == 20
    assert holed.mean == pytest.approx(values[60:, 1].mean())
    # Fewer learners, wider interval.
    assert holed.high - holed.low > alone.high - alone.low


def test_pairing_sees_a_small_difference_that_the_spread_over_learners_hides():
    hardness = np.random.default_rng(2).random(400)
    difference = paired_difference(hardness + 0.01, hardness)
    assert difference.is_above_zero
    assert difference.low == pytest.approx(0.01)
    assert bootstrap_mean(hardness).high - bootstrap_mean(hardness).low > 0.02


def test_the_same_scores_are_not_above_zero():
    values = np.random.default_rng(2).random(400)
    assert not paired_difference(values, values).is_above_zero
    noisy = values + np.random.default_rng(3).normal(0, 0.1, 400)
    assert not paired_difference(values, noisy).is_above_zero


def test_different_learners_are_refused():
    with pytest.raises(ValueError, match="3 learners with 2"):
        paired_difference(np.zeros(3), np.zeros(2))


def test_segments_are_those_of_history_lengths():
    assert segment_names() == ("0", "1-2", "3-9", "10+")
    assert history_segments(np.array([0, 1, 2, 3, 9, 10, 500])).tolist() == [0, 1, 1, 2, 2, 3, 3]
    means = segment_means(np.array([1.0, 0.0, np.nan, 3.0]), np.array([0, 0, 1, 3]), 4)
    assert means[0] == (0.5, 2)
    assert math.isnan(means[1][0])
    assert means[1][1] == 0
    assert means[3] == (3.0, 1)
