"""Where marks go in plots that are drawn as SVG by a template: no script, no style attribute, no text to shrink.

A plot is 100 wide, whatever width the page gives it: marks are lines, whose thickness does not scale, and all words and
numbers stand beside it as HTML.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

WIDTH = HEIGHT = 100.0


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places on an axis that begins at 0: lengths can be compared by eye."""

    top: float

    @classmethod
    def of(cls, values: Iterable[float | None], most: float = math.inf) -> Scale:
        """Fit the largest of some values, with a little room up to the most that is possible; 1 for none above 0."""
        largest = max((value for value in values if value is not None), default=0.0)
        return cls(min(1.05 * largest, most) if largest > 0 else 1.0)

    def __call__(self, value: float | None) -> float | None:
        """Place a value; None for none."""
        return None if value is None else round(WIDTH * min(max(value / self.top, 0.0), 1.0), 2)


@dataclass(frozen=True, slots=True)
class Mark:
    """A value with its interval on a horizontal axis, and perhaps another value to compare with."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    kind: str = ""
    """Class of the mark: what it stands for."""


def mark(scale: Scale, value: float | None, interval: Sequence[float | None] | None = None, **rest: object) -> Mark:
    """Place a value and its interval (low, high)."""
    low, high = interval if interval else (None, None)
    reference = rest.get("reference")
    return Mark(
        scale(value),
        scale(low),
        scale(high),
        scale(reference if isinstance(reference, float) else None),
        str(rest.get("kind", "")),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a time, on a plane 100 by 100 whose y grows downwards."""

    x: float
    y: float
    low: float | None
    high: float | None
    kind: str
    label: str


def points(
    scale: Scale,
    rows: Sequence[tuple[datetime, float, Sequence[float | None] | None, str, str]],
    ends: tuple[datetime, datetime] | None = None,
) -> list[Point]:
    """Place values over time.

    Args:
        scale: Of the values.
        rows: (when, value, interval, kind, label) in any order.
        ends: Of the axis of time, so that several plots share it; None: the first and the last of these rows.
    """
    if not rows:
        return []
    first, last = ends or (min(when for when, *_ in rows), max(when for when, *_ in rows))
    span = (last - first).total_seconds()
    placed = []
    for when, value, interval, kind, label in sorted(rows, key=lambda row: row[0]):
        share = (when - first).total_seconds() / span if span else 0.5
        low, high = interval if interval else (None, None)
        placed.append(
            # Not up to the edges: round marks would be cut.
            Point(
                round(2 + 0.96 * WIDTH * share, 2),
                _up(scale(value)) or 0.0,
                _up(scale(low)),
                _up(scale(high)),
                kind,
                label,
            )
        )
    return placed


def _up(place: float | None) -> float | None:
    return None if place is None else round(HEIGHT - place, 2)
