"""Packages that only some encoders need."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from llmrec_django.exceptions import MissingDependency

if TYPE_CHECKING:
    from types import ModuleType


def require(name: str, *, extra: str) -> ModuleType:
    """Import the package `name`.

    Raises:
        MissingDependency: it is not installed; the message says which extra of this app brings it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name and exc.name.split(".")[0] != name.split(".")[0]:
            raise  # the package is there, and something inside it is broken
        raise MissingDependency(
            f"Cannot load the encoder. The package {name!r} is not installed. "
            f'Run `pip install "llmrec_django[{extra}]"`.'
        ) from exc


def missing(*names: str, extra: str) -> list[str]:
    """Say which of the packages are not installed, without importing them."""
    return [
        f'The package {name!r} is not installed. Run `pip install "llmrec_django[{extra}]"`.'
        for name in names
        if importlib.util.find_spec(name) is None
    ]
