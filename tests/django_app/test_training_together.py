"""Several processes for one training, as a launcher starts them for several devices."""

import os
import subprocess
import sys
import textwrap

import pytest
from django.core.cache import cache
from django.db import connection

from llmrec_django.models import ModelVersion, VectorSpace
from llmrec_django.services import artifacts, versions
from llmrec_django.services import scorer as scorer_module
from llmrec_django.services.recommend import recommend
from llmrec_django.services.training import lock
from tests.django_app.test_training import TOPICS, make_activity, make_resources, mixed_sequences
from tests.subprocesses import ROOT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.model]

PROGRAM = """
    import os, sys
    from pathlib import Path
    from django.conf import settings

    database, folder, *options = sys.argv[1:]
    settings.DATABASES["default"]["NAME"] = database
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": Path(folder),
        "TRAIN_SOURCES": ("relevance", "transitions", "content"),
        "RELEVANCE": {"max_epochs": 2, "embedding_size": 16, "feature_size": 16, "hidden_size": 16, "layers": 1},
        "TUNE_S": 0,
    }
    import django
    django.setup()
    from django.core.management import call_command
    from django.db.backends.base.base import BaseDatabaseWrapper
    from llmrec_django.engine.relevance import train
    from llmrec_django.services import training
    from llmrec_django.services.reasons import Reason

    training.Evaluation.verdict = lambda self: (True, [Reason("no_baseline")])
    if training.is_helper():
        def refuse(self):
            raise AssertionError("a helper read the database")
        BaseDatabaseWrapper.connect = refuse
    epoch = train._Trainer.epoch

    def counted(self, number, *rest):
        print(f"EPOCH {self.group.rank} of {self.group.size}", flush=True)
        return epoch(self, number, *rest)

    train._Trainer.epoch = counted
    call_command(*options)
"""


@pytest.fixture
def site(settings, tmp_path):
    cache.clear()
    scorer_module.forget()
    settings.LLMREC = {"CELERY": False, "ARTIFACT_DIR": tmp_path / "files"}
    space = VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active")
    yield make_activity(make_resources(space), mixed_sequences(60))
    scorer_module.forget()


@pytest.fixture
def two(tmp_path):
    """Return a function that runs a command in two processes."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))

    def run(*options):
        launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
        return subprocess.run(
            [*launcher, str(program), str(connection.settings_dict["NAME"]), str(tmp_path / "files"), *options],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "OMP_NUM_THREADS": "1",
                "CUDA_VISIBLE_DEVICES": "",
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def test_train_one_model_and_the_first_one_stores_it(site, two):
    done = two("llmrec_train")
    assert done.returncode == 0, done.stderr
    [version] = ModelVersion.objects.all()
    assert versions.active_version("default") == version
    assert f"version {version.pk} (active) serves now." in done.stdout
    for rank in (0, 1):
        assert done.stdout.count(f"EPOCH {rank} of 2") == 4, "two to choose, two on everything"
    artifacts.verify(version)
    assert {item.source for item in recommend(site[0], k=3)} == {"trained"}


def test_one_that_finds_another_run_ends_and_leaves_what_there_is(site, two):
    with lock.only_run("default"):
        done = two("llmrec_train")
    assert done.returncode != 0
    assert "Another process is training it" in done.stderr
    assert not ModelVersion.objects.exists()


def test_measure_together_too(site, two):
    done = two("llmrec_evaluate")
    assert done.returncode == 0, done.stderr
    assert "EPOCH 1 of 2" in done.stdout
    assert not ModelVersion.objects.exists()
