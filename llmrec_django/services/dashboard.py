"""The numbers of recommendations at work, kept for some minutes: at millions of list items they take seconds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from llmrec_django import __version__, caching
from llmrec_django.conf import conf
from llmrec_django.services.backlog import Backlog, backlog_over_time, backlogs
from llmrec_django.services.work_report import WorkReport, measures, report_work

if TYPE_CHECKING:
    from datetime import datetime

CACHED_S = 300
WEEKLY_ABOVE = 31
"""Spans of more days than this are told by the week."""


@dataclass(frozen=True, slots=True)
class Waited:
    """What waited to be embedded in one space, now and over time."""

    backlog: Backlog
    over_time: tuple[tuple[datetime, int], ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    """Counted at the end of the report's span. No words, so that readers of all languages share them."""

    report: WorkReport
    waited: tuple[Waited, ...]
    """For each space that is fed."""


def numbers(tenant: str, *, days: int, by: str, after: float = 0.0) -> Numbers:
    """Return the numbers of the last days of a tenant, counted within the last `CACHED_S` seconds.

    Args:
        by: What parts are told apart by, a key of `work_report.PARTS`.
        after: Seconds since 1970: numbers counted then or before are counted anew. Who asks for newer ones than they
            see gets them from every process, whichever cache it has; to ask twice costs nothing more.
    """
    key = _key(tenant, days, by)
    found = caching.read(key)
    if isinstance(found, Numbers) and found.report.until.timestamp() > after:
        return found
    until = timezone.now()
    since = until - timedelta(days=days)
    step = "week" if days > WEEKLY_ABOVE else "day"
    found = Numbers(
        report_work(tenant, since, until, by=by, step=step),
        tuple(
            Waited(backlog, backlog_over_time(backlog.space, tenant, since, until, step=step))
            for backlog in backlogs(tenant)
        ),
    )
    caching.keep(key, found, CACHED_S)
    return found


def _key(tenant: str, days: int, by: str) -> str:
    """Name all that the numbers depend on; a digest, because caches do not take every name of a tenant."""
    asked = (__version__, tenant, days, by, timezone.get_current_timezone_name(), measures(), float(conf.NEW_DAYS))
    return f"llmrec:work:{hashlib.sha256(repr(asked).encode()).hexdigest()}"
