"""The OpenAPI description of the views, where drf-spectacular is installed; nothing otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.settings import api_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

extend_schema: Any = None
try:
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
except ImportError as exc:
    # A broken drf-spectacular must not pass for a missing one.
    if (exc.name or "").partition(".")[0] not in ("drf_spectacular", "uritemplate", "inflection", "jsonschema"):
        raise


def described(
    operation: str,
    summary: str,
    *,
    answers: dict[int, Any],
    errors: Sequence[int] = (),
    key: bool = False,
    **options: Any,
) -> Callable[[Any], Any]:
    """Return a decorator that describes a view method; its docstring becomes the description.

    Args:
        operation: Id of the operation, prefixed here: client generators need it unique among the host's.
        summary: A few words for tables of contents.
        answers: Serializer by status.
        errors: Further statuses, all with the same body; 429 is always one.
        key: The address holds a resource key.
        options: Further options of `extend_schema`.
    """

    def decorate(method: Any) -> Any:
        if extend_schema is None:
            return method
        if key:
            parameter = OpenApiParameter(
                "key", str, OpenApiParameter.PATH, description="Key of the resource, percent-encoded."
            )
            options["parameters"] = [parameter, *options.get("parameters", ())]
        from llmrec_django.rest_api.v1.serializers import ErrorSerializer

        options["responses"] = {**answers, **dict.fromkeys([*errors, 429], ErrorSerializer)}
        # A host may use another schema class for its own views; ours are described by drf-spectacular all the same.
        schema_class: Any = api_settings.DEFAULT_SCHEMA_CLASS
        if not issubclass(schema_class, AutoSchema):
            method.schema = AutoSchema
        return extend_schema(operation_id=f"llmrec_{operation}", summary=summary, tags=["llmrec"], **options)(method)

    return decorate


def name_component(serializer: type[Any]) -> None:
    """Name a serializer's OpenAPI component so that it cannot meet one of the host's ("Error", "Profile")."""
    if extend_schema is not None:
        name = "LLMRec" + serializer.__name__.removesuffix("Serializer")
        extend_schema_serializer(component_name=name)(serializer)
