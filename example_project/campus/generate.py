"""Made-up learners for the campus: six hand-written personas and a seeded crowd around them.

The crowd is not noise: each learner has one or two subjects, a language, a level that grows with what was completed,
and takes prerequisites before what needs them. A recommender therefore has something true to find.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from example_project.campus.personas import HISTORIES, PERSONAS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PERSONAS", "generate_activity"]

CONTENT = Path(__file__).parent / "content"
LEVELS = {"beginner": 0, "intermediate": 1, "advanced": 2}
DAYS = 200.0
MAX_EVENTS = 40
COMPLETIONS_PER_LEVEL = 2
# How readily a learner takes something taught in the other language: many Chinese students also study in English.
OTHER_LANGUAGE = {"en": 0.05, "zh-hans": 0.25}
VERB_FOR_KIND = {"book": "borrowed", "paper": "bookmarked"}


@dataclass(frozen=True)
class Item:
    """One thing on the campus that a learner can act on."""

    kind: str
    key: str
    level: int
    language: str
    subjects: tuple[str, ...]
    hours: int
    prerequisites: tuple[str, ...]


class Step(NamedTuple):
    """One action before it has a time; `days` is how long it comes after the action before it."""

    item: Item
    verb: str
    value: float | None
    days: float


@dataclass
class Learner:
    """The state of one made-up learner while a history is being written."""

    language: str
    interests: list[str]
    level: int = 0
    completions: int = 0
    completed: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)


@functools.cache
def catalogue() -> dict[str, Item]:
    """Return every course, book and paper by key, in the order of the content files."""
    items = {}
    for kind in ("course", "book", "paper"):
        for entry in json.loads((CONTENT / f"{kind}s.json").read_text(encoding="utf-8")):
            items[entry["key"]] = Item(
                kind=kind,
                key=entry["key"],
                level=LEVELS[entry["level"]],
                language=entry["language"],
                subjects=tuple(entry["subjects"]),
                hours=entry.get("hours", 0),
                prerequisites=tuple(entry.get("prerequisites", ())),
            )
    return items


def generate_activity(seed: int = 7, n_learners: int = 60) -> Iterator[dict[str, Any]]:
    """Yield what the personas and `n_learners` made-up learners did, each learner's actions oldest first.

    Args:
        seed: The same seed and number of learners always give the same events.
        n_learners: Learners besides the personas; 0 gives the personas alone.

    Yields:
        Events with "learner" (a persona's key, or "l001" and so on), "name", "language", "kind" ("course", "book" or
        "paper"), "key", "verb", "value" and "at" (days ago, above 0 and at most 200). "value" is the fraction done
        for "progressed", 1 to 5 stars for "rated" and None for the other verbs.
    """
    for persona in PERSONAS:
        name = persona["name_zh"] if persona["language"] == "zh-hans" else persona["name_en"]
        for _, key, verb, value, at in HISTORIES.get(persona["key"], ()):
            yield _event(persona["key"], name, persona["language"], catalogue()[key], verb, value, at)
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    popularity = {key: rng.lognormvariate(0, 0.6) for key in catalogue()}
    names = {language: _names(rng, language) for language in OTHER_LANGUAGE}
    for number in range(1, n_learners + 1):
        language = "zh-hans" if rng.random() < 0.4 else "en"
        name = next(names[language])
        steps = _write_history(rng, popularity, language)
        for step, at in zip(steps, _days_ago(rng, steps), strict=True):
            yield _event(f"l{number:03}", name, language, step.item, step.verb, step.value, at)


def _names(rng: random.Random, language: str) -> Iterator[str]:
    """Yield full names, none twice before all are used up."""
    parts = json.loads((CONTENT / "names.json").read_text(encoding="utf-8"))[language]
    pairs = list(itertools.product(parts["given"], parts["family"]))
    rng.shuffle(pairs)
    for given, family in itertools.cycle(pairs):
        yield family + given if language == "zh-hans" else f"{given} {family}"


def _event(
    learner: str, name: str, language: str, item: Item, verb: str, value: float | None, at: float
) -> dict[str, Any]:
    return {
        "learner": learner,
        "name": name,
        "language": language,
        "kind": item.kind,
        "key": item.key,
        "verb": verb,
        "value": value,
        "at": at,
    }


def _write_history(rng: random.Random, popularity: dict[str, float], language: str) -> list[Step]:
    subjects = sorted({subject for item in catalogue().values() for subject in item.subjects})
    interests = rng.sample(subjects, rng.choice((1, 2, 2)))
    # Some arrive with a degree; they still take what a course here requires.
    learner = Learner(language, interests, level=rng.choices((0, 1, 2), weights=(65, 25, 10))[0])
    # Most histories are short and a few are long, as on a real campus.
    wanted = 1 + round((MAX_EVENTS - 1) * rng.betavariate(0.8, 1.3))
    steps: list[Step] = []
    while len(steps) < wanted:
        item = _choose(rng, popularity, learner, kinds={"course"} if rng.random() < 0.5 else {"book", "paper"})
        if item is None:
            break
        steps.extend(_use(rng, popularity, learner, item))
    return steps[:wanted]


def _choose(rng: random.Random, popularity: dict[str, float], learner: Learner, kinds: set[str]) -> Item | None:
    """Pick something unseen that fits the learner; None when nothing is left."""
    anywhere = rng.random() < 0.08
    weights: dict[str, float] = {}
    for key, item in catalogue().items():
        if key in learner.seen or item.level > learner.level or item.kind not in kinds:
            continue
        interest = _interest(learner, item)
        if not anywhere and not interest:
            continue
        language = 1.0 if item.language == learner.language else OTHER_LANGUAGE[learner.language]
        # What is below the learner's level still attracts, but less.
        level = 0.4 ** (learner.level - item.level)
        weights[key] = popularity[key] * language * level * (1.0 if anywhere else interest)
    if not weights:
        # The interests are used up at this level: look around once, at everything.
        rest = [item for key, item in catalogue().items() if key not in learner.seen and item.level <= learner.level]
        return _first_missing(learner, rng.choice(rest)) if rest else None
    chosen = rng.choices(list(weights), weights=list(weights.values()))[0]
    return _first_missing(learner, catalogue()[chosen])


def _interest(learner: Learner, item: Item) -> float:
    if item.subjects[0] in learner.interests:
        return 1.0
    return 0.3 if set(item.subjects) & set(learner.interests) else 0.0


def _first_missing(learner: Learner, item: Item) -> Item:
    """Return the item, or the course at the bottom of what it still requires."""
    for key in item.prerequisites:
        if key not in learner.completed:
            return _first_missing(learner, catalogue()[key])
    return item


def _use(rng: random.Random, popularity: dict[str, float], learner: Learner, item: Item) -> Iterator[Step]:
    """Yield the learner's actions on one item, with a book or paper read between parts of a course."""
    is_resumed = item.key in learner.seen
    learner.seen.add(item.key)
    if rng.random() < 0.35 and not is_resumed:
        yield Step(item, "viewed", None, rng.uniform(0.5, 4))
    if item.kind != "course":
        yield from _read(rng, learner, item)
        return
    # One to two and a half hours of study a day.
    study_days = item.hours / rng.uniform(1.0, 2.5)
    if is_resumed:
        yield Step(item, "progressed", round(rng.uniform(0.75, 0.95), 2), study_days * 0.4)
    else:
        yield Step(item, "enrolled", None, rng.uniform(0.2, 3))
        yield Step(item, "progressed", round(rng.uniform(0.2, 0.7), 2), study_days * 0.4)
    if rng.random() < 0.3:
        yield from _read_alongside(rng, popularity, learner)
    # One in five gives up, until a later course asks for this one.
    if is_resumed or rng.random() < 0.8:
        yield Step(item, "completed", None, study_days * 0.6)
        learner.completed.add(item.key)
        _grow(learner, item)
        if rng.random() < 0.5:
            yield Step(item, "rated", _stars(rng, learner, item), rng.uniform(0.05, 1))


def _read_alongside(rng: random.Random, popularity: dict[str, float], learner: Learner) -> Iterator[Step]:
    item = _choose(rng, popularity, learner, kinds={"book", "paper"})
    if item is not None and item.kind != "course":
        learner.seen.add(item.key)
        yield from _read(rng, learner, item)


def _read(rng: random.Random, learner: Learner, item: Item) -> Iterator[Step]:
    yield Step(item, VERB_FOR_KIND[item.kind], None, rng.uniform(0.2, 5))
    if rng.random() < 0.25:
        yield Step(item, "rated", _stars(rng, learner, item), rng.uniform(1, 10))


def _grow(learner: Learner, item: Item) -> None:
    """Count a completed course at the learner's level; two of them open the next level."""
    learner.completions += item.level >= learner.level
    if learner.completions >= COMPLETIONS_PER_LEVEL and learner.level < max(LEVELS.values()):
        learner.level += 1
        learner.completions = 0


def _stars(rng: random.Random, learner: Learner, item: Item) -> float:
    mean = 4.2 if _interest(learner, item) else 3.2
    return float(min(5, max(1, round(rng.gauss(mean, 0.8)))))


def _days_ago(rng: random.Random, steps: list[Step]) -> list[float]:
    """Return days ago for each step, strictly falling, within the last 200 days."""
    length = sum(step.days for step in steps)
    start = min(DAYS, max(length * rng.uniform(1.02, 1.5), rng.uniform(1, DAYS)))
    # A history longer than the window is lived faster, not cut.
    pace = min(1.0, 0.98 * start / length)
    elapsed, ago = 0.0, []
    for step in steps:
        elapsed += step.days * pace
        ago.append(round(start - elapsed, 4))
    return ago
