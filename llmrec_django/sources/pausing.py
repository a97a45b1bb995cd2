"""Silencing the receivers during bulk loads."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_paused: ContextVar[bool] = ContextVar("llmrec_django_sources_paused", default=False)


@contextmanager
def paused() -> Iterator[None]:
    """Do not follow the host's saves and deletes inside the block (this thread or task only).

    Run `llmrec_sync` afterwards: it finds everything that was missed.
    """
    token = _paused.set(True)
    try:
        yield
    finally:
        _paused.reset(token)


def is_paused() -> bool:
    return _paused.get()
