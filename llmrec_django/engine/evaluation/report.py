"""Numbers of several methods on the same split, side by side: as JSON to keep and as Markdown to read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec_django.engine.evaluation import metrics
from llmrec_django.engine.evaluation.bootstrap import Estimate, bootstrap_means
from llmrec_django.engine.evaluation.segments import (
    CHOSEN_STARTS,
    SEGMENT_STARTS,
    history_segments,
    segment_means,
    segment_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.engine.evaluation.splits import Split
    from llmrec_django.types import Float32Matrix

HEADLINE = "NDCG@10"
"""What methods are compared and ordered by."""


@dataclass(frozen=True, slots=True)
class MethodReport:
    """What one method reached."""

    name: str
    accuracy: dict[str, Estimate]
    """Metric with its k → mean over learners and interval."""
    lists: dict[str, float]
    """What the lists are like, at the largest k: coverage, Gini, novelty, diversity where vectors were given."""
    segments: dict[str, tuple[float, int]]
    """Segment of history length → mean of the headline metric and learners in it."""
    resources: dict[str, tuple[float, int]]
    """How many learners in training had chosen what was held out ("0": it is new) → mean of the headline metric of
    those for whom such a resource was held out, and their number; what is held out of other segments is a miss."""
    difference: Estimate | None
    """Headline metric minus that of the reference, paired over learners; None for the reference itself."""


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Methods on one split, the best by the headline metric first."""

    scheme: str
    n_learners: int
    """Learners asked about."""
    n_resources: int
    """Size of the catalogue, all of which is ranked."""
    n_interactions: int
    """Interactions the methods could learn from."""
    reference: str
    """Method that the others are compared with; "" for none."""
    methods: tuple[MethodReport, ...]

    def method(self, name: str) -> MethodReport:
        """Find a method by its name.

        Raises:
            KeyError: there is none of that name.
        """
        for method in self.methods:
            if method.name == name:
                return method
        raise KeyError(f"No method {name!r} in the report, only {[method.name for method in self.methods]!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it: NaN is None."""
        result: dict[str, Any] = _without_nan(asdict(self))
        return result

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict`."""
        methods = tuple(
            MethodReport(
                name=part["name"],
                accuracy={name: _estimate(value) for name, value in part["accuracy"].items()},
                lists={name: _number(value) for name, value in part["lists"].items()},
                segments={name: (_number(mean), n) for name, (mean, n) in part["segments"].items()},
                resources={name: (_number(mean), n) for name, (mean, n) in part["resources"].items()},
                difference=None if part["difference"] is None else _estimate(part["difference"]),
            )
            for part in values["methods"]
        )
        return cls(**{**values, "methods": methods})

    def to_markdown(self) -> str:
        """Write tables: accuracy with intervals, what the lists are like, the headline metric by segment."""
        lines = [
            f"{self.n_learners} learners, {self.n_resources} resources, {self.n_interactions} interactions to learn "
            f"from; {self.scheme}; the full catalogue is ranked. Intervals: 95 %, bootstrap over learners.",
            "",
        ]
        if not self.methods:
            return "\n".join(lines)
        names = list(self.methods[0].accuracy)
        against = [f"{HEADLINE} against {self.reference}"] if self.reference else []
        rows = []
        for method in self.methods:
            cells = [_cell(method.accuracy[name]) for name in names]
            if self.reference:
                cells.append("" if method.difference is None else _cell(method.difference, signed=True))
            rows.append([method.name, *cells])
        lines += [*_table(["method", *names, *against], rows), ""]
        lists = list(self.methods[0].lists)
        lines += [
            *_table(
                ["method", *lists],
                [[method.name, *(_plain(method.lists[name]) for name in lists)] for method in self.methods],
            ),
            "",
        ]
        lines += [*self._segment_table("by history", "segments"), ""]
        lines += self._segment_table("by learners who had chosen the resource", "resources")
        return "\n".join(lines) + "\n"

    def _segment_table(self, title: str, attribute: str) -> list[str]:
        first: dict[str, tuple[float, int]] = getattr(self.methods[0], attribute)
        names = [name for name, (_, n) in first.items() if n]
        return _table(
            [f"{HEADLINE} {title} (learners)", *(f"{name} ({first[name][1]})" for name in names)],
            [
                [method.name, *(_plain(getattr(method, attribute)[name][0]) for name in names)]
                for method in self.methods
            ],
        )


def report(
    split: Split,
    ranked: Mapping[str, NDArray[np.integer]],
    *,
    ks: Sequence[int] = (10, 20),
    reference: str = "",
    vectors: Float32Matrix | None = None,
    seed: int = 0,
) -> EvaluationReport:
    """Score the lists of several methods against what a split holds out.

    Args:
        split: Who was asked about.
        ranked: Method → its lists, int [B, K], K at least the largest k; see `rank_split`.
        ks: List lengths; 10 must be among them.
        reference: Method that the others are compared with; "" for none.
        vectors: Unit vectors of the resources for the diversity of lists; float32 [N, D], zeros for none.
        seed: Of the bootstrap.

    Raises:
        KeyError: `reference` is no method.
        ValueError: 10 is not among `ks`, or lists are shorter than the largest k asks for.
    """
    if HEADLINE not in {f"NDCG@{k}" for k in ks}:
        raise ValueError(f"Cannot report on {ks!r}: methods are compared by {HEADLINE}. Add 10.")
    short = {name: lists.shape[1] for name, lists in ranked.items() if lists.shape[1] < max(ks)}
    if short:
        raise ValueError(f"Cannot score the top {max(ks)} of lists with fewer places: {short!r}.")
    per_learner = {name: metrics.accuracy(lists, split.relevant, ks) for name, lists in ranked.items()}
    names = list(next(iter(per_learner.values()), {}))
    columns = [values[name] for values in per_learner.values() for name in names]
    headlines = [values[HEADLINE] - per_learner[reference][HEADLINE] for values in per_learner.values() if reference]
    # One resampling for everything: intervals can be compared, and pairing keeps differences sharp.
    found = iter(bootstrap_means(np.column_stack([*columns, *headlines]), seed=seed)) if columns else iter(())
    accuracy = {method: {name: next(found) for name in names} for method in per_learner}
    differences = {method: next(found) for method in per_learner if reference}
    segments = history_segments(split.train.lengths[split.learners])
    met = np.bincount(split.train.resources[split.train.is_first], minlength=split.train.n_resources)
    held_out = _by_times_chosen(split)
    n_active = int((split.train.lengths > 0).sum())
    k = max(ks)
    methods = []
    for name, lists in ranked.items():
        top = lists[:, :k]
        means = segment_means(per_learner[name][HEADLINE], segments, len(SEGMENT_STARTS))
        qualities = {
            f"coverage@{k}": metrics.catalogue_coverage(top, split.train.n_resources),
            f"Gini@{k}": metrics.gini(top, split.train.n_resources),
            f"novelty@{k}": metrics.mean(metrics.novelty(top, met, n_active)),
        }
        if vectors is not None:
            qualities[f"diversity@{k}"] = metrics.mean(metrics.intra_list_diversity(top, vectors))
        methods.append(
            MethodReport(
                name=name,
                accuracy=accuracy[name],
                lists=qualities,
                segments=dict(zip(segment_names(), means, strict=True)),
                resources={
                    label: _mean_and_count(metrics.ndcg(*metrics.relevance_hits(lists, relevant), 10))
                    for label, relevant in held_out.items()
                },
                difference=differences[name] if reference and name != reference else None,
            )
        )
    # NaN (nobody was asked about) last.
    methods.sort(key=lambda method: -np.nan_to_num(method.accuracy[HEADLINE].mean, nan=-1.0))
    return EvaluationReport(
        scheme=split.scheme,
        n_learners=len(split),
        n_resources=split.train.n_resources,
        n_interactions=len(split.train),
        reference=reference,
        methods=tuple(methods),
    )


def _by_times_chosen(split: Split) -> dict[str, list[NDArray[np.int32]]]:
    """Sort what is held out by how many learners in training had chosen it; for each segment one array a learner."""
    chosen = split.train.positive()
    times = np.bincount(chosen.resources[chosen.is_first], minlength=split.train.n_resources)
    segment = history_segments(times, CHOSEN_STARTS)  # [N]
    return {
        name: [relevant[segment[relevant] == place] for relevant in split.relevant]
        for place, name in enumerate(segment_names(CHOSEN_STARTS))
    }


def _mean_and_count(values: NDArray[np.float64]) -> tuple[float, int]:
    return metrics.mean(values), int((~np.isnan(values)).sum())


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'|'.join([' --- ', *[' ---: '] * (len(header) - 1)])}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _cell(estimate: Estimate, *, signed: bool = False) -> str:
    form = "+.4f" if signed else ".4f"
    if math.isnan(estimate.mean):
        return "–"
    return f"{estimate.mean:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def _plain(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _estimate(values: Mapping[str, Any]) -> Estimate:
    return Estimate(_number(values["mean"]), _number(values["low"]), _number(values["high"]), int(values["n"]))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
