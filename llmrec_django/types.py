"""Values that pass between the rooms. Standard library and numpy types only."""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
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
class EvidenceResource:
    """A resource as it was called when a list was made."""

    id: int
    key: str
    title: str
    titles: Mapping[str, str] = field(default_factory=dict)
    """Other titles by language tag, as in `Resource.translations`."""
    verb: str = ""
    """Of the learner's own resources: the strongest thing the learner did with it."""
    share: float = 0.0
    """Of the learner's own resources: its part in what they all did for the score, in [0, 1]."""
    learners: int = 0
    """So many other learners, at least, chose both this and the recommended resource; 0: too few to say so."""

    def local_title(self, language: str | None) -> str:
        """Return the title in a language, such as "zh-hans", where there is one; the key where there is no title."""
        tag = (language or "").lower()
        return self.titles.get(tag) or self.titles.get(tag.split("-")[0]) or self.title or self.key

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without what is not known."""
        return _told_fields(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EvidenceResource:
        """Rebuild from `to_dict`; names it does not know are left out."""
        return cls(**_known(cls, values))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why one resource is in a list. Everything in it is true; what is not known, or says nothing, is empty."""

    resource: EvidenceResource
    """What is recommended."""
    source: str = ""
    """As `Recommendation.source`."""
    own: tuple[EvidenceResource, ...] = ()
    """The learner's own resources without which it would stand lower, strongest first."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What each source of a trained version added to the score, against an average resource."""
    goal_share: float = 0.0
    """Part of goals and interests, beside the learner's own resources, in what they did for the score; in [0, 1]."""
    goal_words: tuple[str, ...] = ()
    """Words of the learner's goals that the resource's title or keywords hold too. Never the goals themselves."""
    interests: tuple[str, ...] = ()
    """The learner's interests that the resource's title or keywords name."""
    competencies: tuple[str, ...] = ()
    """Titles of competencies that both the resource and the first of `own` are about."""
    keywords: tuple[str, ...] = ()
    """Keywords that the resource shares with the first of `own`."""
    unlocked_by: tuple[EvidenceResource, ...] = ()
    """Resources that it asks for, which the learner has done."""
    together: bool = False
    """It stands here for the learner's history as a whole: without all of it it would stand much lower, and no single
    resource of it stands out. `own` is empty then."""
    among: EvidenceResource | None = None
    """With `together`: the one that did most, which is little."""
    popular: int = 0
    """So many learners, at least, chose it in the last `popular_days` days; 0: too few to say so, or not why."""
    popular_days: int = 0
    level: str = ""
    """The level of the resource, where it is the learner's own."""
    minutes: int = 0
    """How long it takes, where that fits into `minutes_per_week`."""
    minutes_per_week: int = 0
    """The time the learner has."""
    new_days: int | None = None
    """Days since it was added, where that is why it is here."""
    rule: str = ""
    """The editorial rule that had to do with its place: "pinned" or "boosted"."""
    rule_reasons: Mapping[str, str] = field(default_factory=dict)
    """What the editors say about it, by language tag; "" for every other language."""

    @property
    def hash(self) -> str:
        """Name what can be said: alike for evidence that differs in shares and parts only; 32 hexadecimal digits."""
        told = self.to_dict()
        for name in ("parts", "goal_share"):
            told.pop(name, None)
        for resource in (told["resource"], *told.get("own", ()), *told.get("unlocked_by", ())):
            resource.pop("share", None)
        text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def resources(self) -> tuple[EvidenceResource, ...]:
        """Return every resource whose title may be said, the recommended one first."""
        return (self.resource, *self.own, *self.unlocked_by, *([self.among] if self.among else []))

    def numbers(self) -> frozenset[int]:
        """Return every number that may be said, apart from those inside titles and words."""
        counts = (self.popular, self.popular_days, self.minutes, self.minutes_per_week)
        found = {*counts, *(resource.learners for resource in self.own)} - {0}
        return frozenset(found if self.new_days is None else found | {self.new_days})

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without what is not known."""
        return _told_fields(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evidence:
        """Rebuild from `to_dict`; names it does not know are left out.

        Raises:
            TypeError: there is no resource in it, or something else is no evidence.
        """
        given = _known(cls, values)
        for name in ("own", "unlocked_by"):
            given[name] = tuple(EvidenceResource.from_dict(part) for part in given.get(name, ()))
        for name in ("goal_words", "interests", "competencies", "keywords"):
            given[name] = tuple(given.get(name, ()))
        for name in ("resource", "among"):
            if given.get(name) is not None:
                given[name] = EvidenceResource.from_dict(given[name])
        return cls(**given)


def _told_fields(value: Evidence | EvidenceResource) -> dict[str, Any]:
    """Return evidence as JSON, fields that stand at their defaults left out."""
    cls: Any = type(value)
    names, defaults, read = _fields_of(cls)
    told: dict[str, Any] = {}
    for name, default, part in zip(names, defaults, read(value), strict=True):
        if part == default:
            continue
        if isinstance(part, EvidenceResource):
            part = _told_fields(part)
        elif isinstance(part, tuple):
            part = [_told_fields(one) if isinstance(one, EvidenceResource) else one for one in part]
        elif not isinstance(part, str | int | float):
            part = dict(part)
        told[name] = part
    return told


@functools.cache
def _fields_of(cls: type[Any]) -> tuple[tuple[str, ...], tuple[Any, ...], Callable[[Any], tuple[Any, ...]]]:
    """Return names and defaults of a dataclass's fields, and what reads them all: every list tells dozens of values."""
    parts = fields(cls)
    defaults = (part.default_factory() if part.default_factory is not MISSING else part.default for part in parts)
    names = tuple(part.name for part in parts)
    return names, tuple(defaults), operator.attrgetter(*names)


def _known(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    names = {part.name for part in fields(cls)}
    return {name: value for name, value in values.items() if name in names}


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
    """What brought it in: "trained", "content", "popular", "newest", "editorial", "similar", "words" or "meaning"."""
    url: str = ""
    """Where the host shows it; "" when nothing is known."""
    propensity: float = 1.0
    """How probable it was that this resource got this place; below 1 only where a place is drawn by lot."""
    is_exploration: bool = False
    """The place was drawn by lot."""
    evidence: Evidence | None = None
    """Why it is here; None where nothing is known about that."""
    reason: str = ""
    """`evidence` as a sentence in the language that is active when it is read; "" where there is nothing to say."""
    reason_source: str = ""
    """Who worded it: "template" or "llm"; "" without a reason."""
    summary: str = ""
    """A long description in one or two sentences, in the active language, where a language model wrote one."""


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


@dataclass(frozen=True, slots=True)
class FeedbackInput:
    """One thing a learner did about a recommended resource."""

    kind: str
    """"shown", "clicked", "read", "rated" or "dismissed"."""
    resource_key: str
    recommendation_id: UUID | None = None
    """Of the list it was in; None where that is not known."""
    value: float | None = None
    """The rating with "rated", the seconds with "read"."""
    reason: str = ""
    """With "dismissed": not_interested (when left out), already_know, too_hard or too_easy."""
    occurred_at: datetime | None = None
    """Aware; None means now."""
    event_id: str = ""
    """Sent twice it counts once. A click on an item of a list counts once in any case. Without an id, the same report
    is known by its list, resource, kind and `occurred_at`; a rating without either, and a dismissal without list
    either, by being what the learner said of the resource last."""
