"""What the commands about training share."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping

COLUMNS = {
    "NDCG@10": "NDCG@10",
    "recall@10": "recall@10",
    "MRR@10": "MRR@10",
    "hit rate@10": "hits@10",
    "coverage@": "coverage",
    "Gini@": "Gini",
    "novelty@": "novelty",
    "diversity@": "diversity",
}
"""Beginning of a metric's name → its heading. The table on the screen is a part of what is measured."""
FIELDS = ("source", "metric", "segment", "value", "low", "high", "learners")


def add_training_arguments(parser: ArgumentParser) -> None:
    """Add what `llmrec_train` and `llmrec_evaluate` have in common."""
    parser.add_argument("--tenant", help="Tenant key; default: the site's own.")
    parser.add_argument("--seed", type=int, default=0, help="Of everything random. Default 0.")
    parser.add_argument(
        "--sources", nargs="+", default=(), metavar="NAME", help="Blend only these; default: LLMREC['TRAIN_SOURCES']."
    )
    parser.add_argument(
        "--tune", type=float, metavar="SECONDS", help="For the choice of each source's numbers; 0: their defaults."
    )
    parser.add_argument("--json", action="store_true", help="Print the numbers as JSON.")


def table_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of an evaluation as lines of text."""
    rows = list(metrics.get("table") or ())
    width = max([len(str(row["source"])) for row in rows], default=0)
    shown = {
        name: heading
        for beginning, heading in COLUMNS.items()
        for name in (rows[0] if rows else ())
        if name.startswith(beginning)
    }
    yield " ".join([" " * width, *(f"{heading:>9}" for heading in shown.values()), "  95 % interval of NDCG"])
    for row in rows:
        cells = [f"{_shown(row.get(name)):>9}" for name in shown]
        low, high = (row.get("intervals") or {}).get("NDCG@10") or (None, None)
        yield " ".join([f"{row['source']:<{width}}", *cells, f"  {_shown(low)} to {_shown(high)}"])
    if metrics.get("measured_only"):
        yield f"Compared with, but not part of the blend: {', '.join(metrics['measured_only'])}"
    for title, part in (
        ("by length of history", "segments"),
        ("by learners who had chosen what was held out", "resources"),
    ):
        found = [
            f"{name}: {value['blend']:.4f} ({value['learners']:,} learners)"
            for name, value in (metrics.get(part) or {}).items()
            if value.get("blend") is not None
        ]
        if found:
            yield f"NDCG@10 of the blend {title}: {', '.join(found)}"


def flat_rows(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every number of an evaluation as a row with `FIELDS`."""
    for row in metrics.get("table") or ():
        for name, value in row.items():
            if name in ("source", "intervals"):
                continue
            low, high = row["intervals"].get(name, (None, None))
            yield {
                "source": row["source"],
                "metric": name,
                "segment": "",
                "value": value,
                "low": low,
                "high": high,
                "learners": metrics["learners"],
            }
    for part, title in (("segments", "history"), ("resources", "chosen by")):
        for label, values in (metrics.get(part) or {}).items():
            for name, value in values.items():
                if name != "learners":
                    yield {
                        "source": name,
                        "metric": "NDCG@10",
                        "segment": f"{title} {label}",
                        "value": value,
                        "learners": values["learners"],
                    }


def write_metrics(metrics: Mapping[str, Any], path: str, stdout: Any) -> None:
    """Write an evaluation to a file: CSV if its name ends so, else JSON; "-" is `stdout`, in JSON."""
    if path == "-":
        stdout.write(json.dumps(metrics, indent=1))
        return
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        if path.endswith(".csv"):
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(flat_rows(metrics))
        else:
            json.dump(metrics, file, indent=1)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
