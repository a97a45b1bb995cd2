"""Places drawn by lot, and lists that lean to a level."""

from collections import Counter

import numpy as np
import pytest

from llmrec_django.engine.ranking.blend import Blend
from llmrec_django.engine.ranking.calibrate import Calibration
from llmrec_django.engine.ranking.explore import draw_places
from llmrec_django.engine.ranking.level import estimate_level, lean

SCORES = [5.0, 4.0, 3.5, 2.0, 1.0, 0.5]


class TestDrawing:
    @pytest.mark.parametrize("by_score", [False, True])
    def test_the_propensity_is_how_often_it_is_drawn(self, by_score):
        rng = np.random.default_rng(3)
        n = 20_000
        drawn = Counter()
        said = {}
        for _ in range(n):
            ((place, chance),) = draw_places(SCORES, 1, 4, rng, by_score=by_score)
            drawn[place] += 1
            said[place] = chance
        assert set(drawn) == {0, 1, 2, 3}, "the pool and nothing after it"
        assert sum(said.values()) == pytest.approx(1)
        for place, chance in said.items():
            assert drawn[place] / n == pytest.approx(chance, abs=0.012)
        assert (len(set(said.values())) == 1) is not by_score
        if by_score:
            assert said[0] > said[1] > said[2] > said[3]

    def test_several_places_hold_different_ones_each_from_a_full_pool(self):
        rng = np.random.default_rng(4)
        for _ in range(50):
            drawn = draw_places(SCORES, 3, 2, rng)
            assert len({place for place, _ in drawn}) == 3
            assert [chance for _, chance in drawn] == [0.5, 0.5, 0.5]
            assert all(place <= 3 for place, _ in drawn)

    def test_the_same_seed_draws_the_same(self):
        first, second = (draw_places(SCORES, 2, 5, np.random.default_rng(9), by_score=True) for _ in range(2))
        assert first == second

    def test_with_one_candidate_there_is_no_choice(self):
        assert draw_places([1.0], 3, 20, np.random.default_rng(0)) == [(0, 1.0)]
        assert draw_places([], 3, 20, np.random.default_rng(0)) == []
        assert [chance for _, chance in draw_places([2.0, 2.0], 1, 9, np.random.default_rng(0), by_score=True)] == [0.5]


class TestLevel:
    def test_nothing_said_is_nothing_known(self):
        assert estimate_level([], None, 2.0) is None
        assert estimate_level([], 1.0, 2.0) == 1.0

    def test_too_hard_moves_down_and_too_easy_up(self):
        assert 0 < estimate_level([(1.0, -1)], None, 2.0) < 0.5
        assert 1.5 < estimate_level([(1.0, 1)], None, 2.0) < 2
        assert 0 < estimate_level([(1.0, -1)], 1.0, 2.0) < 1
        assert 1 < estimate_level([(1.0, 1)], 1.0, 2.0) < 2

    def test_what_was_said_last_counts_most(self):
        up, down = (1.0, 1), (1.0, -1)
        assert estimate_level([down, up], None, 2.0) > 1 > estimate_level([up, down], None, 2.0)

    def test_it_stays_on_the_scale_and_repeats_go_on(self):
        once, often = ([(1.0, -1)] * n for n in (1, 5))
        assert 0 < estimate_level(often, 2.0, 2.0) < estimate_level(once, 2.0, 2.0)
        assert estimate_level([(0.0, -1)] * 9, 2.0, 2.0) == 0.0
        assert estimate_level([(2.0, 1)] * 9, None, 2.0) == 2.0

    def test_of_unknown_level_it_speaks_of_where_the_learner_stood(self):
        assert estimate_level([(None, -1)], 2.0, 2.0) < 2.0
        assert estimate_level([(None, -1)], None, 2.0) == estimate_level([(1.0, -1)], None, 2.0)

    def test_leaning_lowers_what_is_far_from_the_level(self):
        scores = np.array([1.0, 0.9, 0.8, 0.7])
        leaned = lean(scores, np.array([2.0, 0.0, 1.0, 0.0]), 0.0, 1.0, 3)
        assert leaned == pytest.approx([0.6, 0.9, 0.6, 0.7])

    def test_what_is_far_from_relevant_stays_behind(self):
        scores = np.array([0.9, 0.85, 0.8, 0.1])
        leaned = lean(scores, np.array([2.0, 2.0, 2.0, 0.0]), 0.0, 1.0, 3)
        assert list(np.argsort(-leaned)) == [0, 1, 2, 3]

    def test_unknown_levels_are_neither_lifted_nor_lowered_on_the_whole(self):
        leaned = lean(np.array([1.0, 0.9, 0.8]), np.array([0.0, np.nan, 2.0]), 0.0, 1.0, 3)
        assert leaned == pytest.approx([1.0, 0.7, 0.4])
        scores = np.array([3.0, 2.0])
        assert lean(scores, np.array([np.nan, np.nan]), 0.0, 1.0, 2) == pytest.approx(scores)
        assert len(lean(np.zeros(0), np.zeros(0), 0.0, 1.0, 2)) == 0

    def test_equal_scores_go_by_place(self):
        leaned = lean(np.zeros(4), np.array([2.0, 0.0, 2.0, 0.0]), 0.0, 1.0, 4)
        assert list(np.argsort(-leaned, kind="stable")) == [1, 3, 0, 2]


def test_factors_scale_the_weights_of_the_sources_they_name():
    blend = Blend(("a", "b"), (Calibration(), Calibration()), np.ones((4, 2)))
    scores = {"a": np.array([[1.0, 2.0]], np.float32), "b": np.array([[5.0, 1.0]], np.float32)}
    lengths = np.array([3])
    only_a = blend.scaled({"b": 0.0, "unknown": 9.0})
    assert only_a.combine(scores, lengths) == pytest.approx(blend.combine({"a": scores["a"]}, lengths))
    assert blend.weights.tolist() == np.ones((4, 2)).tolist(), "the blend itself stays"
