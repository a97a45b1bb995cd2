"""Rates of arms with their intervals, and whether learners were dealt as they should be."""

import numpy as np
import pytest
from scipy.stats import chisquare

from llmrec_django.engine.evaluation.arms import difference, rate, sample_ratio_p


def test_the_rate_is_that_of_all_events_together():
    found = rate([1, 0, 4], [2, 10, 8])
    assert (found.value, found.hits, found.chances) == (0.25, 5, 20)
    assert 0 < found.low < 0.25 < found.high < 1


def test_many_events_of_few_learners_say_less_than_of_many():
    few, many = rate([50, 0], [100, 100]), rate([1] * 50 + [0] * 150, [1] * 200)
    assert few.value == many.value
    assert few.high - few.low > 5 * (many.high - many.low)


@pytest.mark.parametrize("hits", [0, 7])
def test_a_rate_of_nothing_or_of_everything_has_an_interval_too(hits):
    found = rate([hits] * 20, [7] * 20)
    assert found.value == hits / 7
    assert 0.1 < found.high - found.low < 0.4
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_without_chances_there_is_no_rate():
    assert rate([], []).value is None
    assert rate([0, 0], [0, 0]).value is None
    assert difference(rate([], []), rate([1], [2])) is None


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(5)
    held = differences_held = 0
    for _ in range(400):
        arms = []
        for _ in range(2):
            own = rng.beta(0.2, 1.8, 150)
            shown = rng.integers(1, 60, 150)
            arms.append(rate(rng.binomial(shown, own), shown))
        held += arms[0].low <= 0.1 <= arms[0].high
        found = difference(*arms)
        differences_held += found.low <= 0 <= found.high
    assert 0.90 < held / 400 < 0.985
    assert 0.91 < differences_held / 400 < 0.985


def test_a_difference_knows_its_share_and_when_it_is_sure():
    better = difference(rate([3] * 300, [10] * 300), rate([2, 1] * 150, [10] * 300))
    assert better.value == pytest.approx(0.15)
    assert better.relative == pytest.approx(1.0)
    assert better.is_sure
    assert not difference(rate([3, 0], [10, 10]), rate([2, 1], [10, 10])).is_sure
    assert difference(rate([1], [2]), rate([0], [2])).relative is None


def test_the_sample_ratio_is_a_chi_square_test():
    for counts in ([520, 480], [300, 350, 350], [10, 20]):
        assert sample_ratio_p(counts, [1] * len(counts)) == pytest.approx(chisquare(counts).pvalue)
    assert sample_ratio_p([30, 60], [1, 2]) == pytest.approx(1)
    assert sample_ratio_p([300, 600], [1, 1]) < 1e-6


def test_the_sample_ratio_does_not_guess():
    assert sample_ratio_p([3, 4], [1, 1]) is None
    assert sample_ratio_p([30], [1]) is None
    assert sample_ratio_p([], []) is None
    assert sample_ratio_p([30, 30, 1], [1, 1, 0]) == 0.0, "an arm without a share has learners"
