"""Whether a summary affirms what its source denies, or denies what its source affirms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from llmrec_django.services.writing.languages import han_pairs
from llmrec_django.services.writing.vocabulary import is_plain, without_plain_words
from llmrec_django.services.writing.wording import NEGATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmrec_django.services.writing.languages import Language

_ENDS: Mapping[Language, re.Pattern[str]] = {
    # "not X, Y or Z" denies all three, so a comma ends a part only before a new clause; "without" begins one.
    "en": re.compile(
        r"[.!?](?=\s|$)|[;:()—–]|,\s+(?=(?:and\s+)?(?:it|this|they|we|you|he|she|each|which|so|then)\b)|"
        r"\b(?:but|however|although|though|while|because)\b|,?\s+(?=(?:without|except|instead)\b)|"
        r"(?:,|\band)\s+(?=(?:with\s+)?no\b)",
        re.IGNORECASE,
    ),
    "zh": re.compile("[。！？；，：（）]|但是?|而是|因为|所以"),
}
_AFFIRMS = re.compile(r"\bnot (?:only|just|merely)\b|\bno(?:t)? (?:less|fewer) than\b", re.IGNORECASE)
_LATIN = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True, slots=True)
class _Part:
    is_denied: bool
    words: frozenset[str]
    """All that is said: words by their first five letters, or pairs of characters."""
    names: frozenset[str]
    """What it is said of: the same without plain words, and two longer words in a row."""


def turns_around(text: str, source: str, language: Language) -> bool:
    """Return whether a part of `text` has a negation and what it fits in `source` has none, or the other way round.

    A part is held against those parts of the source that most of its words stand in. Besides, what the source only
    denies is named only where it is denied, and what it only affirms where it is affirmed.
    """
    told = list(_parts(source, language))
    denied = {name for part in told if part.is_denied for name in part.names}
    affirmed = {name for part in told if not part.is_denied for name in part.names}
    for part in _parts(text, language):
        fits = [len(part.words & other.words) for other in told]
        best = [other for n, other in zip(fits, told, strict=True) if n == max(fits)]
        if not any(other.is_denied is part.is_denied for other in best):
            return True
        if part.names & (affirmed - denied if part.is_denied else denied - affirmed):
            return True
    return False


def _parts(text: str, language: Language) -> Iterator[_Part]:
    for part in _ENDS[language].split(_AFFIRMS.sub(" ", text)):
        plain = NEGATIONS[language].sub(" ", part)
        if language == "zh":
            words, names = han_pairs(plain), han_pairs(without_plain_words(plain))
        else:
            found = [word.casefold() for word in _LATIN.findall(plain)]
            words = {word[:5] for word in found}
            longer = [word[:5] for word in found if len(word) > 3]
            names = {word[:5] for word in found if len(word) > 3 and not is_plain(word)}
            names |= {" ".join(pair) for pair in pairwise(longer)}
        if words:
            yield _Part(plain != part, frozenset(words), frozenset(names))
