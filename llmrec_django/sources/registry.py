"""Which host models are resources and activity."""

from __future__ import annotations

from typing import Any


class Registry:
    """Resource and activity sources by model."""


registry = Registry()


def register(model: Any) -> Any:
    """Class decorator: register a `ResourceSource` for a model; twice for one model is an error."""
    raise NotImplementedError


def register_activity(model: Any) -> Any:
    """Class decorator: register an `ActivitySource` for a model."""
    raise NotImplementedError
