"""Characters that a reader does not see, and texts in the form that patterns are looked for in."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ZERO_WIDTH = frozenset("\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2060\u3164\ufeff\uffa0")
"""Invisible everywhere, and in nobody's spelling."""
JOINERS = frozenset("\u200c\u200d")
"""Invisible too, but part of the spelling of Persian, Indian languages and emoji."""
OVERRIDES = frozenset("\u202d\u202e")
"""Turn the direction of letters around: a text reads differently from what it says."""
EMBEDDINGS = frozenset("\u202a\u202b\u202c\u2066\u2067\u2068\u2069")
TAGS = range(0xE0000, 0xE0080)
"""A second, invisible ASCII; only flags of regions have a use for it."""
BLACK_FLAG = "\U0001f3f4"

_RUN = re.compile("[\u200b-\u200d\u2060-\u2064\u180e\ufeff\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_TAG_TEXT = re.compile("\U0001f3f4?[\U000e0000-\U000e007f]+")
_REGION = re.compile("\U0001f3f4[\U000e0061-\U000e007a\U000e0030-\U000e0039]{3,6}\U000e007f")
_ELEMENT = re.compile(r"</?([a-z][\w:-]*)\b[^<>]{0,2000}>", re.IGNORECASE)
_INLINE = frozenset(
    ["a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "del", "em", "font", "i", "ins", "kbd"]
    + ["mark", "q", "s", "small", "span", "strong", "sub", "sup", "u"]
)
_SPELT = re.compile(r"(?<!\w)(?:[a-z] ){4,}[a-z](?!\w)")
# One mark after each letter: two of them, or other ones, are the gap between words.
_SPELT_WORD = re.compile(r"(?<![^\W_])[a-z]([\W_])(?:[a-z]\1)+[a-z](?![^\W_])")
_SPELT_RUN = re.compile(r"(?<![^\W_])(?:[a-z][\W_]{1,5}){9,}[a-z](?![^\W_])")
_HAN = "\u3400-\u9fff\uf900-\ufaff"
# Thai, Khmer and others mark the ends of words with an invisible space.
_SPACED_OR_HAN = re.compile(rf"[a-zA-Z\u00c0-\u024f\u0370-\u052f{_HAN}]{{2}}")
_BETWEEN_HAN = re.compile(rf"(?<=[{_HAN}])[\W_]{{1,8}}(?=[{_HAN}])")
_NO_WORD = re.compile(r"[\W_]+")
_LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u0432\u043a\u043c\u043d\u0442"
    "\u03b1\u03b5\u03b9\u03bf\u03c1\u03c4\u03c5\u03bd\u03ba\u0131",
    "aeopcyxijshdqbkmhtaeioptuvki",
)
_WORD = re.compile(r"\w+")
_LATIN = re.compile("[a-z]")


def is_invisible(char: str) -> bool:
    """Return whether a reader sees nothing of `char`; white space apart."""
    if char in " \t\n\r":
        return False
    if char in ZERO_WIDTH or char in JOINERS or char in OVERRIDES or char in EMBEDDINGS:
        return True
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn") or 0xE0100 <= ord(char) <= 0xE01EF


def show_hidden(text: str) -> str:
    """Return `text` with every invisible character written out, for a person to look at."""
    return "".join(f"⟨U+{ord(char):04X}⟩" if is_invisible(char) else char for char in text)


def has_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)


def find_hidden(text: str) -> Iterator[tuple[str, int]]:
    """Yield (rule, place) for invisible characters that no honest text holds.

    Soft hyphens, byte order marks, joiners and marks of direction come into honest texts by copying and pasting; so
    a few of them are nothing, and of the marks of direction nothing is said where letters are read from the right.
    """
    if text.isascii():
        return
    for match in _TAG_TEXT.finditer(text):
        if not _REGION.fullmatch(match[0]):
            yield "hidden-text", match.start()
            break
    place = next((at for at, char in enumerate(text) if char in OVERRIDES), None)
    if place is None and not has_right_to_left(text):
        place = next((at for at, char in enumerate(text) if char in EMBEDDINGS), None)
    if place is not None:
        yield "text-direction", place
    run = _RUN.search(text)
    if run and not any(char in "\ufe0e\ufe0f" for char in run[0]):
        yield "hidden-text", run.start()
    hidden = [at for at, char in enumerate(text) if char in ZERO_WIDTH and _inside_word(text, at)]
    if len(hidden) >= 3 and len(hidden) * 25 >= len(text):
        yield "hidden-characters", hidden[0]


def _inside_word(text: str, at: int) -> bool:
    """Return whether letters of a script that has no use for it stand on both sides."""
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    return text[at] != "\u00ad" and bool(_SPACED_OR_HAN.fullmatch(before + after))


def tag_text(text: str) -> str:
    """Return the invisible ASCII in `text`, readable; "" when there is none."""
    return "".join(chr(ord(char) - 0xE0000) for char in text if ord(char) in TAGS and ord(char) > 0xE001F)


def fold(text: str) -> str:
    """Return `text` as patterns want it: entities decoded, lower case, plain letters, nothing invisible."""
    for _ in range(3):
        if "&" not in text:
            break
        text = html.unescape(text)
    if not text.isascii():
        hidden = tag_text(text)
        text = unicodedata.normalize("NFKD", text)
        # Without the marks: "ígnóre" is "ignore" to a model.
        text = "".join(char for char in text if not is_invisible(char) and not unicodedata.combining(char))
        text = unicodedata.normalize("NFKC", text)
        text = f"{text} {hidden}" if hidden else text
    text = text.casefold()
    if not text.isascii():
        text = _WORD.sub(_unmixed, text)
    return text


def views(text: str) -> list[str]:
    """Return the folded text as a reader sees it and, where it holds markup, with what markup hides."""
    folded = fold(text)
    if "<" not in folded:
        return [folded]
    seen = _ELEMENT.sub(lambda match: "" if match[1] in _INLINE else " ", folded)
    return [seen, folded.replace("<", " ").replace(">", " ")]


def as_words(folded: str) -> str:
    """Return a folded text as words with one space before, between and after; "i g n o r e" becomes one word."""
    folded = _SPELT_WORD.sub(lambda match: match[0].replace(match[1], ""), folded)
    words = _NO_WORD.sub(" ", folded).strip()
    return f" {_SPELT.sub(lambda match: match[0].replace(' ', ''), words)} "


def spelt_apart(folded: str) -> Iterator[str]:
    """Yield each long row of single letters in a folded text without what stands between them."""
    for match in _SPELT_RUN.finditer(folded):
        yield _NO_WORD.sub("", match[0])


def as_han(folded: str) -> str:
    """Return a folded text without the spaces and marks that stand between two Han characters."""
    return _BETWEEN_HAN.sub("", folded)


def _unmixed(match: re.Match[str]) -> str:
    """Write a word of Latin letters with foreign lookalikes in it in Latin letters."""
    word = match[0]
    return word.translate(_LOOKALIKES) if not word.isascii() and _LATIN.search(word) else word
