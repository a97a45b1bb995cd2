"""What every admin page of this app shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.utils.formats import number_format

from llmrec_django.services.quality import fallen_records
from llmrec_django.services.training import outcome_of

if TYPE_CHECKING:
    from django.template.context import Context

register = template.Library()


@register.inclusion_tag("admin/llmrec_django/notices.html", takes_context=True)
def llmrec_notices(context: Context) -> dict[str, Any]:
    """Warn those who may see model versions when what serves has become worse; one query, none for others."""
    user = getattr(context.get("request"), "user", None)
    if user is None or not user.has_perm("llmrec_django.view_modelversion"):
        return {"records": ()}
    records = [(record, outcome_of(record)) for record in fallen_records()]
    return {"records": records, "request": context.get("request")}


@register.filter
def percent(value: float | None) -> str:
    """Write a share as a percentage in the active language; a dash for none."""
    return "–" if value is None else f"{number_format(100 * value, 1)} %"
