"""The champion gate where it must say no, what training leaves out, and a new version against the one that serves."""

from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.utils import timezone, translation

from llmrec_django.engine.evaluation.metrics import ndcg, relevance_hits
from llmrec_django.engine.evaluation.report import report
from llmrec_django.engine.evaluation.splits import leave_one_out
from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.models import (
    Interaction,
    LearnerProfile,
    ModelVersion,
    ProfileVector,
    ResourceNeighbours,
    VectorSpace,
)
from llmrec_django.services import training, versions
from llmrec_django.services.reasons import Reason, sentences
from llmrec_django.services.recommend import recommend, recommend_batch
from llmrec_django.services.scorer import scorer_of
from llmrec_django.services.training import rival
from llmrec_django.services.training.evaluate import BASELINES, BLEND, Evaluation
from llmrec_django.services.training.mix import Mix
from tests.django_app.test_training import SIZE, TOPICS, N, make_activity, make_resources, mixed_sequences
from tests.testapp.models import Member

pytestmark = pytest.mark.django_db
SMALL = {"max_epochs": 2, "embedding_size": 16, "feature_size": 16, "hidden_size": 16, "layers": 1}


@pytest.fixture(autouse=True)
def change(settings, tmp_path):
    """Settings of a site without training's long parts; returns a function that changes LLMREC."""
    cache.clear()

    def change(**options):
        settings.LLMREC = {
            "CELERY": False,
            "ARTIFACT_DIR": tmp_path,
            "TRAIN_SOURCES": ("transitions", "content", "popularity"),
            "RELEVANCE": SMALL,
            "TUNE_S": 0,
            **options,
        }

    change()
    return change


@pytest.fixture
def space(db):
    return VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active")


def chains(n_learners, n_resources, length=5, seed=2):
    """Everybody walks on by one: whoever counts transitions knows everything."""
    starts = np.random.default_rng(seed).integers(n_resources, size=n_learners)
    return [[int(start + step) % n_resources for step in range(length)] for start in starts]


def train(*options):
    said = StringIO()
    call_command("llmrec_train", *options, stdout=said)
    return said.getvalue()


def newcomer(space, topic):
    """Somebody who said what they want, and did nothing yet."""
    learner = LearnerProfile.objects.create(visitor_key="newcomer", goals=f"Topic {topic}")
    learner.refresh_from_db()
    ProfileVector.objects.create(
        learner=learner, space=space, vector=np.eye(TOPICS)[topic], content_hash=learner.content_hash
    )
    return learner


class TestGoals:
    """Whatever serves, what a newcomer wants is heard: it is all that is known of them."""

    def topics(self, resources, learner):
        place = {row.pk: number // SIZE for number, row in enumerate(resources)}
        return [place[item.resource.pk] for item in recommend(learner, k=SIZE // 2)]

    def test_they_are_heard_where_a_popular_list_serves(self, space, change):
        change(TRAIN_SOURCES=("transitions", "content", "popularity", "popular_lately"))
        rng = np.random.default_rng(1)
        resources = make_resources(space)
        chances = rng.permutation(1 / np.arange(1, N + 1))
        sequences = [rng.choice(N, 6, replace=False, p=chances / chances.sum()).tolist() for _ in range(200)]
        learners = make_activity(resources, sequences)
        train()
        assert versions.active_version("default").metrics["serves"] in ("popularity", "popular_lately")
        assert set(self.topics(resources, newcomer(space, 3))) == {3}
        assert {item.source for item in recommend(learners[0], k=3)} == {"trained"}

    def test_they_are_heard_where_activity_made_texts_worth_little(self, space, change, monkeypatch):
        change(TRAIN_SOURCES=("transitions", "item_knn", "user_knn", "content", "popularity"))
        monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
        resources = make_resources(space)
        elsewhere = np.random.default_rng(0).permutation(N)  # what goes together has nothing to do with texts
        make_activity(resources, [[int(elsewhere[item]) for item in one] for one in mixed_sequences(400)])
        train()
        mix = scorer_of(versions.active_version("default")).mix
        assert mix.blend.says[0].get("content", 0) < 0.2
        learner = newcomer(space, 3)
        assert self.topics(resources, learner).count(3) >= 0.8 * (SIZE // 2)
        # Together with those who said nothing they get the same.
        other = LearnerProfile.objects.create(visitor_key="other")
        alone, both = (dict(recommend_batch(some, k=5)) for some in ([learner], [other, learner]))
        assert alone[learner] == both[learner]


class TestWhatTheGateRefuses:
    @pytest.mark.model
    def test_a_chain_is_left_to_transitions_and_the_command_says_so(self, space, change):
        change(TRAIN_SOURCES=("relevance", "transitions", "item_knn", "content", "popularity"))
        resources = make_resources(space, 40)
        learners = make_activity(resources, chains(200, 40))
        said = train()
        rejected, serving = ModelVersion.objects.order_by("pk")
        assert (rejected.status, serving.status) == ("rejected", "active")
        assert "does not surely beat transitions" in said
        assert "The baseline transitions serves" in said
        assert serving.metrics["ndcg"] == pytest.approx(1, abs=0.01)
        place = {row.pk: number for number, row in enumerate(resources)}
        for learner, ranked in recommend_batch(learners[:20], k=1):
            last = place[Interaction.objects.filter(learner=learner).newest_first()[0].resource_id]
            assert place[ranked[0][0]] == (last + 1) % 40

    def test_a_baseline_that_serves_learns_what_came_since(self, space):
        resources = make_resources(space, 40)
        learners = make_activity(resources, chains(200, 40))
        train()
        first = versions.active_version("default")
        later = timezone.now() - timedelta(days=1)
        Interaction.objects.bulk_create(
            Interaction(
                learner=learner,
                resource=resources[(place + step) % 3],
                verb="completed",
                occurred_at=later + timedelta(minutes=step),
                event_id=f"later {step}",
            )
            for place, learner in enumerate(learners)
            for step in range(3)
        )
        train()
        serving = versions.active_version("default")
        assert serving.pk != first.pk
        assert serving.metrics["serves"] in BASELINES
        assert serving.last_interaction_id == Interaction.objects.order_by("-pk")[0].pk

    @pytest.mark.model
    def test_shuffled_labels_are_rejected_and_a_baseline_serves(self, space, change):
        change(TRAIN_SOURCES=("relevance", "transitions", "item_knn", "content", "popularity"))
        rng = np.random.default_rng(1)
        make_activity(make_resources(space, 60), [rng.permutation(60)[:5].tolist() for _ in range(200)])
        train()
        rejected, serving = ModelVersion.objects.order_by("pk")
        assert rejected.status == "rejected"
        assert "does not surely beat" in rejected.why
        assert not rejected.artifact
        assert len(serving.config["sources"]) == 1
        assert serving.why.startswith(f"Version {rejected.pk} was rejected")

    @pytest.mark.parametrize("sources", [("content", "popularity"), ("linear_next",)])
    def test_a_baseline_that_is_left_out_is_measured_all_the_same(self, space, change, sources):
        change(TRAIN_SOURCES=sources)
        make_activity(make_resources(space, 40), chains(200, 40))
        said = train()
        rejected, serving = ModelVersion.objects.order_by("pk")
        assert rejected.status == "rejected"
        assert {"transitions", "item_knn", "ease", "popular_lately"} <= set(rejected.metrics["measured_only"])
        listed = ", ".join(name for name in BASELINES if name not in sources)
        assert f"Compared with, but not part of it: {listed}." in rejected.why
        assert f"Compared with, but not part of the blend: {listed}" in said
        assert "does not surely beat" in rejected.why
        # The best of all serves, whether or not it was named, and has files of its own.
        assert (serving.status, list(serving.config["sources"])) == ("active", ["transitions"])
        assert [source.name for source in scorer_of(serving).sources] == ["transitions"]

    def test_only_what_was_named_is_blended_and_stored(self, space, change):
        change(TRAIN_SOURCES=("transitions", "content"))
        make_activity(make_resources(space), mixed_sequences(300))
        version = training.train("default")
        assert version.status == "active"
        assert set(version.config["sources"]) == {"transitions", "content"}
        assert {source.name for source in scorer_of(version).sources} == {"transitions", "content"}
        assert set(version.metrics["differences"]) == set(BASELINES)

    def test_too_few_learners_prove_nothing(self, space):
        make_activity(make_resources(space), mixed_sequences(9))
        version = training.train("default")
        assert version.status == "rejected"
        assert version.why.startswith("Only 9 learners have an interaction to hold out; 10 are needed")


class TestWhatChanceMayHaveDone:
    """The blend and a baseline are each right about some learners of 100 and silent about the others."""

    @pytest.fixture
    def split(self):
        learners = np.repeat(np.arange(100), 3)
        return leave_one_out(InteractionLog.from_arrays(learners, np.tile(np.arange(3), 100), n_resources=40))

    def measured(self, split, **right):
        lists = {}
        for name, learners in right.items():
            lists[name] = np.full((len(split), 10), -1)
            lists[name][learners, 0] = [relevant[0] for relevant in split.relevant[learners]]
        per_learner = {name: ndcg(*relevance_hits(ranked, split.relevant), 10) for name, ranked in lists.items()}
        found = report(split, lists, ks=(10,), reference=BLEND)
        return Evaluation(Mix.of_one("content"), found, split.learners, per_learner)

    def test_a_blend_that_is_better_by_chance_does_not_win(self, split):
        evaluation = self.measured(split, blend=slice(35), popularity=slice(70, 100))
        difference = evaluation.differences["popularity"]
        assert difference.low < 0 < difference.mean
        wins, [why] = evaluation.verdict()
        assert not wins
        assert why.code == "loses_to_baseline"

    def test_one_that_is_as_little_better_for_sure_wins(self, split):
        evaluation = self.measured(split, blend=slice(35), popularity=slice(30))
        assert evaluation.differences["popularity"].mean == pytest.approx(0.05)
        wins, [why] = evaluation.verdict()
        assert wins
        assert why.code == "beats_baselines"

    def test_all_of_several_baselines_must_be_beaten_for_sure(self, split):
        evaluation = self.measured(split, blend=slice(35), popularity=slice(70, 100), content=slice(31))
        assert evaluation.best_baseline == "content"
        wins, [why] = evaluation.verdict()
        assert not wins
        assert why.values["baseline"] == "popularity"

    def test_popularity_serves_in_place_of_a_baseline_that_is_better_by_chance(self, split):
        by_chance = self.measured(split, blend=slice(0), popularity=slice(70, 100), content=slice(35))
        assert (by_chance.best_baseline, by_chance.plain_baseline) == ("content", "popularity")
        for_sure = self.measured(split, blend=slice(0), popularity=slice(30), content=slice(36))
        assert for_sure.plain_baseline == "content"

    def test_what_is_better_by_chance_is_not_activated(self, space, monkeypatch):
        make_activity(make_resources(space, 40), chains(100, 40))

        def by_chance(sources, split, **options):
            return self.measured(split, blend=slice(35), popularity=slice(70, 100))

        monkeypatch.setattr(training.run, "evaluate", by_chance)
        version = training.train("default")
        assert version.status == "rejected"
        assert version.metrics["differences"]["popularity"]["mean"] > 0
        serving = versions.active_version("default")
        assert list(ModelVersion.objects.get(pk=serving.pk).config["sources"]) == ["popularity"]


class TestWhatTeachesNothing:
    """A crowd walks on by one; somebody else always goes from the first resource to the sixteenth."""

    @pytest.fixture
    def resources(self, space):
        resources = make_resources(space, 30)
        make_activity(resources, chains(150, 30, length=4))
        return resources

    def flood(self, resources, times=400, **identity):
        learner = LearnerProfile.objects.create(**identity)
        began = timezone.now() - timedelta(days=20)
        Interaction.objects.bulk_create(
            Interaction(
                learner=learner,
                resource=resources[15 if step % 2 else 0],
                verb="completed",
                occurred_at=began + timedelta(minutes=step),
                event_id=str(step),
            )
            for step in range(times)
        )

    def after_the_first(self, resources):
        """Return what training says comes after the first resource, strongest first."""
        training.train("default")
        version = versions.active_version("default")
        row = ResourceNeighbours.objects.get(version=version, source="transitions", resource=resources[0])
        ids = [resource.pk for resource in resources]
        return [ids.index(pk) for pk, _ in row.pairs]

    def test_one_learners_flood_weighs_no_more_than_the_limit(self, resources, change):
        self.flood(resources, visitor_key="bot")
        change(LEARNER_WEIGHT_LIMIT=1_000_000)
        assert self.after_the_first(resources)[0] == 15
        ModelVersion.objects.all().delete()
        change(LEARNER_WEIGHT_LIMIT=5)
        assert self.after_the_first(resources)[0] == 1

    def test_accounts_are_ignored_by_setting(self, resources, change):
        tester = Member.objects.create_user("test-7@example.org", "x")
        self.flood(resources, user=tester)
        change(LEARNER_WEIGHT_LIMIT=1_000_000)
        assert 15 in self.after_the_first(resources)
        ModelVersion.objects.all().delete()
        change(LEARNER_WEIGHT_LIMIT=1_000_000, IGNORED_ACCOUNTS={"email__startswith": "test-"})
        assert 15 not in self.after_the_first(resources)

    def test_staff_are_ignored_by_default(self, resources, change):
        self.flood(resources, user=Member.objects.create_user("s@example.org", "x", is_staff=True))
        change(LEARNER_WEIGHT_LIMIT=1_000_000)
        assert 15 not in self.after_the_first(resources)

    def test_who_opted_out_is_left_out(self, resources, change):
        self.flood(resources, visitor_key="quiet", personalise=False)
        change(LEARNER_WEIGHT_LIMIT=1_000_000)
        assert 15 not in self.after_the_first(resources)


class TestAgainstTheActiveVersion:
    """Too little came since: both configurations are trained on the same part."""

    @pytest.fixture
    def world(self, space):
        resources = make_resources(space)
        return resources, make_activity(resources, mixed_sequences(300))

    def test_the_same_configuration_needs_no_comparison(self, world, monkeypatch):
        first = training.train("default")
        monkeypatch.setattr(training.run, "evaluate", self.only_once(training.run.evaluate))
        second = training.train("default")
        assert second.status == "active"
        assert f"The configuration is that of version {first.pk}." in second.why

    def only_once(self, evaluate):
        calls = []

        def measured(*args, **options):
            assert not calls, "the same was measured twice"
            calls.append(1)
            return evaluate(*args, **options)

        return measured

    def one_more(self, world):
        resources, learners = world
        return Interaction.objects.create(
            learner=learners[0], resource=resources[5], verb="viewed", occurred_at=timezone.now(), event_id="new"
        )

    def test_a_worse_configuration_is_not_taken_up_but_the_old_one_learns_what_is_new(self, world, change, monkeypatch):
        first = training.train("default")
        change(TRAIN_SOURCES=("linear_next", "popularity"))
        verdict = training.Evaluation.verdict
        verdicts = iter([lambda evaluation: (True, []), verdict])
        monkeypatch.setattr(training.Evaluation, "verdict", lambda self: next(verdicts)(self))
        new = self.one_more(world)
        second = training.train("default")
        assert f"Against the configuration of version {first.pk}, trained on the same part" in second.why
        assert f"that of version {first.pk} is kept" in second.why
        assert (second.status, second.last_interaction_id) == ("active", new.pk)
        assert set(second.config["sources"]) == set(first.config["sources"])
        assert second.metrics["ndcg"] == pytest.approx(first.metrics["ndcg"], abs=0.02)

    def test_a_better_configuration_takes_its_place(self, world, change, monkeypatch):
        change(TRAIN_SOURCES=("linear_next", "popularity"))
        with monkeypatch.context() as patched:
            patched.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
            first = training.train("default")
        change()
        second = training.train("default")
        assert (first.status, second.status) == ("active", "active")
        assert f"Against the configuration of version {first.pk}, trained on the same part" in second.why
        assert set(second.config["sources"]) == {"transitions", "content", "popularity"}

    def test_a_worse_version_is_rejected_where_the_old_configuration_does_not_win_either(
        self, world, change, monkeypatch
    ):
        first = training.train("default")
        change(TRAIN_SOURCES=("linear_next", "popularity"))
        verdicts = iter([(True, [Reason("no_baseline")]), (False, [Reason("no_baseline")])])
        monkeypatch.setattr(training.Evaluation, "verdict", lambda self: next(verdicts))
        second = training.train("default")
        assert second.status == "rejected"
        assert second.why.endswith(f"It may be worse by more than 1 %: version {first.pk} goes on serving.")
        assert versions.active_version("default") == first

    @pytest.mark.model
    def test_a_relevance_model_is_trained_again_only_where_it_is_configured_otherwise(self, world, change, monkeypatch):
        sources = ("relevance", "transitions", "content", "popularity")
        change(TRAIN_SOURCES=sources)
        training.train("default")
        trained = []
        train_relevance = training.fitting.train_relevance

        def counted(*args, **options):
            trained.append(options["options"]["max_epochs"])
            return train_relevance(*args, **options)

        monkeypatch.setattr(training.fitting, "train_relevance", counted)
        # Another list of sources, the same relevance model: once to choose, once more on everything.
        change(TRAIN_SOURCES=(*sources, "item_knn"))
        training.train("default")
        assert trained == [2, 2]
        trained.clear()
        change(TRAIN_SOURCES=sources, RELEVANCE={**SMALL, "max_epochs": 1})
        training.train("default")
        assert trained[:2] == [1, 2]

    @pytest.mark.parametrize(
        ("gain", "spread", "outcome"),
        [
            (0.0, 0.0, "holds"),
            (0.05, 0.1, "holds"),
            (-0.05, 0.1, "worse"),
            (0.0, 0.5, "unknown"),
            (0.05, 0.5, "unknown"),
        ],
    )
    def test_new_interactions_decide_where_they_can(self, gain, spread, outcome):
        theirs = np.full(400, 0.5)
        ours = theirs + gain + spread * np.random.default_rng(0).standard_normal(400)
        assert rival._outcome(rival.paired_difference(ours, theirs), theirs) == outcome


class TestWhy:
    def test_is_said_in_the_readers_language(self, space):
        make_activity(make_resources(space), mixed_sequences(9))
        version = training.train("default")
        [english] = sentences(version)
        with translation.override("zh-hans"):
            [chinese] = sentences(version)
        assert english == version.why
        assert "9" in chinese
        assert not chinese.isascii()

    def test_of_another_release_is_shown_as_it_was_stored(self):
        version = ModelVersion(why="Because.", why_data=[{"code": "unheard_of"}])
        assert sentences(version) == ["Because."]
        assert sentences(ModelVersion(why="Because.", why_data=[{"code": "few_learners"}])) == ["Because."]
        assert sentences(ModelVersion()) == []

    def test_a_failed_run_says_what_failed(self, space):
        make_resources(space, 3)
        with pytest.raises(training.run.LLMRecError):
            training.train("default")
        version = ModelVersion.objects.get()
        assert version.why.startswith("The run failed: Cannot train tenant")
        assert version.why_data[0]["code"] == "failed"
