"""The rules of the safety screen: a resource's texts in, findings out."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrec_django.engine.safety.hidden import as_han, as_words, find_hidden, show_hidden, spelt_apart, tag_text, views
from llmrec_django.engine.safety.patterns import ACTIVE_RULES, CHINESE_RULES, ENGLISH_RULES, GLUED_RULES, MARKUP_RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

TextFields = Mapping[str, str]
"""Field name → its text: "title", "description", "keywords", "body", "translations.zh-hans.title" …"""

_EXCERPT = 60
"""Characters of context on each side of what was found."""
_NOT_SHOWN = frozenset({"body"})
# In one piece or wrapped, in either alphabet.
_BASE64 = re.compile(
    r"(?<![\w+/-])(?:[A-Za-z0-9+/_-]{8,100}\s{1,8}){0,200}[A-Za-z0-9+/_-]{8,4000}(?:\s{1,8}[A-Za-z0-9+/_-]{1,7})?={0,2}"
    r"(?![\w+/-])"
)
_SHORTEST_BLOB = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in a text that speaks against showing it."""

    rule: str
    field: str
    excerpt: str
    """What was found with some context, invisible characters written out."""


def screen_fields(fields: TextFields) -> list[Finding]:
    """Return what the rules find, each rule once a field; nothing for honest texts."""
    return [finding for field, text in fields.items() for finding in screen_text(text, field)]


def screen_text(text: str, field: str = "") -> list[Finding]:
    """Return what the rules find in one text, each rule once. Time grows linearly with the text."""
    found: dict[str, str] = {}
    for rule, excerpt in _findings(text, field):
        found.setdefault(rule, excerpt)
    return [Finding(rule, field, excerpt) for rule, excerpt in found.items()]


def places(text: str, field: str, rules: Collection[str], *, length: int = 1000) -> list[tuple[int, int]]:
    """Return a stretch of `text` for each of `rules`, in order: (start, stop) of the first that it finds something in.

    Nothing for rules that find nothing, or only in more than half of `length` characters at once.
    """
    found: dict[str, tuple[int, int]] = {}
    for start in range(0, max(1, len(text) - length // 2), length // 2):
        for rule in {finding.rule for finding in screen_text(text[start : start + length], field)} & set(rules):
            found.setdefault(rule, (start, min(len(text), start + length)))
    return sorted(set(found.values()))


def _findings(text: str, field: str) -> Iterator[tuple[str, str]]:
    if not text:
        return
    for rule, place in find_hidden(text):
        hidden = tag_text(text)
        context = _around(text, place, place + 1)
        yield rule, f"{hidden[: 2 * _EXCERPT]} ← {context}" if hidden and rule == "hidden-text" else context
    if field not in _NOT_SHOWN and "<" in text:
        yield from _matches(ACTIVE_RULES, text)
    for view in views(text):
        yield from _matches(MARKUP_RULES, view)
        yield from _orders(view)
    for match in _BASE64.finditer(text):
        if any(next(_orders(view), None) for decoded in _decoded(match[0]) for view in views(decoded)):
            yield "encoded-instructions", _around(text, match.start(), match.start() + 40)


def _orders(view: str) -> Iterator[tuple[str, str]]:
    yield from _matches(ENGLISH_RULES, as_words(view))
    for letters in spelt_apart(view):
        yield from _matches(GLUED_RULES, letters)
    if not view.isascii():
        yield from _matches(CHINESE_RULES, as_han(view))


def _decoded(blob: str) -> Iterator[str]:
    """Yield what a blob may say, read whole and each line for itself."""
    pieces = blob.split()
    for piece in {"".join(pieces), *pieces}:
        letters = piece.rstrip("=").replace("-", "+").replace("_", "/")
        if len(letters) < _SHORTEST_BLOB:
            continue
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]
        raw = base64.b64decode(letters + "=" * (-len(letters) % 4))
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            with suppress(ValueError):
                yield raw.decode(encoding)


def _matches(rules: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> Iterator[tuple[str, str]]:
    for rule, pattern in rules:
        match = pattern.search(text)
        if match:
            yield rule, _around(text, match.start(), match.end())


def _around(text: str, start: int, stop: int) -> str:
    before, after = max(0, start - _EXCERPT), min(len(text), min(stop, start + 2 * _EXCERPT) + _EXCERPT)
    excerpt = show_hidden(" ".join(text[before:after].split()))
    return f"{'…' if before else ''}{excerpt}{'…' if after < len(text) else ''}"
