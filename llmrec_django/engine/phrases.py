"""Words and phrases that two texts share, in scripts with and without spaces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SPACELESS = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_HAS_SPACELESS = re.compile(f"[{_SPACELESS}]")
_LONG_WORD = re.compile(rf"[^\W\d_{_SPACELESS}]{{4,}}")
_COMMON = """
    about advanced after also basic basics become beginner beginners been before best better build building
    class course courses develop each easy essential essentials first from good guide have into intro
    introduction know learn learning lesson lessons like made make making more most need part practical practice
    principles programme project read skill skills some start study studying than that their them then there
    these they this through time topics understand understanding using want what when where which will with work
    working world would year your
"""
_COMMON_WORDS = frozenset(_COMMON.split())


def holds(text: str, phrase: str) -> bool:
    """Return whether a text holds a phrase as a whole, in any case; in scripts without spaces, anywhere."""
    text, phrase = text.casefold(), phrase.casefold()
    if phrase not in text:
        return False
    if _HAS_SPACELESS.search(phrase):
        return True
    return re.search(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", text) is not None


def phrases_in(text: str, phrases: Iterable[str], *, most: int) -> tuple[str, ...]:
    """Return which phrases, of two characters at least, a text holds; up to `most`, each once."""
    found = (phrase for phrase in dict.fromkeys(phrases) if len(phrase) > 1 and holds(text, phrase))
    return tuple(phrase for phrase, _ in zip(found, range(most), strict=False))


def telling_words(texts: Sequence[str]) -> list[str]:
    """Return the words of texts that tell what they are about: four letters or more, none that any title holds.

    Words of scripts without spaces are left out: where they begin and end is not known here.
    """
    words = _LONG_WORD.findall(" ".join(texts).casefold())
    return [word for word in dict.fromkeys(words) if word not in _COMMON_WORDS]
