import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from llmrec_django.engine.relevance.distributed import Group

WORKER = """
import sys
import numpy as np
from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.relevance.config import RelevanceConfig
from llmrec_django.engine.relevance.train import fit
config = RelevanceConfig(embedding_size=16, layers=1, hidden_size=16, max_length=8, feature_size=4, batch_positions=64)
learners = np.repeat(np.arange(40), 6)
log = InteractionLog.from_arrays(learners, (learners + np.tile(np.arange(6), 40)) % 12, n_resources=12)
result = fit(config, log, np.zeros((12, 4), np.float32), epochs=3)
print("WEIGHTS", [round(float(p.double().abs().sum()), 9) for p in result.model.parameters()], len(result.history))
"""


@pytest.mark.parametrize(("n", "size"), [(1, 1), (5, 2), (6, 3), (1, 4)])
def test_every_batch_is_somebodys_and_all_get_equally_many(n, size):
    batches = list(range(n))
    shares = [Group(rank, size).share(batches) for rank in range(size)]
    assert {len(share) for share in shares} == {-(-n // size)}
    assert {batch for share in shares for batch in share} == set(batches)


def test_two_processes_end_with_equal_weights():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = []
    for rank in range(2):
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": "2",
            "RANK": str(rank),
            "OMP_NUM_THREADS": "1",
        }
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    lines = [next(line for line in out.splitlines() if line.startswith("WEIGHTS")) for out, _ in outputs]
    assert lines[0] == lines[1]
