"""What was recommended to whom, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LargeTablePaginator, ReadOnlyModelAdmin
from llmrec_django.admin.learners import account_name
from llmrec_django.admin.work import work_context
from llmrec_django.models import RecommendationItem, RecommendationList
from llmrec_django.services.importing.accounts import load_accounts

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse


class ItemInline(admin.TabularInline):
    """The items of a list, best first; looked at, never changed."""

    model = RecommendationItem
    ordering = ("rank",)
    fields = (
        "rank",
        "title",
        "score",
        "source",
        "propensity",
        "reason",
        "shown_at",
        "clicked_at",
        "dwell_s",
        "completed_at",
        "dismissed_at",
        "dismiss_reason",
    )
    readonly_fields = ("title",)
    can_delete = False
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).select_related("resource")
        return rows.defer("resource__search_words", "resource__body")

    @admin.display(description=_("learning resource"))
    def title(self, obj: RecommendationItem) -> Any:
        address = reverse(f"{self.admin_site.name}:llmrec_django_resource_change", args=[obj.resource_id])
        return format_html('<a href="{}">{}</a>', address, obj.resource.local_title or obj.resource.key)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whoever may look at lists may look at what is in them.
        return request.user.has_perm("llmrec_django.view_recommendationlist") or super().has_view_permission(
            request, obj
        )


@admin.register(RecommendationList)
class RecommendationListAdmin(ReadOnlyModelAdmin):
    paginator = LargeTablePaginator
    list_display = ("created_at", "account", "placement", "version", "experiment", "arm", "is_personal", "fallback")
    list_filter = ("created_at", "is_personal", "is_shadow", "fallback", "experiment")
    list_select_related = ("learner", "version", "experiment")
    search_fields = ("=id", "=learner__visitor_key", "=placement")
    search_help_text = _("Exact recommendation id, visitor key or name of a placement.")
    ordering = ("-created_at",)
    fields = (
        "id",
        "tenant",
        "learner",
        "placement",
        "version",
        "experiment",
        "arm",
        "k",
        "is_personal",
        "is_shadow",
        "fallback",
        "created_at",
    )
    inlines = (ItemInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("version__metrics", "version__config")

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.work_view)
        return [path("work/", view, name="llmrec_django_recommendationlist_work"), *super().get_urls()]

    def work_view(self, request: HttpRequest) -> HttpResponse:
        """Show what recommendations led to, and how good what serves is."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Recommendations at work"),
            "opts": self.model._meta,
            **work_context(request.GET, with_quality=request.user.has_perm("llmrec_django.view_modelversion")),
        }
        return TemplateResponse(request, "admin/llmrec_django/recommendationlist/work.html", context)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        try:
            return super().get_search_results(request, queryset, search_term)
        except (ValueError, TypeError):  # not every word is an id
            return queryset.filter(placement=search_term.strip()), False

    def prepare_page(self, rows: list[Any]) -> None:
        load_accounts([row.learner for row in rows if row.learner is not None])

    @admin.display(description=_("learner"))
    def account(self, obj: RecommendationList) -> str:
        return account_name(obj.learner) if obj.learner is not None else "–"


@admin.register(RecommendationItem)
class RecommendationItemAdmin(ReadOnlyModelAdmin):
    paginator = LargeTablePaginator
    list_display = ("__str__", "resource", "score", "shown_at", "clicked_at", "completed_at", "dismiss_reason")
    list_filter = ("dismiss_reason", "is_exploration", "shown_at", "clicked_at")
    list_select_related = ("resource",)
    search_fields = ("=resource__key",)
    search_help_text = _("Exact resource key.")
    ordering = ("-pk",)
    fields = (
        "list",
        "rank",
        "resource",
        "score",
        "source",
        "propensity",
        "is_exploration",
        "components",
        "evidence",
        "reason",
        "reason_source",
        "shown_at",
        "clicked_at",
        "dwell_s",
        "completed_at",
        "rated_at",
        "rated_value",
        "dismissed_at",
        "dismiss_reason",
        "outcomes",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("resource__search_words", "resource__body", "evidence")
