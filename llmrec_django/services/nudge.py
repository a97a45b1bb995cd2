"""Telling the workers that something is pending, without ever making a save wait.

A publish to a broker that refuses takes most of a second, to one that accepts and never answers it hangs. So a save
only sets a flag once its transaction commits; a daemon thread turns flags into one message, on a connection of its
own with short timeouts, and backs off while the broker is away. What a lost nudge would have announced, the sweep
finds: the database is the record of work.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import router, transaction

from llmrec_django.conf import conf
from llmrec_django.models import Resource
from llmrec_django.models.base import is_supported

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

EMBED_TASK = "llmrec_django.embed_pending"
WRITE_TASK = "llmrec_django.write_pending"

COALESCE_S = 0.2
"""A burst of saves becomes one message."""
TIMEOUT_S = 0.5
"""For connecting, writing and reading on our publish connection."""
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
"""Between tries while the broker is away: doubled from the first to the longest."""


def nudge_embedding() -> None:
    """Ask for pending resources to be embedded once the current transaction commits.

    Returns at once whatever the broker does; the sweep finds what a lost nudge would have announced. Does nothing
    without Celery, in eager mode (it would load a model inside the web request), or with LLMREC["CELERY"] off.
    """
    _wake(_nudger)


def nudge_writing() -> None:
    """Ask for texts that wait for the language model, in the same way."""
    _wake(_writing_nudger)


def _wake(nudger: Nudger) -> None:
    if not conf.CELERY:
        return
    alias = router.db_for_write(Resource)
    if is_supported(alias):
        transaction.on_commit(nudger.wake, using=alias, robust=True)


def can_publish() -> bool:
    """Return whether there are workers to ask: Celery is installed and not in eager mode."""
    try:
        from celery import current_app
    except ImportError:
        return False
    return not current_app.conf.task_always_eager


def publish(task: str = EMBED_TASK, purpose: str = "embed") -> bool:
    """Send one message to the queue of a purpose; return whether that is done with. Never raises."""
    if not can_publish():
        return True
    from celery import current_app

    app: Any = current_app
    try:
        with app.connection_for_write(connect_timeout=TIMEOUT_S) as connection:
            connection.transport_options = {**(connection.transport_options or {}), **_timeouts(connection)}
            app.send_task(task, queue=conf.QUEUES[purpose], connection=connection, retry=False, ignore_result=True)
    except Exception as exc:  # noqa: BLE001 - every transport has its own errors; a nudge may be lost, a save not
        logger.warning("workers not nudged, the sweep will find the work cause=%s: %s", type(exc).__name__, exc)
        return False
    return True


def reach(within_s: float) -> str:
    """Connect to the broker and leave; return what went wrong, "" where it answers. Never waits longer than that."""
    from celery import current_app

    app: Any = current_app
    outcome: list[str] = []

    def run() -> None:
        try:
            with app.connection_for_write(connect_timeout=within_s) as connection:
                connection.transport_options = {**(connection.transport_options or {}), **_timeouts(connection)}
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=within_s)
            outcome.append("")
        except Exception as exc:  # noqa: BLE001 - every transport has its own errors
            outcome.append(f"{type(exc).__name__}: {exc}")

    # A thread: a broker that accepts and is silent is caught by no timeout of its client.
    thread = threading.Thread(target=run, name="llmrec-reach", daemon=True)
    thread.start()
    thread.join(within_s)
    return outcome[0] if outcome else f"did not answer in {within_s:g} s"


def _timeouts(connection: Any) -> dict[str, Any]:
    if (connection.transport_cls or "").startswith(("redis", "rediss", "sentinel")):
        return {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "retry_on_timeout": False}
    if str(connection.transport_cls).startswith(("amqp", "pyamqp")):
        return {"read_timeout": TIMEOUT_S, "write_timeout": TIMEOUT_S}
    return {}


class Nudger:
    """A flag and a thread that publishes it."""

    def __init__(self, publish: Callable[[], bool] = publish) -> None:
        self._publish = publish
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Set the flag; start the thread if it is not running in this process."""
        self._wanted.set()
        if self._thread is None or not self._thread.is_alive():
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="llmrec-nudge", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        sleeper = threading.Event()
        while True:
            self._wanted.wait()
            sleeper.wait(COALESCE_S)
            self._wanted.clear()
            if self._publish():
                pause = FIRST_PAUSE_S
                continue
            self._wanted.set()
            sleeper.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def flush(self) -> None:
        """Publish what is still wanted, once; for a short command that ends before the thread has woken."""
        if self._wanted.is_set():
            self._wanted.clear()
            self._publish()


_nudger = Nudger()
_writing_nudger = Nudger(partial(publish, WRITE_TASK, "default"))
for _each in (_nudger, _writing_nudger):
    atexit.register(_each.flush)
    if hasattr(os, "register_at_fork"):
        # A forked web worker has the flag but not the thread, and maybe a lock held for ever.
        os.register_at_fork(after_in_child=_each._reset)
