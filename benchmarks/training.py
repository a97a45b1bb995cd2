"""One epoch of the relevance model against SASRec of RecTools, its cost by size, and its memory.

    python -m benchmarks.training INTERACTIONS.csv.gz [--rectools PYTHON] [--repeats 2] [--threads 1]

The file has the columns `user_id,item_id,timestamp` in each learner's order. PYTHON is the interpreter of an
environment of its own with `rectools[torch]`; without it only our own numbers are shown. Both train two blocks of
width 128 over the latest 50 interactions with full softmax, in batches of as many learners on average, with the same
threads, and their runs take turns; each figure is the median. Ours reads texts too: vectors drawn at random stand in.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

BATCH_LEARNERS = 128
SHARES = (0.25, 0.5, 1.0)

RECTOOLS = """
import json, sys, time
import pandas as pd, torch
torch.set_num_threads(int(sys.argv[2]))
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
frame = pd.read_csv(sys.argv[1], usecols=["user_id", "item_id", "timestamp"])
frame = frame.rename(columns={"user_id": Columns.User, "item_id": Columns.Item, "timestamp": Columns.Datetime})
frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="s")
frame[Columns.Weight] = 1.0
dataset = Dataset.construct(frame)
model = SASRecModel(n_factors=128, n_blocks=2, n_heads=2, session_max_len=50, loss="softmax",
                    batch_size=int(sys.argv[3]), epochs=1, dropout_rate=0.15, lr=0.001, verbose=0,
                    deterministic=False, dataloader_num_workers=0)
began = time.monotonic()
model.fit(dataset)
print(json.dumps({"seconds": time.monotonic() - began}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interactions", type=Path)
    parser.add_argument("--rectools", help="interpreter that has rectools")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--share", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.share is not None:
        print(json.dumps(_ours(options.interactions, options.share, options.threads)))
        return
    times: dict[str, list[float]] = {"ours": [], "rectools": []}
    for _ in range(options.repeats):
        times["ours"].append(_run_ours(options, 1.0)["seconds"])
        if options.rectools:
            theirs = [options.rectools, "-c", RECTOOLS, str(options.interactions), str(options.threads)]
            theirs.append(str(BATCH_LEARNERS))
            printed = subprocess.run(theirs, check=True, capture_output=True, text=True).stdout
            times["rectools"].append(json.loads(printed.splitlines()[-1])["seconds"])
    ours = statistics.median(times["ours"])
    print(f"one epoch: ours {ours:.1f} s", end="")
    if times["rectools"]:
        theirs_s = statistics.median(times["rectools"])
        print(f", RecTools {theirs_s:.1f} s: {theirs_s / ours:.2f} times as fast", end="")
    print()
    for share in SHARES:
        found = _run_ours(options, share)
        per = found["seconds"] / found["interactions"] * 1e6
        print(
            f"{found['interactions']:>9,.0f} interactions: {found['seconds']:6.1f} s, {per:5.1f} µs each, "
            f"peak memory {found['peak_mb']:.0f} MB"
        )


def _run_ours(options: argparse.Namespace, share: float) -> dict[str, float]:
    # In a process of its own: memory of one run must not count for the next.
    command = [sys.executable, "-m", "benchmarks.training", str(options.interactions), "--share", str(share)]
    command += ["--threads", str(options.threads)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def _ours(path: Path, share: float, threads: int) -> dict[str, float]:
    import numpy as np
    import torch

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.engine.relevance.config import RelevanceConfig
    from llmrec_django.engine.relevance.train import fit

    torch.set_num_threads(threads)
    learners: dict[str, int] = {}
    resources: dict[str, int] = {}
    rows = []
    with gzip.open(path, "rt", encoding="utf-8", newline="") if path.suffix == ".gz" else path.open() as file:
        for row in csv.DictReader(file):
            learner = learners.setdefault(row["user_id"], len(learners))
            rows.append((learner, resources.setdefault(row["item_id"], len(resources)), float(row["timestamp"])))
    table = np.array(rows)
    table = table[table[:, 0] < share * len(learners)]
    log = InteractionLog.from_arrays(
        table[:, 0].astype(int), table[:, 1].astype(int), times=table[:, 2], n_resources=len(resources)
    )
    features = np.random.default_rng(0).normal(size=(len(resources), 128)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    mean_length = len(log) / log.n_learners
    config = RelevanceConfig(batch_positions=int(BATCH_LEARNERS * mean_length))
    began = time.monotonic()
    fit(config, log, features, epochs=1)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "interactions": float(len(log)), "peak_mb": peak}


if __name__ == "__main__":
    main()
