"""Choosing hyper-parameters on held-out interactions."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from llmrec_django.engine.evaluation.metrics import mean
from llmrec_django.engine.evaluation.ranking import ndcg_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmrec_django.engine.evaluation.splits import Split

Config = TypeVar("Config")


@dataclass(frozen=True, slots=True)
class Trial(Generic[Config]):
    """One configuration that was tried."""

    config: Config
    score: float
    """Mean NDCG@k; -inf where the fit failed."""
    seconds: float
    """Wall time of fit and scoring."""


@dataclass(frozen=True, slots=True)
class Choice(Generic[Config]):
    """The best configuration, and everything it was better than."""

    config: Config
    score: float
    trials: tuple[Trial[Config], ...]
    """In the order they were tried; the first is the start."""
    is_complete: bool
    """False: time ran out while something was still improving or untried."""


def choose(
    fit: Callable[..., Any],
    start: Config,
    space: Mapping[str, Sequence[Any]],
    split: Split,
    *,
    scoring_fields: Sequence[str] = (),
    k: int = 10,
    max_learners: int = 3000,
    time_limit_s: float = 300.0,
    seed: int = 0,
) -> Choice[Config]:
    """Climb one field at a time towards the best NDCG@k on a split, until no step helps or time is up.

    The space is searched the same way whatever the data: from the current value of a field the neighbouring values
    are tried, and the climb goes on while they are better. A second round over the fields sees what the first changed.

    Args:
        fit: `fit(log, config)` → a scorer. If the scorer has `rescored(config)`, fields in `scoring_fields` are tried
            without another fit.
        start: A frozen dataclass; where the search begins.
        space: Field → its values in order.
        split: Fitted on `split.train`, judged on what it holds out: never hand in the test part.
        scoring_fields: Fields that do not change the fit.
        k: Of the metric.
        max_learners: Judge by so many learners, drawn at random but the same for all trials.
        time_limit_s: No trial begins after so many seconds of wall time. One may run over.
        seed: Of the draw of learners.

    Returns:
        The choice. Differences between trials are paired, so a few thousand learners tell them apart; still, the
        winner's own score is optimistic.
    """
    split = split.sample(max_learners, seed=seed)
    deadline = time.monotonic() + time_limit_s
    trials: dict[Any, Trial[Config]] = {}
    fitted: list[tuple[Any, Any]] = []  # the last fit alone: matrices are large

    def try_out(config: Config) -> float:
        if config not in trials:
            began = time.monotonic()
            trials[config] = Trial(config, _judge(config), time.monotonic() - began)
        return trials[config].score

    def _judge(config: Config) -> float:
        key = replace(config, **{field: getattr(start, field) for field in scoring_fields})  # type: ignore[type-var]
        try:
            if not fitted or fitted[0][0] != key:
                fitted.clear()
                fitted.append((key, fit(split.train, config)))
            model = fitted[0][1]
            return mean(ndcg_of(model.rescored(config) if scoring_fields else model, split, k))
        except np.linalg.LinAlgError:
            return -np.inf

    best, best_score = start, try_out(start)
    improved, in_time = True, True
    while improved and in_time:
        improved = False
        for field, values in space.items():
            current = getattr(best, field)
            ordered = list(values) if current in values else sorted([*values, current])
            for direction in (1, -1):
                place = ordered.index(getattr(best, field)) + direction
                while 0 <= place < len(ordered):
                    if time.monotonic() > deadline:
                        in_time = False
                        break
                    step = replace(best, **{field: ordered[place]})  # type: ignore[type-var]
                    score = try_out(step)
                    if not score > best_score:
                        break
                    best, best_score, improved = step, score, True
                    place += direction
    return Choice(best, best_score, tuple(trials.values()), in_time)
