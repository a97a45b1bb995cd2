"""Words and phrases that two texts share, in scripts with and without spaces."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SPACELESS = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_HAS_SPACELESS = re.compile(f"[{_SPACELESS}]")
JOINERS = "\u200c\u200d"
"""Invisible, and part of the spelling of Persian and of Indian languages."""
_COMMON = """
    about advanced after also basic basics become beginner beginners been before best better build building
    class course courses develop each easy essential essentials first from good guide have into intro
    introduction know learn learning lesson lessons like made make making more most need part practical practice
    principles programme project read skill skills some start study studying than that their them then there
    these they thing things this through time topics understand understanding using want ways what when where which
    will with work working works world would year your
"""
_COMMON_WORDS = frozenset(_COMMON.split())


@cache
def marks() -> str:
    """Return all characters that continue a word without being letters: signs of vowels, accents, joiners.

    For a class of a regular expression, whose `\\w` does not know them: it would end a word of Hindi, of Thai or of
    vocalised Hebrew in its middle.
    """
    combining = (char for char in map(chr, range(0x300, 0x1E94B)) if unicodedata.category(char)[0] == "M")
    return "".join(combining) + JOINERS


@cache
def _long_word(*, is_ascii: bool) -> re.Pattern[str]:
    letter = rf"[^\W\d_{_SPACELESS}]"
    # Most texts never need the marks, which take a while to collect.
    return re.compile(f"{letter}{{4,}}" if is_ascii else f"(?:{letter}[{marks()}]*){{4,}}")


def holds(text: str, phrase: str) -> bool:
    """Return whether a text holds a phrase as a whole, in any case; in scripts without spaces, anywhere."""
    text, phrase = text.casefold(), phrase.casefold()
    if phrase not in text:
        return False
    if _HAS_SPACELESS.search(phrase):
        return True
    begin = text.find(phrase)
    while begin >= 0:
        end = begin + len(phrase)
        if not _is_inside(text[max(0, begin - 1) : begin]) and not _is_inside(text[end : end + 1]):
            return True
        begin = text.find(phrase, begin + 1)
    return False


def continues_letter(char: str) -> bool:
    """Return whether a character is nothing without the one before it: a sign of a vowel, an accent, a joiner."""
    return char in JOINERS or unicodedata.category(char)[0] == "M"


def _is_inside(char: str) -> bool:
    """Return whether a word goes on with this character; not with none at all."""
    return bool(char) and (char.isalnum() or char in "-_" or continues_letter(char))


def phrases_in(text: str, phrases: Iterable[str], *, most: int) -> tuple[str, ...]:
    """Return which phrases, of two characters at least, a text holds; up to `most`, each once, in any case."""
    once: dict[str, str] = {}
    for phrase in phrases:
        once.setdefault(phrase.casefold(), phrase)
    found = (phrase for phrase in once.values() if len(phrase) > 1 and holds(text, phrase))
    return tuple(phrase for phrase, _ in zip(found, range(most), strict=False))


def telling_words(texts: Sequence[str]) -> list[str]:
    """Return the words of texts that tell what they are about: four letters or more, none that any title holds.

    Words of scripts without spaces are left out: where they begin and end is not known here.
    """
    text = " ".join(texts).casefold()
    words = _long_word(is_ascii=text.isascii()).findall(text)
    return [word for word in dict.fromkeys(words) if word not in _COMMON_WORDS]
