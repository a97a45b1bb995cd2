"""llmrec_evaluate: what it measures, what it holds out, what it writes."""

import csv
import json
from datetime import timedelta

import numpy as np
import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.utils import timezone

from llmrec_django.models import Interaction, LearnerProfile, ModelVersion, Resource, ResourceVector, VectorSpace
from llmrec_django.services import training
from llmrec_django.services.training import run as run_module
from llmrec_django.services.training.evaluate import BASELINES

pytestmark = pytest.mark.django_db
METRICS = {"NDCG", "recall", "precision", "F1", "hit rate", "MRR", "MAP", "coverage", "Gini", "novelty", "diversity"}
N = 40


@pytest.fixture(autouse=True)
def _site(settings, tmp_path):
    cache.clear()
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": tmp_path,
        "TRAIN_SOURCES": ("transitions", "content", "popularity"),
        "TUNE_S": 0,
    }


@pytest.fixture
def resources(db):
    space = VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=4, status="active")
    rows = Resource.objects.bulk_create([Resource(key=f"r{i}", title=f"R {i}") for i in range(N)])
    ResourceVector.objects.bulk_create(
        ResourceVector(resource=row, space=space, vector=np.eye(4)[i % 4], content_hash="h", text_hash="t")
        for i, row in enumerate(rows)
    )
    return rows


@pytest.fixture
def activity(resources):
    """On day d everybody who has begun meets one resource more; learner u begins on day u % 10."""
    rng = np.random.default_rng(0)
    began = timezone.now() - timedelta(days=40)
    learners = LearnerProfile.objects.bulk_create([LearnerProfile(visitor_key=f"v{u}") for u in range(100)])
    Interaction.objects.bulk_create(
        Interaction(
            learner=learner,
            resource=resources[(start + step) % N],
            verb="completed",
            occurred_at=began + timedelta(days=u % 10 + step),
            event_id=str(step),
        )
        for u, (learner, start) in enumerate(zip(learners, rng.integers(N, size=100), strict=True))
        for step in range(6)
    )
    return learners


def evaluate(path, *options):
    call_command("llmrec_evaluate", "--output", str(path), *options, verbosity=0)
    return json.loads(path.read_text())


def test_every_metric_is_there_with_its_interval_and_segments(activity, tmp_path):
    found = evaluate(tmp_path / "e.json", "-k", "5", "20")
    for row in found["table"]:
        names = set(row) - {"source", "intervals"}
        assert {name.split("@")[0] for name in names} == METRICS
        assert {"NDCG@5", "NDCG@10", "NDCG@20"} <= names
        for name, (low, high) in row["intervals"].items():
            assert low - 1e-9 <= row[name] <= high + 1e-9
    assert {row["source"] for row in found["table"]} == {"blend", *BASELINES}
    assert set(found["measured_only"]) == {"popular_lately", "item_knn", "ease"}
    assert found["split"] == "leave one out"
    assert found["segments"]["3-9"]["learners"] == found["learners"] == 100
    assert sum(part["learners"] for part in found["resources"].values()) == 100
    assert not ModelVersion.objects.exists()


def test_numbers_can_be_written_as_rows(activity, tmp_path):
    call_command("llmrec_evaluate", "--output", str(tmp_path / "e.csv"), verbosity=0)
    with (tmp_path / "e.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    [row] = [row for row in rows if (row["source"], row["metric"], row["segment"]) == ("blend", "NDCG@10", "")]
    assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    assert {row["segment"] for row in rows} >= {"", "history 3-9", "chosen by 0"}


def test_it_measures_as_the_gate_does(activity, tmp_path):
    assert evaluate(tmp_path / "e.json") == training.train("default").metrics


def test_the_last_resource_of_each_learner_is_not_learned_from(activity, monkeypatch):
    splits = []
    evaluate_split = run_module.evaluate
    monkeypatch.setattr(
        run_module,
        "evaluate",
        lambda sources, split, **rest: splits.append(split) or evaluate_split(sources, split, **rest),
    )
    training.evaluate_now("default")
    [split] = splits
    assert split.train.lengths.tolist() == [5] * 100
    for learner, relevant in zip(split.learners, split.relevant, strict=True):
        assert not set(relevant) & set(split.train.history(learner))


def test_the_time_split_learns_from_nothing_that_came_later(activity, monkeypatch, tmp_path):
    splits = []
    evaluate_split = run_module.evaluate
    monkeypatch.setattr(
        run_module,
        "evaluate",
        lambda sources, split, **rest: splits.append(split) or evaluate_split(sources, split, **rest),
    )
    found = evaluate(tmp_path / "e.json", "--split", "time", "--share", "0.3")
    [split] = splits
    assert found["split"] == "global time"
    times = np.sort([when.timestamp() for when in Interaction.objects.values_list("occurred_at", flat=True)])
    moment = times[len(split.train)]
    assert split.train.times.max() < moment
    assert 0.6 < len(split.train) / 600 < 0.75
    # Who began later is asked about too, without a history.
    assert (split.train.lengths[split.learners] == 0).any() == (found["segments"]["0"]["learners"] > 0)
    assert sum(map(len, split.relevant)) == 600 - len(split.train)


def test_the_future_would_have_been_seen_by_the_other_split(resources, tmp_path):
    """A fashion that only begins in the last days: leave-one-out has seen it at others', the time split never has."""
    began = timezone.now() - timedelta(days=60)
    rng = np.random.default_rng(1)
    learners = LearnerProfile.objects.bulk_create([LearnerProfile(visitor_key=f"v{u}") for u in range(100)])
    for learner in learners:
        walk = [*rng.permutation(30)[:4].tolist(), *(30 + rng.permutation(4)[:3]).tolist()]
        Interaction.objects.bulk_create(
            Interaction(
                learner=learner,
                resource=resources[item],
                verb="completed",
                occurred_at=began + timedelta(days=step if item < 30 else 50 + step),
                event_id=str(step),
            )
            for step, item in enumerate(walk)
        )
    last = evaluate(tmp_path / "last.json", "--sources", "popularity", "transitions")
    time = evaluate(
        tmp_path / "time.json", "--sources", "popularity", "transitions", "--split", "time", "--share", "0.4"
    )
    assert last["ndcg"] > 0.5
    assert time["ndcg"] < 0.1
    assert time["resources"]["0"]["learners"] == 100


def test_a_site_without_a_clock_is_told_to_use_the_other_split(resources):
    learner = LearnerProfile.objects.create(visitor_key="v")
    now = timezone.now()
    for n, row in enumerate(resources[:5]):
        Interaction.objects.create(learner=learner, resource=row, verb="viewed", occurred_at=now, event_id=str(n))
    with pytest.raises(CommandError, match="Hold out another share, or each learner's last resource"):
        call_command("llmrec_evaluate", "--split", "time")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "time", "--share", "1.5"), "between 0 and 1"),
        (("-k", "0"), "at least 1"),
        (("--output", "/nowhere/at/all.json"), "Cannot write '/nowhere/at/all.json'"),
        (("--sources", "magic"), "Cannot train 'magic'"),
    ],
)
def test_what_cannot_be_done_is_said(activity, options, message):
    with pytest.raises(CommandError, match=message):
        call_command("llmrec_evaluate", *options, verbosity=0)
