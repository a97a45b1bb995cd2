"""The OpenAPI description of the views, where drf-spectacular is installed; nothing otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.settings import api_settings

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.utils import OpenApiParameter, extend_schema
except ImportError as exc:
    # A broken drf-spectacular must not pass for a missing one.
    if (exc.name or "").partition(".")[0] not in ("drf_spectacular", "uritemplate", "inflection", "jsonschema"):
        raise
    extend_schema = None


def described(*, key: bool = False, **options: Any) -> Callable[[Any], Any]:
    """Return a decorator that describes a view method; `options` are those of `extend_schema`.

    Args:
        key: The address holds a resource key.
    """

    def decorate(method: Any) -> Any:
        if extend_schema is None:
            return method
        if key:
            parameter = OpenApiParameter(
                "key", str, OpenApiParameter.PATH, description="Key of the resource, percent-encoded."
            )
            options["parameters"] = [parameter, *options.get("parameters", ())]
        # A host may use another schema class for its own views; ours are described by drf-spectacular all the same.
        if not issubclass(api_settings.DEFAULT_SCHEMA_CLASS, AutoSchema):
            method.schema = AutoSchema
        return extend_schema(tags=["recommendations"], **options)(method)

    return decorate
