"""The health check, for load balancers and monitors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import DatabaseError, transaction
from django.http import JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from llmrec_django.conf import conf
from llmrec_django.services.health import health

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


@transaction.non_atomic_requests  # or a site with ATOMIC_REQUESTS would answer 500 without a database
@never_cache
@require_safe
def health_check(request: HttpRequest) -> HttpResponse:
    """Say whether this process can recommend: 200 with "ok" or "degraded", 503 with "failed".

    Everybody is told the status; members of staff, and who sends LLMREC["HEALTH_TOKEN"], what was found too.
    """
    found = health()
    answer: dict[str, object] = {"status": found.status}
    if _may_know(request):
        answer["checks"] = [
            {"name": check.name, "status": check.status, "found": check.found} for check in found.checks
        ]
    return JsonResponse(answer, status=503 if found.status == "failed" else 200)


def _may_know(request: HttpRequest) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if conf.HEALTH_TOKEN and scheme.lower() == "bearer" and constant_time_compare(given.strip(), conf.HEALTH_TOKEN):
        return True
    user = getattr(request, "user", None)
    try:
        return bool(user is not None and user.is_active and user.is_staff)
    except DatabaseError:  # the session cannot be read
        return False
