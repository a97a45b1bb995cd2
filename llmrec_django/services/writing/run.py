"""Writing what waits, in a worker or a command: the newest first, one at a time, within the budget.

The database is the record of work, as with embeddings: a row holds a lease while it is written, and a worker that is
killed leaves it to the next. A text is stored only if it passed; of one that did not, only why.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import DataError, connections, router, transaction
from django.db.models import F
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.engine.safety.screen import screen_text
from llmrec_django.exceptions import WriterError, WriterUnavailable
from llmrec_django.models import ResourceScreening, WriterUsage, WrittenText
from llmrec_django.models.base import is_supported
from llmrec_django.models.texts import Written
from llmrec_django.services.writing import goals, summaries
from llmrec_django.services.writing.client import BudgetSpent, ask, model_for, storable
from llmrec_django.services.writing.languages import language_of
from llmrec_django.services.writing.prompt import PROMPT_VERSION, reason_allowed, reason_prompt
from llmrec_django.services.writing.titles import other_titles
from llmrec_django.services.writing.validate import problems, tidy
from llmrec_django.types import Evidence

if TYPE_CHECKING:
    from llmrec_django.engine.writers import Prompt

logger = logging.getLogger(__name__)

TEXTS = WrittenText._meta.db_table
LEASE_S = 300
RUN_S = 240.0
"""One run ends after so long; what is left is for the next."""
WAITS_AT_MOST = timedelta(days=1)
"""A reason that was not written by then is not asked for any more: its list is long gone."""
USAGE_KEPT = timedelta(days=90)


@dataclass(slots=True)
class WriteReport:
    """What one run did."""

    written: int = 0
    refused: int = 0
    failed: int = 0
    drafts: int = 0
    stopped: str = ""
    """Why it ended before the work did: "", "unavailable", "budget" or "time"."""


def write_pending(*, limit: int | None = None, kinds: tuple[str, ...] = ()) -> WriteReport:
    """Write what waits. Safe to run twice or beside itself; never raises for what a model does.

    Args:
        limit: Ask for no more than so many texts.
        kinds: Only texts of these kinds; () takes all.
    """
    report = WriteReport()
    if not is_supported(router.db_for_write(WrittenText)):
        return report
    deadline = time.monotonic() + RUN_S
    if not kinds or "goal" in kinds:
        report.drafts, report.stopped = goals.read_waiting()
    if not kinds or WrittenText.Kind.SUMMARY in kinds:
        summaries.request_missing()
    for kind in (WrittenText.Kind.REASON, WrittenText.Kind.SUMMARY):
        model = model_for(kind)
        if model is None or (kinds and kind not in kinds):
            continue
        while not report.stopped and (limit is None or report.written + report.refused + report.failed < limit):
            if time.monotonic() > deadline:
                report.stopped = "time"
                break
            row = _claim(kind, model)
            if row is None:
                break
            _write(row, report)
    return report


def work_is_waiting() -> bool:
    """Return whether a worker has something to write now."""
    models = {kind: model_for(kind) for kind in WrittenText.Kind.values}
    waiting = WrittenText.objects.filter(state=Written.WAITING, try_after__lte=timezone.now())
    return goals.is_waiting() or any(
        waiting.filter(kind=kind, model=model, prompt_version=PROMPT_VERSION).exists()
        for kind, model in models.items()
        if model is not None
    )


def tidy_up() -> int:
    """Delete requests that nobody waits for any more, and old counts of calls; return how many requests."""
    now = timezone.now()
    WriterUsage.objects.filter(hour__lt=now - USAGE_KEPT).delete()
    stale = WrittenText.objects.filter(
        state=Written.WAITING, kind=WrittenText.Kind.REASON, created_at__lt=now - WAITS_AT_MOST
    )
    n, _ = stale.delete()
    return n


def _claim(kind: str, model: str) -> WrittenText | None:
    alias = router.db_for_write(WrittenText)
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE {TEXTS} SET attempts = attempts + 1, try_after = clock_timestamp() + %s * interval '1 second'
            WHERE id = (
                SELECT id FROM {TEXTS}
                WHERE state = 'waiting' AND kind = %s AND model = %s AND prompt_version = %s
                  AND try_after <= clock_timestamp()
                ORDER BY id DESC LIMIT 1 FOR UPDATE SKIP LOCKED
            ) RETURNING id
            """,
            [LEASE_S, kind, model, PROMPT_VERSION],
        )
        found = cursor.fetchone()
    return WrittenText.objects.using(alias).filter(pk=found[0]).first() if found else None


def _write(row: WrittenText, report: WriteReport) -> None:
    """Ask for one text and settle its row."""
    if row.attempts > conf.WRITER["ATTEMPTS"]:
        # Its worker died each time.
        _settle(row, Written.FAILED, error="The worker stopped each time while this was written.")
        report.failed += 1
        return
    alias = router.db_for_write(WrittenText)
    try:
        with transaction.atomic(using=alias) if connections[alias].in_atomic_block else nullcontext():
            text, found = _one(row)
    except BudgetSpent as exc:
        report.stopped = "budget"
        _put_back(row, str(exc))
        return
    except WriterUnavailable as exc:
        report.stopped = "unavailable"
        logger.warning("nothing written, templates stand in cause=%s", exc)
        _put_back(row, str(exc))
        return
    except WriterError as exc:
        _try_again_or_settle(row, Written.FAILED, str(exc))
        report.failed += 1
        return
    except (DataError, LookupError, TypeError, ValueError) as exc:
        # Something about this row that nobody thought of; the others wait behind it.
        logger.exception("a text was not written, its template stands in row=%s", row.pk)
        _try_again_or_settle(row, Written.FAILED, f"Cannot write it. {type(exc).__name__}.")
        report.failed += 1
        return
    if found:
        _try_again_or_settle(row, Written.REFUSED, "; ".join(found))
        report.refused += 1
        return
    _settle(row, Written.WRITTEN, text=text)
    report.written += 1


def _one(row: WrittenText) -> tuple[str, list[str]]:
    """Return a text and what speaks against it.

    Raises:
        WriterError: as `ask`; also for facts that cannot be told to a model.
    """
    if (
        ResourceScreening.objects.held()
        .filter(resource__in=row.facts.get("resource_ids") or [row.resource_id])
        .exists()
    ):
        raise WriterError("A resource that it names is held back by the safety screen.")
    mark = f"data {row.subject_hash[:12]}"
    if row.kind == WrittenText.Kind.SUMMARY:
        prompt = summaries.prompt(row, mark)
        _refuse_hostile(prompt)
        text = tidy(ask(prompt, tenant=row.tenant, attempt=row.attempts - 1))
        return text, summaries.problems_of(text, row)
    language = language_of(row.locale)
    try:
        evidence = Evidence.from_dict(row.facts["evidence"])
    except (KeyError, TypeError) as exc:
        raise WriterError("The facts cannot be read any more.") from exc
    if language is None:
        raise WriterError(f"Texts in {row.locale!r} cannot be checked.")
    prompt = reason_prompt(evidence, row.locale, mark)
    _refuse_hostile(prompt)
    text = tidy(ask(prompt, tenant=row.tenant, attempt=row.attempts - 1))
    allowed = reason_allowed(evidence, row.locale)
    others = other_titles(text, row.tenant, allowed.phrases)
    return text, problems(text, reason_allowed(evidence, row.locale, others), language)


def _refuse_hostile(prompt: Prompt) -> None:
    """A resource may be hostile and not screened yet."""
    if screen_text(prompt.user):
        raise WriterError("The facts hold what looks like orders to a machine.")


def _put_back(row: WrittenText, error: str) -> None:
    """Leave a row as if it had not been tried; after a pause, so that others get their turn."""
    WrittenText.objects.using(router.db_for_write(WrittenText)).filter(pk=row.pk).update(
        attempts=F("attempts") - 1,
        try_after=timezone.now() + timedelta(seconds=float(conf.WRITER["PAUSE_S"])),
        error=storable(error),
    )


def _try_again_or_settle(row: WrittenText, state: Written, error: str) -> None:
    if row.attempts < conf.WRITER["ATTEMPTS"]:
        _rows(row).update(try_after=timezone.now(), error=storable(error))
    else:
        _settle(row, state, error=error)


def _settle(row: WrittenText, state: Written, *, text: str = "", error: str = "") -> None:
    _rows(row).update(state=state, text=text, error=storable(error), settled_at=timezone.now())


def _rows(row: WrittenText) -> Any:
    return WrittenText.objects.using(router.db_for_write(WrittenText)).filter(pk=row.pk, attempts=row.attempts)
