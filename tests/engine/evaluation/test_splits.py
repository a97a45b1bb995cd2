import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec_django.engine.evaluation.splits import cold_resources, global_time, leave_one_out, time_of_share
from llmrec_django.engine.interactions import InteractionLog

logs = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 5), st.sampled_from([1.0, 0.5, -1.0]), st.integers(0, 20).map(float)),
    max_size=40,
).map(
    lambda rows: InteractionLog.from_arrays(
        [row[0] for row in rows],
        [row[1] for row in rows],
        weights=[row[2] for row in rows],
        times=[row[3] for row in rows],
        n_learners=5,
        n_resources=6,
    )
)


def test_the_last_resource_met_for_the_first_time_is_held_out():
    log = InteractionLog.from_arrays([0, 0, 0, 0, 1, 1], [5, 3, 4, 3, 2, 1])
    split = leave_one_out(log)
    assert split.learners.tolist() == [0, 1]
    assert [rows.tolist() for rows in split.relevant] == [[4], [1]]
    assert [history.tolist() for history in split.histories()] == [[5, 3], [2]]


def test_learners_with_too_little_are_not_asked_about_but_learned_from():
    log = InteractionLog.from_arrays([0, 1, 1], [5, 3, 4])
    assert leave_one_out(log).train.resources.tolist() == [5, 3]
    newcomers = leave_one_out(log, min_history=0)
    assert newcomers.learners.tolist() == [0, 1]
    assert newcomers.histories()[0].tolist() == []


def test_what_speaks_against_a_resource_is_never_asked_for():
    log = InteractionLog.from_arrays([0, 0, 0], [1, 2, 3], weights=[1, 1, -1])
    split = leave_one_out(log)
    assert [rows.tolist() for rows in split.relevant] == [[2]]
    assert split.train.resources.tolist() == [1]


@given(logs, st.integers(0, 2))
def test_leave_one_out_never_lets_a_learner_see_their_own_future(log, min_history):
    split = leave_one_out(log, min_history=min_history)
    for learner, history, relevant in zip(split.learners, split.histories(), split.relevant, strict=True):
        full = log.history(learner)
        assert history.tolist() == full[: len(history)].tolist()
        assert full[len(history)] == relevant[0]
        assert relevant[0] not in history
        assert len(history) >= min_history
    others = np.setdiff1d(np.arange(5), split.learners)
    for learner in others:
        assert split.train.history(learner).tolist() == log.history(learner).tolist()


@given(logs, st.floats(0, 21))
def test_the_time_split_learns_from_nothing_later_than_its_time(log, time):
    if not log.has_clock:
        return
    split = global_time(log, time)
    assert (split.train.times < time).all()
    assert len(split.train) == (log.times < time).sum()
    for learner, relevant in zip(split.learners, split.relevant, strict=True):
        assert not np.isin(relevant, split.train.history(learner)).any()
        assert len(np.unique(relevant)) == len(relevant) > 0


def test_the_time_split_asks_about_newcomers_unless_told_otherwise():
    log = InteractionLog.from_arrays([0, 0, 1], [0, 1, 2], times=[1.0, 5.0, 6.0])
    assert global_time(log, 5.0).learners.tolist() == [0, 1]
    assert global_time(log, 5.0, min_history=1).learners.tolist() == [0]


def test_a_log_without_a_clock_cannot_be_split_by_time():
    with pytest.raises(ValueError, match="Use leave_one_out"):
        global_time(InteractionLog.from_arrays([0], [0]), 1.0)


def test_the_time_of_a_share_leaves_about_that_share_after_it():
    log = InteractionLog.from_arrays(np.zeros(100), np.arange(100), times=np.arange(100.0))
    assert (log.times >= time_of_share(log, 0.2)).sum() == 20


def test_cold_resources_are_in_nobodys_past():
    log = InteractionLog.from_arrays([0, 0, 0, 1, 2], [0, 4, 1, 2, 4], weights=[1, 1, 1, 1, -1])
    split = cold_resources(log, np.array([4]))
    assert 4 not in split.train.resources
    assert split.learners.tolist() == [0]
    assert split.histories()[0].tolist() == [0, 1]
    assert split.relevant[0].tolist() == [4]


def test_a_sample_keeps_all_there_is_to_learn_from():
    split = leave_one_out(InteractionLog.from_arrays(np.repeat(np.arange(50), 2), np.tile([0, 1], 50)))
    drawn = split.sample(10, seed=1)
    assert len(drawn) == len(drawn.relevant) == 10
    assert drawn.train is split.train
    assert drawn.learners.tolist() == split.sample(10, seed=1).learners.tolist()
    assert split.sample(100) is split


def test_an_empty_log_has_nothing_to_ask():
    empty = InteractionLog.from_arrays([], [], n_learners=2, n_resources=2)
    assert len(leave_one_out(empty)) == 0
