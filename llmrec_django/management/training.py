"""What the commands about training share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping

COLUMNS = ("NDCG@10", "recall@10", "MRR@10", "hit rate@10", "coverage", "Gini")


def add_training_arguments(parser: ArgumentParser) -> None:
    """Add what `llmrec_train` and `llmrec_evaluate` have in common."""
    parser.add_argument("--tenant", help="Tenant key; default: the site's own.")
    parser.add_argument("--seed", type=int, default=0, help="Of everything random. Default 0.")
    parser.add_argument(
        "--sources", nargs="+", default=(), metavar="NAME", help="Fit only these; default: LLMREC['TRAIN_SOURCES']."
    )
    parser.add_argument(
        "--tune", type=float, metavar="SECONDS", help="For the choice of each source's numbers; 0: their defaults."
    )
    parser.add_argument("--json", action="store_true", help="Print the numbers as JSON.")


def table_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of an evaluation as lines of text."""
    rows = list(metrics.get("table") or ())
    width = max([len(str(row["source"])) for row in rows], default=0)
    yield " ".join([" " * width, *(f"{name:>11}" for name in COLUMNS), "  95 % interval of NDCG"])
    for row in rows:
        cells = [f"{row[name]:>11.4f}" if row.get(name) is not None else f"{'–':>11}" for name in COLUMNS]
        interval = f"{row['low']:.4f} to {row['high']:.4f}" if row.get("low") is not None else "–"
        yield " ".join([f"{row['source']:<{width}}", *cells, f"  {interval}"])
    segments = metrics.get("segments") or {}
    if segments:
        yield "NDCG@10 of the blend by length of history: " + ", ".join(
            f"{name}: {value['blend']:.4f} ({value['learners']:,} learners)"
            for name, value in segments.items()
            if value.get("blend") is not None
        )
