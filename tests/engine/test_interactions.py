import numpy as np
import pytest

from llmrec_django.engine.interactions import InteractionLog, stack_histories


def small_log() -> InteractionLog:
    return InteractionLog.from_arrays(
        learners=[1, 0, 1, 0, 1, 3],
        resources=[4, 2, 3, 1, 4, 0],
        times=[30.0, 20.0, 10.0, 10.0, 40.0, 5.0],
        weights=[1.0, 0.5, 1.0, 1.0, 0.2, 1.0],
        n_learners=5,
        n_resources=6,
    )


def test_it_sorts_by_learner_then_time():
    log = small_log()
    assert log.learners.tolist() == [0, 0, 1, 1, 1, 3]
    assert log.resources.tolist() == [1, 2, 3, 4, 4, 0]
    assert log.times.tolist() == [10, 20, 10, 30, 40, 5]


def test_equal_and_unknown_times_keep_the_order_of_arrival():
    log = InteractionLog.from_arrays([0] * 5, [4, 3, 2, 1, 0], times=[7.0, 7.0, np.nan, np.nan, 1.0])
    assert log.resources.tolist() == [0, 4, 3, 2, 1]
    assert not log.has_clock
    assert InteractionLog.from_arrays([0, 0], [1, 0]).resources.tolist() == [1, 0]


def test_histories_hold_learners_without_interactions_too():
    assert [history.tolist() for history in small_log().histories()] == [[1, 2], [3, 4, 4], [], [0], []]
    assert [history.tolist() for history in small_log().histories([3, 1])] == [[0], [3, 4, 4]]


def test_positions_lengths_and_first_meetings():
    log = small_log()
    assert log.positions.tolist() == [0, 1, 0, 1, 2, 0]
    assert log.lengths.tolist() == [2, 3, 0, 1, 0]
    assert log.is_first.tolist() == [True, True, True, True, False, True]


def test_dropping_the_last_ones_and_taking_them_share_the_log_out():
    log = small_log()
    assert [history.tolist() for history in log.drop_last().histories()] == [[1], [3, 4], [], [], []]
    assert [history.tolist() for history in log.take_last().histories()] == [[2], [4], [], [0], []]
    assert len(log.drop_last(2)) + len(log.take_last(2)) == len(log)


def test_before_leaves_out_what_happened_then_or_at_a_time_nobody_knows():
    log = InteractionLog.from_arrays([0, 0, 0], [0, 1, 2], times=[1.0, 2.0, np.nan])
    assert log.before(2.0).resources.tolist() == [0]


def test_a_flood_is_capped_and_others_are_left_alone():
    log = InteractionLog.from_arrays([0] * 100 + [1] * 2, list(range(50)) * 2 + [0, 1]).cap_learner_weight(10)
    assert log.weights[:100].sum() == pytest.approx(10)
    assert log.weights[100:].tolist() == [1, 1]


def test_the_matrix_counts_a_pair_once_with_its_largest_weight():
    matrix = small_log().matrix().toarray()
    assert matrix.shape == (5, 6)
    assert matrix[1].tolist() == [0, 0, 0, 1, 1, 0]
    assert matrix[0].tolist() == pytest.approx([0, 1, 0.5, 0, 0, 0])


def test_interactions_that_speak_against_a_resource_are_no_positives():
    log = InteractionLog.from_arrays([0, 0, 1], [0, 1, 1], weights=[1, -1, 0])
    assert log.positive().resources.tolist() == [0]
    assert log.positive().n_learners == 2


def test_an_empty_log_answers_everything():
    log = InteractionLog.from_arrays([], [], n_learners=2, n_resources=3)
    assert len(log.drop_last()) == 0
    assert [len(history) for history in log.histories()] == [0, 0]
    assert log.matrix().shape == (2, 3)
    assert not log.has_clock
    assert len(log.cap_learner_weight(1)) == 0


def test_arrays_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        small_log().resources[0] = 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"learners": [0], "resources": [0, 1]}, r"'resources' has shape \(2,\)"),
        ({"learners": [0], "resources": [-1]}, "holds -1"),
        ({"learners": [0], "resources": [3], "n_resources": 3}, "row numbers below 3"),
        ({"learners": [5], "resources": [0], "n_learners": 2}, "row numbers below 2"),
        ({"learners": [0], "resources": [0], "weights": [float("nan")]}, "not finite"),
    ],
)
def test_wrong_columns_are_refused_with_what_was_found(columns, message):
    with pytest.raises(ValueError, match=message):
        InteractionLog.from_arrays(**columns)


def test_stacked_histories_can_be_told_apart():
    resources, offsets = stack_histories([np.array([1, 2]), np.array([], dtype=int), np.array([3])])
    assert resources.tolist() == [1, 2, 3]
    assert offsets.tolist() == [0, 2, 2, 3]
    assert stack_histories([])[1].tolist() == [0]


def test_a_run_with_one_resource_is_one_step():
    log = InteractionLog.from_arrays([0, 0, 0, 0, 1, 1], [1, 1, 2, 1, 1, 1], values=[1, 2, 3, 4, 5, 6])
    assert log.without_pings().values.tolist() == [2, 3, 4, 6]
    assert len(log.take(np.zeros(6, dtype=bool)).without_pings()) == 0


def test_reports_that_repeat_themselves_are_no_long_history():
    # Learner 0 looks at 1, goes on with it three times in between looking again, moves to 2 and comes back.
    log = InteractionLog.from_arrays(
        [0] * 7 + [1] * 2, [1, 1, 1, 1, 1, 2, 1, 1, 1], verbs=[0, 1, 1, 0, 1, 1, 1, 1, 0], values=range(9)
    )
    assert log.without_repeats().values.tolist() == [3, 4, 5, 6, 7, 8]
    assert log.without_repeats().lengths.tolist() == [4, 2]
    assert len(log.take(np.zeros(9, dtype=bool)).without_repeats()) == 0


def test_histories_can_be_shortened_to_lengths_of_their_own():
    log = small_log().shortened(np.array([1, 2, 5, 0, 1]))
    assert [history.tolist() for history in log.histories()] == [[2], [4, 4], [], [], []]
