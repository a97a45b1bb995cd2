import json

import numpy as np
import pytest

from llmrec_django.engine.evaluation.metrics import ndcg, relevance_hits
from llmrec_django.engine.evaluation.splits import leave_one_out
from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.ranking.blend import Blend, BlendConfig, fit_blend, fit_folds, fold_of
from llmrec_django.engine.ranking.calibrate import Calibration, bend, fit_calibration, fit_softmax
from llmrec_django.engine.ranking.examples import collect_examples
from llmrec_django.engine.ranking.topk import rank_top_k

N_LEARNERS, N_RESOURCES = 300, 40


@pytest.fixture(scope="module")
def world():
    """Every learner has six resources; the held-out one is 1 above the one before it."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(N_LEARNERS):
        row = rng.permutation(N_RESOURCES)[:5].tolist()
        target = (row[-1] + 1) % N_RESOURCES
        rows.append([item for item in row if item != target][-4:] + [target])
    learners = np.repeat(np.arange(N_LEARNERS), [len(row) for row in rows])
    log = InteractionLog.from_arrays(learners, np.concatenate(rows), n_resources=N_RESOURCES)
    return leave_one_out(log)


def knows(strength: float, seed: int):
    """A source that sees the answer in the last resource through noise; knows nothing without a history."""
    noise = np.random.default_rng(seed).normal(size=(N_LEARNERS, N_RESOURCES)).astype(np.float32)

    def score(log: InteractionLog, learners: np.ndarray) -> np.ndarray:
        scores = noise[learners].copy()
        for row, learner in enumerate(learners):
            history = log.history(int(learner))
            if len(history):
                scores[row, (history[-1] + 1) % N_RESOURCES] += strength
            else:
                scores[row] = np.nan
        return scores

    return score


def popular(log: InteractionLog, learners: np.ndarray) -> np.ndarray:
    return np.tile(np.linspace(0, 1, N_RESOURCES, dtype=np.float32), (len(learners), 1))


def quality(blend: Blend, sources, split) -> float:
    raw = {name: source(split.train, split.learners) for name, source in sources.items()}
    scores = blend.combine(raw, split.train.lengths[split.learners])
    ranked, _ = rank_top_k(scores, 10, split.histories())
    return float(ndcg(*relevance_hits(ranked, split.relevant), 10).mean())


@pytest.fixture(scope="module")
def sources():
    return {"good": knows(3.0, 1), "fair": knows(2.0, 2), "noise": knows(0.0, 3), "popular": popular}


@pytest.fixture(scope="module")
def examples(world, sources):
    return collect_examples(sources, world, per_source=20, per_segment=100)


def test_a_calibration_never_changes_the_order_of_scores():
    scores = np.sort(np.random.default_rng(0).normal(size=50).astype(np.float32))
    for knee in (0.01, 1.0, np.inf):
        assert (np.diff(Calibration(knee, 0.3, 2.0)(scores)) > 0).all()


def test_the_bend_is_linear_below_the_knee_and_logarithmic_above():
    scores = np.array([1e-4, -1e-4, 1000.0, 2000.0], dtype=np.float32)
    bent = bend(scores, 1.0)
    assert bent[:2] == pytest.approx([1e-4, -1e-4], rel=1e-3)
    assert bent[3] - bent[2] == pytest.approx(np.log(2), rel=1e-3)
    assert bend(scores, np.inf).tolist() == scores.tolist()


def test_what_a_source_cannot_say_is_the_score_of_an_average_candidate():
    assert Calibration(np.inf, 5.0, 2.0)(np.array([np.nan, 5.0], dtype=np.float32)).tolist() == [0, 0]


def test_the_knee_follows_the_kind_of_score():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 20)).astype(np.float32)
    noisy = logits + rng.gumbel(size=logits.shape)  # the softmax of the logits is then the true probability
    target = noisy.argmax(axis=1)
    everyone = np.ones(logits.shape, dtype=bool)
    of_shares = fit_calibration(np.exp(logits) * 0.01, everyone, target)
    of_logits = fit_calibration(logits, everyone, target)
    assert of_shares.knee < 0.01
    assert of_logits.knee > 2


def test_scores_that_are_all_equal_are_no_error():
    calibration = fit_calibration(np.ones((3, 4), np.float32), np.ones((3, 4), bool), np.zeros(3, int))
    assert calibration == Calibration()


def test_weights_of_a_softmax_are_found_again():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5000, 15, 3)).astype(np.float32)
    truth = np.array([1.5, 0.5, 0.0])
    target = (features @ truth + rng.gumbel(size=(5000, 15))).argmax(axis=1)
    weights, loss = fit_softmax(features, np.ones((5000, 15), bool), target)
    assert weights == pytest.approx(truth, abs=0.08)
    assert loss < np.log(15)


def test_weights_are_never_negative():
    features = np.random.default_rng(0).normal(size=(500, 10, 1)).astype(np.float32)
    target = features[:, :, 0].argmin(axis=1)
    assert fit_softmax(features, np.ones((500, 10), bool), target)[0].tolist() == [0]


def test_few_learners_keep_the_weights_they_are_pulled_to():
    features = np.random.default_rng(0).normal(size=(400, 10, 1)).astype(np.float32)
    target = (features[:, :, 0] * 2 + np.random.default_rng(1).gumbel(size=(400, 10))).argmax(axis=1)
    everyone = np.ones((400, 10), bool)
    start = np.array([0.5])
    few, _ = fit_softmax(features[:3], everyone[:3], target[:3], start=start, pull=500.0)
    many, _ = fit_softmax(features, everyone, target, start=start, pull=5.0)
    assert few == pytest.approx(start, abs=0.1)
    assert many == pytest.approx([2.0], abs=0.4)
    nobody, loss = fit_softmax(features[:0], everyone[:0], target[:0], start=start)
    assert nobody.tolist() == [0.5]
    assert np.isnan(loss)


def test_candidates_hold_the_target_and_nothing_seen(world, sources, examples):
    raw = sources["good"](world.train, world.learners)
    place = {int(learner): row for row, learner in enumerate(world.learners)}
    for n in range(len(examples)):
        learner = int(examples.learners[n])
        target = world.relevant[place[learner]][0]
        kept = examples.scores[0, n][examples.is_candidate[n]]
        assert examples.is_candidate[n, examples.target[n]]
        if not examples.is_shortened[n]:
            assert examples.scores[0, n, examples.target[n]] == raw[place[learner], target]
            assert not np.isin(raw[place[learner], world.train.history(learner)], kept).any()


def test_segments_without_learners_of_their_own_are_made_by_cutting_histories(world, examples):
    natural = examples.lengths[~examples.is_shortened]
    assert natural.min() >= 3
    cut = examples.lengths[examples.is_shortened]
    assert (cut == 0).any()
    assert np.isin(cut, [0, 1, 2]).all()


def test_the_blend_beats_its_best_source_and_ignores_noise(world, sources, examples):
    blend = fit_blend(examples)
    by_name = dict(zip(blend.sources, blend.weights[2], strict=True))
    assert by_name["good"] > by_name["fair"] > by_name["noise"]
    assert by_name["noise"] < 0.1 * by_name["good"]
    alone = fit_blend(examples, without=["fair", "noise", "popular"])
    assert quality(blend, sources, world) > quality(alone, sources, world) + 0.02


def test_popularity_that_the_others_count_twice_is_taken_back(world):
    """The good source counts popularity as well as taste: less of the former is better."""
    taste = knows(2.0, 1)

    def popularity(log: InteractionLog, learners: np.ndarray) -> np.ndarray:
        return np.tile(np.linspace(-1, 1, N_RESOURCES, dtype=np.float32), (len(learners), 1))

    def biased(log: InteractionLog, learners: np.ndarray) -> np.ndarray:
        return taste(log, learners) + 3 * popularity(log, learners)

    examples = collect_examples({"biased": biased, "popularity": popularity}, world, per_source=40, per_segment=0)
    n = int((examples.lengths >= 3).sum())
    free = fit_blend(examples, BlendConfig(correcting_learners=n)).weights
    assert free[2, 1] < -0.5
    assert free[0, 1] >= 0  # of a newcomer nothing else is known
    few = fit_blend(examples, BlendConfig(correcting_learners=n + 1)).weights
    assert (few >= 0).all()


def test_newcomers_are_ranked_by_what_is_known_without_a_history(sources, examples):
    blend = fit_blend(examples)
    log = InteractionLog.from_arrays([], [], n_learners=1, n_resources=N_RESOURCES)
    raw = {name: source(log, np.array([0])) for name, source in sources.items()}
    blend = Blend(blend.sources, blend.calibrations, np.maximum(blend.weights, 1e-3), blend.segment_starts)
    assert rank_top_k(blend.combine(raw, np.array([0])), 3)[0].tolist() == [[39, 38, 37]]


def test_each_segment_has_weights_of_its_own(world):
    """What helps a learner with a history need not help a newcomer."""

    def oracle_for_newcomers(log: InteractionLog, learners: np.ndarray) -> np.ndarray:
        scores = np.random.default_rng(5).normal(size=(len(learners), N_RESOURCES)).astype(np.float32)
        place = {int(learner): row for row, learner in enumerate(world.learners)}
        for row, learner in enumerate(learners):
            if not len(log.history(int(learner))):
                scores[row, world.relevant[place[int(learner)]][0]] += 5
        return scores

    examples = collect_examples(
        {"sequence": knows(5.0, 1), "profile": oracle_for_newcomers}, world, per_source=20, per_segment=100
    )
    weights = fit_blend(examples, BlendConfig(pull=1.0)).weights
    assert weights[0, 1] > 1 > weights[2, 1]
    assert weights[2, 0] > 1


def test_a_weight_that_moves_nothing_is_none(examples):
    weights = np.abs(fit_blend(examples).weights)
    largest = (weights / weights.sum(axis=1, keepdims=True)).max(axis=0)
    cut = float(np.median(largest)) + 1e-9  # above all that some of the sources have in any segment
    pruned = fit_blend(examples, BlendConfig(least_share=cut))
    assert not pruned.weights[:, largest < cut].any()
    kept = pruned.weights != 0
    np.testing.assert_array_equal(pruned.weights[kept], fit_blend(examples).weights[kept])
    assert kept.any(axis=1).all()


def test_what_each_source_has_to_say(examples):
    blend = fit_blend(examples)
    for row, says in zip(blend.weights, blend.says, strict=True):
        assert set(says) == {name for name, weight in zip(blend.sources, row, strict=True) if weight > 0}
        assert sum(says.values()) == pytest.approx(1)


def test_requests_and_nightly_runs_order_candidates_alike(world, sources, examples):
    blend = fit_blend(examples)
    lengths = world.train.lengths[world.learners]
    raw = {name: source(world.train, world.learners) for name, source in sources.items()}
    some = np.array([3, 17, 5, 30])
    few = blend.combine({name: scores[:, some] for name, scores in raw.items()}, lengths)
    np.testing.assert_allclose(few, blend.combine(raw, lengths)[:, some], rtol=1e-5, atol=1e-6)


def test_the_parts_add_up_to_the_score(world, sources, examples):
    blend = fit_blend(examples)
    lengths = world.train.lengths[world.learners]
    raw = {name: source(world.train, world.learners) for name, source in sources.items()}
    parts = blend.parts(raw, lengths)
    np.testing.assert_allclose(sum(parts.values()), blend.combine(raw, lengths), atol=1e-5)


def test_a_missing_source_is_an_average_one_and_an_unknown_one_an_error(world, sources, examples):
    blend = fit_blend(examples)
    lengths = world.train.lengths[world.learners]
    good = {"good": sources["good"](world.train, world.learners)}
    assert quality(blend, {"good": sources["good"]}, world) > 0.3
    np.testing.assert_array_equal(
        blend.combine(good, lengths), blend.without("fair").without("noise").without("popular").combine(good, lengths)
    )
    with pytest.raises(KeyError, match="Known sources"):
        blend.combine({"other": good["good"]}, lengths)


def test_a_source_left_out_of_the_fit_has_no_weight(examples):
    blend = fit_blend(examples, without=["good"])
    assert (blend.weights[:, blend.sources.index("good")] == 0).all()
    assert blend.weights[2, blend.sources.index("fair")] > 0


def test_it_is_rebuilt_from_json(world, sources, examples):
    blend = fit_blend(examples)
    again = Blend.from_dict(json.loads(json.dumps(blend.to_dict())))
    lengths = world.train.lengths[world.learners]
    raw = {name: source(world.train, world.learners) for name, source in sources.items()}
    np.testing.assert_array_equal(again.combine(raw, lengths), blend.combine(raw, lengths))


def test_folds_are_fitted_without_their_own_learners(examples):
    folds = fit_folds(examples, n_folds=3)
    fold = fold_of(examples.learners, 3)
    assert set(fold.tolist()) == {0, 1, 2}
    outside = fit_blend(examples.take(np.nonzero(fold != 1)[0]))
    np.testing.assert_array_equal(folds[1].weights, outside.weights)


def test_shuffled_answers_earn_no_weight(world, sources):
    shuffled = np.random.default_rng(9).permutation(len(world))
    wrong = type(world)("x", world.train, world.learners, tuple(world.relevant[row] for row in shuffled))
    examples = collect_examples(sources, wrong, per_source=20, per_segment=0)
    assert fit_blend(examples).weights[2].max() < 0.35


def test_without_examples_all_sources_weigh_the_same(world, sources):
    nobody = type(world)("x", world.train, world.learners[:0], ())
    blend = fit_blend(collect_examples(sources, nobody))
    assert blend.weights == pytest.approx(np.full((4, 4), 0.25))
