"""Editorial rules."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LLMRecModelAdmin
from llmrec_django.models import EditorialRule
from llmrec_django.models.resource import kind_label


@admin.register(EditorialRule)
class EditorialRuleAdmin(LLMRecModelAdmin):
    list_display = ("name", "effect", "about", "where", "starts_at", "ends_at", "enabled")
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

    @admin.display(description=_("where"), ordering="placement")
    def where(self, obj: EditorialRule) -> str:
        return str(obj.placement) if obj.placement is not None else str(_("everywhere"))
