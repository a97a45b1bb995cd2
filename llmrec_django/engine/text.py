"""The text an encoder sees of a resource: cleaned, put together by one recipe, and hashed."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RECIPE = "title-description-keywords-translations-body/1"
"""Names what `compose_text` does. It changes with every change that alters a text, so vectors never mix."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_INLINE = _names(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark q ruby s samp small "
    "span strike strong sub sup time tt u var wbr"
)
_KNOWN = _INLINE | _names(
    "address applet area article aside audio base blockquote body br button canvas caption center col "
    "colgroup dd details dialog dir div dl dt embed fieldset figcaption figure footer form frame frameset h1 "
    "h2 h3 h4 h5 h6 head header hgroup hr html iframe img input legend li link main map math menu meta meter "
    "nav noframes noscript object ol optgroup option output p param picture pre progress rp rt search "
    "section select slot source script style summary svg table tbody td template textarea tfoot th thead "
    "title tr track ul video"
)
_UNREAD = frozenset({"script", "style", "template"})
_CLOSING = re.compile(r"</([a-zA-Z][\w:.-]*)\s*>")
_OPENING_BRACKET = re.compile(r"<(?=/?(!doctype|[a-z][\w:.-]*)(?=[\s/>])[^<]*>)?", re.IGNORECASE)
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))


class _TextCollector(HTMLParser):
    """Collects what a reader would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unread: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._unread is None and tag in _UNREAD:
            self._unread = tag
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unread:
            self._unread = None
        self._separate(tag)

    def handle_data(self, data: str) -> None:
        if self._unread is None:
            self.parts.append(data)

    def _separate(self, tag: str) -> None:
        # "<b>bo</b>ld" is one word; "<td>one</td><td>two</td>" are two.
        if tag not in _INLINE:
            self.parts.append("\n" if tag in _KNOWN else " ")


def clean_text(text: str) -> str:
    """Return what a reader would see of `text`, which may be HTML or plain.

    Markup, scripts and styles go, block elements end a line, entities become characters, white space
    collapses, control characters (NUL among them) and lone surrogates go; the result is in form NFC. A
    "<" that opens no element stays: "a < b", "List<String>" and "x <y" survive. Time grows linearly with the
    text.
    """
    if not text:
        return ""
    if "<" in text or "&" in text:
        collector = _TextCollector()
        collector.feed(_escape_stray_brackets(_without_comments(text)))
        collector.close()
        text = "".join(collector.parts)
    text = unicodedata.normalize("NFC", text.translate(_INVISIBLE))
    text = "".join(ch for ch in text if ch in "\n\t\r" or unicodedata.category(ch) not in ("Cc", "Cs"))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def compose_text(
    title: str = "",
    description: str = "",
    keywords: Iterable[Any] | None = (),
    translations: Mapping[str, Any] | None = None,
    body: str = "",
) -> str:
    """Put the parts of a resource together for an encoder, by `RECIPE`.

    Args:
        title: Plain text or HTML, like the other parts.
        description: As above.
        keywords: Words or phrases; joined by commas, each once.
        translations: Language tag → {"title": …, "description": …}; taken in the order of the tags, so that
            the text does not depend on how the mapping was filled.
        body: Extra text.

    Returns:
        The cleaned parts, each on lines of its own, none twice; "" when there is nothing to read.
    """
    parts = [clean_text(title), clean_text(description), _join_keywords(keywords)]
    for language in sorted(translations or {}):
        entry = (translations or {})[language]
        if isinstance(entry, dict):
            parts += [clean_text(str(entry.get(name) or "")) for name in ("title", "description")]
    parts.append(clean_text(body))
    return "\n".join(_each_once(parts))


def text_hash(text: str) -> str:
    """Return 32 hexadecimal digits that stand for `text`; the same on every machine and in every version."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _join_keywords(keywords: Iterable[Any] | None) -> str:
    if isinstance(keywords, str):
        keywords = [keywords]
    words = [clean_text(str(word)) for word in keywords or () if isinstance(word, str | int | float)]
    return ", ".join(_each_once(words))


def _each_once(parts: Iterable[str]) -> list[str]:
    seen: dict[str, str] = {}
    for part in parts:
        if part:
            seen.setdefault(part.casefold(), part)
    return list(seen.values())


def _without_comments(text: str) -> str:
    """Drop `<!-- … -->`; one that is never closed stays, as text."""
    kept = []
    start = 0
    while (opening := text.find("<!--", start)) >= 0 and (closing := text.find("-->", opening + 4)) >= 0:
        kept.append(text[start:opening])
        start = closing + 3
    kept.append(text[start:])
    return "".join(kept)


def _escape_stray_brackets(text: str) -> str:
    """Turn each "<" that opens no element into an entity, so that the parser takes it as text.

    An element is one that HTML knows, one that is closed somewhere in the text (`<problem>…</problem>`), or
    one with a name only markup has (`<o:p>`, `<my-card>`).
    """
    closed = {name.lower() for name in _CLOSING.findall(text)}

    def keep_or_escape(match: re.Match[str]) -> str:
        name = (match.group(1) or "").lower()
        is_element = name in _KNOWN or name in closed or ":" in name or "-" in name or name == "!doctype"
        return "<" if is_element else "&lt;"

    return _OPENING_BRACKET.sub(keep_or_escape, text)
