"""Measuring again what serves: on what came after its training, kept, and with a warning when it has fallen."""

import logging
from datetime import timedelta

import numpy as np
import pytest
from django.core import mail
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.utils import timezone

from llmrec_django import tasks
from llmrec_django.engine.evaluation.report import report
from llmrec_django.engine.evaluation.splits import Split
from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.exceptions import LLMRecError
from llmrec_django.models import EvaluationRecord, Interaction, ModelVersion, VectorSpace
from llmrec_django.services import training, versions
from llmrec_django.services.training.drift import compare_with_training
from tests.django_app.test_training import TOPICS, make_activity, make_resources

pytestmark = pytest.mark.django_db
N = 60


@pytest.fixture(autouse=True)
def _site(settings, tmp_path):
    cache.clear()
    settings.ADMINS = [("Boss", "boss@example.org")]
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": tmp_path,
        "TRAIN_SOURCES": ("transitions", "content", "popularity"),
        "TUNE_S": 0,
    }


@pytest.fixture
def learners(db):
    """A chain is learned by transitions, which serves; everybody is somewhere on it."""
    space = VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active")
    starts = np.random.default_rng(2).integers(N, size=120)
    made = make_activity(make_resources(space, N), [[int(start + step) % N for step in range(5)] for start in starts])
    training.train("default")
    return made


def go_on(learners, step):
    """Everybody meets one more resource, `step` places further on than the last."""
    keys = {resource: int(key[1:]) for resource, key in resources().items()}
    by_number = {number: resource for resource, number in keys.items()}
    now = timezone.now() + timedelta(hours=1)
    Interaction.objects.bulk_create(
        Interaction(
            learner=learner,
            resource_id=by_number[
                (keys[Interaction.objects.filter(learner=learner).newest_first()[0].resource_id] + step) % N
            ],
            verb="completed",
            occurred_at=now,
            event_id=f"later {step}",
        )
        for learner in learners
    )


def resources():
    return dict(Interaction.objects.values_list("resource_id", "resource__key").distinct())


def test_who_goes_on_as_before_is_served_as_well_as_before(learners, caplog):
    go_on(learners, 1)
    record = training.check_active("default")
    assert record.version == versions.active_version("default")
    assert record.ndcg > 0.9
    assert record.expected == pytest.approx(1, abs=0.05)
    assert not record.has_fallen
    assert record.metrics["learners"] == 120
    assert {row["source"] for row in record.metrics["table"]} == {"blend", "transitions"}
    assert "become worse" not in caplog.text


def test_a_fall_is_kept_logged_and_mailed_on_request(learners, settings, caplog):
    settings.LLMREC = {**settings.LLMREC, "DRIFT_MAIL": True}
    go_on(learners, 30)
    record = training.check_active("default")
    assert (record.has_fallen, record.ndcg < 0.5) == (True, True)
    assert "lists have become worse tenant=default" in caplog.text
    [message] = mail.outbox
    assert "Recommendations have become worse (default)" in message.subject
    assert "is surely below" in message.body


def test_nothing_is_mailed_unless_it_is_set(learners):
    go_on(learners, 30)
    assert training.check_active("default").has_fallen
    assert mail.outbox == []


def test_measuring_twice_what_is_the_same_keeps_one_record(learners):
    go_on(learners, 1)
    assert training.check_active("default") == training.check_active("default")
    assert EvaluationRecord.objects.count() == 1
    go_on(learners, 2)
    training.check_active("default")
    assert EvaluationRecord.objects.count() == 2


def test_what_the_version_has_seen_is_not_what_it_is_asked(learners):
    """Of 120 learners 55 went on since: only they are asked about."""
    go_on(learners[:55], 1)
    assert training.check_active("default").metrics["learners"] == 55


def test_too_little_that_is_new_is_said(learners):
    go_on(learners[:7], 1)
    with pytest.raises(LLMRecError, match="Only 7 learners met something new"):
        training.check_active("default")
    assert not EvaluationRecord.objects.exists()


def test_without_a_version_there_is_nothing_to_measure(db):
    with pytest.raises(LLMRecError, match="No trained version does"):
        training.check_active("default")


def test_resources_that_came_later_are_misses_not_errors(learners):
    from llmrec_django.models import Resource

    later = Resource.objects.create(key="r60", title="Later")
    Interaction.objects.bulk_create(
        Interaction(
            learner=learner,
            resource=later,
            verb="viewed",
            occurred_at=timezone.now() + timedelta(hours=2),
            event_id="l",
        )
        for learner in learners
    )
    assert training.check_active("default").ndcg == 0


class TestComparison:
    def found(self, values, lengths):
        """Report on learners with these histories who found their resource at rank 1 (1) or not at all (0)."""
        log = InteractionLog.from_arrays(
            np.repeat(np.arange(len(values)), lengths), np.zeros(sum(lengths), dtype=int), n_resources=30
        )
        lists = np.full((len(values), 10), -1)
        lists[:, 0] = np.where(values, 1, 2)
        split = Split("x", log, np.arange(len(values), dtype=np.int32), tuple(np.array([1]) for _ in values))
        return report(split, {"blend": lists}, ks=(10,))

    def metrics(self, ndcg, low, high, **segments):
        return {
            "table": [{"source": "blend", "NDCG@10": ndcg, "intervals": {"NDCG@10": [low, high]}}],
            "segments": {label: {"blend": value, "learners": 9} for label, value in segments.items()},
        }

    def test_a_fall_within_the_margin_is_none(self):
        before = self.metrics(0.5, 0.5, 0.5)
        now = self.found(np.arange(1000) % 10 < 4, [5] * 1000)  # .4
        assert compare_with_training(before, now, 0.3) == (0.5, False)
        assert compare_with_training(before, now, 0.1) == (0.5, True)

    def test_a_fall_that_chance_may_have_made_is_none(self):
        now = self.found(np.arange(20) % 10 < 3, [5] * 20)  # .3, ± .2
        assert compare_with_training(self.metrics(0.5, 0.5, 0.5), now, 0.1) == (0.5, False)
        sure = self.found(np.arange(1000) % 10 < 3, [5] * 1000)
        assert compare_with_training(self.metrics(0.5, 0.5, 0.5), sure, 0.1) == (0.5, True)
        assert compare_with_training(self.metrics(0.5, 0.2, 0.8), sure, 0.1) == (0.5, False)

    def test_learners_are_compared_with_those_of_as_long_a_history(self):
        before = self.metrics(0.5, 0.5, 0.5, **{"1-2": 0.3, "10+": 0.7})
        short, mixed = [1] * 1000, [1] * 500 + [10] * 500
        right = np.arange(1000) % 10 < 3
        assert compare_with_training(before, self.found(right, short), 0.1) == (pytest.approx(0.3), False)
        assert compare_with_training(before, self.found(right, mixed), 0.1) == (pytest.approx(0.5), True)

    def test_without_former_numbers_nothing_is_expected(self):
        assert compare_with_training({}, self.found(np.array([True]), [1]), 0.1) == (None, False)


class TestTask:
    def test_keeps_a_record_and_returns_what_it_found(self, learners):
        go_on(learners, 1)
        found = tasks.evaluate.run()
        record = EvaluationRecord.objects.get()
        assert found == {"version": record.version_id, "ndcg": record.ndcg, "has_fallen": False}

    def test_says_in_the_log_why_it_did_nothing(self, db, caplog):
        caplog.set_level(logging.WARNING, "llmrec_django")
        assert "No trained version does" in tasks.evaluate.run()["why"]
        assert "not evaluated tenant=default" in caplog.text


class TestCommand:
    def test_measures_what_serves(self, learners, capsys):
        go_on(learners, 1)
        call_command("llmrec_evaluate", "--active")
        printed = capsys.readouterr().out
        assert "transitions" in printed
        assert "on 120 interactions since training; learners with histories as long reached" in printed
        assert EvaluationRecord.objects.count() == 1

    def test_says_why_it_cannot(self, db):
        with pytest.raises(CommandError, match="Train one first"):
            call_command("llmrec_evaluate", "--active")
        assert not ModelVersion.objects.exists()
