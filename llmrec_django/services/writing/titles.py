"""Titles of resources that a text names though its facts do not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.db import connections, router

from llmrec_django.models import Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

RESOURCES = Resource._meta.db_table
MOST = 200
_LATIN = re.compile("[A-Za-z]")


def other_titles(text: str, tenant: str, known: Iterable[str]) -> list[str]:
    """Return titles of the tenant's catalogue that stand in `text` and in none of the `known` texts."""
    return mentioned(_titles_in(text, tenant), text, known)


def mentioned(titles: Iterable[str], text: str, known: Iterable[str]) -> list[str]:
    """Return which `titles` stand in `text` and in none of the `known` texts.

    A title of one Latin word is not looked for (a word with a capital letter is refused elsewhere), one of two only
    in its own spelling: "For you" is no mention of a resource of that name in every sentence.
    """
    held = [part.casefold() for part in known]
    return [
        title for title in titles if _is_mentioned(title, text) and not any(title.casefold() in part for part in held)
    ]


def _titles_in(text: str, tenant: str) -> list[str]:
    with connections[router.db_for_read(Resource)].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT DISTINCT title FROM (
                SELECT title FROM {RESOURCES} WHERE tenant = %s
                UNION ALL
                SELECT entry.value ->> 'title' FROM {RESOURCES},
                    jsonb_each(CASE jsonb_typeof(translations) WHEN 'object' THEN translations ELSE '{{}}' END) AS entry
                WHERE tenant = %s AND jsonb_typeof(entry.value) = 'object'
            ) AS named
            WHERE char_length(title) BETWEEN 2 AND 300 AND strpos(lower(%s), lower(title)) > 0 LIMIT %s
            """,
            [tenant, tenant, text, MOST],
        )
        return [title for (title,) in cursor.fetchall()]


def _is_mentioned(title: str, text: str) -> bool:
    if not _LATIN.search(title):
        return True
    n_words = len(title.split())
    if n_words == 1 and title.isascii():
        return False
    pattern = rf"(?<![A-Za-z]){re.escape(title)}(?![A-Za-z])"
    return re.search(pattern, text, 0 if n_words == 2 else re.IGNORECASE) is not None
