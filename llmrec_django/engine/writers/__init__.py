"""Writers: the seam to a language model that words things, and how one is built from its settings."""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import TYPE_CHECKING, Any

from llmrec_django.engine.writers.base import Prompt, TextGenerator
from llmrec_django.exceptions import MissingDependency, WriterError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Prompt", "TextGenerator", "build_writer"]


def build_writer(backend: str, options: Mapping[str, Any]) -> TextGenerator:
    """Build the writer of a dotted class path. No model is loaded and no service asked yet.

    Raises:
        WriterError: there is no such class, it is no TextGenerator, or it does not take one of the options.
        MissingDependency: the module needs a package that is not installed.
    """
    module_name, _, class_name = backend.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as exc:
        if exc.name and module_name != exc.name and not module_name.startswith(f"{exc.name}."):
            raise MissingDependency(
                f"Cannot import {backend!r}. The package {exc.name!r} is not installed. "
                'Run `pip install "llmrec_django[worker]"`.'
            ) from exc
        raise _no_such_backend(backend) from exc
    except (AttributeError, ValueError) as exc:
        raise _no_such_backend(backend) from exc
    if not (inspect.isclass(found) and issubclass(found, TextGenerator)):
        raise WriterError(
            f"Cannot write with {backend!r}. It is no subclass of llmrec_django.engine.writers.TextGenerator. "
            "Derive it from that class."
        )
    _refuse_unknown_options(backend, found, options)
    try:
        return found(**options)
    except (TypeError, ValueError) as exc:
        raise WriterError(f"Cannot build {backend!r}. It says: {exc}. Correct its OPTIONS.") from exc


def _no_such_backend(backend: str) -> WriterError:
    return WriterError(
        f"Cannot import {backend!r}. There is no such class. Give BACKEND the dotted path of an importable class."
    )


def _refuse_unknown_options(backend: str, found: type[TextGenerator], options: Mapping[str, Any]) -> None:
    parameters = dict(inspect.signature(found).parameters)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            near = difflib.get_close_matches(option, parameters, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It must be one of: {', '.join(sorted(parameters))}."
            raise WriterError(f"Cannot build {backend!r}. It has no option {option!r}. {hint}")
