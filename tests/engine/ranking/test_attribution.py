import numpy as np
import pytest

from llmrec_django.engine.ranking.attribution import occluded, strongest


def test_what_is_missing_without_a_part_is_what_it_did():
    scores = np.array([[5.0, 1.0], [2.0, 1.5], [5.0, -1.0]], dtype=np.float32)
    assert occluded(scores).tolist() == [[3.0, -0.5], [0.0, 2.0]]


def test_the_strongest_parts_come_first_with_their_share_of_what_lifts():
    effects = np.array([[1.0, 0.0], [3.0, -2.0], [-9.0, -1.0], [0.0, 0.0]], dtype=np.float32)
    first, second = strongest(effects, most=2, least_share=0.1)
    assert first == [(1, pytest.approx(0.75)), (0, pytest.approx(0.25))]
    assert second == [], "nothing lifts it"


def test_parts_with_a_small_share_or_beyond_the_most_are_left_out():
    effects = np.array([[8.0], [1.5], [0.5]], dtype=np.float32)
    assert [row for row, _ in strongest(effects, most=3, least_share=0.1)[0]] == [0, 1]
    assert [row for row, _ in strongest(effects, most=1, least_share=0.0)[0]] == [0]
    assert strongest(np.zeros((0, 2), np.float32), most=3, least_share=0.1) == [[], []]
