"""Whether what a reason says of the learner and of others is so: who did what with which resource, and how many."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmrec_django.services.writing.wording import (
    DEEDS,
    DOERS,
    GOES_ON,
    HOLDS,
    NEGATIONS,
    OTHER_DEEDS,
    RECOMMENDING,
    SPANS,
    TIMES,
    TOLD_TIMES,
    UNITS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmrec_django.services.writing.languages import Language

RECOMMENDED = "\ue000"
"""Stands for the title of what is recommended, where the titles of the facts are taken out of a text."""
FIRST_OWN = 0xE001
"""The learner's own resources follow, in the order of the facts."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_CLAUSE: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"[,;:.!?()—–]|\b(?:because|since|so|which|as|after|while|but|though|when|before|having|then|therefore)\b",
        re.IGNORECASE,
    ),
    "zh": re.compile("[，,；;：:。！？!?（）()]|因为|所以|因此|由于|之后|以后|然后|接着|而"),
}
_PART = re.compile("[,;:.!?()—–，；：。！？（）]")
_AFTER = re.compile(rf"\bafter\W+{RECOMMENDED}|{RECOMMENDED}\W?[之以]后", re.IGNORECASE)
_TITLES = re.compile("[\ue000-\ue0ff]")


def untrue_deeds(marked: str, own_deeds: list[frozenset[str]], language: Language) -> Iterator[str]:
    """Yield what a text says wrongly about who did what.

    A deed belongs to the titles that follow it in its clause, else to the last one before it in its sentence. Each
    must be one of the learner's own, and the deed one that the learner did with it.

    Args:
        marked: The text, titles replaced by `RECOMMENDED` and what follows `FIRST_OWN`.
        own_deeds: The verbs of each own resource, in order.
    """
    for sentence in _SENTENCE.split(marked):
        before = ""
        for clause in _CLAUSE[language].split(sentence):
            yield from _in_clause(clause, before, own_deeds, language)
            before = (before + clause)[-500:]
            titles = _TITLES.findall(before)
            before = titles[-1] if titles else ""


def _in_clause(clause: str, before: str, own_deeds: list[frozenset[str]], language: Language) -> Iterator[str]:
    if OTHER_DEEDS[language].search(clause):
        yield "says the learner did what they did not"
    recommending = RECOMMENDING[language].search(clause)
    if recommending and set(_TITLES.findall(clause[recommending.end() :])) - {RECOMMENDED}:
        yield "recommends what is not recommended"
    for pattern, deeds in DEEDS[language]:
        for match in pattern.finditer(clause):
            titles = _TITLES.findall(clause[match.end() :]) or _TITLES.findall(before + clause[: match.start()])[-1:]
            done = [own_deeds[ord(title) - FIRST_OWN] for title in titles if title != RECOMMENDED]
            if (
                not titles
                or len(done) < len(titles)
                or not all(deeds & verbs for verbs in done)
                or not DOERS[language].search(clause[: match.start()])
            ):
                yield "says the learner did what they did not"
            if TOLD_TIMES[language].search(clause) or SPANS[language].search(clause):
                yield "says when"


def untrue_turns(marked: str, language: Language) -> Iterator[str]:
    """Yield where a text denies, asks, or sets a time or an order: the facts say what is so, and no more than that."""
    if NEGATIONS[language].search(marked):
        yield "denies"
    if re.search("[?？]", marked):
        yield "asks"
    if TIMES[language].search(TOLD_TIMES[language].sub(" ", marked)):
        yield "says when"
    if _AFTER.search(marked):
        yield "tells a wrong order"
    for clause in _PART.split(marked):
        for match in GOES_ON[language].finditer(clause):
            before, after = _TITLES.findall(clause[: match.start()]), _TITLES.findall(clause[match.end() :])
            if before[-1:] not in ([], [RECOMMENDED]) or (before and RECOMMENDED in after):
                yield "tells a wrong order"
        if any(_TITLES.search(clause, match.end()) for match in HOLDS[language].finditer(clause)):
            yield "puts one resource into another"


def wrong_counts(marked: str, counts: Mapping[str, frozenset[int]], language: Language) -> Iterator[str]:
    """Yield for each number that counts something else in the facts: 90 minutes are not 90 learners."""
    for unit, pattern in UNITS[language].items():
        for match in pattern.finditer(marked):
            if int(match[1].replace(",", "")) not in counts.get(unit, frozenset()):
                yield "a number that is not in the facts"
