"""Placements."""

from __future__ import annotations

from django.contrib import admin

from llmrec_django.admin.base import LLMRecModelAdmin
from llmrec_django.admin.forms import PlacementForm
from llmrec_django.models import Placement


@admin.register(Placement)
class PlacementAdmin(LLMRecModelAdmin):
    form = PlacementForm
    list_display = ("name", "title", "tenant", "enabled", "size", "diversity", "seen")
    list_filter = ("enabled", "tenant")
    search_fields = ("name", "title")
    ordering = ("tenant", "name")
