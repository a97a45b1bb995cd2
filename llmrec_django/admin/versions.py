"""Model versions: what training made, how good it is, and which one serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LargeTablePaginator, ReadOnlyModelAdmin
from llmrec_django.admin.notices import warn_on_front_page
from llmrec_django.admin.report import report_context
from llmrec_django.exceptions import LLMRecError
from llmrec_django.models import EvaluationRecord, ModelVersion, ResourceNeighbours
from llmrec_django.services import reasons, training, versions
from llmrec_django.services.reasons import sentences

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

NEIGHBOURS_SHOWN = 10


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyModelAdmin):
    list_display = ("__str__", "tenant", "status", "ndcg", "n_interactions", "created_at", "activated_at", "report")
    list_filter = ("status", "tenant")
    ordering = ("-pk",)
    actions = ("activate", "roll_back")
    fields = (
        "tenant",
        "status",
        "reasons",
        "ndcg",
        "n_learners",
        "n_resources",
        "n_interactions",
        "last_interaction_at",
        "source_space",
        "config",
        "seed",
        "artifact",
        "digest",
        "run_id",
        "created_at",
        "finished_at",
        "activated_at",
        "retired_at",
    )
    readonly_fields = ("reasons", "ndcg", "created_at")

    def has_module_permission(self, request: HttpRequest) -> bool:
        may = super().has_module_permission(request)
        if may and self.has_view_permission(request):
            warn_on_front_page(request, self.admin_site.name)
        return may

    @admin.display(description="NDCG@10")
    def ndcg(self, obj: ModelVersion) -> str:
        value = (obj.metrics or {}).get("ndcg")
        return "–" if value is None else f"{value:.4f}"

    @admin.display(description=_("why"))
    def reasons(self, obj: ModelVersion) -> Any:
        return format_html_join("", "<p>{}</p>", ((text,) for text in sentences(obj))) or "–"

    @admin.display(description=_("report"))
    def report(self, obj: ModelVersion) -> Any:
        address = reverse(f"{self.admin_site.name}:llmrec_django_modelversion_report", args=[obj.pk])
        return format_html('<a href="{}">{}</a>', address, _("Report"))

    # The report

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.report_view)
        return [
            path("<path:object_id>/report/", view, name="llmrec_django_modelversion_report"),
            *super().get_urls(),
        ]

    def report_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show how good the version, its sources and its rivals are."""
        version = self.get_object(request, object_id)
        if version is None:
            raise Http404(gettext("There is no such version."))
        if not self.has_view_permission(request, version):
            raise PermissionDenied
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Report"),
            "subtitle": str(version),
            "opts": self.model._meta,
            **report_context(version),
        }
        return TemplateResponse(request, "admin/llmrec_django/modelversion/report.html", context)

    # Actions

    @admin.action(description=_("Let it serve (the one that serves now is retired)"), permissions=["manage"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        chosen: list[ModelVersion] = list(queryset[:2])
        if len(chosen) != 1:
            self.message_user(request, gettext("Choose one version: only one can serve."), messages.ERROR)
            return
        self._change(request, chosen[0], lambda: _activate(chosen[0]))

    @admin.action(
        description=pgettext_lazy("model version", "Go back to the one before (choose the one that serves)"),
        permissions=["manage"],
    )
    def roll_back(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        version = queryset.first()
        if version is not None:

            def warn(text: str) -> None:
                self.message_user(request, text, messages.WARNING)

            self._change(request, version, lambda: versions.roll_back(version.tenant, say=warn))

    def _change(self, request: HttpRequest, version: ModelVersion, change: Any) -> None:
        try:
            serving = change()
        except LLMRecError as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return
        self.log_many(request, [version], gettext("Activated."))
        text = (
            gettext("%(version)s serves now.") % {"version": serving}
            if serving is not None
            else gettext("No trained version serves now: lists are made without training.")
        )
        self.message_user(request, text)


def _activate(version: ModelVersion) -> ModelVersion:
    version = versions.activate(version)
    reasons.explain(version, [reasons.Reason("activated_by_hand")])
    version.save(update_fields=["why", "why_data"])
    return version


@admin.register(EvaluationRecord)
class EvaluationRecordAdmin(ReadOnlyModelAdmin):
    list_display = ("created_at", "version", "ndcg_shown", "expected_shown", "has_fallen")
    list_filter = ("has_fallen",)
    list_select_related = ("version",)
    ordering = ("-pk",)
    fields = ("created_at", "version", "ndcg_shown", "expected_shown", "has_fallen", "outcome")
    readonly_fields = ("created_at", "ndcg_shown", "expected_shown", "outcome")

    @admin.display(description="NDCG@10", ordering="ndcg")
    def ndcg_shown(self, obj: EvaluationRecord) -> str:
        return f"{obj.ndcg:.4f}"

    @admin.display(description=_("expected NDCG@10"), ordering="expected")
    def expected_shown(self, obj: EvaluationRecord) -> str:
        return "–" if obj.expected is None else f"{obj.expected:.4f}"

    @admin.display(description=_("outcome"))
    def outcome(self, obj: EvaluationRecord) -> str:
        return training.outcome_of(obj)


@admin.register(ResourceNeighbours)
class ResourceNeighboursAdmin(ReadOnlyModelAdmin):
    paginator = LargeTablePaginator
    list_display = ("resource", "source", "version")
    list_filter = ("source", "version")
    list_select_related = ("resource", "version")
    search_fields = ("resource__key", "resource__title")
    ordering = ("-pk",)
    fields = ("resource", "source", "version", "strongest")
    readonly_fields = ("strongest",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("neighbour_ids", "weights")

    @admin.display(description=_("strongest neighbours"))
    def strongest(self, obj: ResourceNeighbours) -> str:
        return ", ".join(f"{pk} ({weight:.3f})" for pk, weight in obj.pairs[:NEIGHBOURS_SHOWN]) or "–"
