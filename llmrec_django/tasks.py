"""Celery tasks: each calls one service. Everything a task does a command can do too."""

from __future__ import annotations

import random
from typing import Any

from celery import shared_task

from llmrec_django.exceptions import EncoderUnavailable
from llmrec_django.services import embedding, nudge, spaces

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
    """Embed whatever is pending; safe to run twice or beside itself."""
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
    pending = embedding.work_is_pending()
    if pending:
        nudge.publish()
    return {"pending_spaces": int(pending), "purged": spaces.purge_retired()}
