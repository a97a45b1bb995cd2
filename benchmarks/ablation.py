"""What each part of the trained lists is worth: the blend without it, on each learner's held-out last resource.

    DJANGO_SETTINGS_MODULE=… python -m benchmarks.ablation [--tenant default]

Runs on the site's own database and keeps nothing. Each source is fitted once, the relevance model a second time without
texts. Each row fits a blend of what is left, in folds, and compares it with the whole by NDCG@10 on the same learners,
with 95 % intervals. Takes about as long as `llmrec_train`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import project
from benchmarks.project import table

OF_ACTIVITY = ("transitions", "linear_next", "ease", "item_knn", "user_knn", "ials")
OF_ORDER = ("relevance", "transitions", "linear_next", "user_knn")
OF_TEXT = ("content", "borrowed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenant", default="default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    project.set_up()
    print(table(measure(options.tenant, options.seed)))


def measure(tenant: str, seed: int) -> list[dict[str, str]]:
    from llmrec_django.engine.evaluation.bootstrap import bootstrap_mean, paired_difference
    from llmrec_django.services.training.evaluate import BLEND, evaluate
    from llmrec_django.services.training.fitting import choose_numbers, fit_sources
    from llmrec_django.services.training.run import held_out, prepare

    run = prepare(tenant, seed, (), None, print, progress=False)
    split = held_out(run)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch:
        run.checkpoints = Path(scratch) / "all"
        choose_numbers(run, split)
        sources = fit_sources(run, split.train, Path(folder), split)
        blind = replace(run, texts=None, profiles=None, names=("relevance",), checkpoints=Path(scratch) / "blind")
        textless = fit_sources(blind, split.train, Path(scratch), split) if "relevance" in run.names else []

        def measured(kept: list) -> dict:
            return evaluate(kept, split, profiles=run.profiles, seed=seed).ndcg

        def but(*names: str) -> list:
            return [source for source in sources if source.name not in names]

        whole = measured(sources)
        rows = [("everything", whole[BLEND])]
        for label, kept in (
            ("no relevance model", but("relevance")),
            ("no collaborative filters", but(*OF_ACTIVITY, "borrowed")),
            ("no sequence", but(*OF_ORDER, "borrowed")),
            ("no text", [*textless, *but(*OF_TEXT, "relevance")]),
            ("no user-kNN", but("user_knn")),
        ):
            if kept and len(kept) < len(sources):
                rows.append((label, measured(kept)[BLEND]))
        rows += [(f"no blend: {name}", ndcg) for name, ndcg in whole.items() if name != BLEND]
    found = []
    for label, ndcg in rows:
        own, gain = bootstrap_mean(ndcg), paired_difference(ndcg, whole[BLEND])
        found.append(
            {
                "": label,
                "NDCG@10": f"{own.mean:.4f} [{own.low:.4f}, {own.high:.4f}]",
                "against everything": f"{gain.mean:+.4f} [{gain.low:.4f}, {gain.high:.4f}]",
            }
        )
    return found


if __name__ == "__main__":
    main()
