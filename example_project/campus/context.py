"""What every page of the campus shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings

if TYPE_CHECKING:
    from django.http import HttpRequest


def campus(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    student = getattr(user, "student", None) if user is not None and user.is_authenticated else None
    return {"student": student, "demo": settings.DEBUG}
