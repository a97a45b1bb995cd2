"""What a training run fits: each source's numbers, then the sources themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from llmrec_django.conf import conf
from llmrec_django.engine.cf.choose import choose
from llmrec_django.engine.evaluation.splits import Split
from llmrec_django.services.training.borrowed import NAME as BORROWED
from llmrec_django.services.training.borrowed import fit_borrowed
from llmrec_django.services.training.relevance import NAME as RELEVANCE
from llmrec_django.services.training.relevance import train_relevance
from llmrec_django.services.training.sources import RECIPES, Material, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from llmrec_django.models import VectorSpace
    from llmrec_django.services.training.dataset import Dataset
    from llmrec_django.types import Float32Matrix

TUNE_LEARNERS = 2000
"""Held-out learners that each configuration of a source is tried on."""


@dataclass(slots=True, eq=False)
class Run:
    """What the steps of a run hand on."""

    dataset: Dataset
    space: VectorSpace | None
    texts: Float32Matrix | None
    profiles: Float32Matrix | None
    names: tuple[str, ...]
    seed: int
    say: Callable[[str], None]
    progress: bool
    tune_s: float
    checkpoints: Path
    logs: Path | None = None
    """Where the relevance model's numbers go while it trains; None: nowhere."""
    configs: dict[str, Any] = field(default_factory=dict)
    relevance: dict[str, Any] = field(default_factory=lambda: dict(conf.RELEVANCE))
    epochs: int = 0

    def describe(self) -> dict[str, Any]:
        """Return the configuration as JSON can hold it."""
        found = {
            name: asdict(config) if config is not None else {}
            for name, config in self.configs.items()
            if name in self.names
        }
        for values in found.values():
            for key, value in values.items():
                if value == float("inf"):
                    values[key] = None
        if self.epochs:
            found[RELEVANCE] = {**self.relevance, "epochs": self.epochs}
        return {"sources": found, "verbs": list(self.dataset.verbs)}


def choose_numbers(run: Run, split: Split, others: Sequence[str] = ()) -> None:
    """Choose the numbers of each source, and of `others`, on what is held out."""
    material = Material(split.train.cap_learner_weight(conf.LEARNER_WEIGHT_LIMIT), None)
    inner = Split(split.scheme, material.chosen, split.learners, split.relevant)
    for name in (*run.names, *others):
        recipe = RECIPES.get(name)
        if recipe is None or recipe.module is None or not recipe.suits(split.train):
            continue
        try:
            choice = choose(
                recipe.module.fit,
                recipe.start,
                recipe.module.SEARCH_SPACE,
                inner,
                scoring_fields=getattr(recipe.module, "SCORING_FIELDS", ()),
                max_learners=TUNE_LEARNERS,
                time_limit_s=run.tune_s,
                seed=run.seed,
            )
        except ValueError as exc:  # too large a catalogue for this source
            run.say(f"{name}: {exc}")
            continue
        run.configs[name] = choice.config
        run.say(f"{name}: {len(choice.trials)} configurations tried, NDCG@10 {choice.score:.4f}.")


def fit_sources(
    run: Run, log: Any, folder: Path, split: Split | None = None, part: str = "", kept: Sequence[Source] = ()
) -> list[Source]:
    """Fit every source; with a split the relevance model finds how long to train, without it trains that long.

    `part` names the relevance model's checkpoint, from which a killed run goes on; `kept` are there already.
    """
    material = Material(log.cap_learner_weight(conf.LEARNER_WEIGHT_LIMIT), run.texts)
    fitted = list(kept)
    for name in run.names:
        if name == RELEVANCE:
            part = part or ("choose" if split is not None else "refit")
            logs = None if run.logs is None else run.logs / part
            run.say("relevance: training." if logs is None else f"relevance: training; its log is in {logs}.")
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            source, epochs = train_relevance(
                folder / RELEVANCE,
                log,
                run.texts,
                run.dataset.verbs,
                options=run.relevance,
                profiles=run.profiles,
                seed=run.seed,
                split=split,
                epochs=None if split is not None else max(1, run.epochs),
                checkpoint=run.checkpoints / f"{part}.pt",
                run_folder=logs,
                progress=run.progress,
            )
            run.epochs = epochs
            fitted.append(source)
            continue
        found: Source | None
        if name == BORROWED:
            run.configs.setdefault(name, None)
            found = fit_borrowed(material, fitted)
        else:
            recipe = RECIPES[name]
            config = run.configs.setdefault(name, recipe.start)
            found = recipe.fit(name, material, config) if recipe.suits(material.log) else None
        if found is None:
            run.say(f"{name}: left out, there is nothing for it or the site is too large or too small for it.")
        else:
            fitted.append(found)
    return fitted
