"""Placements."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LLMRecModelAdmin
from llmrec_django.admin.forms import PlacementForm
from llmrec_django.models import Placement


@admin.register(Placement)
class PlacementAdmin(LLMRecModelAdmin):
    form = PlacementForm
    list_display = ("name", "title", "tenant", "enabled", "size", "diversity", "seen", "experiment")
    list_filter = ("enabled", "tenant")
    search_fields = ("name", "title")
    ordering = ("tenant", "name")
    list_select_related = ("experiment",)
    fieldsets = (
        (None, {"fields": ("tenant", "name", "title", "enabled")}),
        (_("The list"), {"fields": ("size", "kinds", "languages", "diversity", "seen")}),
        (_("Trying out"), {"fields": ("explore_places", "explore_pool", "explore_by", "experiment")}),
    )
