"""Similar resources in a large catalogue: recall and speed of the index, with and without filters.

    python -m benchmarks.vector_search [--n 100000] [--queries 200]

Vectors are the encoder's, of distinct generated texts; queries are texts outside the catalogue. They are kept under
the data folder, so that the second run starts at once. Recall is against exact inner products in float32.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import Any

import numpy as np

from benchmarks import project, texts

K = 50
SHARES = {"share01": 0.01, "share10": 0.10, "share30": 0.30}
"""Kinds of resources by the share of the catalogue that has them; the rest is of kind "other"."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--encoder", default="minilm", help="a name in LLMREC['ENCODERS'] of the example project")
    parser.add_argument("--crossover", action="store_true", help="measure exact against indexed by catalogue size")
    options = parser.parse_args()
    folder = project.start("vectors", encoder=options.encoder)
    vectors, queries = _vectors(folder, options.n, options.queries, options.encoder)
    if options.crossover:
        _crossover(vectors, queries)
    else:
        space, ids, kinds = _fill(vectors)
        _index(space)
        _filters(space, ids, kinds, vectors, queries)
        _similar_against_bare(space, ids)


def _vectors(folder: Any, n: int, n_queries: int, encoder_name: str) -> tuple[Any, Any]:
    from llmrec_django.services.encoders import encoder_named

    file = folder / f"vectors_{encoder_name}_{n}_{n_queries}.npz"
    if not file.exists():
        encoder = encoder_named(encoder_name)
        made = texts.texts(n + n_queries, seed=7, words=(8, 14))
        parts = []
        for start in range(0, len(made), 4096):
            parts.append(encoder.encode_documents(made[start : start + 4096]))
            print(f"\rencoded {min(start + 4096, len(made))} of {len(made)}", end="", file=sys.stderr)
        print(file=sys.stderr)
        matrix = np.concatenate(parts)
        np.savez(file, vectors=matrix[:n], queries=matrix[n:])
    stored = np.load(file)
    return stored["vectors"], stored["queries"]


def _fill(vectors: Any) -> tuple[Any, Any, Any]:
    """Store the catalogue and its vectors; return the space, the resource ids and kinds by row of `vectors`."""
    from django.db import connection

    from llmrec_django.models import Resource
    from llmrec_django.retrieval.sql import vector_literal
    from llmrec_django.services import spaces
    from llmrec_django.services.encoders import document_encoder

    project.empty()
    space = spaces.space_for(document_encoder())
    rng = random.Random(1)
    names = [*SHARES, "other"]
    weights = [*SHARES.values(), 1 - sum(SHARES.values())]
    kinds = rng.choices(names, weights, k=len(vectors))
    for start in range(0, len(vectors), 5000):
        rows = Resource.objects.bulk_create(
            [
                Resource(key=f"r{i}", title=f"Resource {i}", kind=kinds[i], description="x" * 200)
                for i in range(start, min(start + 5000, len(vectors)))
            ]
        )
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO llmrec_django_resourcevector"
                " (resource_id, space_id, vector, content_hash, text_hash, embedded_at)"
                " SELECT id, %s, vector::vector, hash, '', now()"
                " FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS n(id, vector, hash)",
                [
                    space.pk,
                    [row.pk for row in rows],
                    [vector_literal(vectors[start + i]) for i in range(len(rows))],
                    [row.content_hash for row in rows],
                ],
            )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE llmrec_django_resource")
        cursor.execute("ANALYZE llmrec_django_resourcevector")
    ids = np.array(Resource.objects.order_by("pk").values_list("pk", flat=True))
    return space, ids, np.array(kinds)


def _index(space: Any) -> None:
    from llmrec_django.services import spaces

    with project.seconds() as elapsed:
        spaces.ensure_index(space, force=True)
    print(f"index built in {elapsed():.0f} s\n")


def _exact(vectors: Any, query: Any, allowed: Any) -> set[int]:
    scores = np.where(allowed, vectors @ query, -np.inf)
    return set(np.argpartition(-scores, K)[:K].tolist())


def _filters(space: Any, ids: Any, kinds: Any, vectors: Any, queries: Any) -> None:
    """Recall and speed by the share of the catalogue that a filter keeps."""
    from llmrec_django.retrieval.candidates import nearest
    from llmrec_django.retrieval.eligibility import Audience, eligible

    place = {int(pk): i for i, pk in enumerate(ids)}
    rows = []
    for kind in (None, *SHARES):
        allowed = np.ones(len(ids), bool) if kind is None else kinds == kind
        recalls, times, fewest = [], [], K
        for query in queries:
            began = time.perf_counter()
            found = nearest(space, query, eligible(Audience("default", kinds=[kind] if kind else [])), K)
            times.append(time.perf_counter() - began)
            fewest = min(fewest, len(found))
            truth = _exact(vectors, query, allowed)
            recalls.append(len(truth & {place[pk] for pk, _ in found}) / K)
        rows.append(
            {
                "filter keeps": f"{allowed.mean():.0%}",
                "plan": _plan(space, queries[0], kind),
                f"recall@{K}": f"{np.mean(recalls):.4f}",
                "fewest results": fewest,
                "p50 ms": f"{1000 * project.percentile(times, 0.5):.1f}",
                "p99 ms": f"{1000 * project.percentile(times, 0.99):.1f}",
            }
        )
    print(project.table(rows), "\n")


def _plan(space: Any, query: Any, kind: str | None) -> str:
    """Say whether the planner uses the HNSW index."""
    from django.db import connection

    from llmrec_django.retrieval.candidates import nearest
    from llmrec_django.retrieval.eligibility import Audience, eligible

    plans: list[str] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "<#>" in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute("EXPLAIN " + sql, params)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        nearest(space, query, eligible(Audience("default", kinds=[kind] if kind else [])), K)
    return "index" if space.index_name in plans[0] else "exact"


def _similar_against_bare(space: Any, ids: Any) -> None:
    """`api.similar` against the very statements it sends, run through bare psycopg on a connection of its own."""
    import psycopg
    from django.db import connection

    from llmrec_django import api
    from llmrec_django.models import Resource

    rng = random.Random(3)
    resources = list(Resource.objects.filter(pk__in=rng.sample(ids.tolist(), 200)))
    api.similar(resources[0], k=K)
    statements: list[list[tuple[str, Any]]] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements[-1].append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(record):
        for resource in resources:
            statements.append([])
            api.similar(resource, k=K)
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    product, bare, unfiltered = [], [], []
    with psycopg.connect(**parameters, autocommit=True) as direct:
        direct.prepare_threshold = None
        with direct.cursor() as cursor:
            cursor.execute("SET hnsw.ef_search = 100")
        for turn, (resource, sent) in enumerate(zip(resources, statements, strict=True)):
            runs = [
                (product, lambda resource=resource: api.similar(resource, k=K)),
                (bare, lambda sent=sent: project.replay(direct, sent)),
                (unfiltered, lambda resource=resource: _unfiltered(direct, space, resource.pk)),
            ]
            # Whoever comes first reads the pages into memory for the others: take turns.
            for times, run in runs[turn % 3 :] + runs[: turn % 3]:
                began = time.perf_counter()
                run()
                times.append(time.perf_counter() - began)
    measured = {"api.similar": product, "same SQL, psycopg": bare, "unfiltered, psycopg": unfiltered}
    p50 = {name: 1000 * project.percentile(times, 0.5) for name, times in measured.items()}
    print(
        project.table(
            [
                {
                    "what": name,
                    "p50 ms": f"{value:.2f}",
                    "api.similar is": f"{p50['api.similar'] / value:.2f} ×",
                }
                for name, value in p50.items()
            ]
        )
    )
    print(f"\nqueries per api.similar: {len(statements[-1])}")


def _unfiltered(direct: Any, space: Any, resource_id: int) -> None:
    import psycopg

    with psycopg.ClientCursor(direct) as cursor:
        cursor.execute(
            f"SELECT resource_id FROM llmrec_django_resourcevector WHERE space_id = {space.pk} ORDER BY "
            f"vector::halfvec({space.dimension}) <#> (SELECT vector::halfvec({space.dimension}) FROM "
            f"llmrec_django_resourcevector WHERE space_id = {space.pk} AND resource_id = %s) LIMIT %s",
            [resource_id, K],
        )
        cursor.fetchall()


def _crossover(vectors: Any, queries: Any) -> None:
    """p50 of the exact scan and of the index, by catalogue size."""
    from llmrec_django.retrieval.candidates import nearest
    from llmrec_django.retrieval.eligibility import Audience, eligible
    from llmrec_django.services import spaces

    rows = []
    for n in (1000, 2000, 5000, 10_000, 20_000, 50_000):
        if n > len(vectors):
            break
        space, _, _ = _fill(vectors[:n])
        p50 = {}
        for name in ("exact", "index"):
            if name == "index":
                spaces.ensure_index(space, force=True)
            times = []
            for query in queries:
                began = time.perf_counter()
                nearest(space, query, eligible(Audience("default")), K)
                times.append(time.perf_counter() - began)
            p50[name] = 1000 * project.percentile(times, 0.5)
        rows.append({"resources": n, **{f"{name} p50 ms": f"{value:.2f}" for name, value in p50.items()}})
    print(project.table(rows))


if __name__ == "__main__":
    main()
