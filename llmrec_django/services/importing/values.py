"""Turning cells into values, or saying what is wrong with them."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from llmrec_django.services.importing.report import RowProblem

if TYPE_CHECKING:
    from collections.abc import Mapping

LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")
SEMICOLONS = re.compile(r"[;|\uff1b]")
COMMAS = re.compile(r"[,\uff0c\u3001]")
"""With the full-width marks that Chinese text uses."""
WORDS_OF_BOOLEANS = {
    "true": True, "t": True, "yes": True, "y": True, "1": True,
    "false": False, "f": False, "no": False, "n": False, "0": False,
}  # fmt: skip
EARLIEST_EPOCH = 1e8
"""1973. Smaller numbers are dates without dashes (20170131), or no times at all."""
MILLISECONDS_FROM = 1e11


def text(cells: Mapping[str, Any], field: str, *, limit: int | None = None, needed: bool = False) -> str:
    """Return a cell as text without surrounding space; "" when it is empty or absent."""
    value = cells.get(field)
    if value is None:
        value = ""
    elif isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowProblem(field, f"must be text, found {type(value).__name__}")
    value = str(value).strip()
    if needed and not value:
        raise RowProblem(field, "is empty")
    if limit is not None and len(value) > limit:
        raise RowProblem(field, f"has {len(value):,} characters, at most {limit:,} fit")
    return value


def words(cells: Mapping[str, Any], field: str, *, commas: bool) -> list[str]:
    """Return a list: JSON's as it is; a cell split at ";" or "|", with `commas` and if it has neither at ",".

    Only one kind of mark counts in a cell, so that "Lists, trees; graphs" is two keywords and not three.
    """
    value = cells.get(field)
    if isinstance(value, list):
        parts = [text({field: part}, field) for part in value]
    else:
        cell = text(cells, field)
        marks = COMMAS if commas and not SEMICOLONS.search(cell) else SEMICOLONS
        parts = [part.strip() for part in marks.split(cell)]
    found = list(dict.fromkeys(part for part in parts if part))
    if len(found) > 200 or any(len(part) > 255 for part in found):
        raise RowProblem(field, "holds more than 200 entries, or one longer than 255 characters")
    return found


def boolean(cells: Mapping[str, Any], field: str, *, default: bool) -> bool:
    value = cells.get(field)
    if isinstance(value, bool):
        return value
    word = text(cells, field).lower()
    if not word:
        return default
    if word not in WORDS_OF_BOOLEANS:
        raise RowProblem(field, f"{word!r} is neither true nor false")
    return WORDS_OF_BOOLEANS[word]


def number(cells: Mapping[str, Any], field: str) -> float | None:
    """Return a finite number; None when the cell is empty."""
    cell = text(cells, field)
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        raise RowProblem(field, f"{_short(cell)} is not a number") from None
    if not math.isfinite(value):
        raise RowProblem(field, f"{_short(cell)} is not a finite number")
    return value


def whole_number(cells: Mapping[str, Any], field: str) -> int | None:
    """Return a whole number from 0 to 2,147,483,647; None when the cell is empty."""
    value = number(cells, field)
    if value is None:
        return None
    if value != int(value) or not 0 <= value <= 2_147_483_647:
        raise RowProblem(field, f"{_short(str(cells.get(field)))} is not a whole number from 0 up")
    return int(value)


def fraction(cells: Mapping[str, Any], field: str, *, default: float) -> float:
    value = number(cells, field)
    if value is None:
        return default
    if not 0 <= value <= 1:
        raise RowProblem(field, f"{value:g} is not between 0 and 1")
    return value


def choice(cells: Mapping[str, Any], field: str, allowed: list[str], *, default: str = "") -> str:
    value = text(cells, field).lower()
    if not value:
        return default
    if value not in allowed:
        raise RowProblem(field, f"{_short(value)} must be one of: {', '.join(allowed)}")
    return value


def language(cells: Mapping[str, Any], field: str) -> str:
    value = text(cells, field, limit=35).lower().replace("_", "-")
    if value and not LANGUAGE_TAG.fullmatch(value):
        raise RowProblem(field, f"{_short(value)} is not a language tag such as en or zh-hans")
    return value


def address(cells: Mapping[str, Any], field: str) -> str:
    """Return a web address or a path on this site: other schemes (javascript:) would run when clicked."""
    value = text(cells, field, limit=2000)
    if value and not re.match(r"(https?://|/(?!/))", value, re.IGNORECASE):
        raise RowProblem(field, f"{_short(value)} must begin with http://, https:// or /")
    return value


def json_object(cells: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = cells.get(field)
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError) as exc:
            raise RowProblem(field, f"is not valid JSON: {exc}") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise RowProblem(field, f"must be a JSON object, found {type(value).__name__}")
    if "\\u0000" in json.dumps(value):
        raise RowProblem(field, "holds a NUL character, which the database cannot store")
    return value


def translations(cells: Mapping[str, Any], field: str) -> dict[str, dict[str, str]]:
    """Return {language: {"title": …, "description": …}}."""
    found: dict[str, dict[str, str]] = {}
    for tag, entry in json_object(cells, field).items():
        name = language({field: tag}, field)
        if not isinstance(entry, dict) or not all(
            part in ("title", "description") and isinstance(value, str) for part, value in entry.items()
        ):
            raise RowProblem(field, f'must look like {{"zh-hans": {{"title": "…", "description": "…"}}}} at {tag!r}')
        found[name] = dict(entry)
    return found


def moment(cells: Mapping[str, Any], field: str, *, latest: datetime | None = None) -> datetime | None:
    """Return an aware time from epoch seconds or milliseconds or ISO 8601; None when the cell is empty.

    A time without a zone is in the site's current one. `latest` refuses what lies after it.
    """
    cell = text(cells, field)
    if not cell:
        return None
    found = _moment(cell)
    if found is None:
        raise RowProblem(field, f"{_short(cell)} is neither epoch seconds nor an ISO 8601 date or time")
    if latest is not None and found > latest:
        raise RowProblem(field, f"{_short(cell)} lies in the future ({found:%Y-%m-%d})")
    return found


def _moment(cell: str) -> datetime | None:
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    try:
        if seconds >= EARLIEST_EPOCH:
            return datetime.fromtimestamp(seconds / 1000 if seconds >= MILLISECONDS_FROM else seconds, tz=UTC)
        found = datetime.fromisoformat(cell)
        return found if timezone.is_aware(found) else timezone.make_aware(found)
    except (ValueError, OverflowError, OSError):
        return None


def tomorrow() -> datetime:
    """The latest time that is believed: clocks differ, but not by more than a day."""
    return timezone.now() + timedelta(days=1)


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else cell[:57] + "…")
