"""Personal lists by a trained version from a large catalogue: speed against the same SQL run bare, queries, memory.

    python -m benchmarks.serving [--n 100000] [--interactions 1000000] [--requests 500] [--fresh]

A site is made up: resources of a few hundred topics, with vectors of 384 numbers; learners who stay with some topics
and go on from one resource to the next; popularity as Zipf has it. The version's neighbours, popularity, contents
and blend are fitted on all of it and the relevance model is trained for one pass over a part of the learners, so that
its files have their real form and size. All is kept under the data folder: the second run measures at once.

Each list is made by `api.recommend` in a fresh process, and the very statements that it sent are run through bare
psycopg, in turns, so that neither always finds the pages warm. "The sum" is those statements, each on its own, and
one pass of the network through ONNX Runtime. What they take in as few messages as the product sends is printed too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import project

DIMENSION = 384
PER_TOPIC = 400
KINDS = ("video", "article", "course")
STEPS_AHEAD = 0.5
"""Share of steps that go on to the next resource of the topic."""
TRAINED_LEARNERS = 3000
"""Learners that the relevance model's one pass is over."""
BLEND_LEARNERS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="resources")
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--fresh", action="store_true", help="make the site and the version anew")
    parser.add_argument("--crossover", action="store_true", help="score all against candidates, on this catalogue")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        _measure(options.requests, crossover=options.crossover)
        return
    folder = project.start(f"serving_{options.n}")
    made = folder / "site.json"
    wanted = {"n": options.n, "interactions": options.interactions}
    if options.fresh or not made.exists() or json.loads(made.read_text()) != wanted:
        made.unlink(missing_ok=True)
        _make_site(options.n, options.interactions)
        _make_version()
        made.write_text(json.dumps(wanted))
    more = ["--crossover"] if options.crossover else []
    subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", "--measure", "--n", str(options.n)]
        + ["--requests", str(options.requests), *more],
        check=True,
    )


def _make_site(n: int, n_interactions: int) -> None:
    from django.db import connection

    project.empty()
    with project.seconds() as elapsed:
        rng = np.random.default_rng(0)
        topics, vectors = _catalogue(n, rng)
        with connection.cursor() as cursor:
            _fill_resources(cursor, topics, vectors)
            _fill_interactions(cursor, topics, n_interactions, rng)
            cursor.execute("VACUUM ANALYZE")
    print(f"site made in {elapsed():.0f} s")


def _catalogue(n: int, rng: Any) -> tuple[Any, Any]:
    topics = np.sort(rng.integers(0, max(1, n // PER_TOPIC), n))
    centres = rng.normal(size=(topics.max() + 1, DIMENSION))
    vectors = centres[topics] + rng.normal(0, 0.7, (n, DIMENSION)) + 1.5 * rng.normal(size=DIMENSION)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return topics, vectors


def _fill_resources(cursor: Any, topics: Any, vectors: Any) -> None:
    from llmrec_django.models import Resource
    from llmrec_django.services import spaces
    from llmrec_django.services.encoders import document_encoder

    for begin in range(0, len(topics), 5000):
        rows = range(begin, min(begin + 5000, len(topics)))
        Resource.objects.bulk_create(
            [
                Resource(key=f"r{i}", title=f"Resource {i}", kind=KINDS[i % 3], language="en", description="x" * 200)
                for i in rows
            ]
        )
    ids = list(Resource.objects.order_by("pk").values_list("pk", flat=True))
    space = spaces.space_for(document_encoder())
    rounded = np.round(vectors.astype(np.float64), 4)
    with cursor.copy(
        "COPY llmrec_django_resourcevector (resource_id, space_id, vector, content_hash, text_hash, "
        "embedded_at) FROM STDIN"
    ) as copy:
        for pk, vector in zip(ids, rounded, strict=True):
            copy.write_row((pk, space.pk, "[" + ",".join(map(str, vector.tolist())) + "]", "", str(pk), "2025-01-01"))
    cursor.execute(
        "UPDATE llmrec_django_resourcevector v SET content_hash = r.content_hash "
        "FROM llmrec_django_resource r WHERE r.id = v.resource_id"
    )
    spaces.ensure_index(space)


def _fill_interactions(cursor: Any, topics: Any, n_interactions: int, rng: Any) -> None:
    """Learners have two topics each and twenty steps on average, one a day, at most 200, the first 200 days ago."""
    from llmrec_django.models import LearnerProfile

    n_learners = max(1, n_interactions // 20)
    lengths = np.minimum(1 + rng.exponential(n_interactions / n_learners - 1, n_learners).astype(int), 200)
    begin = np.searchsorted(topics, np.arange(topics.max() + 2))
    ranks = [rng.permutation(stop - start) for start, stop in zip(begin[:-1], begin[1:], strict=True)]
    own = rng.integers(0, len(ranks), (n_learners, 2))
    learners, steps, resources = [], [], []
    last = np.full(n_learners, -1)
    for step in range(int(lengths.max())):
        active = np.flatnonzero(lengths > step)
        topic = own[active, (rng.random(len(active)) < 0.3).astype(int)]
        size = begin[topic + 1] - begin[topic]
        # The k-th most popular of a topic is chosen in proportion to 1 / k.
        place = np.minimum((np.exp(rng.random(len(active)) * np.log(size + 1)) - 1).astype(int), size - 1)
        drawn = np.array([begin[t] + ranks[t][p] for t, p in zip(topic, place, strict=True)])
        ahead = last[active] + 1
        goes_on = (last[active] >= 0) & (rng.random(len(active)) < STEPS_AHEAD) & (ahead < len(topics))
        chosen = np.where(goes_on, ahead, drawn)
        last[active] = chosen
        learners.append(active)
        steps.append(np.full(len(active), step))
        resources.append(chosen)
    LearnerProfile.objects.bulk_create(
        [LearnerProfile(visitor_key=f"v{i}") for i in range(n_learners)], batch_size=5000
    )
    cursor.execute("SELECT min(id) FROM llmrec_django_learnerprofile")
    first_learner = cursor.fetchone()[0]
    cursor.execute("SELECT min(id) FROM llmrec_django_resource")
    first_resource = cursor.fetchone()[0]
    now = datetime.now(UTC)
    who, when, what = (np.concatenate(part) for part in (learners, steps, resources))
    with cursor.copy(
        "COPY llmrec_django_interaction (tenant, learner_id, resource_id, verb, source, event_id, occurred_at, "
        "received_at, query) FROM STDIN"
    ) as copy:
        verbs = ("viewed", "completed")
        for learner, step, resource in zip(who.tolist(), when.tolist(), what.tolist(), strict=True):
            day = (now - timedelta(days=200 - step)).isoformat()
            copy.write_row(
                (
                    "default",
                    first_learner + learner,
                    first_resource + resource,
                    verbs[step % 2],
                    "",
                    str(step),
                    day,
                    day,
                    "",
                )
            )
    print(f"{len(who):,} interactions of {n_learners:,} learners")


def _make_version() -> None:
    from django.conf import settings

    from llmrec_django.engine.evaluation.splits import leave_one_out
    from llmrec_django.models import ModelVersion
    from llmrec_django.services import versions
    from llmrec_django.services.spaces import active_space
    from llmrec_django.services.training.borrowed import fit_borrowed
    from llmrec_django.services.training.dataset import load_dataset, text_matrix
    from llmrec_django.services.training.evaluate import evaluate
    from llmrec_django.services.training.relevance import train_relevance
    from llmrec_django.services.training.sources import RECIPES, Material
    from llmrec_django.services.training.storing import store

    with project.seconds() as elapsed:
        dataset, space = load_dataset("default"), active_space()
        assert space is not None
        texts = text_matrix(space, dataset.resource_ids)
        split = leave_one_out(dataset.log)
        print(f"read in {elapsed():.0f} s", flush=True)
        folder = Path(settings.LLMREC["ARTIFACT_DIR"]) / "benchmark"
        few = dataset.log.take(dataset.log.learners < TRAINED_LEARNERS)
        relevance, _ = train_relevance(
            folder / "relevance", few, texts, dataset.verbs, profiles=None, seed=0, epochs=1, progress=True
        )
        print(f"relevance model at {elapsed():.0f} s", flush=True)
        material = Material(split.train, texts)
        fitted: list[Any] = [relevance]
        for name, recipe in RECIPES.items():
            source = recipe.fit(name, material, recipe.start)
            print(f"{name} at {elapsed():.0f} s{'' if source else ': left out'}", flush=True)
            if source is not None:
                fitted.append(source)
        lent = fit_borrowed(material, fitted)
        assert lent is not None
        fitted.append(lent)
        print(f"{lent.name} at {elapsed():.0f} s", flush=True)
        mix = evaluate(fitted, split.sample(BLEND_LEARNERS, seed=0)).mix
        print(f"blend at {elapsed():.0f} s: {mix.blend.sources} {np.round(mix.blend.weights, 2).tolist()}", flush=True)
        version = ModelVersion.objects.create(tenant="default", source_space=space)
        store(version, dataset, texts, fitted, mix, folder)
        versions.activate(version)
    print(f"version made in {elapsed():.0f} s")


def _measure(n_requests: int, *, crossover: bool) -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--n", type=int)
    n = options.parse_known_args()[0].n
    project.start(f"serving_{n}")
    from django.db import connection

    from llmrec_django import api
    from llmrec_django.models import LearnerProfile, ModelVersion
    from llmrec_django.services import scoring

    api.recommend(None, tenant="default", k=10)  # numpy, the connection and the popular list are there
    before = _memory()
    ids = np.array(LearnerProfile.objects.filter(tenant="default").values_list("pk", flat=True))
    drawn = np.random.default_rng(1).choice(ids, n_requests + 20, replace=False).tolist()
    by_id = LearnerProfile.objects.in_bulk(drawn)
    learners = [by_id[pk] for pk in drawn]
    passes = _time_network(scoring)
    for learner in learners[:20]:
        result = api.recommend(learner, k=10)
        assert {item.source for item in result} == {"trained"}, "the version does not serve"
    first = _memory()
    product, bare, as_sent, counts = _against_bare(learners[20:], connection)
    after = _memory()
    version = ModelVersion.objects.get(tenant="default", status="active")
    network = project.percentile(passes, 0.5)
    ours = {q: 1000 * project.percentile(product, q) for q in (0.5, 0.95, 0.99)}
    sums = {q: 1000 * (project.percentile(bare, q) + network) for q in (0.5, 0.95, 0.99)}
    print(f"{version.n_resources or n:,} resources, {len(product)} lists of 10\n")
    print(
        project.table(
            [
                {"what": name, **{f"p{100 * q:.0f} ms": f"{value:.2f}" for q, value in values.items()}}
                for name, values in (("api.recommend", ours), ("its SQL bare, and the network", sums))
            ]
        )
    )
    print(f"\np50 is {ours[0.5] / sums[0.5]:.2f} × the sum; p99 is {ours[0.99] / ours[0.5]:.2f} × p50")
    together = 1000 * (project.percentile(as_sent, 0.5) + network)
    print(f"p50 is {ours[0.5] / together:.2f} × the same statements in as many messages as the product sends")
    print(f"network: {1000 * network:.2f} ms of it")
    print(f"queries: {min(counts)} to {max(counts)}")
    print(f"memory (RSS): {before:.0f} MB before, + {first - before:.0f} MB at first, + {after - before:.0f} MB now")
    print(f"torch imported: {'torch' in sys.modules}")
    if crossover:
        _crossover(learners[20:120])


def _memory() -> float:
    """Resident memory of this process in MB, mapped files included."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _time_network(scoring: Any) -> list[float]:
    """Wrap the session of the relevance model, so that its passes are timed where they happen."""
    from llmrec_django.engine.relevance import serve

    times: list[float] = []
    opened = serve.open_scorer

    class Timed:
        def __init__(self, session: Any) -> None:
            self.session = session

        def run(self, *args: Any) -> Any:
            began = time.perf_counter()
            result = self.session.run(*args)
            times.append(time.perf_counter() - began)
            return result

    def open_timed(*args: Any, **kwargs: Any) -> Any:
        from dataclasses import replace

        scorer = opened(*args, **kwargs)
        return replace(scorer, _session=Timed(scorer._session))

    serve.open_scorer = open_timed
    return times


def _against_bare(learners: list[Any], connection: Any) -> tuple[list[float], list[float], list[float], list[int]]:
    """Time lists, their statements each on its own, and the same in the messages that the product sends them in.

    What a list sends is known once it has been made, and then its pages are warm. So all lists are made once, and in a
    second round each is timed against what it sent in the first, now one first and now the other.
    """
    import psycopg

    from llmrec_django import api

    statements: list[tuple[str, Any]] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    sent, remembered = [], []
    with connection.execute_wrapper(record):
        for learner in learners:
            statements.clear()
            before = _remembered()
            api.recommend(learner, k=10)
            sent.append(list(statements))
            remembered.append([new - old for new, old in zip(_remembered(), before, strict=True)])
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    product: list[float] = []
    replayed: dict[bool, list[float]] = {False: [], True: []}
    with psycopg.connect(**parameters, autocommit=True) as direct:
        direct.prepare_threshold = None
        for turn, (learner, theirs, learnt) in enumerate(zip(learners, sent, remembered, strict=True)):
            _forget(learnt)  # or it would send less than the first time

            def time_product(learner: Any = learner) -> None:
                began = time.perf_counter()
                api.recommend(learner, k=10)
                product.append(time.perf_counter() - began)

            # The one way or the other of sending them: each kind is then as often first as second.
            as_sent = bool(turn // 2 % 2)
            if turn % 2:
                replayed[as_sent].append(_replay(direct, theirs, as_sent=as_sent))
                time_product()
            else:
                time_product()
                replayed[as_sent].append(_replay(direct, theirs, as_sent=as_sent))
    return product, replayed[False], replayed[True], [len(theirs) for theirs in sent]


def _remembered() -> list[set[int]]:
    """Return of which resources this process remembers who chose them."""
    from llmrec_django.retrieval import facts

    return [set(memory.rows) for memory in (facts._choosers, facts._lately)]


def _forget(learnt: list[set[int]]) -> None:
    from llmrec_django.retrieval import facts

    for memory, resources in zip((facts._choosers, facts._lately), learnt, strict=True):
        for pk in resources:
            memory.rows.pop(pk, None)


def _replay(direct: Any, statements: list[tuple[str, Any]], *, as_sent: bool) -> float:
    # A list that is stored has an id of its own.
    sent = [
        (sql, [uuid.uuid4() if isinstance(value, uuid.UUID) else value for value in params or ()])
        for sql, params in statements
    ]
    if not as_sent:
        sent = [alone for message in sent for alone in project.one_by_one(*message)]
    began = time.perf_counter()
    project.replay(direct, sent)
    return time.perf_counter() - began


def _crossover(learners: list[Any]) -> None:
    from llmrec_django import api
    from llmrec_django.services import scorer

    rows = []
    for name, size in (("candidates", 0), ("whole catalogue", 10**9)):
        scorer.WHOLE_CATALOGUE = size
        scorer.forget()
        times = []
        for learner in learners:
            began = time.perf_counter()
            api.recommend(learner, k=10)
            times.append(time.perf_counter() - began)
        times = times[10:]
        rows.append(
            {
                "scored": name,
                "p50 ms": f"{1000 * project.percentile(times, 0.5):.1f}",
                "p99 ms": f"{1000 * project.percentile(times, 0.99):.1f}",
                "RSS MB": f"{_memory():.0f}",
            }
        )
    print("\n" + project.table(rows))


if __name__ == "__main__":
    main()
