"""Celery tasks: each calls one service. Everything a task does a command can do too."""

from __future__ import annotations

import logging
import random
from typing import Any

from celery import shared_task

from llmrec_django.conf import resolve_tenant
from llmrec_django.exceptions import EncoderUnavailable, LLMRecError
from llmrec_django.services import embedding, nudge, screening, spaces
from llmrec_django.services.writing import run

logger = logging.getLogger(__name__)

MAX_RETRIES = 5
LONGEST_RETRY_S = 600


@shared_task(
    name=nudge.EMBED_TASK,
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
    ignore_result=True,
    max_retries=MAX_RETRIES,
)
def embed_pending(self: Any) -> dict[str, int]:
    """Embed whatever is pending, after a look at its text; safe to run twice or beside itself."""
    _screen()
    try:
        report = embedding.embed_pending()
    except EncoderUnavailable as exc:
        # Full jitter: workers that lost the same service must not come back together.
        ceiling = min(LONGEST_RETRY_S, 10 * 2**self.request.retries)
        raise self.retry(exc=exc, countdown=random.uniform(1, ceiling)) from exc  # noqa: S311
    return {"embedded": report.embedded, "failed": report.failed}


@shared_task(name="llmrec_django.sweep", ignore_result=True)
def sweep() -> dict[str, int]:
    """Find what signals and lost messages left behind; run it every minute from a beat schedule."""
    if not spaces.tables_exist():
        return {"pending_spaces": 0, "purged": 0}
    _screen()
    run.tidy_up()
    if run.work_is_waiting():
        nudge.publish(nudge.WRITE_TASK, "default")
    pending = embedding.work_is_pending()
    if pending:
        nudge.publish()
    return {"pending_spaces": int(pending), "purged": spaces.purge_retired()}


@shared_task(name="llmrec_django.train", ignore_result=True)
def train(tenant: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Train a tenant's models; run it nightly on the queue LLMREC["QUEUES"]["train"].

    A second one at the same time gives up at once. Delivered early, not late: a worker that is killed leaves what
    serves as it is, and the next schedule goes on.
    """
    from llmrec_django.services import training

    if not spaces.tables_exist():
        return {}
    tenant = tenant or resolve_tenant()
    try:
        version = training.train(tenant, seed=seed)
    except LLMRecError as exc:
        logger.warning("not trained tenant=%s cause=%s", tenant, exc)
        return {"why": str(exc)}
    logger.info("trained tenant=%s version=%s status=%s why=%s", tenant, version.pk, version.status, version.why)
    return {"version": version.pk, "status": version.status, "why": version.why}


@shared_task(name="llmrec_django.evaluate", ignore_result=True)
def evaluate(tenant: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Measure the version that serves on what came after its training, keep the result, and warn if it has fallen."""
    from llmrec_django.services import training

    if not spaces.tables_exist():
        return {}
    tenant = tenant or resolve_tenant()
    try:
        record = training.check_active(tenant, seed=seed)
    except LLMRecError as exc:
        logger.warning("not evaluated tenant=%s cause=%s", tenant, exc)
        return {"why": str(exc)}
    logger.info("evaluated tenant=%s version=%s ndcg=%.4f", tenant, record.version_id, record.ndcg)
    return {"version": record.version_id, "ndcg": record.ndcg, "has_fallen": record.has_fallen}


@shared_task(name="llmrec_django.screen", ignore_result=True)
def screen() -> dict[str, int]:
    """Look at new and changed texts; the sweep and embedding do it too."""
    report = _screen()
    return {"screened": report.screened, "flagged": report.flagged}


@shared_task(name=nudge.WRITE_TASK, ignore_result=True)
def write_pending() -> dict[str, int]:
    """Let the language model write what waits for it; what it cannot write now, the sweep asks for again."""
    if not spaces.tables_exist():
        return {"written": 0, "refused": 0, "failed": 0}
    report = run.write_pending()
    if report.stopped == "time":
        nudge.publish(nudge.WRITE_TASK, "default")
    return {"written": report.written, "refused": report.refused, "failed": report.failed}


def _screen() -> screening.ScreenReport:
    try:
        return screening.screen_pending()
    except Exception:
        # What is pending stays so; embedding and the sweep have work of their own.
        logger.exception("texts not screened")
        return screening.ScreenReport()
