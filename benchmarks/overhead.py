"""What reasons cost: `api.recommend` with evidence, template reasons and list logging, against the same without.

    DJANGO_SETTINGS_MODULE=… python -m benchmarks.overhead [--tenant default] [--requests 300] [--warm 200] [-k 10]

Runs on the site's own database, with whatever serves there. Learners drawn at random ask in turns for a list each way,
in random order. Printed are the medians and, where the database is a process of this machine, the processor time of
both processes, which says the same on a machine that others use too. The lists that are logged stay in the tables.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import project

WAYS: dict[str, dict[str, Any]] = {
    "bare": {"EXPLAIN": False, "STORE_LISTS": None},
    "logged": {"EXPLAIN": False, "STORE_LISTS": "learners"},
    "logged, with reasons": {"EXPLAIN": True, "STORE_LISTS": "learners"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenant", default="default")
    parser.add_argument("--requests", type=int, default=300)
    # Learners who ask before the clock starts: what others chose is remembered for an hour.
    parser.add_argument("--warm", type=int, default=200)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    project.set_up()
    measure(options.tenant, options.requests, options.warm, options.k, options.seed)


def measure(tenant: str, n_requests: int, n_warm: int, k: int, seed: int) -> None:
    from django.db import connection

    from llmrec_django import api
    from llmrec_django.conf import conf
    from llmrec_django.models import LearnerProfile

    rng = np.random.default_rng(seed)
    known = LearnerProfile.objects.filter(tenant=tenant, personalise=True)
    ids = rng.permutation(np.array(known.values_list("pk", flat=True)))[: n_requests + n_warm]
    statements: list[str] = []

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql)
        return execute(sql, params, many, context)

    walls: dict[str, list[float]] = {name: [] for name in WAYS}
    busy: dict[str, list[float]] = {name: [] for name in WAYS}
    counts: dict[str, set[int]] = {name: set() for name in WAYS}
    for number, pk in enumerate(ids):
        for name in rng.permutation(list(WAYS)):
            conf._cache.update(WAYS[name])
            # As a page has it: fetched for this request, with nothing of another one's.
            learner = LearnerProfile.objects.get(pk=int(pk))
            statements.clear()
            with connection.execute_wrapper(count):
                began, worked = time.perf_counter(), _worked(connection)
                result = api.recommend(learner, k=k)
                assert len([str(item.reason) for item in result]) == len(result)
                ended, had_worked = time.perf_counter(), _worked(connection)
            if number >= n_warm:
                walls[name].append(1000 * (ended - began))
                busy[name].append(1000 * (had_worked - worked))
                counts[name].add(len(statements))
    conf.reload()
    print(f"api.recommend, k = {k}, {len(walls['bare'])} learners, medians:")
    for name in WAYS:
        wall, work = float(np.median(walls[name])), float(np.median(busy[name]))
        more = [
            f"{value / float(np.median(base)) - 1:+7.1%}"
            for value, base in ((wall, walls["bare"]), (work, busy["bare"]))
        ]
        queries = " or ".join(map(str, sorted(counts[name])))
        print(f"{name:22} {wall:8.2f} ms {more[0]} {work:8.2f} ms of work {more[1]}   {queries} queries")


def _worked(connection: Any) -> float:
    """Return the processor time of this process and its database's, as far as it can be seen; seconds."""
    server = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
    try:
        return time.process_time() + int(server.read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return time.process_time()


if __name__ == "__main__":
    main()
