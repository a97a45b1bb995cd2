"""What all views share. Nothing of it but authentication is taken from the host's REST framework defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.cache import patch_vary_headers
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView, exception_handler

from llmrec_django.conf import conf
from llmrec_django.web import rates
from llmrec_django.web.identity import Caller, caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rest_framework.negotiation import BaseContentNegotiation
    from rest_framework.permissions import _SupportsHasPermission
    from rest_framework.request import Request
    from rest_framework.response import Response
    from rest_framework.serializers import BaseSerializer

# A batch of 100 interactions with long queries stays below.
MAX_BODY_BYTES = 512 * 1024


class StrictJSONParser(JSONParser):
    """JSON as the standard has it (no NaN), of a bounded size, whatever the host's STRICT_JSON says."""

    strict = True

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            length = int(parser_context["request"].META.get("CONTENT_LENGTH") or 0)
        except (TypeError, ValueError):
            length = 0
        if length > MAX_BODY_BYTES:
            raise PayloadTooLarge
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError as exc:
            raise ValidationError("The JSON is nested too deeply.", code="parse_error") from exc


class PlainJSONRenderer(JSONRenderer):
    """Compact UTF-8 JSON, whatever the host's COMPACT_JSON and UNICODE_JSON say."""

    compact = True
    ensure_ascii = False
    strict = True


class PayloadTooLarge(APIException):
    status_code = 413
    default_code = "payload_too_large"
    default_detail = f"The body is larger than {MAX_BODY_BYTES} bytes. Send smaller batches."


class JSONAlways(DefaultContentNegotiation):
    """Answer JSON whatever is asked for: the host's `?format=` and a browser's Accept header choose nothing here."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class Throttle(BaseThrottle):
    """LLMREC["API_THROTTLES"] by the view's scope; learners are counted apart, strangers by address."""

    def __init__(self) -> None:
        self.wait_s: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        scope = view.scope_for(request.method)
        self.wait_s = rates.wait_for(scope, view.caller.ident or f"address:{self.get_ident(request)}")
        return self.wait_s is None

    def wait(self) -> float | None:
        return self.wait_s


class IsLearner(BasePermission):
    """Somebody whose activity may be kept: an account, or a visitor with the visitor cookie."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(view.caller.is_known)


class LLMRecView(APIView):
    """Base of the views: JSON in and out, answers private to the caller, errors in one shape."""

    renderer_classes = [PlainJSONRenderer]
    parser_classes = [StrictJSONParser]
    permission_classes: Any = [AllowAny]
    throttle_classes = [Throttle]
    content_negotiation_class: type[BaseContentNegotiation] = JSONAlways
    versioning_class = None
    metadata_class = None
    read_scope = "read"

    def scope_for(self, method: str | None) -> str:
        return self.read_scope if method in ("GET", "HEAD") else "write"

    def get_authenticators(self) -> list[Any]:
        # Read at request time, so that the host's settings hold whenever this module was imported.
        classes: Any = conf.API_AUTHENTICATION
        if classes is None:
            classes = api_settings.DEFAULT_AUTHENTICATION_CLASSES
        return [authentication() for authentication in classes]

    def get_permissions(self) -> list[_SupportsHasPermission]:
        return [cls() for cls in self.permission_classes]

    def get_exception_handler(self) -> Any:
        return handle_exception

    @property
    def caller(self) -> Caller:
        """Who asks; the same object during one request."""
        who: Caller | None = getattr(self, "_caller", None)
        if who is None:
            who = self._caller = caller(self.request)
        return who

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        if self.caller.visitor_key and request.method not in ("GET", "HEAD", "OPTIONS"):
            # The visitor's cookie is what names them, so it needs the protection that session cookies have.
            SessionAuthentication().enforce_csrf(request)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        # What may be seen depends on who asks; no cache may keep it, least of all a shared one.
        response["Cache-Control"] = "private, no-store"
        patch_vary_headers(response, ["Accept-Language", "Authorization", "Cookie"])
        return response


def validated(serializer: BaseSerializer[Any]) -> Any:
    """Return the serializer's values, or raise its errors as a 400."""
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def handle_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Give every error the shape `{"code", "detail"[, "errors"]}`.

    `errors` is there for a request that does not validate: one entry a mistake with `field`, `code`, `detail` and,
    in a batch, the `index` of the entry, from 0.
    """
    response = exception_handler(exc, context)
    if response is None:
        return None
    if isinstance(exc, ValidationError):
        errors = list(_mistakes(exc.get_full_details()))
        detail = errors[0]["detail"] if len(errors) == 1 else f"{len(errors)} values are not valid."
        response.data = {"code": "invalid", "detail": detail, "errors": errors}
    elif isinstance(exc, APIException):
        full: Any = exc.get_full_details()
        response.data = {"code": full["code"], "detail": full["message"]}
    else:  # Django's Http404 and PermissionDenied
        code = {404: "not_found", 403: "permission_denied"}.get(response.status_code, "error")
        response.data = {"code": code, "detail": response.data["detail"]}
    return response


def _mistakes(details: Any, field: str = "", index: int | None = None) -> Iterator[dict[str, Any]]:
    """Flatten REST framework's nested error details."""
    if isinstance(details, dict) and set(details) == {"message", "code"}:
        # What was sent may be named here, and half a surrogate pair has no place in UTF-8.
        entry: dict[str, Any] = {
            "field": _readable(field),
            "code": details["code"],
            "detail": _readable(details["message"]),
        }
        yield entry if index is None else {**entry, "index": index}
    elif isinstance(details, dict):
        for name, inner in details.items():
            if isinstance(name, int):
                yield from _mistakes(inner, field, name if index is None else index)
            elif name == api_settings.NON_FIELD_ERRORS_KEY:
                yield from _mistakes(inner, field, index)
            else:
                yield from _mistakes(inner, f"{field}.{name}" if field else name, index)
    else:
        for inner in details:
            yield from _mistakes(inner, field, index)


def _readable(text: str) -> str:
    return str(text).encode("utf-8", "backslashreplace").decode()
