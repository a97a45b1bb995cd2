"""Between a list and a page: the kill switch, and errors that stay ours."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from llmrec_django.conf import conf
from llmrec_django.types import RecommendationResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

logger = logging.getLogger(__name__)

LOG_EVERY_S = 60.0
_logged: dict[tuple[str, type], float] = {}


def is_shown() -> bool:
    """Return whether lists reach people: False with LLMREC["ENABLED"] False or "shadow"."""
    return conf.ENABLED is True


def shown(compute: Callable[[], RecommendationResult], *, what: str) -> RecommendationResult:
    """Return the list that `compute()` makes; never raises.

    Switched off, nothing is computed; in shadow mode the list is computed (and logged by its service) and an empty
    one returned. An error is logged and gives an empty list; inside a transaction it leaves the host's work intact.

    Args:
        what: Names the surface in logs, as in "similar".
    """
    if not conf.ENABLED:
        return RecommendationResult()
    try:
        with savepoint():
            result = compute()
    except Exception as exc:  # noqa: BLE001 - a recommender that fails must not break the host's page
        log_failure(what, exc)
        return RecommendationResult()
    return result if is_shown() else RecommendationResult(placement=result.placement)


def savepoint() -> AbstractContextManager[Any]:
    """Return a savepoint in every open transaction, so that an error of ours dooms none of the host's.

    In every one: `visible_to` reads the host's tables, which may be in another database than ours.
    """
    stack = ExitStack()
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            stack.enter_context(transaction.atomic(using=connection.alias))
    return stack


def log_failure(what: str, exc: BaseException) -> None:
    """Log an error that is swallowed, at most once a minute for each place and kind."""
    now = time.monotonic()
    cause = (what, type(exc))
    if now - _logged.get(cause, -LOG_EVERY_S) < LOG_EVERY_S:
        return
    _logged[cause] = now
    logger.error("cannot show what=%s error=%s", what, exc, exc_info=exc)
