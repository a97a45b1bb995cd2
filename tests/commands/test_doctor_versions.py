"""What the doctor says about trained versions."""

from datetime import timedelta

import pytest
from django.utils import timezone

from llmrec_django.models import Interaction, ModelVersion, VectorSpace
from llmrec_django.services import artifacts, doctor, spaces, training
from llmrec_django.services import scorer as scorer_module
from llmrec_django.services.doctor import trained
from llmrec_django.services.reasons import Reason
from tests.django_app.test_training import TOPICS, make_activity, make_resources, mixed_sequences

pytestmark = pytest.mark.django_db


@pytest.fixture
def site(settings, tmp_path, monkeypatch):
    scorer_module.forget()
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": tmp_path,
        "TRAIN_SOURCES": ("transitions", "popularity"),
        "TUNE_S": 0,
    }
    monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
    space = VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active")
    make_activity(make_resources(space), mixed_sequences(60))
    yield
    scorer_module.forget()


def found():
    return {finding.name: finding for finding in doctor.examine()}["trained version of 'default'"]


def test_a_sound_version_is_named(site):
    version = training.train("default")
    assert (found().status, found().found) == ("ok", f"version {version.pk} serves, trained 0 days ago")


def test_no_version_is_worth_a_word_only_where_there_is_something_to_learn_from(site, monkeypatch):
    assert found().status == "ok"
    monkeypatch.setattr(trained, "ENOUGH", Interaction.objects.count())
    assert found().status == "warn"
    assert "llmrec_train" in found().todo


def test_an_old_version_is_a_warning(site):
    version = training.train("default")
    ModelVersion.objects.filter(pk=version.pk).update(created_at=timezone.now() - timedelta(days=40))
    assert (found().status, found().found) == ("warn", f"version {version.pk} serves, trained 40 days ago")


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_files_that_cannot_be_read_are_a_failure_and_it_says_what_serves_instead(site, damage):
    first, second = training.train("default"), training.train("default")
    path = artifacts.root() / second.artifact
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    # This machine has unpacked it: here it still serves, elsewhere it does not.
    assert (found().status, f"version {first.pk} serves" in found().found) == ("fail", False)
    artifacts.discard_unpacked(second)
    scorer_module.forget()
    assert f"Meanwhile version {first.pk} serves." in found().found
    artifacts.discard_unpacked(first)
    (artifacts.root() / first.artifact).unlink()
    scorer_module.forget()
    assert "lists are made without training" in found().found


def test_an_archive_kept_for_going_back_that_cannot_be_read_is_a_warning(site):
    first, second = training.train("default"), training.train("default")
    name = f"version {first.pk}, kept for going back"
    assert name not in {finding.name for finding in doctor.examine()}
    (artifacts.root() / first.artifact).write_bytes(b"?")
    [kept] = [finding for finding in doctor.examine() if finding.name == name]
    assert (kept.status, found().status) == ("warn", "ok")
    assert "They are not what training wrote." in kept.found
    assert found().found.startswith(f"version {second.pk} serves")


def test_vectors_that_no_version_needs_are_deleted_by_repair_and_by_the_sweep(site):
    for clear in (lambda: list(doctor.repair()), spaces.purge_retired):
        orphan = VectorSpace.objects.create(
            purpose="relevance", encoder="", encoder_id="version x", recipe="relevance", dimension=4
        )
        clear()
        assert not VectorSpace.objects.filter(pk=orphan.pk).exists()


def test_the_index_of_a_version_that_serves_is_looked_at(site):
    space = VectorSpace.objects.create(
        purpose="relevance", encoder="", encoder_id="version x", recipe="relevance", dimension=4, status="active"
    )
    assert f"index of space {space.pk}" in {finding.name for finding in doctor.examine()}
