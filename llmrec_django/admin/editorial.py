"""Editorial rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LLMRecModelAdmin
from llmrec_django.admin.forms import EditorialRuleForm
from llmrec_django.models import EditorialRule, Resource
from llmrec_django.models.resource import kind_label

if TYPE_CHECKING:
    from django.http import HttpRequest

COUNTED = 1000
"""So many resources are counted to say how many a rule is about."""


@admin.register(EditorialRule)
class EditorialRuleAdmin(LLMRecModelAdmin):
    form = EditorialRuleForm
    list_display = ("name", "effect", "about", "is_in_force", "where", "starts_at", "ends_at")
    list_filter = ("effect", "enabled", "placement", "tenant")
    search_fields = ("name", "resource__title", "resource__key", "keyword", "reason")
    ordering = ("-pk",)
    list_select_related = ("resource", "placement")
    autocomplete_fields = ("resource", "placement")
    fieldsets = (
        (None, {"fields": ("name", "effect", "strength", "enabled")}),
        (_("What it is about"), {"fields": ("resource", "kind", "language", "level", "keyword", "publisher")}),
        (_("Where and when"), {"fields": ("tenant", "placement", "starts_at", "ends_at")}),
        (_("What learners are told"), {"fields": ("reason", "reason_translations")}),
    )

    @admin.display(description=_("about"))
    def about(self, obj: EditorialRule) -> str:
        if obj.resource is not None:
            return str(obj.resource)
        parts = [kind_label(obj.kind), obj.language, obj.get_level_display(), obj.keyword, obj.publisher]
        return format_html("{}", " · ".join(str(part) for part in parts if part))

    @admin.display(description=pgettext_lazy("of an editorial rule", "in force"), boolean=True)
    def is_in_force(self, obj: EditorialRule) -> bool:
        return obj.is_in_force(timezone.now())

    @admin.display(description=_("where"), ordering="placement")
    def where(self, obj: EditorialRule) -> str:
        return str(obj.placement) if obj.placement is not None else str(_("everywhere"))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if obj.resource_id:
            return
        # A kind or a keyword with a slip of the pen fits nothing, and nobody would notice.
        fitting = Resource.objects.in_tenant(obj.tenant).filter(obj.condition(), published=True)
        n = fitting[:COUNTED].count()
        if not n:
            text = gettext("No published resource fits this rule now. Compare its words with those of a resource.")
            messages.warning(request, text)
        else:
            text = ngettext(
                "%(n)s published resource fits this rule now.", "%(n)s published resources fit this rule now.", n
            )
            messages.info(request, text % {"n": n if n < COUNTED else f"{n}+"})
