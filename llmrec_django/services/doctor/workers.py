"""Celery: the broker, the queues and who reads them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from llmrec_django.conf import conf
from llmrec_django.services.doctor.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECT_S = 2.0
INSPECT_S = 1.0
"""Workers that are alive answer in milliseconds."""
PATIENCE_S = 8.0
"""For a broker that accepts and never answers, which no timeout of its client catches."""


def examine_celery() -> Iterator[Finding]:
    if not conf.CELERY:
        yield ok("celery", "switched off by LLMREC['CELERY']; llmrec_embed runs from cron")
        return
    try:
        from celery import current_app
    except ImportError:
        yield warn("celery", "not installed", "Install it, or set LLMREC['CELERY'] = False and run llmrec_embed.")
        return
    app: Any = current_app
    if app.conf.task_always_eager:
        yield warn(
            "celery",
            "runs tasks eagerly: nothing is embedded after a save",
            "Run manage.py llmrec_embed, or switch task_always_eager off outside tests.",
        )
        return
    address, error = _in_time(lambda: _connect(app))
    if error:
        yield fail("broker", error, "Start the broker, or correct the broker URL of your Celery app.")
        return
    yield ok("broker", f"answers at {address}")
    queues, error = _in_time(lambda: _consumed(app))
    yield from _queues(queues or {}, error)


def _queues(consumed: dict[str, list[str]], error: str) -> Iterator[Finding]:
    wanted = sorted(set(conf.QUEUES.values()))
    unread = [queue for queue in wanted if queue not in consumed]
    if error or (unread and not consumed):
        yield warn(
            "workers",
            error or "none answers",
            f"Start one: celery -A <your project> worker -Q {','.join(wanted)}",
        )
    elif unread:
        yield warn(
            "workers",
            f"nobody reads {', '.join(unread)}; workers read {', '.join(sorted(consumed))}",
            f"Start one with -Q {','.join(unread)}, or name a queue that is read in LLMREC['QUEUES'].",
        )
    else:
        yield ok("workers", "; ".join(f"{queue}: {len(consumed[queue])}" for queue in wanted))


def _connect(app: Any) -> str:
    with app.connection_for_write(connect_timeout=CONNECT_S) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT_S)
        return str(connection.as_uri())  # without the password


def _consumed(app: Any) -> dict[str, list[str]]:
    """Return {queue: names of the workers that read it}."""
    answers = app.control.inspect(timeout=INSPECT_S).active_queues() or {}
    consumed: dict[str, list[str]] = {}
    for worker, queues in answers.items():
        for queue in queues:
            consumed.setdefault(queue["name"], []).append(worker)
    return consumed


def _in_time(ask: Callable[[], Any]) -> tuple[Any, str]:
    """Return (answer, "") or (None, what went wrong), after `PATIENCE_S` at the latest.

    A daemon thread: it may hang for ever on a silent broker, and must not keep the process alive.
    """
    outcome: list[tuple[Any, str]] = []

    def run() -> None:
        try:
            outcome.append((ask(), ""))
        except Exception as exc:  # noqa: BLE001 - every transport has its own errors
            outcome.append((None, f"{type(exc).__name__}: {exc}"))

    thread = threading.Thread(target=run, name="llmrec-doctor", daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return outcome[0] if outcome else (None, f"accepts connections but did not answer in {PATIENCE_S:g} s")
