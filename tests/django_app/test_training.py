"""Training, the champion gate, serving, going back: from the tables and through the services."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from django.core.cache import cache
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.utils import timezone

from llmrec_django.engine.cf.popularity import PopularityConfig
from llmrec_django.engine.evaluation.metrics import ndcg, relevance_hits
from llmrec_django.engine.evaluation.splits import leave_one_out
from llmrec_django.engine.ranking.topk import rank_top_k
from llmrec_django.engine.relevance import run_log
from llmrec_django.engine.rows import RowFile
from llmrec_django.exceptions import ArtifactError, LLMRecError
from llmrec_django.models import (
    Interaction,
    LearnerProfile,
    ModelVersion,
    Resource,
    ResourceNeighbours,
    ResourceVector,
    VectorSpace,
)
from llmrec_django.services import artifacts, training, versions
from llmrec_django.services.reasons import Reason
from llmrec_django.services.recommend import recommend, recommend_batch
from llmrec_django.services.scoring import scorer_of
from llmrec_django.services.training import rival
from llmrec_django.services.training import run as run_module
from llmrec_django.services.training.dataset import load_dataset, text_matrix
from llmrec_django.services.training.lock import log_folder
from llmrec_django.services.training.relevance import train_relevance
from llmrec_django.services.training.sources import Asked, Longest
from tests.testapp.models import Member

pytestmark = pytest.mark.django_db
N, TOPICS = 900, 60
SIZE = N // TOPICS
SOURCES = ("transitions", "content", "popularity")


@pytest.fixture(autouse=True)
def _files(settings, tmp_path):
    cache.clear()
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": tmp_path,
        "TRAIN_SOURCES": SOURCES,
        "TUNE_S": 0,
    }


@pytest.fixture
def space(db):
    return VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active")


def make_resources(space, n=N):
    """Resource r is about topic r // SIZE."""
    rows = Resource.objects.bulk_create([Resource(key=f"r{i}", title=f"R {i}") for i in range(n)])
    rng = np.random.default_rng(5)
    vectors = np.eye(TOPICS)[np.arange(n) // SIZE] + rng.normal(0, 0.02, (n, TOPICS))
    ResourceVector.objects.bulk_create(
        ResourceVector(resource=row, space=space, vector=vector, content_hash="h", text_hash="t")
        for row, vector in zip(rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), strict=True)
    )
    return rows


def make_activity(resources, sequences):
    learners = LearnerProfile.objects.bulk_create([LearnerProfile(visitor_key=f"v{u}") for u in range(len(sequences))])
    began = timezone.now() - timedelta(days=30)
    Interaction.objects.bulk_create(
        Interaction(
            learner=learner,
            resource=resources[item],
            verb="completed",
            occurred_at=began + timedelta(minutes=step),
            event_id=str(step),
        )
        for learner, sequence in zip(learners, sequences, strict=True)
        for step, item in enumerate(sequence)
    )
    return learners


def mixed_sequences(n_learners, seed=0):
    """A learner stays with one topic; in half of the steps they go on to the next number. No source knows both."""
    rng = np.random.default_rng(seed)
    sequences = []
    for _ in range(n_learners):
        sequence = [int(rng.integers(N))]
        while len(sequence) < 7:
            last = sequence[-1]
            ahead = 1 if rng.random() < 0.5 else int(rng.integers(1, SIZE))
            step = last // SIZE * SIZE + (last + ahead) % SIZE
            if step in sequence:
                break
            sequence.append(step)
        sequences.append(sequence)
    return sequences


@pytest.fixture
def world(space):
    resources = make_resources(space)
    return resources, make_activity(resources, mixed_sequences(300))


class TestDataset:
    def test_keeps_order_weights_and_window(self, space):
        resources = make_resources(space, 4)
        [learner] = make_activity(resources, [[2, 0, 1]])
        now = timezone.now()
        same = {"learner": learner, "occurred_at": now}
        Interaction.objects.create(resource=resources[3], verb="dismissed", event_id="a", **same)
        last = Interaction.objects.create(resource=resources[0], verb="rated", value=0.1, event_id="b", **same)
        dataset = load_dataset("default")
        ids = [row.pk for row in resources]
        assert dataset.resource_ids[dataset.log.resources].tolist() == [ids[i] for i in (2, 0, 1, 3, 0)]
        assert dataset.log.weights.tolist() == pytest.approx([1, 1, 1, -1, -0.8])
        assert (dataset.last_id, dataset.last_at) == (last.pk, now)
        assert dataset.learner_ids.tolist() == [learner.pk]

    def test_leaves_out_staff_and_who_opted_out_and_other_tenants(self, space):
        resources = make_resources(space, 2)
        make_activity(resources, [[0, 1]])
        staff = Member.objects.create_user("s@example.org", "x", is_staff=True)
        now = timezone.now()
        for n, fields in enumerate(({"user": staff}, {"visitor_key": "quiet", "personalise": False})):
            other = LearnerProfile.objects.create(**fields)
            Interaction.objects.create(learner=other, resource=resources[0], verb="viewed", occurred_at=now, event_id=n)
        elsewhere = Resource.objects.create(key="x", tenant="b")
        visitor = LearnerProfile.objects.create(visitor_key="b", tenant="b")
        Interaction.objects.create(
            tenant="b", learner=visitor, resource=elsewhere, verb="viewed", occurred_at=now, event_id="e"
        )
        assert load_dataset("default").log.n_learners == 1
        assert load_dataset("default").log.n_resources == 2

    def test_an_ignored_field_that_the_user_model_lacks_is_no_condition(self, settings, world):
        settings.LLMREC = {**settings.LLMREC, "IGNORED_ACCOUNTS": {"is_robot": True}}
        assert load_dataset("default").log.n_learners == 300

    @pytest.mark.parametrize(
        ("ignored", "left"),
        [
            ({"is_staff": True}, 2),
            ({"is_staff": True, "email__startswith": "test-"}, 3),
            ([{"is_staff": True}, {"email__startswith": "test-"}], 1),
            ([{"is_robot": True}, {"email__startswith": "test-"}], 2),
            ([], 3),
        ],
    )
    def test_accounts_that_meet_all_conditions_of_any_filter_teach_nothing(self, space, settings, ignored, left):
        settings.LLMREC = {**settings.LLMREC, "IGNORED_ACCOUNTS": ignored}
        resources = make_resources(space, 2)
        for name, fields in {"boss": {"is_staff": True}, "test-1": {}, "ann": {}}.items():
            who = LearnerProfile.objects.create(user=Member.objects.create_user(f"{name}@example.org", "x", **fields))
            Interaction.objects.create(
                learner=who, resource=resources[0], verb="viewed", occurred_at=timezone.now(), event_id=name
            )
        assert load_dataset("default").log.n_learners == left

    def test_vectors_are_aligned_and_missing_ones_are_zeros(self, space):
        resources = make_resources(space, 3)
        ResourceVector.objects.filter(resource=resources[1]).delete()
        matrix = text_matrix(space, load_dataset("default").resource_ids)
        assert matrix[0] == pytest.approx(ResourceVector.objects.get(resource=resources[0]).vector, abs=1e-6)
        assert not matrix[1].any()


class TestTrain:
    def test_a_blend_that_wins_serves_and_says_by_how_much(self, world):
        version = training.train("default")
        assert (version.status, version.n_learners, version.n_resources) == ("active", 300, N)
        assert "beats every baseline" in version.why
        table = {row["source"]: row["NDCG@10"] for row in version.metrics["table"]}
        assert table["blend"] > max(table[name] for name in SOURCES)
        assert version.metrics["ndcg"] == table["blend"]
        assert versions.active_version("default") == version

    def test_shuffled_activity_is_rejected(self, space):
        rng = np.random.default_rng(1)
        make_activity(make_resources(space), [rng.permutation(N)[:6].tolist() for _ in range(300)])
        training.train("default")
        [rejected] = ModelVersion.objects.filter(status="rejected")
        assert "does not surely beat" in rejected.why
        assert not rejected.artifact

    def test_where_a_baseline_is_as_good_the_baseline_serves(self, space):
        rng = np.random.default_rng(2)
        starts = rng.integers(40, size=300)
        make_activity(make_resources(space, 40), [[int(start + step) % 40 for step in range(5)] for start in starts])
        training.train("default")
        rejected, serving = ModelVersion.objects.order_by("pk")
        assert (rejected.status, serving.status) == ("rejected", "active")
        assert list(serving.config["sources"]) == ["transitions"]
        assert "transitions is the best" in serving.why

    def test_numbers_of_lately_are_chosen_too_and_those_of_texts_are_not(self, world, settings, monkeypatch):
        settings.LLMREC = {**settings.LLMREC, "TRAIN_SOURCES": ("transitions", "content", "popular_lately")}
        tried = {}
        choose = training.fitting.choose

        def counted(fit, start, *args, **options):
            choice = choose(fit, start, *args, **options)
            tried[type(start).__name__] = choice
            # What it has found is as good as anything else for seeing that it is used.
            return replace(choice, config=replace(start, half_life_days=3.0)) if start == lately else choice

        lately = PopularityConfig(half_life_days=14.0)
        monkeypatch.setattr(training.fitting, "choose", counted)
        monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
        version = training.train("default", tune_s=0.05)
        assert "PopularityConfig" in tried
        assert version.status == "active"
        assert version.config["sources"]["popular_lately"] == {"half_life_days": 3.0}
        assert "ContentConfig" not in tried
        served = {source.name: source for source in scorer_of(version).sources}
        assert (served["content"].decay, served["content"].max_history) == (0.9, 20)

    def test_a_rejected_run_leaves_what_serves(self, world, monkeypatch):
        first = training.train("default")
        monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (False, [Reason("no_baseline")]))
        second = training.train("default")
        assert (second.status, second.why) == ("rejected", "There was no baseline to compare with.")
        assert versions.active_version("default") == first

    def test_too_few_new_interactions_are_no_comparison_with_the_active_version(self, world):
        first, second = training.train("default"), training.train("default")
        assert second.status == "active"
        assert f"Only 0 of them came after version {first.pk}" in second.why

    def test_a_version_worse_than_the_active_one_on_new_interactions_is_rejected(self, world, monkeypatch):
        resources, learners = world
        first = training.train("default")
        later = timezone.now()
        Interaction.objects.bulk_create(
            Interaction(learner=learner, resource=resources[n], verb="viewed", occurred_at=later, event_id="new")
            for n, learner in enumerate(learners)
        )

        def perfect(active, dataset, split, asked, *rest):
            found = np.full((len(asked), 10), -1)
            found[:, 0] = [relevant[0] for relevant in rival.relevant_of(split, asked)]
            return {"blend": found}

        monkeypatch.setattr(rival, "rank_active", perfect)
        monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
        second = training.train("default")
        assert second.status == "rejected"
        assert f"Against version {first.pk}, on" in second.why

    def test_the_active_version_is_asked_in_its_own_rows(self, world, space):
        """The same version measured by the run itself and through its files finds the same."""
        resources, _ = world
        version = training.train("default")
        Resource.objects.create(key="later")
        dataset = load_dataset("default")
        split = leave_one_out(dataset.log)
        scorer = scorer_of(version)
        lists = rival.rank_active(version, dataset, split, split.learners, None)["blend"]
        found = ndcg(*relevance_hits(lists, split.relevant), 10)
        raw = scorer.score(Asked.of(replace(split.train, n_resources=N), split.learners))
        ranked, _ = rank_top_k(raw, 10, split.histories())
        hits, n_relevant = relevance_hits(ranked, split.relevant)
        assert found == pytest.approx(ndcg(hits, n_relevant, 10))
        assert found.mean() > 0.3

    def test_neighbours_are_kept_in_ids_of_resources(self, world):
        resources, _ = world
        version = training.train("default")
        ids = [row.pk for row in resources]
        rows = ResourceNeighbours.objects.filter(version=version, source="transitions")
        follows = [ids.index(row.resource_id) + 1 in [ids.index(pk) for pk, _ in row.pairs[:3]] for row in rows]
        assert np.mean(follows) > 0.5
        for row in rows[:20]:
            weights = [weight for _, weight in row.pairs]
            assert weights == sorted(weights, reverse=True)

    def test_nothing_to_learn_from_is_said_and_recorded(self, space):
        make_resources(space, 3)
        with pytest.raises(LLMRecError, match="No interaction"):
            training.train("default")
        assert ModelVersion.objects.get().status == "failed"

    def test_a_run_that_was_killed_is_declared_failed_by_the_next(self, world):
        killed = ModelVersion.objects.create(status="training")
        other = ModelVersion.objects.create(status="training", tenant="b")
        training.train("default")
        killed.refresh_from_db()
        other.refresh_from_db()
        assert (killed.status, other.status) == ("failed", "training")

    def test_an_error_in_the_middle_leaves_what_serves(self, world, monkeypatch):
        first = training.train("default")

        def break_off(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(run_module, "store", break_off)
        with pytest.raises(KeyboardInterrupt):
            training.train("default")
        assert ModelVersion.objects.latest("pk").status == "failed"
        assert versions.active_version("default") == first

    @pytest.mark.parametrize("error", [BrokenPipeError, KeyboardInterrupt])
    def test_an_error_after_the_switch_leaves_the_new_version_as_it_is(self, world, error):
        first = training.train("default")

        def say(text):
            if "serves now" in text:
                raise error

        with pytest.raises(error):
            training.train("default", say=say)
        version = versions.active_version("default")
        assert version != first
        artifacts.verify(version)
        assert ResourceNeighbours.objects.filter(version=version).exists()

    def test_an_error_in_the_switch_leaves_no_version_without_files(self, world, monkeypatch):
        first = training.train("default")

        def break_off(tenant):
            raise KeyboardInterrupt

        monkeypatch.setattr(versions, "_retire_spaces", break_off)
        with pytest.raises(KeyboardInterrupt):
            training.train("default")
        version = ModelVersion.objects.latest("pk")
        assert (version.status, version.artifact) == ("failed", "")
        assert not (artifacts.root() / "versions" / f"{version.run_id}.zip").exists()
        assert versions.active_version("default") == first

    def test_a_storage_that_cannot_delete_does_not_stop_the_switch(self, world, monkeypatch, settings):
        settings.LLMREC = {**settings.LLMREC, "KEEP_VERSIONS": 0}
        training.train("default")

        class ClientError(Exception):
            pass

        def refuse(self, name):
            raise ClientError

        monkeypatch.setattr(FileSystemStorage, "delete", refuse)
        second = training.train("default")
        assert (second.status, versions.active_version("default")) == ("active", second)

    def test_an_error_while_a_baseline_is_made_to_serve_leaves_no_run_unfinished(self, world, monkeypatch):
        monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (False, [Reason("no_baseline")]))

        def break_off(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(run_module, "store", break_off)
        with pytest.raises(KeyboardInterrupt):
            training.train("default")
        assert [version.status for version in ModelVersion.objects.order_by("pk")] == ["rejected", "failed"]


class TestServing:
    def test_lists_come_from_the_version_and_are_the_same_one_by_one_and_in_a_batch(self, world):
        _, learners = world
        training.train("default")
        batch = dict(recommend_batch(learners[:50], k=10))
        for learner in learners[:50]:
            [(_, alone)] = recommend_batch([learner], k=10)
            assert [pk for pk, _ in alone] == [pk for pk, _ in batch[learner]]
        result = recommend(learners[0], k=5)
        assert {item.source for item in result} == {"trained"}
        assert result.is_personal

    def test_training_changes_what_is_recommended_for_the_better(self, world):
        resources, learners = world
        place = {row.pk: i for i, row in enumerate(resources)}

        def next_in_order():
            found = 0
            for learner, ranked in recommend_batch(learners[:100], k=5):
                last = place[Interaction.objects.filter(learner=learner).newest_first().first().resource_id]
                found += any(place[pk] == last + 1 for pk, _ in ranked)
            return found

        before = next_in_order()
        training.train("default")
        assert next_in_order() > before

    def test_a_click_changes_the_next_list(self, world):
        resources, learners = world
        training.train("default")
        before = [item.resource.pk for item in recommend(learners[0], k=5)]
        Interaction.objects.create(
            learner=learners[0], resource=resources[20], verb="completed", occurred_at=timezone.now(), event_id="now"
        )
        after = [item.resource.pk for item in recommend(learners[0], k=5)]
        assert after != before
        assert resources[21].pk in after

    def test_a_resource_that_came_after_training_can_be_recommended(self, world, space):
        _, learners = world
        training.train("default")
        new = Resource.objects.create(key="new", title="New")
        topic = ResourceVector.objects.get(
            resource=Interaction.objects.filter(learner=learners[0]).newest_first()[0].resource
        )
        ResourceVector.objects.create(resource=new, space=space, vector=topic.vector, content_hash="h", text_hash="t")
        [(_, ranked)] = recommend_batch([learners[0]], k=15)
        assert new.pk in [pk for pk, _ in ranked]

    def test_unpublished_and_seen_resources_are_never_in_a_list_however_deep(self, world, monkeypatch):
        monkeypatch.setattr("llmrec_django.services.scoring.FIRST_LOOK", 1)
        resources, learners = world
        training.train("default")
        hidden = {row.pk for row in resources[:860]}
        Resource.objects.filter(pk__in=hidden).update(published=False)
        seen = set(Interaction.objects.filter(learner=learners[0]).values_list("resource", flat=True))
        [(_, ranked)] = recommend_batch([learners[0]], k=N)
        assert {pk for pk, _ in ranked} == {row.pk for row in resources[860:]} - seen

    def test_an_archive_that_is_not_what_was_written_is_refused(self, world):
        version = training.train("default")
        ModelVersion.objects.filter(pk=version.pk).update(digest="0" * 64)
        version.refresh_from_db()
        with pytest.raises(ArtifactError, match="not what training wrote"):
            artifacts.fetch(version)

    def test_somebody_unknown_gets_what_is_popular(self, world):
        training.train("default")
        assert recommend(None, k=3, tenant="default").fallback == "popular"


class NoLogger:
    def log(self, step, values):
        pass

    def close(self):
        pass


class TestRelevance:
    @pytest.fixture
    def small(self, settings):
        settings.LLMREC = {
            **settings.LLMREC,
            "TRAIN_SOURCES": ("relevance", "transitions", "popularity"),
            "RELEVANCE": {"max_epochs": 2, "embedding_size": 16, "feature_size": 16, "hidden_size": 16, "layers": 1},
        }

    @pytest.mark.model
    def test_is_one_more_source_that_serves_by_its_export(self, world, space, small):
        _, learners = world
        version = training.train("default")
        measured = {row["source"] for row in version.metrics["table"]} - set(version.metrics["measured_only"])
        assert measured == {"blend", "relevance", "transitions", "popularity"}
        if version.status == "active":
            assert (artifacts.fetch(version) / "relevance" / "learner.onnx").exists()
            assert {item.source for item in recommend(learners[0], k=3)} == {"trained"}

    @pytest.mark.model
    def test_each_run_has_a_log_of_its_own_which_goes_with_its_files(self, world, small, settings, monkeypatch, capsys):
        settings.LLMREC = {**settings.LLMREC, "KEEP_VERSIONS": 0, "WANDB_PROJECT": "mine"}
        projects = []
        monkeypatch.setattr(run_log, "WandbLogger", lambda project, config: projects.append(project) or NoLogger())
        monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
        folders = []
        for _ in range(2):
            call_command("llmrec_train")
            version = versions.active_version("default")
            folder = log_folder(version)
            assert f"its log is in {folder / 'choose'}." in capsys.readouterr().out
            for part in ("choose", "refit"):
                lines = (folder / part / "log.jsonl").read_text().splitlines()
                assert [json.loads(line)["epoch"] for line in lines] == [1, 2][: len(lines)]
            folders.append(folder)
        assert [folder.exists() for folder in folders] == [False, True]
        assert projects == ["mine"] * 4

    @pytest.mark.model
    def test_the_export_scores_by_goals_and_new_resources_by_text(self, world, space, small, tmp_path):
        dataset = load_dataset("default")
        texts = text_matrix(space, dataset.resource_ids)
        source, epochs = train_relevance(
            tmp_path / "r", dataset.log, texts, dataset.verbs, profiles=None, seed=0, epochs=1
        )
        assert epochs == 1
        log = dataset.log.take(np.zeros(len(dataset.log), dtype=bool))
        goals = np.zeros((log.n_learners, TOPICS), dtype=np.float32)
        goals[0, 3], goals[1, 4] = 1, 1
        scores = source.score(Asked.of(log, np.arange(2), goals))
        assert scores.shape == (2, N)
        assert not np.allclose(scores[0], scores[1])
        extended = source.extended(texts[:1])
        log = replace(log, n_resources=N + 1)
        assert extended.score(Asked.of(log, np.arange(2), goals)).shape == (2, N + 1)


class TestOptionalSources:
    @pytest.mark.parametrize("name", ["user_knn", "ials"])
    def test_serves_what_was_measured(self, world, settings, monkeypatch, name):
        monkeypatch.setattr("llmrec_django.engine.cf.ease.MAX_RESOURCES", 10)  # factorisation is for large catalogues
        settings.LLMREC = {**settings.LLMREC, "TRAIN_SOURCES": ("transitions", "content", "popularity", name)}
        version = training.train("default")
        assert version.status == "active", version.why
        assert name in version.config["sources"]
        _, learners = world
        served = {source.name: source for source in scorer_of(version).sources}
        dataset = load_dataset("default")
        asked = Asked.of(dataset.log, np.arange(5))
        scores = served[name].score(asked)
        assert scores.shape == (5, len(dataset.resource_ids))
        for row, history in enumerate(asked.histories):
            topic = np.argsort(-np.nan_to_num(scores[row], nan=-np.inf))[:5] // SIZE
            assert (topic == history[-1] // SIZE).mean() > 0.5
        assert recommend(learners[0], k=5)

    def test_the_longest_vectors_of_a_file_are_found(self, tmp_path):
        matrix = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
        matrix[::100] *= 10
        np.save(tmp_path / "m.npy", matrix)
        longest = Longest.of(RowFile(tmp_path / "m.npy"), 40)
        lengths = np.linalg.norm(matrix, axis=1)
        assert longest.rows.tolist() == np.flatnonzero(lengths >= np.sort(lengths)[-40]).tolist()
        np.testing.assert_array_equal(longest.vectors, matrix[longest.rows])

    def test_factorisation_leaves_small_catalogues_alone(self, world, settings):
        settings.LLMREC = {**settings.LLMREC, "TRAIN_SOURCES": ("transitions", "popularity", "ials")}
        version = training.train("default")
        assert "ials" not in [row["source"] for row in version.metrics["table"]]


class TestNewResources:
    def test_borrow_the_scores_of_those_whose_texts_are_like_theirs(self, world, space, settings):
        resources, learners = world
        settings.LLMREC = {**settings.LLMREC, "TRAIN_SOURCES": ("transitions", "borrowed", "content", "popularity")}
        training.train("default")
        place = {row.pk: i for i, row in enumerate(resources)}
        last = place[Interaction.objects.filter(learner=learners[0]).newest_first().first().resource_id]
        saved = Resource.objects.create(key="saved-now", title="New")
        ResourceVector.objects.create(
            resource=saved, space=space, vector=np.eye(TOPICS)[last // SIZE], content_hash="h", text_hash="t"
        )
        with_same_topic = [row for row in learners[:60] if row is not learners[0]]
        found = {
            learner.pk: [pk for pk, _ in ranked]
            for learner, ranked in recommend_batch([learners[0], *with_same_topic], k=10)
        }
        assert saved.pk in found[learners[0].pk]
        others = [
            learner
            for learner in with_same_topic
            if place[Interaction.objects.filter(learner=learner).newest_first().first().resource_id] // SIZE
            != last // SIZE
        ]
        share = np.mean([saved.pk in found[learner.pk] for learner in others])
        assert share < 0.2

    def test_one_alone_is_shown_to_those_it_suits(self, world, space, settings):
        resources, learners = world
        settings.LLMREC = {**settings.LLMREC, "TRAIN_SOURCES": ("transitions", "borrowed", "content", "popularity")}
        Resource.objects.update(created_at=timezone.now() - timedelta(days=400))  # none of these is new
        training.train("default")
        saved = Resource.objects.create(key="saved-now", title="New")
        ResourceVector.objects.create(
            resource=saved, space=space, vector=np.eye(TOPICS)[0], content_hash="h", text_hash="t"
        )
        place = {row.pk: i for i, row in enumerate(resources)}
        suits, shown = [], []
        for learner, ranked in recommend_batch(learners[:80], k=10):
            last = Interaction.objects.filter(learner=learner).newest_first().first().resource_id
            suits.append(place[last] // SIZE == 0)
            shown.append(saved.pk in [pk for pk, _ in ranked])
        suits, shown = np.array(suits), np.array(shown)
        assert suits.any()
        assert shown[suits].all()
        assert shown[~suits].mean() < 0.05

    def test_keep_the_last_place_of_a_list_and_none_of_a_switched_off_one(self, world, space, settings):
        resources, learners = world
        Interaction.objects.filter(resource__in=resources[-5:]).delete()  # nobody has chosen these
        training.train("default")
        unchosen = {row.pk for row in resources} - set(Interaction.objects.values_list("resource_id", flat=True))
        for _, ranked in recommend_batch(learners[:20], k=20):
            assert len({pk for pk, _ in ranked} & unchosen) >= 8
            scores = [score for _, score in ranked]
            assert scores == sorted(scores, reverse=True)
        settings.LLMREC = {**settings.LLMREC, "NEW_SHARE": 0}
        without = [len({pk for pk, _ in ranked} & unchosen) for _, ranked in recommend_batch(learners[:20], k=20)]
        assert np.mean(without) < 8
        Resource.objects.update(created_at=timezone.now() - timedelta(days=400))
        settings.LLMREC = {**settings.LLMREC, "NEW_SHARE": 0.8}
        training.train("default")
        old = [len({pk for pk, _ in ranked} & unchosen) for _, ranked in recommend_batch(learners[:20], k=20)]
        assert np.mean(old) < 8


class TestGoingBack:
    def test_each_step_goes_further_back_and_the_last_one_to_no_version(self, world):
        first, second = training.train("default"), training.train("default")
        assert versions.roll_back("default") == first
        assert ModelVersion.objects.get(pk=second.pk).status == "retired"
        assert versions.roll_back("default") is None
        assert versions.active_version("default") is None
        with pytest.raises(LLMRecError, match="Cannot go back"):
            versions.roll_back("default")

    def test_a_version_whose_archive_is_damaged_is_passed_over(self, world, capsys):
        first, damaged, gone, _ = (training.train("default") for _ in range(4))
        (artifacts.root() / damaged.artifact).write_bytes(b"?")
        (artifacts.root() / gone.artifact).unlink()
        call_command("llmrec_train", "--rollback")
        assert versions.active_version("default") == first
        said = capsys.readouterr().out
        for version in (damaged, gone):
            assert f"Cannot read the files of model version {version.pk}." in said
        assert f"version {first.pk} (active) serves now" in said

    def test_where_no_archive_before_is_whole_lists_are_made_without_training(self, world):
        first, second = training.train("default"), training.train("default")
        (artifacts.root() / first.artifact).unlink()
        said = []
        assert versions.roll_back("default", say=said.append) is None
        assert f"model version {first.pk}" in said[0]
        second.refresh_from_db()
        assert (versions.active_version("default"), second.status) == (None, "retired")

    def test_files_of_old_versions_go_and_their_numbers_stay(self, world, settings):
        settings.LLMREC = {**settings.LLMREC, "KEEP_VERSIONS": 1}
        first, _, third = (training.train("default") for _ in range(3))
        first.refresh_from_db()
        assert (first.artifact, first.metrics["learners"]) == ("", third.metrics["learners"])
        assert not ResourceNeighbours.objects.filter(version=first).exists()
        with pytest.raises(LLMRecError, match="no files"):
            versions.activate(first)

    def test_a_version_that_never_served_takes_no_place_of_one_that_did(self, world, settings):
        settings.LLMREC = {**settings.LLMREC, "KEEP_VERSIONS": 1}
        first = training.train("default")
        left = [
            ModelVersion.objects.create(status="candidate", artifact=f"versions/{name}.zip", digest="d")
            for name in ("a", "b")
        ]
        second = training.train("default")
        for version in left:
            version.refresh_from_db()
            assert (version.status, version.artifact) == ("failed", "")
        ModelVersion.objects.create(status="candidate", artifact="versions/c.zip", digest="d")
        versions.activate(second)
        assert versions.roll_back("default") == first

    def test_a_version_whose_files_were_deleted_meanwhile_does_not_serve(self, world):
        first, second = training.train("default"), training.train("default")
        ModelVersion.objects.filter(pk=first.pk).update(artifact="", digest="")
        with pytest.raises(LLMRecError, match="It has no files any more"):
            versions.activate(first)
        assert versions.active_version("default") == second


class TestCommands:
    def test_train_prints_the_table_and_the_verdict(self, world, capsys):
        call_command("llmrec_train")
        printed = capsys.readouterr().out
        assert "NDCG@10" in printed
        assert "transitions" in printed
        assert "serves now" in printed

    def test_evaluate_measures_and_changes_nothing(self, world, capsys):
        call_command("llmrec_evaluate", "--json")
        assert '"table"' in capsys.readouterr().out
        assert not ModelVersion.objects.exists()

    def test_rollback_is_one_command(self, world, capsys):
        call_command("llmrec_train", verbosity=0)
        call_command("llmrec_train", "--rollback")
        assert "No trained version serves now" in capsys.readouterr().out

    def test_any_version_with_files_can_be_let_serve_also_after_the_last_step_back(self, world, capsys):
        first, second = training.train("default"), training.train("default")
        while versions.active_version("default"):
            versions.roll_back("default")
        call_command("llmrec_train", "--activate", str(second.pk))
        assert f"version {second.pk} (active) serves now" in capsys.readouterr().out
        assert versions.active_version("default") == second
        second.refresh_from_db()
        assert second.why == "Activated by llmrec_train --activate."
        assert versions.roll_back("default") == first
        other = ModelVersion.objects.create(tenant="b")
        for number, found in ((other.pk, "has no version"), (0, "has no version")):
            with pytest.raises(CommandError, match=found):
                call_command("llmrec_train", "--activate", str(number))
        gone = ModelVersion.objects.create(status="rejected")
        with pytest.raises(CommandError, match="It has no files any more"):
            call_command("llmrec_train", "--activate", str(gone.pk))

    def test_an_unknown_source_is_named(self, world):
        with pytest.raises(CommandError, match="Cannot train 'magic'"):
            call_command("llmrec_train", "--sources", "magic")
