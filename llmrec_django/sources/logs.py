"""Saying a thing once."""

from __future__ import annotations

import logging
from functools import lru_cache

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1024)
def warn_once(message: str) -> None:
    """Log a warning the first time this process has it to say."""
    logger.warning("%s", message)
