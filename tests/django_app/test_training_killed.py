"""Training processes that are killed at their worst moments."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from django.core.cache import cache
from django.db import connection

from llmrec_django.models import ModelVersion, ResourceNeighbours, ResourceVector, VectorSpace
from llmrec_django.services import artifacts, doctor, training, versions
from llmrec_django.services import scorer as scorer_module
from llmrec_django.services.reasons import Reason
from llmrec_django.services.recommend import recommend_batch
from llmrec_django.services.training import lock
from tests.django_app.test_training import TOPICS, make_activity, make_resources, mixed_sequences
from tests.subprocesses import ROOT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.model]

PROGRAM = """
    import os, signal, sys
    from pathlib import Path
    from django.conf import settings

    database, folder, moment = sys.argv[1:]
    settings.DATABASES["default"]["NAME"] = database
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": Path(folder),
        "TRAIN_SOURCES": ("relevance", "transitions", "content"),
        "RELEVANCE": {"max_epochs": 1, "embedding_size": 16, "feature_size": 16, "hidden_size": 16, "layers": 1},
        "TUNE_S": 0,
    }
    import django
    django.setup()
    from llmrec_django.services import artifacts, trained_vectors, training, versions
    from llmrec_django.services.reasons import Reason
    from llmrec_django.services.training import run, storing

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(function, calls):
        counted = []

        def call(*args, **kwargs):
            counted.append(None)
            if len(counted) > calls:
                die()
            return function(*args, **kwargs)

        return call

    def then_die(function):
        def call(*args, **kwargs):
            function(*args, **kwargs)
            die()

        return call

    training.Evaluation.verdict = lambda self: (True, [Reason("no_baseline")])
    run._against = lambda active, run, split, evaluation, sources: (run, evaluation, True, [])
    trained_vectors.PAGE = 100
    if moment == "measuring":
        run.evaluate = die
    elif moment == "writing R(i)":
        trained_vectors._write = dying(trained_vectors._write, 3)
    elif moment == "archive written":
        artifacts.store = then_die(artifacts.store)
    elif moment == "before it serves":
        versions.activate = die
    elif moment == "in the switch":
        versions._retire_spaces = then_die(versions._retire_spaces)
    training.train("default")
"""
COMPLETE = ("before it serves", "in the switch")
"""Moments at which all of a version is there."""


@pytest.fixture
def site(settings, tmp_path, monkeypatch):
    cache.clear()
    scorer_module.forget()
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": tmp_path,
        "TRAIN_SOURCES": ("transitions", "content"),
        "TUNE_S": 0,
    }
    monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
    space = VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active")
    yield make_activity(make_resources(space), mixed_sequences(60))
    scorer_module.forget()


@pytest.fixture
def killed(tmp_path):
    """Return a function that trains in another process, which is killed at a moment."""

    def train(moment):
        program = subprocess.run(
            [
                *(sys.executable, "-c", textwrap.dedent(PROGRAM)),
                *(str(connection.settings_dict["NAME"]), str(tmp_path), moment),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert program.returncode == -signal.SIGKILL, program.stderr
        return ModelVersion.objects.latest("pk")

    return train


def lists(learners):
    return [[pk for pk, _ in ranked] for _, ranked in recommend_batch(learners[:5], k=5)]


def left_by(version):
    """Return what there still is of a version."""
    spaces = VectorSpace.objects.filter(encoder_id=f"version {version.run_id}")
    return {
        "vectors": ResourceVector.objects.filter(space__in=spaces).count(),
        "neighbours": ResourceNeighbours.objects.filter(version=version).count(),
        "archive": len(list((artifacts.root() / "versions").glob(f"{version.run_id}*"))),
        "scratch": len(list(lock.run_folder("default").glob(f"{lock.SCRATCH}*"))),
    }


@pytest.mark.parametrize("moment", ["measuring", "writing R(i)", "archive written", *COMPLETE])
def test_what_serves_goes_on_and_the_next_run_clears_up(site, killed, moment):
    first = training.train("default")
    before = lists(site)
    version = killed(moment)
    assert version.status == ("candidate" if moment in COMPLETE else "training")
    scorer_module.forget()
    assert versions.active_version("default") == first
    assert lists(site) == before
    assert bool(left_by(version)["scratch"]) == (moment not in COMPLETE)
    third = training.train("default")
    version.refresh_from_db()
    assert (version.status, version.artifact) == ("failed", "")
    assert not any(left_by(version).values())
    assert versions.active_version("default") == third


def test_the_doctor_finds_and_clears_what_a_killed_run_left(site, killed):
    version = killed("writing R(i)")
    assert left_by(version)["vectors"] == 300
    [found] = [finding for finding in doctor.examine() if finding.name == f"training of version {version.pk}"]
    assert found.status == "warn"
    assert f"Version {version.pk} declared failed: its training was broken off." in list(doctor.repair())
    assert not any(left_by(version).values())
    assert not [finding for finding in doctor.examine() if finding.name.startswith("training of")]


def test_a_run_that_goes_on_is_left_alone_by_the_doctor(site):
    version = ModelVersion.objects.create(tenant="default")
    program = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys, django; from django.conf import settings\n"
            "settings.DATABASES['default']['NAME'] = sys.argv[1]; django.setup()\n"
            "from llmrec_django.services.training.lock import only_run\n"
            "with only_run('default'): print('held', flush=True); sys.stdin.read()",
            str(connection.settings_dict["NAME"]),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert program.stdout.readline() == b"held\n"
        assert lock.broken_off() == []
        list(doctor.repair())
        version.refresh_from_db()
        assert version.status == "training"
    finally:
        program.communicate(timeout=60)
    assert lock.broken_off() == [version]
