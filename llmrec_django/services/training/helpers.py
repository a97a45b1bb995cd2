"""Processes that a launcher starts beside the one that trains: they help with the relevance model and nothing else.

The first process alone takes the lock, reads and writes the database, fits the other sources and stores the version.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)


def are_several() -> bool:
    """Say whether a launcher started this process together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_helper() -> bool:
    """Say whether another process leads the training, and this one is there to help."""
    return are_several() and int(os.environ.get("RANK", "0")) > 0


def help_to_train() -> None:
    """Take part in what the first process trains until it says that there is nothing more."""
    from llmrec_django.engine.relevance.distributed import join, next_job, own_device
    from llmrec_django.engine.relevance.train import fit

    join()
    while (job := next_job()) is not None:
        try:
            fit(**job, device=own_device())
        except ValueError as exc:  # what was handed over is no use: the first process finds so too, and tells
            logger.info("nothing to help with cause=%s", exc)


@contextmanager
def led() -> Iterator[None]:
    """Lead the processes that were started with this one, if any, and let them end in the end.

    After an error they may be in the middle of something and not listen: the launcher ends them when this one ends.
    """
    if not are_several():
        yield
        return
    from llmrec_django.engine.relevance.distributed import join, share_job

    join()
    yield
    share_job(None)
