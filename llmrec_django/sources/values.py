"""What a host's value becomes: each function takes anything and returns what the column can hold.

None and whatever cannot be understood become the column's empty value; nothing here raises for odd data.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models.fields.files import FieldFile
from django.utils import timezone

from llmrec_django.models import Resource

MAX_MINUTES = 2_147_483_647

LEVELS = {
    Resource.Level.BEGINNER: "beginner introductory intro introduction basic basics elementary foundation novice easy "
    "a1 a2 初级 初級 入门 入門 基础 基礎",
    Resource.Level.INTERMEDIATE: "intermediate medium middle b1 b2 中级 中級 进阶 進階",
    Resource.Level.ADVANCED: "advanced expert hard difficult c1 c2 高级 高級",
}
LEVEL_OF = {word: str(level) for level, words in LEVELS.items() for word in words.split()}


def text(value: Any) -> str:
    """Return text: lists a line each, lazy strings resolved, without what PostgreSQL cannot store. HTML stays."""
    if value is None:
        return ""
    if isinstance(value, list | tuple | set | frozenset):
        return "\n".join(part for part in map(text, value) if part)
    # NUL has no place in PostgreSQL text, half a surrogate pair none in UTF-8.
    return str(value).replace("\x00", "").encode("utf-8", "replace").decode("utf-8").strip()


def is_storable(value: str) -> bool:
    """Return whether PostgreSQL can hold a text as it is: without NUL and half surrogate pairs."""
    return text(value) == value.strip()


def address(value: Any) -> str:
    """Return an address: text, or that of an uploaded file."""
    if isinstance(value, FieldFile):
        try:
            return text(value.url) if value else ""
        except (NotImplementedError, ValueError):  # A storage without addresses.
            return ""
    return text(value)


def flag(value: Any) -> bool:
    return bool(value)


def names(value: Any) -> list[str]:
    """Return distinct names in their order; one name may be given alone."""
    if value is None:
        return []
    parts = value if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else [value]
    return list(dict.fromkeys(name for name in map(text, parts) if name))


def keywords(value: Any) -> list[str]:
    """Return distinct keywords in their order; text is split at commas, semicolons and line ends."""
    if isinstance(value, str):
        value = re.split(r"[,;\n，；、]", value)
    return names(value)


def language(value: Any) -> str:
    """Return a language tag in small letters (`zh_Hans` → `zh-hans`); "" for what cannot be one."""
    tag = text(value).replace("_", "-").lower()
    return tag if re.fullmatch(r"[a-z]{2,8}(-[a-z0-9]{1,8})*", tag) and len(tag) <= 35 else ""


def level(value: Any) -> str:
    """Return one of Resource.Level for it or a word that means it (CEFR levels, Chinese); "" for others."""
    return LEVEL_OF.get(text(value).lower(), "")


def minutes(value: Any) -> int | None:
    """Return whole minutes, rounded up, of a timedelta or a number of minutes; None for what is neither."""
    if isinstance(value, timedelta):
        number = value.total_seconds() / 60
    else:
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
    if not math.isfinite(number) or not 0 <= number <= MAX_MINUTES:
        return None
    return math.ceil(number)


def end(value: Any) -> datetime | None:
    """Return the aware moment at which something is over; a date counts to its last second."""
    is_day = isinstance(value, date) and not isinstance(value, datetime)
    return moment(value + timedelta(days=1) if is_day and value < date.max else value)


def moment(value: Any) -> datetime | None:
    """Return the moment of a datetime or of a date (its midnight), as a column gives it back; None for anything else.

    Aware in UTC, or naive in the site's time zone where USE_TZ is off.
    """
    if not isinstance(value, date):
        return None
    found = value if isinstance(value, datetime) else datetime.combine(value, time.min)
    if found.utcoffset() is None:
        # Naive means the site's time zone, also where USE_TZ is off.
        found = found.replace(tzinfo=timezone.get_default_timezone())
    try:
        return found.astimezone(UTC) if settings.USE_TZ else timezone.make_naive(found, timezone.get_default_timezone())
    except OverflowError:  # The first or last day there is.
        return None


def json_object(value: Any) -> dict[str, Any]:
    """Return a JSON object as it will come back from the database; {} for anything else."""
    if not isinstance(value, Mapping):
        return {}
    try:
        plain = json.loads(json.dumps(dict(value), cls=DjangoJSONEncoder, allow_nan=False))
    except (TypeError, ValueError):
        return {}
    return _without_nul(plain)  # type: ignore[no-any-return]


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {text(key): _without_nul(item) for key, item in value.items()}
    return value


def translations(value: Any) -> dict[str, dict[str, str]]:
    """Return {language tag: {"title": …, "description": …}}, without empty texts; a text alone is a title."""
    if not isinstance(value, Mapping):
        return {}
    result: dict[str, dict[str, str]] = {}
    for tag, entry in value.items():
        given = entry if isinstance(entry, Mapping) else {"title": entry}
        texts = {name: text(given.get(name)) for name in ("title", "description")}
        texts = {name: found for name, found in texts.items() if found}
        if language(tag) and texts:
            result[language(tag)] = texts
    return result
