"""Django's cache, used so that its absence costs time and nothing else.

A cache server that is away raises errors of its own on every call. What is cached here can always be asked anew.
"""

from __future__ import annotations

import logging
from typing import Any

from django.core.cache import cache

logger = logging.getLogger(__name__)


def read(key: str) -> Any:
    """Return what is cached; None where nothing is, or the cache is away."""
    try:
        return cache.get(key)
    except Exception as exc:  # noqa: BLE001 - every backend has its own errors
        logger.warning("cache not read key=%s cause=%s", key, type(exc).__name__)
        return None


def keep(key: str, value: Any, seconds: float) -> None:
    """Cache a value; nothing where the cache is away."""
    try:
        cache.set(key, value, seconds)
    except Exception as exc:  # noqa: BLE001 - as above
        logger.warning("cache not written key=%s cause=%s", key, type(exc).__name__)


def drop(key: str) -> None:
    """Forget a value; where the cache is away it is out of date by itself."""
    try:
        cache.delete(key)
    except Exception as exc:  # noqa: BLE001 - as above
        logger.warning("cache not emptied key=%s cause=%s", key, type(exc).__name__)
