import json
import sys

import pytest

from llmrec_django.engine.relevance.run_log import open_run_log
from llmrec_django.engine.relevance.train import fit


def test_a_run_writes_its_numbers_as_json_lines(cycle, small, tmp_path):
    import numpy as np

    run_log = open_run_log(tmp_path / "run")
    fit(small, cycle, np.zeros((12, 8), np.float32), epochs=2, run_log=run_log)
    run_log.close()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if "epoch" in line]
    assert [line["epoch"] for line in epochs] == [1, 2]
    assert all(line["loss"] > 0 and line["step"] > 0 for line in epochs)


def test_a_resumed_run_continues_its_file(tmp_path):
    for step in (1, 2):
        run_log = open_run_log(tmp_path)
        run_log.log(step, {"loss": 0.5})
        run_log.close()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


WANDB = """
runs = []
class Run:
    def __init__(self, **options): self.options, self.logged, self.finished = options, [], False
    def log(self, values, step): self.logged.append((step, values))
    def finish(self): self.finished = True
def init(**options):
    if options["project"] == "unreachable":
        raise RuntimeError("no network")
    runs.append(Run(**options))
    return runs[-1]
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """A stand-in for the package, which would want an account."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    import wandb

    yield wandb
    monkeypatch.delitem(sys.modules, "wandb", raising=False)


def test_sends_to_wandb_where_a_project_is_named(tmp_path, wandb):
    for project in ("", "mine"):
        run_log = open_run_log(tmp_path / "run", config={"layers": 1}, wandb_project=project)
        run_log.log(1, {"loss": 0.5})
        run_log.close()
    [run] = wandb.runs
    assert run.options == {"project": "mine", "config": {"layers": 1}}
    assert (run.logged, run.finished) == ([(1, {"loss": 0.5})], True)


def test_a_wandb_that_does_not_answer_stops_no_training(tmp_path, wandb, caplog):
    run_log = open_run_log(tmp_path / "run", wandb_project="unreachable")
    run_log.log(1, {"loss": 0.5})
    run_log.close()
    assert "no network" in caplog.text
    assert (tmp_path / "run" / "log.jsonl").read_text()


def test_writes_for_tensorboard_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboard")
    run_log = open_run_log(tmp_path)
    run_log.log(1, {"loss": 0.5})
    run_log.close()
    assert list(tmp_path.glob("events.out.tfevents*"))
