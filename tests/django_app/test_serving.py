"""Serving a trained version: R(i) as a vector space, large catalogues, what comes after training."""

import numpy as np
import pytest
from django.core.cache import cache
from django.utils import timezone

from llmrec_django import api
from llmrec_django.exceptions import ArtifactError, MissingDependency
from llmrec_django.models import (
    EditorialRule,
    Experiment,
    Interaction,
    LearnerProfile,
    ModelVersion,
    Placement,
    ProfileVector,
    RecommendationList,
    Resource,
    ResourceVector,
    VectorSpace,
)
from llmrec_django.retrieval.eligibility import Audience, eligible
from llmrec_django.services import artifacts, scoring, spaces, trained_vectors, training, versions
from llmrec_django.services import scorer as scorer_module
from llmrec_django.services.reasons import Reason
from llmrec_django.services.recommend import recommend, recommend_batch
from llmrec_django.services.scorer import present_scorer_of, scorer_of
from tests.django_app.test_training import TOPICS, N, make_activity, make_resources, mixed_sequences

pytestmark = [pytest.mark.django_db, pytest.mark.model]
LEARNERS = 500


@pytest.fixture(autouse=True)
def _site(settings, tmp_path, monkeypatch):
    cache.clear()
    scorer_module.forget()
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": tmp_path,
        "TRAIN_SOURCES": ("relevance", "transitions", "content", "popularity"),
        "RELEVANCE": {"max_epochs": 1, "embedding_size": 16, "feature_size": 16, "hidden_size": 16, "layers": 1},
        "TUNE_S": 0,
    }
    # What serves, not whether it deserves to.
    monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
    yield
    scorer_module.forget()


@pytest.fixture
def space(db):
    return VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active")


@pytest.fixture
def world(space):
    resources = make_resources(space)
    return resources, make_activity(resources, mixed_sequences(LEARNERS))


@pytest.fixture
def large(monkeypatch):
    """Treat a catalogue as large that is not."""

    def switch(size, *, rounded=False):
        spaces.analyse()
        monkeypatch.setattr(scorer_module, "WHOLE_CATALOGUE", size)
        if not rounded:  # resources of a topic are all but the same here, and rounding orders them anew
            monkeypatch.setattr(scorer_module, "_compared", lambda vectors: vectors)
        scorer_module.forget()

    return switch


def top(learners, k=10):
    return [[pk for pk, _ in ranked] for _, ranked in recommend_batch(learners, k=k)]


def text_of(resource, space, like):
    """Give a resource the text vector of another one, as a worker would."""
    vector = ResourceVector.objects.get(resource=like, space=space).vector
    return ResourceVector.objects.update_or_create(
        resource=resource, space=space, defaults={"vector": vector, "content_hash": "h", "text_hash": f"of {like.pk}"}
    )


class TestTrainedVectors:
    def test_every_resource_has_its_row_and_the_space_serves_with_the_version(self, world):
        resources, _ = world
        version = training.train("default")
        space = version.relevance_space
        assert (space.purpose, space.status, space.dimension) == ("relevance", "active", 16)
        rows = dict(ResourceVector.objects.filter(space=space).values_list("resource", "vector"))
        assert set(rows) == {row.pk for row in resources}
        relevance = next(source for source in scorer_of(version).sources if source.name == "relevance")
        stored = np.array([rows[row.pk] for row in resources])
        assert stored == pytest.approx(np.asarray(relevance.vectors[np.arange(N)]), abs=1e-6)
        assert spaces.active_space() == version.source_space, "texts are served by their own space"

    @pytest.mark.django_db(transaction=True)
    def test_a_large_space_has_its_index_before_it_serves(self, world, settings):
        settings.LLMREC = {**settings.LLMREC, "INDEX_MIN_VECTORS": N}
        version = training.train("default")
        assert spaces.index_state(version.relevance_space) == "valid"
        assert spaces.index_state(version.source_space) == "none"

    def test_going_back_switches_the_spaces_too(self, world):
        first, second = training.train("default"), training.train("default")
        of = {version.pk: version.relevance_space_id for version in (first, second)}
        status = VectorSpace.objects.in_bulk
        assert [status()[of[v.pk]].status for v in (first, second)] == ["retired", "active"]
        versions.roll_back("default")
        assert [status()[of[v.pk]].status for v in (first, second)] == ["active", "retired"]
        versions.roll_back("default")
        assert [status()[of[v.pk]].status for v in (first, second)] == ["retired", "retired"]

    def test_without_the_relevance_model_there_is_no_space(self, world, settings):
        settings.LLMREC = {**settings.LLMREC, "TRAIN_SOURCES": ("transitions", "content", "popularity")}
        assert training.train("default").relevance_space is None
        assert VectorSpace.objects.count() == 1

    def test_a_new_resource_gets_its_row_and_going_back_fills_what_is_missing(self, world, space):
        resources, _ = world
        first, second = training.train("default"), training.train("default")
        new = Resource.objects.create(key="new", title="New")
        text_of(new, space, resources[7])
        assert trained_vectors.feed_active(space) == 1
        assert trained_vectors.feed_active(space) == 0, "it has it already"
        assert not ResourceVector.objects.filter(space=first.relevance_space, resource=new).exists()
        versions.roll_back("default")
        assert ResourceVector.objects.filter(space=first.relevance_space, resource=new).exists()
        assert ResourceVector.objects.filter(space=second.relevance_space, resource=new).exists()

    def test_a_changed_text_of_a_new_resource_changes_its_row(self, world, space):
        resources, _ = world
        version = training.train("default")
        new = Resource.objects.create(key="new", title="New")
        row = ResourceVector.objects.filter(space=version.relevance_space, resource=new)
        text_of(new, space, resources[7])
        trained_vectors.feed_active(space)
        before = list(row.get().vector)
        text_of(new, space, resources[700])
        assert trained_vectors.feed_active(space) == 1
        assert list(row.get().vector) != before

    def test_of_those_without_text_in_training_the_chosen_keep_what_was_learned(self, world, space):
        resources, learners = world
        lonely = Resource.objects.create(key="lonely", title="")
        chosen = Interaction.objects.filter(learner=learners[0]).newest_first()[0].resource
        ResourceVector.objects.filter(resource=chosen).delete()
        version = training.train("default")
        rows = ResourceVector.objects.filter(space=version.relevance_space)
        before = {pk: list(rows.get(resource=pk).vector) for pk in (lonely.pk, chosen.pk)}
        for resource in (lonely, chosen):
            text_of(resource, space, resources[7])
        assert trained_vectors.feed_active(space) == 1
        assert list(rows.get(resource=lonely).vector) != before[lonely.pk]
        assert list(rows.get(resource=chosen).vector) == before[chosen.pk]

    def test_spaces_stay_as_long_as_their_version_can_serve_again(self, world, space, settings):
        settings.LLMREC = {**settings.LLMREC, "KEEP_VERSIONS": 1}
        first = training.train("default")
        newer = VectorSpace.objects.create(encoder="default", encoder_id="u", recipe="1", dimension=TOPICS)
        spaces.activate(newer)
        long_ago = timezone.now() - timezone.timedelta(days=99)
        VectorSpace.objects.filter(pk=space.pk).update(retired_at=long_ago)
        assert spaces.purge_retired() == 0, "the version that serves was trained on it"
        second = training.train("default")
        VectorSpace.objects.filter(status="retired").update(retired_at=long_ago)
        assert spaces.purge_retired() == 0, "the version before was trained on it"
        assert versions.roll_back("default") == first
        versions.activate(second)
        third = training.train("default")
        assert not ModelVersion.objects.get(pk=first.pk).artifact
        assert not VectorSpace.objects.filter(pk=first.relevance_space_id).exists()
        assert spaces.purge_retired() == 1
        assert set(VectorSpace.objects.values_list("pk", flat=True)) == {
            newer.pk,
            second.relevance_space_id,
            third.relevance_space_id,
        }


class TestLargeCatalogue:
    def test_lists_are_those_of_the_whole_catalogue(self, world, large, monkeypatch):
        monkeypatch.setattr(scoring, "CANDIDATES", 100)
        _, learners = world
        training.train("default")
        whole = top(learners)
        large(100)
        narrowed = top(learners)
        shared = [len(set(a) & set(b)) / 10 for a, b in zip(whole, narrowed, strict=True)]
        assert np.mean(shared) >= 0.99
        same_order = np.mean([a == b for a, b in zip(whole, narrowed, strict=True)])
        assert same_order > 0.9

    def test_rounded_vectors_change_few_lists(self, world, large):
        _, learners = world
        training.train("default")
        whole = top(learners)
        large(100, rounded=True)
        rounded = top(learners)
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(whole, rounded, strict=True)]) >= 0.97

    def test_factorisation_scores_candidates_alone(self, world, large, settings, monkeypatch):
        monkeypatch.setattr("llmrec_django.engine.cf.ease.MAX_RESOURCES", 10)
        settings.LLMREC = {**settings.LLMREC, "TRAIN_SOURCES": ("ials", "popularity")}
        _, learners = world
        assert "ials" in training.train("default").config["sources"]
        whole = top(learners)
        large(100)
        narrowed = top(learners)
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(whole, narrowed, strict=True)]) >= 0.99
        assert any(item.evidence.own for item in recommend(learners[0], k=5))

    def test_what_was_scored_is_not_scored_again_for_reasons(self, world, large):
        _, learners = world
        version = training.train("default")
        large(100)
        scored = scoring.score_learners(version, learners[:5])
        for learner in learners[:5]:
            one = scored[learner.pk]
            ids = [pk for pk, _ in one.best(eligible(Audience("default")), 10)]
            basis = one.basis()
            rows = np.searchsorted(basis.scorer.resource_ids, ids)
            given = basis.given(rows)
            assert {"transitions", "content"} <= set(given)
            asked = {source.name: source.score(basis.asked)[:, rows] for source in basis.scorer.used_sources()}
            for name, scores in given.items():
                np.testing.assert_allclose(scores, asked[name], rtol=1e-3, atol=1e-3)
        unasked = np.setdiff1d(np.arange(N), np.concatenate([rows for rows, _ in basis.said]))
        assert basis.given(unasked[:1]) == {}

    def test_one_by_one_and_in_a_batch_lists_are_the_same(self, world, large):
        _, learners = world
        training.train("default")
        large(100)
        assert [top([learner])[0] for learner in learners[:30]] == top(learners[:30])

    def test_no_more_than_candidates_are_scored(self, world, large, monkeypatch):
        monkeypatch.setattr(scoring, "CANDIDATES", 10)
        _, learners = world
        training.train("default")
        large(100)
        sizes = []
        scores = scoring._Narrowed._scores
        monkeypatch.setattr(
            scoring._Narrowed, "_scores", lambda self, rows: sizes.append(len(rows)) or scores(self, rows)
        )
        scored = scoring.score_learners(versions.active_version("default"), learners[:5])
        for learner in learners[:5]:
            scored[learner.pk].best(eligible(Audience("default")), 2)
        assert len(sizes) == 5
        assert 10 <= max(sizes) <= 40

    def test_what_may_be_shown_is_found_however_little_it_is(self, world, large):
        resources, learners = world
        training.train("default")
        few = {row.pk for row in resources[100:112]}
        Resource.objects.filter(pk__in=few).update(kind="rare")
        version = versions.active_version("default")
        eligibility = eligible(Audience("default", kinds=["rare"]))

        def found():
            scored = scoring.score_learners(version, learners[:20])
            return [[pk for pk, _ in scored[learner.pk].best(eligibility, 10)] for learner in learners[:20]]

        whole = found()
        large(100)
        assert found() == whole
        assert all(len(ranked) == 10 and few.issuperset(ranked) for ranked in whole)

    def test_a_list_among_given_resources_scores_them_all(self, world, large):
        resources, learners = world
        training.train("default")
        among = [row.pk for row in resources[300:330]]
        whole = [[pk for pk, _ in ranked] for _, ranked in recommend_batch(learners[:20], k=30, among_ids=among)]
        large(100)
        assert whole == [
            [pk for pk, _ in ranked] for _, ranked in recommend_batch(learners[:20], k=30, among_ids=among)
        ]

    def test_new_resources_and_late_texts_are_candidates(self, world, large, space):
        resources, learners = world
        lonely = Resource.objects.create(key="lonely", title="")
        large(100)
        training.train("default")
        topic = Interaction.objects.filter(learner=learners[0]).newest_first()[0].resource
        new = Resource.objects.create(key="new", title="New")
        for resource in (lonely, new):
            text_of(resource, space, topic)
        trained_vectors.feed_active(space)
        [ranked] = top(learners[:1], k=15)
        assert {lonely.pk, new.pk} <= set(ranked)


class TestBothPaths:
    """Lists of a request and of a nightly run."""

    def histories(self):
        """Of nothing at all, of one topic, of several, and of more than is read."""
        walks = iter(mixed_sequences(5 * LEARNERS))
        n_walks = [60 if u % 50 == 49 else u % 5 for u in range(LEARNERS)]
        return [[item for _ in range(n) for item in next(walks)] for n in n_walks]

    @pytest.fixture
    def groups(self, space):
        """Learners of each kind, under a version with texts that came after it and an editor's wish."""
        resources = make_resources(space)
        for n, level in enumerate(("beginner", "advanced")):
            Resource.objects.filter(pk__in=[row.pk for row in resources[n::3]]).update(level=level)
        Resource.objects.filter(pk__in=[row.pk for row in resources[::7]]).update(kind="book")
        learners = make_activity(resources, self.histories())
        now = timezone.now()
        turning, levelled, wishing = learners[3::5], learners[2::5], learners[0::10]
        Interaction.objects.bulk_create(
            Interaction(learner=who, resource=resources[n], verb="dismissed", occurred_at=now, event_id=f"no {n}")
            for row, who in enumerate(turning)
            for n in range(row % 60, N, 60)
        )
        for who in levelled:
            who.level = "advanced"
            who.save()
        for n, who in enumerate(wishing):
            who.goals = f"topic {n}"
            who.save()
            who.refresh_from_db()
            vector = np.eye(TOPICS)[n % TOPICS]
            ProfileVector.objects.create(learner=who, space=space, vector=vector, content_hash=who.content_hash)
        training.train("default")
        for n in range(20):
            text_of(Resource.objects.create(key=f"new{n}", title="New"), space, resources[n * 40])
        trained_vectors.feed_active(space)
        EditorialRule.objects.create(name="wish", effect="boost", kind="book")
        Placement.objects.create(name="home")
        return {
            "nothing known": learners[5::10],
            "goals alone": wishing,
            "a short history": learners[1::5],
            "a level": levelled,
            "something turned down": turning,
            "a long history": learners[4::5],
        }

    def shared(self, groups):
        """Return how much of their lists is in both, and what brought it in, for each group."""
        learners = [who for group in groups.values() for who in group]
        nightly = {who: {pk for pk, _ in ranked} for who, ranked in recommend_batch(learners, k=10, placement="home")}
        found = {}
        for name, group in groups.items():
            lists = {who: api.recommend(who, k=10, placement="home") for who in group}
            shares = [len({item.resource.pk for item in lists[who]} & nightly[who]) / 10 for who in group]
            found[name] = np.mean(shares), {item.source for items in lists.values() for item in items}
        return found

    @pytest.mark.parametrize("catalogue", ["small", "large"])
    def test_give_a_learner_the_same_list(self, groups, large, catalogue):
        assert len({who for group in groups.values() for who in group}) == LEARNERS
        if catalogue == "large":
            groups = {name: group[::4] for name, group in groups.items()}  # each takes some queries more
            large(100)
        found = self.shared(groups)
        assert {name: share for name, (share, _) in found.items() if share < 0.99} == {}
        assert found.pop("nothing known")[1] == {"popular"}
        assert all(sources == {"trained"} for _, sources in found.values())


class TestAfterTraining:
    def test_a_text_that_comes_late_counts_without_training(self, world, space):
        resources, learners = world
        lonely = Resource.objects.create(key="lonely", title="")
        training.train("default")
        [before] = top(learners[:1], k=15)
        assert lonely.pk not in before
        topic = Interaction.objects.filter(learner=learners[0]).newest_first()[0].resource
        text_of(lonely, space, topic)
        trained_vectors.feed_active(space)
        scorer_module.forget()
        [after] = top(learners[:1], k=15)
        assert lonely.pk in after

    def test_a_process_looks_for_late_texts_every_few_seconds(self, world, space, monkeypatch):
        resources, _ = world
        version = training.train("default")
        assert len(present_scorer_of(version).resource_ids) == N
        new = Resource.objects.create(key="new", title="New")
        text_of(new, space, resources[3])
        assert len(present_scorer_of(version).resource_ids) == N
        monkeypatch.setattr(scorer_module, "LATE_S", 0)
        assert present_scorer_of(version).resource_ids[-1] == new.pk
        trained = lambda: present_scorer_of(version).sources[0].added  # noqa: E731
        assert not trained().any(), "its R(i) is not there yet"
        trained_vectors.feed_active(space)
        assert trained().any()

    def test_of_too_many_the_newest_are_taken(self, world, space, monkeypatch):
        resources, _ = world
        version = training.train("default")
        monkeypatch.setattr(scorer_module, "MAX_LATE", 3)
        rows = [Resource.objects.create(key=f"n{i}", title="New") for i in range(5)]
        for row in rows:
            text_of(row, space, resources[3])
        assert present_scorer_of(version).resource_ids[N:].tolist() == [row.pk for row in rows[2:]]

    def test_a_new_version_is_served_at_once(self, world, monkeypatch):
        _, learners = world
        first = training.train("default")
        top(learners[:1])
        second = training.train("default")
        asked = []
        monkeypatch.setattr(scoring, "present_scorer_of", lambda v: asked.append(v.pk) or present_scorer_of(v))
        top(learners[:1])
        versions.roll_back("default")
        top(learners[:1])
        assert asked == [second.pk, first.pk]


class TestDamagedFiles:
    @pytest.fixture(autouse=True)
    def _quick(self, settings):
        settings.LLMREC = {**settings.LLMREC, "TRAIN_SOURCES": ("transitions", "content", "popularity")}

    def test_what_was_unpacked_is_unpacked_again(self, world):
        _, learners = world
        version = training.train("default")
        before = top(learners[:5])
        scorer_module.forget()
        (artifacts.fetch(version) / "version.json").write_text("{")
        assert top(learners[:5]) == before

    @pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x00" * 4000])
    @pytest.mark.parametrize("name", ["resource_ids", "transitions.neighbours", "popularity.shares"])
    def test_so_is_an_array_that_a_power_cut_left_without_content(self, world, name, content):
        _, learners = world
        version = training.train("default")
        before = top(learners[:5])
        scorer_module.forget()
        (artifacts.fetch(version) / f"{name}.npy").write_bytes(content)
        assert top(learners[:5]) == before

    @pytest.mark.parametrize("damage", ["missing", "changed", "cut"])
    def test_the_version_before_serves_while_an_archive_cannot_be_read(self, world, damage):
        _, learners = world
        first, second = training.train("default"), training.train("default")
        path = artifacts.root() / second.artifact
        if damage == "missing":
            path.unlink()
        else:
            content = path.read_bytes()
            path.write_bytes(content[:-100] if damage == "cut" else content[:-1] + b"?")
        artifacts.discard_unpacked(second)
        scorer_module.forget()
        assert versions.active_version("default") == second
        assert versions.serving_version("default") == first
        assert {item.source for item in recommend(learners[0], k=3)} == {"trained"}

    def test_without_one_before_lists_are_made_without_training(self, world):
        _, learners = world
        version = training.train("default")
        (artifacts.root() / version.artifact).unlink()
        artifacts.discard_unpacked(version)
        scorer_module.forget()
        assert {item.source for item in recommend(learners[0], k=3)} == {"content"}

    def test_files_that_are_there_again_serve_after_a_while(self, world, monkeypatch):
        _, learners = world
        version = training.train("default")
        path = artifacts.root() / version.artifact
        away = path.rename(path.with_suffix(".away"))
        artifacts.discard_unpacked(version)
        scorer_module.forget()
        with pytest.raises(ArtifactError):
            scorer_of(version)
        away.rename(path)
        with pytest.raises(ArtifactError):
            scorer_of(version)
        monkeypatch.setattr(scorer_module, "RETRY_S", 0)
        assert scorer_of(version).n_trained == N

    def unreadable(self, version):
        (artifacts.root() / version.artifact).unlink()
        artifacts.discard_unpacked(version)
        scorer_module.forget()

    @pytest.fixture
    def arm(self):
        """An experiment with one arm, which everybody is in."""
        experiment = Experiment.objects.create(name="e", starts_at=timezone.now() - timezone.timedelta(days=1))
        Placement.objects.create(name="home", experiment=experiment)
        return experiment.arms.create(name="all", weight=1)

    def test_an_arm_that_serves_by_the_active_version_goes_back_with_it_and_says_so(self, world, arm):
        _, learners = world
        first, second = training.train("default"), training.train("default")
        self.unreadable(second)
        result = recommend(learners[0], placement="home", k=3)
        stored = RecommendationList.objects.get(pk=result.recommendation_id)
        assert (stored.arm, stored.version) == ("all", first)

    def test_an_arm_never_serves_by_another_version_than_its_own(self, world, arm):
        _, learners = world
        first, _second = training.train("default"), training.train("default")
        arm.version = first
        arm.save()
        self.unreadable(first)
        result = recommend(learners[0], placement="home", k=3)
        assert {item.source for item in result} == {"content"}
        assert RecommendationList.objects.get(pk=result.recommendation_id).version is None

    def test_a_package_that_is_missing_leaves_a_list(self, world, monkeypatch):
        _, learners = world
        training.train("default")

        def missing(version):
            raise MissingDependency("onnxruntime")

        monkeypatch.setattr(scorer_module, "scorer_of", missing)
        assert {item.source for item in recommend(learners[0], k=3)} == {"content"}


def test_a_version_that_can_say_nothing_of_a_newcomer_leaves_them_to_their_goals(world, space, settings):
    settings.LLMREC = {**settings.LLMREC, "TRAIN_SOURCES": ("item_knn",)}
    training.train("default")
    newcomer = LearnerProfile.objects.create(visitor_key="new", goals="the fourth topic")
    newcomer.refresh_from_db()
    ProfileVector.objects.create(
        learner=newcomer, space=space, vector=np.eye(TOPICS)[3], content_hash=newcomer.content_hash
    )
    found = recommend(newcomer, k=5)
    topic = {resource.pk for number, resource in enumerate(world[0]) if number // (N // TOPICS) == 3}
    assert {item.resource.pk for item in found} <= topic
    assert {item.source for item in found} == {"content"}
