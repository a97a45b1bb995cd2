"""A version cut down to a few resources scores these as the whole does, whatever its sources are."""

from dataclasses import replace

import numpy as np
import pytest

from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.ranking.blend import Blend
from llmrec_django.engine.ranking.calibrate import Calibration
from llmrec_django.services.excerpt import Excerpt
from llmrec_django.services.influence import of_trained
from llmrec_django.services.scorer import Scorer
from llmrec_django.services.training.borrowed import fit_borrowed
from llmrec_django.services.training.mix import Mix
from llmrec_django.services.training.relevance import train_relevance
from llmrec_django.services.training.sources import RECIPES, Asked, Material

N, LATE, V = 40, 3, 12
ALONE = ("content", "relevance", "borrowed")
SMALL = {"embedding_size": 16, "layers": 1, "hidden_size": 24, "max_length": 12, "feature_size": 8, "max_epochs": 1}


@pytest.fixture(scope="module")
def log():
    """Learners walk around; the last resources are met by nobody."""
    rng = np.random.default_rng(0)
    learners = np.repeat(np.arange(120), 9)
    resources = (np.repeat(rng.integers(N - 5, size=120), 9) + np.tile(np.arange(9) * 2, 120)) % (N - 5)
    values = np.where(rng.random(len(learners)) < 0.2, 0.1, np.nan)
    weights = np.where(rng.random(len(learners)) < 0.15, -0.5, 0.8)
    return InteractionLog.from_arrays(
        learners,
        resources,
        weights=weights,
        times=np.tile(np.arange(9) * 9e4, 120),
        values=values,
        taken_up=np.ones(len(learners), dtype=bool),
        n_resources=N,
    )


@pytest.fixture(scope="module")
def texts():
    return np.random.default_rng(1).normal(size=(N + LATE, V)).astype(np.float32)


@pytest.fixture(scope="module")
def scorer(log, texts, tmp_path_factory):
    material = Material(log, texts[:N])
    sources = [
        source for name, recipe in RECIPES.items() if (source := recipe.fit(name, material, recipe.start)) is not None
    ]
    folder = tmp_path_factory.mktemp("relevance")
    relevance, _ = train_relevance(
        folder / "r", log, texts[:N], ("met",), options=SMALL, profiles=None, seed=0, epochs=1
    )
    sources.append(relevance)
    sources.append(fit_borrowed(material, sources))
    rng = np.random.default_rng(2)
    ids = np.arange(N) + 100

    def blend(names):
        calibrations = tuple(Calibration(0.05, 0.1 * n, 1.0 + 0.1 * n) for n in range(len(names)))
        return Blend(tuple(names), calibrations, rng.uniform(0.2, 1, (4, len(names))))

    mix = Mix(blend([source.name for source in sources if source.name != "borrowed"]), blend(ALONE))
    whole = Scorer(
        resource_ids=ids,
        sources=tuple(sources),
        mix=mix,
        known=np.bincount(log.resources, minlength=N) > 0,
        verbs=("met",),
        textless=np.zeros(0, dtype=np.int64),
        n_trained=N,
        new_ids=ids[-5:],
    )
    return whole.extended((np.arange(LATE) + 100 + N).tolist(), texts[N:], None)


def learner(log, length=9, learner=7):
    history = log.resources[log.offsets[learner] : log.offsets[learner + 1]][:length]
    # A resource that came after training is in the history too.
    resources = np.concatenate([history, [N + 1]]) if length > 4 else history
    return InteractionLog.from_arrays(
        np.zeros(len(resources), dtype=int),
        resources,
        weights=np.where(np.arange(len(resources)) == 1, -0.5, 0.8),
        times=np.arange(len(resources)) * 9e4,
        taken_up=np.ones(len(resources), dtype=bool),
        n_learners=1,
        n_resources=N + LATE,
    )


def again(log):
    """Let a history go back and forth: without one of two, the other follows on itself."""
    order = np.array([0, 2, 0, 3, 0, 1, *range(4, len(log)), 4, 5, 4])
    return replace(log.take(order), times=np.arange(len(order)) * 9e4)


def without_each(log, resources):
    """One learner as they are, and without each of some resources."""
    kept = np.vstack([np.ones((1, len(log)), dtype=bool), log.resources != resources[:, None]])
    learners, places = np.nonzero(kept)
    return replace(log.take(places), learners=learners.astype(np.int32), n_learners=len(kept))


ROWS = np.array([3, N + 2, 11, N - 2, 0])
NOTHING = np.zeros(0, dtype=np.int64)


@pytest.mark.parametrize("has_profile", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2, 9])
def test_it_scores_as_the_whole_does(scorer, log, texts, length, has_profile):
    asked = Asked(learner(log, length), texts[:1] if has_profile else None)
    excerpt = Excerpt.of(scorer, ROWS, asked)
    alone = excerpt.variants(asked, NOTHING)
    parts = {name: excerpt.part(name, excerpt.score(name, alone)) for name in excerpt.sources}
    assert set(parts) == {source.name for source in scorer.sources}
    np.testing.assert_allclose(sum(parts.values()), scorer.score(asked)[:, ROWS], atol=2e-4)


@pytest.mark.parametrize("comes_back", [False, True])
@pytest.mark.parametrize("source", [*RECIPES, "borrowed"])
def test_each_source_scores_variants_of_a_history_as_the_whole_does(scorer, log, source, comes_back):
    found = next((one for one in scorer.sources if one.name == source), None)
    if found is None:
        pytest.skip("this source has nothing to learn from here")
    history = again(learner(log)) if comes_back else learner(log)
    left_out = np.unique(history.resources)[:5]
    expected = found.score(Asked(without_each(history, left_out)))[:, ROWS]
    excerpt = Excerpt.of(scorer, ROWS, Asked(history))
    variants = excerpt.variants(Asked(history), left_out)
    np.testing.assert_allclose(excerpt.score(source, variants), expected, atol=2e-4)


@pytest.mark.parametrize("explains", [False, True])
@pytest.mark.parametrize("has_profile", [False, True])
def test_the_relevance_model_scores_the_learner_without_the_latest_and_without_goals_as_the_whole_does(
    scorer, log, texts, has_profile, explains
):
    asked = Asked(learner(log), texts[:1] if has_profile else None, explains)
    [model] = [one for one in scorer.sources if one.name == "relevance"]
    np.testing.assert_allclose(model.score(asked), model.score(replace(asked, explains=False)), atol=1e-5)
    excerpt = Excerpt.of(scorer, ROWS, asked)
    latest = asked.log.resources[-1:]
    variants = excerpt.variants(asked, latest, without_goal=has_profile)
    expected = [model.score(asked)[:, ROWS]]
    expected.append(model.score(Asked(asked.log.take(asked.log.resources != latest), asked.profiles))[:, ROWS])
    if has_profile:
        expected.append(model.score(Asked(asked.log))[:, ROWS])
    np.testing.assert_allclose(excerpt.score("relevance", variants), np.concatenate(expected), atol=2e-4)


def test_the_relevance_model_takes_what_lies_far_back_to_change_nothing(scorer, log):
    steps = np.concatenate([[N - 2], np.arange(30) % 25])
    long = InteractionLog.from_arrays(np.zeros(31, dtype=int), steps, n_learners=1, n_resources=N + LATE)
    excerpt = Excerpt.of(scorer, ROWS, Asked(long))
    scores = excerpt.score("relevance", excerpt.variants(Asked(long), np.array([N - 2, 2])))
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-6)
    assert np.abs(scores[2] - scores[0]).max() > 1e-4


@pytest.mark.parametrize("has_profile", [False, True])
def test_each_source_scores_somebody_without_history_as_the_whole_does(scorer, log, texts, has_profile):
    asked = Asked(learner(log), texts[:1] if has_profile else None)
    expected = Asked(learner(log).take(NOTHING), asked.profiles)
    excerpt = Excerpt.of(scorer, ROWS, asked)
    variants = excerpt.variants(asked, asked.log.resources[:3], without_goal=has_profile, without_history=True)
    assert len(variants) == 5 + has_profile
    for source in scorer.sources:
        found = source.score(expected)[:, ROWS]
        np.testing.assert_allclose(excerpt.score(source.name, variants)[-1:], found, atol=2e-4)
        np.testing.assert_allclose(excerpt.score(source.name, variants.newcomer()), found, atol=2e-4)
    # The rows before are what they are without the last one.
    others = excerpt.variants(asked, asked.log.resources[:3], without_goal=has_profile)
    for name in excerpt.sources:
        np.testing.assert_allclose(excerpt.score(name, variants)[:-1], excerpt.score(name, others), atol=1e-5)


def test_sources_without_a_say_are_left_out(scorer, log):
    weights = np.zeros_like(scorer.mix.blend.weights)
    weights[:, scorer.mix.blend.sources.index("transitions")] = 1
    quiet = replace(scorer, mix=replace(scorer.mix, blend=replace(scorer.mix.blend, weights=weights)))
    assert list(Excerpt.of(quiet, np.array([3, 5]), Asked(learner(log)), least_say=0.03).sources) == ["transitions"]
    with_new = Excerpt.of(quiet, np.array([3, N + 1]), Asked(learner(log)), least_say=0.03)
    assert set(with_new.sources) == {"transitions", *ALONE}


class TestInfluence:
    """With transitions alone it can be worked out by hand what leaving out one resource does."""

    @pytest.fixture
    def simple(self, scorer):
        [source] = [one for one in scorer.sources if one.name == "transitions"]
        return replace(scorer, sources=(source,), mix=Mix.of_one("transitions"))

    def by_hand(self, scorer, log, row):
        whole = scorer.score(Asked(log))[0, row]
        own = np.unique(log.resources[log.weights > 0])
        drops = {}
        for resource in own:
            drops[int(resource)] = whole - scorer.score(Asked(log.take(log.resources != resource)))[0, row]
        return {resource: drop for resource, drop in drops.items() if drop > 0}

    def test_the_named_ones_are_those_that_it_lacks_most_without(self, simple, log):
        history = learner(log)
        ranked = np.argsort(-simple.score(Asked(history))[0])[:6]
        found = of_trained(simple, Asked(history), simple.resource_ids[ranked].tolist())
        assert any(influence.own for influence in found.values())
        for row in ranked:
            drops = self.by_hand(simple, history, row)
            named = [int(pk) - 100 for pk, _ in found[int(simple.resource_ids[row])].own]
            assert named == sorted(drops, key=drops.get, reverse=True)[: len(named)]
            for (pk, share), resource in zip(found[int(simple.resource_ids[row])].own, named, strict=True):
                assert pk == resource + 100
                assert share == pytest.approx(drops[resource] / sum(drops.values()), abs=0.02)

    def test_what_disappointed_is_not_named(self, simple, log):
        history = learner(log)
        disliked = int(history.resources[history.weights < 0][0]) + 100
        found = of_trained(simple, Asked(history), simple.resource_ids[:N].tolist())
        named = {pk for influence in found.values() for pk, _ in influence.own}
        assert named
        assert disliked not in named

    def test_a_list_by_popularity_alone_names_nobody(self, scorer, log):
        [source] = [one for one in scorer.sources if one.name == "popularity"]
        popular = replace(scorer, sources=(source,), mix=Mix.of_one("popularity"))
        found = of_trained(popular, Asked(learner(log)), [103, 111])
        assert [influence.own for influence in found.values()] == [(), ()]
        assert all(influence.parts["popularity"] > 0 for influence in found.values())

    def test_goals_have_their_share(self, scorer, log, texts):
        [source] = [one for one in scorer.sources if one.name == "content"]
        by_text = replace(scorer, sources=(source,), mix=Mix.of_one("content"))
        nearest = int(np.argmax(texts[:N] @ texts[N]))
        goal = texts[nearest : nearest + 1] * 50
        found = of_trained(by_text, Asked(learner(log, 2), goal), [100 + nearest])
        assert found[100 + nearest].goal_share > 0.5
        assert of_trained(by_text, Asked(learner(log, 2), goal * 0), [100 + nearest])[100 + nearest].goal_share == 0

    def test_resources_the_version_does_not_know_are_left_out(self, simple, log):
        assert of_trained(simple, Asked(learner(log)), [99999]) == {}
        assert list(of_trained(simple, Asked(learner(log)), [99999, 103])) == [103]
