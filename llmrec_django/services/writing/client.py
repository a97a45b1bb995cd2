"""Asking the language model: which one, within which budget, and not at all while it is down."""

from __future__ import annotations

import functools
import logging
import re
import time
from typing import TYPE_CHECKING

from django.db import connections, router

from llmrec_django import caching
from llmrec_django.conf import LLMRecConfigurationError, conf
from llmrec_django.engine.safety.hidden import show_hidden
from llmrec_django.engine.text import text_hash
from llmrec_django.engine.writers import build_writer
from llmrec_django.exceptions import LLMRecError, WriterError, WriterUnavailable
from llmrec_django.models import WriterUsage
from llmrec_django.models.base import is_supported

if TYPE_CHECKING:
    from llmrec_django.engine.writers import Prompt, TextGenerator

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 3600.0
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
USAGE = WriterUsage._meta.db_table


class BudgetSpent(WriterUnavailable):
    """A tenant's calls for this hour or day are used up."""


class WriterPaused(WriterUnavailable):
    """The language model did not answer a moment ago; it is not asked again yet."""


@functools.cache
def _build() -> TextGenerator:
    generator = build_writer(conf.WRITER["BACKEND"], conf.WRITER["OPTIONS"])
    if generator.is_remote and not generator.is_local and not conf.ALLOW_REMOTE_TEXT:
        raise LLMRecConfigurationError(
            "Cannot use the writer: it sends facts about learners' lists to another machine. "
            "Set LLMREC['ALLOW_REMOTE_TEXT'] = True if your site allows that."
        )
    return generator


def writer() -> TextGenerator | None:
    """Return the site's language model, built once a process; None without one.

    Raises:
        LLMRecError: it cannot be built, or is remote without the opt-in.
    """
    return _build() if conf.WRITER["BACKEND"] else None


def model_for(kind: str) -> str | None:
    """Return the id of the model that writes texts of a kind; None when nobody does. Never raises, loads nothing."""
    if not conf.WRITER["BACKEND"] or kind not in conf.WRITER["WRITES"]:
        return None
    if not is_supported(router.db_for_write(WriterUsage)):
        return None
    try:
        generator = writer()
        return generator.model_id if generator else None
    except LLMRecError as exc:
        _warn_once(str(exc))
        return None


def ask(prompt: Prompt, *, tenant: str, attempt: int = 0) -> str:
    """Return the model's answer, as it came: nobody may see it before it is validated.

    Raises:
        BudgetSpent: the tenant has no call left.
        WriterUnavailable: the model cannot be reached, or could not a moment ago.
        WriterError: it has no answer to this prompt, or one that no database can store.
    """
    generator = writer()
    if generator is None:
        raise WriterError("Cannot write. There is no language model. Set LLMREC['WRITER'].")
    key = f"llmrec_django:writer:{text_hash(generator.model_id)}"
    paused_until, pause_s = _paused(key)
    if paused_until > time.time():
        raise WriterPaused("Cannot write now. The language model did not answer a moment ago. It is asked again later.")
    _spend(tenant)
    try:
        answer = generator.generate(prompt, attempt=attempt)
    except WriterUnavailable:
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s if pause_s else float(conf.WRITER["PAUSE_S"]))
        caching.keep(key, (time.time() + pause_s, pause_s), 2 * LONGEST_PAUSE_S)
        raise
    except WriterError:
        raise
    except Exception as exc:
        # A backend of the site's own, or a model that fails in a way of its own: one text less, nothing else.
        raise WriterError(f"Cannot write with {generator.model_id!r}. {type(exc).__name__}: {exc}.") from exc
    if pause_s:
        caching.keep(key, (0.0, 0.0), 2 * LONGEST_PAUSE_S)
    if _UNSTORABLE.search(answer):
        # Before anything asks the database about it: it takes neither.
        raise WriterError(
            f"Cannot use the answer of {generator.model_id!r}. It holds characters that cannot be stored."
        )
    return answer


def storable(error: str) -> str:
    """Return what went wrong as it can be kept: a backend's own message may hold anything."""
    return show_hidden(error)[:500]


def forget_writer() -> None:
    """Drop the writer; for tests that change settings."""
    _build.cache_clear()
    _warn_once.cache_clear()


def _spend(tenant: str) -> None:
    """Count one call, unless the hour or the day is used up. In one statement: workers cannot overspend together."""
    with connections[router.db_for_write(WriterUsage)].cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {USAGE} AS used (tenant, hour, calls)
            SELECT %s, date_trunc('hour', clock_timestamp()), 1
            WHERE %s > 0 AND %s > (
                SELECT coalesce(sum(calls), 0) FROM {USAGE}
                WHERE tenant = %s AND hour > clock_timestamp() - interval '24 hours'
            )
            ON CONFLICT (tenant, hour) DO UPDATE SET calls = used.calls + 1 WHERE used.calls < %s
            RETURNING calls
            """,
            [
                tenant,
                conf.WRITER["CALLS_PER_HOUR"],
                conf.WRITER["CALLS_PER_DAY"],
                tenant,
                conf.WRITER["CALLS_PER_HOUR"],
            ],
        )
        if cursor.fetchone() is None:
            raise BudgetSpent(
                f"Cannot write for tenant {tenant!r} now. Its calls are used up. Raise LLMREC['WRITER']'s "
                "CALLS_PER_HOUR or CALLS_PER_DAY."
            )


def _paused(key: str) -> tuple[float, float]:
    found = caching.read(key)
    return found if isinstance(found, tuple) and len(found) == 2 else (0.0, 0.0)


@functools.cache
def _warn_once(cause: str) -> None:
    logger.warning("nothing is written, templates stand in cause=%s", cause)
