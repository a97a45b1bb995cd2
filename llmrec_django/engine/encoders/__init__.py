"""Encoders: the seam between texts and vectors, and how a named one is built from its settings."""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import TYPE_CHECKING, Any

from llmrec_django.engine.encoders.base import Encoder
from llmrec_django.exceptions import EncoderError, MissingDependency

if TYPE_CHECKING:
    from llmrec_django.types import EncoderSpec

__all__ = ["Encoder", "build_encoder"]


def build_encoder(spec: EncoderSpec) -> Encoder:
    """Build the encoder that `spec` describes. No model is loaded and no service asked yet.

    Raises:
        EncoderError: the backend cannot be imported, is no Encoder, or does not take one of the options.
        MissingDependency: the backend's module needs a package that is not installed.
    """
    backend = _import_backend(spec)
    _refuse_unknown_options(spec, backend)
    try:
        return backend(**spec.options)
    except (TypeError, ValueError) as exc:
        raise EncoderError(
            f"Cannot build encoder {spec.name!r}. {spec.backend} says: {exc}. Correct its OPTIONS."
        ) from exc


def _import_backend(spec: EncoderSpec) -> type[Encoder]:
    module_name, _, class_name = spec.backend.rpartition(".")
    try:
        backend = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as exc:
        if exc.name and module_name != exc.name and not module_name.startswith(f"{exc.name}."):
            raise MissingDependency(
                f"Cannot import {spec.backend!r} for encoder {spec.name!r}. "
                f"The package {exc.name!r} is not installed. "
                'Run `pip install "llmrec_django[worker]"`.'
            ) from exc
        raise _no_such_backend(spec) from exc
    except (AttributeError, ValueError) as exc:
        raise _no_such_backend(spec) from exc
    if not (inspect.isclass(backend) and issubclass(backend, Encoder)):
        raise EncoderError(
            f"Cannot use {spec.backend!r} as BACKEND of encoder {spec.name!r}. It is no subclass of "
            "llmrec_django.engine.encoders.base.Encoder. Derive it from that class."
        )
    return backend


def _no_such_backend(spec: EncoderSpec) -> EncoderError:
    return EncoderError(
        f"Cannot import {spec.backend!r} for encoder {spec.name!r}. There is no such class. "
        "Give BACKEND the dotted path of an importable class."
    )


def _refuse_unknown_options(spec: EncoderSpec, backend: type[Encoder]) -> None:
    parameters: dict[str, Any] = dict(inspect.signature(backend).parameters)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in spec.options:
        if option not in parameters:
            near = difflib.get_close_matches(option, parameters, n=1)
            known = ", ".join(sorted(parameters))
            hint = f"Did you mean {near[0]!r}?" if near else f"It must be one of: {known}."
            raise EncoderError(f"Cannot build encoder {spec.name!r}. {spec.backend} has no option {option!r}. {hint}")
