"""A small notation for phrases, so that a list of them can be read.

A phrase is parts with spaces between:

    ignore|disregard        one of these; "do+not" is two words, "instruction*" begins so
    @orders                 one of the words of that name
    ?please|kindly          one of these, or nothing
    ~the|all|of             any number of these (at most six)
    _3                      up to three words of any kind
    !i|we|@people           not after one of these; as the first part only
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def word_pattern(phrase: str, names: Mapping[str, str]) -> re.Pattern[str]:
    """Compile a phrase for lower-case words with one space before, between and after them.

    Args:
        names: Name → words with white space between; for the parts that begin with "@".
    """
    return _compile(phrase, names, gap=r"(?:\w+ ){0,%d}?", after=" ", before=r"(?<= )")


def character_pattern(phrase: str, names: Mapping[str, str]) -> re.Pattern[str]:
    """The same for a script without spaces: parts follow each other directly, and `_3` is up to three characters."""
    return _compile(phrase, names, gap=".{0,%d}?", after="", before="")


def glued_pattern(phrase: str, names: Mapping[str, str]) -> re.Pattern[str]:
    """The same for words without anything between them, as letters that were spelt apart leave them."""
    names = {name: words.replace("+", "") for name, words in names.items()}
    return _compile(phrase.replace("+", ""), names, gap="(?:[a-z]{8}){0,%d}?[a-z]{0,7}?", after="", before="")


def _compile(phrase: str, names: Mapping[str, str], *, gap: str, after: str, before: str) -> re.Pattern[str]:
    pieces = [before]
    for part in phrase.split():
        mark, rest = (part[0], part[1:]) if part[0] in "?~_!" else ("", part)
        if mark == "_":
            pieces.append(gap % int(rest))
        elif mark == "!":
            pieces += [f"(?<!{after}{word}{after})" for word in _alternatives(rest, names)]
        else:
            unit = f"(?:{'|'.join(_alternatives(rest, names))}){after}"
            pieces.append({"?": f"(?:{unit})?", "~": f"(?:{unit}){{0,6}}", "": unit}[mark])
    return re.compile("".join(pieces))


def _alternatives(part: str, names: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for alternative in part.split("|"):
        words = names[alternative[1:]].split() if alternative.startswith("@") else [alternative]
        found += [re.escape(word.replace("+", " ")).replace(r"\*", r"\w*") for word in words]
    return found
