import numpy as np
import pytest

from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.relevance.data import (
    GAP_BUCKETS,
    TrainingData,
    gap_buckets,
    latest,
    outcome_weights,
    with_reversed,
)


def log_of(*histories, **columns):
    learners = [u for u, history in enumerate(histories) for _ in history]
    resources = [resource for history in histories for resource in history]
    return InteractionLog.from_arrays(learners, resources, n_learners=len(histories), n_resources=1000, **columns)


def data_of(log, max_length=5, batch_positions=40, hide_seen=True, **options):
    weights = outcome_weights(log, negative_weight=0.2)
    sizes = {"max_length": max_length, "batch_positions": batch_positions}
    return TrainingData(log, weights, hide_seen=hide_seen, **sizes, **options)


def random_log(seed=0, longest=23):
    rng = np.random.default_rng(seed)
    return log_of(*[1 + rng.permutation(900)[: rng.integers(0, longest)] for _ in range(60)])


@pytest.mark.parametrize("seed", range(4))
def test_every_interaction_is_predicted_once_an_epoch_from_what_came_just_before(seed):
    log = random_log(seed)
    data = data_of(log)
    predicted = []
    for begin, end in data.batches(np.random.default_rng(seed)):
        batch = data.assemble(begin, end)
        width = batch.resources.shape[1] + 1
        assert batch.resources.shape[1] <= 5
        for place, target in zip(batch.places, batch.targets, strict=True):
            row, state = divmod(int(place), width)
            history = log.history(int(batch.learners[row])).tolist()
            at = history.index(target)
            predicted.append((int(batch.learners[row]), int(target)))
            # The state has read `state` interactions: those right before the target, and no later one.
            assert batch.resources[row, :state].tolist() == history[at - state : at]
            assert state > 0 or at == 0
    everything = list(zip(log.learners.tolist(), log.resources.tolist(), strict=True))
    assert sorted(predicted) == sorted(everything)


def test_what_a_learner_had_before_is_left_out_of_the_softmax():
    log = random_log(1)
    data = data_of(log)
    for begin, end in data.batches(np.random.default_rng(0)):
        batch = data.assemble(begin, end)
        width = batch.resources.shape[1] + 1
        for number, (place, target) in enumerate(zip(batch.places, batch.targets, strict=True)):
            history = log.history(int(batch.learners[int(place) // width])).tolist()
            hidden = batch.seen[1][batch.seen[0] == number]
            assert sorted(hidden.tolist()) == sorted(history[: history.index(target)])


def test_batches_hold_pieces_of_like_length_and_stay_near_their_size():
    log = random_log(2)
    data = data_of(log, batch_positions=40)
    batches = data.batches(np.random.default_rng(0))
    sizes = [data.assemble(begin, end).resources.size for begin, end in batches]
    assert max(sizes) <= 40
    cells = sum(sizes) + sum(len(begin) for begin, _ in batches)
    assert len(log) / cells > 0.75  # little padding


def test_cuts_and_order_change_with_the_epoch_and_not_with_the_call():
    data = data_of(random_log(3))
    one, same, other = (data.batches(np.random.default_rng([7, epoch])) for epoch in (0, 0, 1))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(one, same, strict=True))
    flat = [sorted(np.concatenate([begin for begin, _ in batches]).tolist()) for batches in (one, other)]
    assert flat[0] != flat[1]


def test_padding_is_never_a_target_nor_read_before_one():
    batch = data_of(log_of([1, 2, 3], [4])).assemble(np.array([0, 3]), np.array([3, 4]))
    assert batch.resources.tolist() == [[1, 2], [0, 0]]
    assert batch.places.tolist() == [0, 1, 2, 3]
    assert batch.targets.tolist() == [1, 2, 3, 4]


def test_the_best_outcome_decides_at_the_first_meeting():
    # viewed .3 now, completed 1 later: worth 1 when first met, nothing the second time
    log = log_of([1, 2, 1], weights=[0.3, 0.5, 1.0])
    assert outcome_weights(log, negative_weight=0.2).tolist() == pytest.approx([1.0, 0.5, 1.0])
    assert data_of(log).weights.tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert data_of(log, hide_seen=False).weights.tolist() == pytest.approx([1.0, 0.5, 1.0])
    # Told from its end it is met last first: there it is to be predicted.
    assert data_of(log, reversed_share=0.5).weights.tolist() == pytest.approx([1.0, 0.5, 0.0, 1.0, 0.5, 0.0])


def test_what_was_turned_down_at_last_is_to_be_avoided():
    log = log_of([1, 2, 1], [1, 2, 1], weights=[0.8, 0.5, -1.0, -1.0, 0.5, 0.8])
    assert outcome_weights(log, negative_weight=0.2).tolist() == pytest.approx([-0.2, 0.5, -0.2, 0.8, 0.5, 0.8])


def test_the_sequence_told_from_its_end_has_the_same_steps_and_gaps():
    day = 86400.0
    log = log_of(
        [1, 2, 3], [], [4, 5], times=[0, 7200, 2 * day, 0, np.nan], verbs=[0, 1, 2, 3, 4], weights=[1, 2, 3, 4, 5]
    )
    doubled, weights = with_reversed(log, np.arange(5, dtype=np.float32))
    assert [history.tolist() for history in doubled.histories()] == [[1, 2, 3], [], [4, 5], [3, 2, 1], [], [5, 4]]
    assert doubled.verbs.tolist() == [0, 1, 2, 3, 4, 2, 1, 0, 4, 3]
    assert weights.tolist() == [0, 1, 2, 3, 4, 2, 1, 0, 4, 3]
    assert doubled.n_learners == 6
    data = data_of(log, reversed_share=0.5)
    forward, backward = (data.assemble(np.array([begin]), np.array([begin + 3])) for begin in (0, 5))
    assert forward.gaps.tolist() == [[0, 3]]
    assert backward.gaps.tolist() == [[0, 5]]
    assert backward.resources.tolist() == [[3, 2]]
    assert backward.targets.tolist() == [3, 2, 1]


def test_each_epoch_tells_others_from_the_end_and_nobody_both_ways():
    log = random_log(4)
    data = data_of(log, reversed_share=0.3)
    told = []
    for epoch in range(2):
        ways, predicted = {}, []
        for begin, end in data.batches(np.random.default_rng(epoch)):
            batch = data.assemble(begin, end)
            for learner, way in zip(batch.learners.tolist(), batch.is_reversed.tolist(), strict=True):
                assert ways.setdefault(learner, way) == way
            rows = batch.places // (batch.resources.shape[1] + 1)
            predicted += list(zip(batch.learners[rows].tolist(), batch.targets.tolist(), strict=True))
        assert sorted(predicted) == sorted(zip(log.learners.tolist(), log.resources.tolist(), strict=True))
        told.append({learner for learner, way in ways.items() if way})
    assert told[0] != told[1]
    assert 5 < len(told[0]) < 30  # of 60 learners, some of them without history


def test_failed_and_left_is_to_be_avoided_failed_and_passed_is_not():
    viewed, failed, passed = 0, 1, 2
    log = log_of([1, 2, 1], [1, 2, 1], weights=[0.3] * 5 + [1], verbs=[viewed, viewed, failed, failed, viewed, passed])
    found = outcome_weights(log, negative_weight=0.5, failure_verbs=[failed])
    assert found.tolist() == pytest.approx([-0.15, 0.3, -0.15, 1, 0.3, 1])


def test_neutral_interactions_are_read_and_not_predicted():
    batch = data_of(log_of([1, 2, 3], weights=[1, 0, 1])).assemble(np.array([0]), np.array([3]))
    assert batch.resources.tolist() == [[1, 2]]
    assert batch.targets.tolist() == [1, 3]


def test_gaps_are_known_only_between_interactions_with_a_time():
    day = 86400.0
    assert gap_buckets([0, 1, 1, 1 + 2 * day, np.nan, 5]).tolist() == [0, 1, 1, 5, 0, 0]
    assert gap_buckets([]).tolist() == []
    assert gap_buckets([0, 1e12]).max() == GAP_BUCKETS - 1


def test_training_and_serving_read_the_same():
    rng = np.random.default_rng(0)
    times = np.concatenate([np.cumsum(rng.integers(1, 10**6, 5)) for _ in range(2)]).astype(float)
    log = log_of([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], times=times, values=rng.random(10), verbs=rng.integers(0, 3, 10))
    trained = data_of(log).assemble(np.array([0, 5]), np.array([5, 10]))
    served = latest(log.drop_last(1), np.array([0, 1]), 5)
    for name in ("resources", "verbs", "gaps", "values"):
        np.testing.assert_array_equal(getattr(trained, name), served[name])


def test_serving_reads_the_latest_and_pads_on_the_right():
    served = latest(log_of([1, 2, 3, 4], [], [5]), np.array([2, 1, 0]), 3)
    assert served["resources"].tolist() == [[5, 0, 0], [0, 0, 0], [2, 3, 4]]
    assert served["lengths"].tolist() == [1, 0, 3]
    assert latest(log_of([], []), np.array([0, 1]), 3)["lengths"].tolist() == [0, 0]
