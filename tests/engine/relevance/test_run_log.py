import json

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


def test_writes_for_tensorboard_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboard")
    run_log = open_run_log(tmp_path)
    run_log.log(1, {"loss": 0.5})
    run_log.close()
    assert list(tmp_path.glob("events.out.tfevents*"))
