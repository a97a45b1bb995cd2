"""What can be translated in an app's sources, and what its catalogue holds. Needs no gettext binaries."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation.template import templatize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ARGUMENTS = {
    "gettext": ("msgid",),
    "ngettext": ("msgid", "plural"),
    "pgettext": ("context", "msgid"),
    "npgettext": ("context", "msgid", "plural"),
}
CALL_IN_TEMPLATE = re.compile(
    r"""\b(?:n|p|np)?gettext\((?:u?'(?:[^'\\]|\\.)*'|u?"(?:[^"\\]|\\.)*"|, ?|count)+\)|\b_\(u?(?:'[^']*'|"[^"]*")\)"""
)
NOT_TEXT = re.compile(
    r"{#.*?#}|{%\s*comment.*?endcomment\s*%}|{%\s*blocktrans.*?endblocktrans(?:late)?\s*%}|{[%{].*?[%}]}", re.S
)
TAG = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1>|<[^>]*>", re.S)
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Text:
    """One text that can be translated."""

    msgid: str
    plural: str = ""
    context: str = ""


def texts_of(folder: Path) -> set[Text]:
    """Return every text that the app in `folder` marks for translation."""
    found: set[Text] = set()
    for path in sorted(folder.rglob("*.py")):
        found |= set(_calls(ast.parse(path.read_text(encoding="utf-8"))))
    for path in sorted(folder.rglob("*.html")):
        for call in CALL_IN_TEMPLATE.finditer(templatize(path.read_text(encoding="utf-8"), origin=str(path))):
            found |= set(_calls(ast.parse(call[0])))
    return found


def untranslatable(template: str) -> list[str]:
    """Return the words of a Django template that are outside translation tags, markup and variables."""
    bare = TAG.sub("\n", NOT_TEXT.sub("", template))
    return [
        words for line in bare.splitlines() if re.search(r"[A-Za-z]{2}", words := re.sub(r"&\w+;", "", line).strip())
    ]


def _calls(tree: ast.AST) -> Iterator[Text]:
    names = {"_": "gettext", **{name: name for name in ARGUMENTS}}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation":
            for alias in node.names:
                names[alias.asname or alias.name] = re.sub(r"_(lazy|noop)$", "", alias.name)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        arguments = ARGUMENTS.get(names.get(called, called))
        strings = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        if arguments and len(strings) >= len(arguments):
            yield Text(**dict(zip(arguments, strings, strict=False)))


@dataclass(frozen=True, slots=True)
class Entry:
    """A text in a .po file and its translations, one a plural form."""

    text: Text
    forms: tuple[str, ...]
    is_fuzzy: bool


def read_po(path: Path) -> tuple[str, list[Entry]]:
    """Return the header and the entries of a .po file."""
    entries = []
    header = ""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        values: dict[str, str] = {}
        keyword = ""
        for line in block.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            keyword = keyword if line.startswith('"') else line.split(" ", 1)[0]
            values[keyword] = values.get(keyword, "") + "".join(
                ast.literal_eval(f'"{s}"') for s in STRING.findall(line)
            )
        if values.get("msgid") == "":
            header = values["msgstr"]
        elif values:
            text = Text(values["msgid"], values.get("msgid_plural", ""), values.get("msgctxt", ""))
            forms = tuple(value for name, value in sorted(values.items()) if name.startswith("msgstr"))
            entries.append(Entry(text, forms, bool(re.search(r"^#,.*\bfuzzy\b", block, re.M))))
    return header, entries


def placeholders(text: str) -> list[str]:
    """Return what must stay in a translation, sorted: %(name)s, %s and markup."""
    return sorted(re.findall(r"%\(\w+\)[a-z]|%[sd]|</?\w+[^>]*>", text))
