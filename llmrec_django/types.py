"""Values that pass between the rooms. Standard library and numpy types only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from uuid import UUID

Float32Matrix = NDArray[np.float32]
"""float32 [n, d]"""
Float32Vector = NDArray[np.float32]
"""float32 [d]"""

Effect = Literal["positive", "negative", "neutral"]


@dataclass(frozen=True, slots=True)
class Verb:
    """What one kind of interaction means to the recommender."""

    weight: float
    """How strongly it speaks for (or, with a negative effect, against) the resource, in [0, 1]."""
    effect: Effect = "positive"
    learner_may_send: bool = False
    """True: a learner's own client is believed. False: only trusted sources may report it."""
    seen_days: float | None = None
    """The resource is not recommended again for so many days; None: it never hides it; inf: for ever."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """One named entry of `LLMREC["ENCODERS"]`."""

    name: str
    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One resource in a list."""

    resource: Any
    """The `Resource` row."""
    rank: int
    """1-based."""
    score: float
    """Higher is better; unitless, comparable inside one list only."""
    source: str
    """What brought it in: "trained", "content", "popular", "newest", "similar", "words" or "meaning"."""
    url: str = ""
    """Where the host shows it; "" when nothing is known."""
    propensity: float = 1.0
    """How probable it was that this resource got this place; below 1 only where a place is drawn by lot."""
    is_exploration: bool = False
    """The place was drawn by lot."""


@dataclass(frozen=True, slots=True)
class RecommendationResult:
    """An ordered list of recommendations and how it was made."""

    items: tuple[Recommendation, ...] = ()
    placement: str = ""
    is_personal: bool = False
    """True when at least one item was chosen by this learner's own history or profile."""
    fallback: str = ""
    """The last step of the fallback chain that was needed: "", "popular" or "newest"."""
    recommendation_id: UUID | None = None
    """Names the stored list in feedback; None when it is not stored."""

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class InteractionInput:
    """One thing a learner did, before it is checked and stored."""

    verb: str
    resource_key: str = ""
    value: float | None = None
    occurred_at: datetime | None = None
    """Aware; None means now."""
    event_id: str = ""
    """Unique per (tenant, source, learner); "" derives one from the content."""
    query: str = ""
    """The words searched for; with the verb "searched" only."""
