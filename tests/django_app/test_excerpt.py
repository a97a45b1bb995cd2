"""A version cut down to a few resources scores these as the whole does, whatever its sources are."""

from dataclasses import replace

import numpy as np
import pytest

from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.ranking.blend import Blend
from llmrec_django.engine.ranking.calibrate import Calibration
from llmrec_django.services.excerpt import Costly, Excerpt
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


def test_the_relevance_model_takes_what_lies_far_back_to_change_nothing(scorer, log, monkeypatch):
    monkeypatch.setattr("llmrec_django.services.training.relevance.MOST_LEFT_OUT", 3)
    asked = Asked(learner(log))
    latest_first = asked.latest_liked(99)
    excerpt = Excerpt.of(scorer, ROWS, asked)
    scores = excerpt.score("relevance", excerpt.variants(asked, latest_first))
    changed = np.abs(scores[1:] - scores[0]).max(axis=1) > 1e-4
    assert changed.tolist() == [True] * 3 + [False] * (len(latest_first) - 3)


def test_what_was_turned_down_lately_leaves_no_liked_one_unasked(scorer, log):
    liked, turned_down = np.arange(4), np.arange(5, 30)
    history = InteractionLog.from_arrays(
        np.zeros(29, dtype=int),
        np.concatenate([turned_down, liked]),
        weights=np.concatenate([np.full(25, -1.0), np.ones(4)]),
        times=np.concatenate([np.arange(25) + 100.0, np.arange(4) + 97.0]) * 9e4,  # one of them comes last
        n_learners=1,
        n_resources=N + LATE,
    )
    [model] = [one for one in scorer.sources if one.name == "relevance"]
    resources, states = model.without_each(Asked(history))
    assert resources.tolist() == [3, 2, 1, 0]
    assert states.shape == (6, SMALL["embedding_size"])


class Counted:
    """An ONNX session that counts its runs."""

    def __init__(self, session):
        self.session, self.runs = session, 0

    def run(self, *args):
        self.runs += 1
        return self.session.run(*args)


@pytest.mark.parametrize(("goals", "runs"), [("none", 1), ("text", 2), ("of another encoder", 1)])
def test_the_relevance_model_reads_a_learner_once_for_the_list_and_its_reasons(scorer, log, texts, goals, runs):
    profiles = {"none": None, "text": texts[:1], "of another encoder": np.ones((1, V + 3), np.float32)}[goals]
    [model] = [one for one in scorer.sources if one.name == "relevance"]
    session = Counted(model.scorer._session)
    model = replace(model, scorer=replace(model.scorer, _session=session))
    alone = replace(scorer, sources=(model,), mix=Mix.of_one("relevance"))
    asked = Asked(learner(log), profiles, explains=True)
    scores = model.score(asked)[:, ROWS]
    excerpt = Excerpt.of(alone, ROWS, asked)
    own = asked.latest_liked(9)
    every = excerpt.variants(asked, own, without_goal=profiles is not None, without_history=True)
    found = excerpt.score("relevance", every)
    assert session.runs == runs
    np.testing.assert_allclose(found[:1], scores, atol=1e-5)
    if profiles is not None:
        np.testing.assert_allclose(found[-2:-1], model.score(Asked(asked.log))[:, ROWS], atol=1e-5)


def test_of_several_learners_each_has_their_own_scores(scorer, log):
    several = Asked.of(replace(log, n_resources=N + LATE), np.array([3, 8, 9]))
    [model] = [one for one in scorer.sources if one.name == "relevance"]
    np.testing.assert_allclose(model.score(replace(several, explains=True)), model.score(several), atol=1e-6)


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
        if isinstance(excerpt.sources[source.name], Costly):
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

    def test_the_relevance_model_names_the_latest_by_what_it_really_does(self, scorer, log):
        [model] = [one for one in scorer.sources if one.name == "relevance"]
        alone = replace(scorer, sources=(model,), mix=Mix.of_one("relevance"))
        asked = Asked(learner(log))
        latest = int(asked.log.resources[-1])
        shorter = Asked(asked.log.take(asked.log.resources != latest))
        lost = (model.score(asked) - model.score(shorter))[0]
        ranked = np.argsort(-lost)[:4]  # what owes most to the latest
        found = of_trained(alone, asked, alone.resource_ids[ranked].tolist())
        named = [dict(found[int(alone.resource_ids[row])].own) for row in ranked]
        assert all(latest + 100 in own for own in named)

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
