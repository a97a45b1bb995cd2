"""Model versions: what training made, how good it is, and which one serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LargeTablePaginator, ReadOnlyModelAdmin
from llmrec_django.exceptions import LLMRecError
from llmrec_django.models import ModelVersion, ResourceNeighbours
from llmrec_django.services import versions

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

NEIGHBOURS_SHOWN = 10


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyModelAdmin):
    list_display = ("__str__", "tenant", "status", "ndcg", "n_interactions", "created_at", "activated_at")
    list_filter = ("status", "tenant")
    ordering = ("-pk",)
    actions = ("activate", "roll_back")
    fields = (
        "tenant",
        "status",
        "why",
        "metric_table",
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
    readonly_fields = ("metric_table", "created_at")

    @admin.display(description="NDCG@10")
    def ndcg(self, obj: ModelVersion) -> str:
        value = (obj.metrics or {}).get("ndcg")
        return "–" if value is None else f"{value:.4f}"

    @admin.display(description=_("metrics"))
    def metric_table(self, obj: ModelVersion) -> Any:
        """Show every source and the blend, on the same split."""
        table = (obj.metrics or {}).get("table") or []
        if not table:
            return "–"
        names = [name for name in table[0] if name != "source"]
        head = format_html_join("", "<th scope=col>{}</th>", ((name,) for name in names))
        rows = format_html_join(
            "",
            "<tr><th scope=row>{}</th>{}</tr>",
            (
                (row["source"], format_html_join("", "<td>{}</td>", ((_shown(row.get(name)),) for name in names)))
                for row in table
            ),
        )
        return format_html("<table><thead><tr><th scope=col></th>{}</tr></thead><tbody>{}</tbody></table>", head, rows)

    @admin.action(description=_("Let it serve (the one that serves now is retired)"), permissions=["manage"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        chosen: list[ModelVersion] = list(queryset[:2])
        if len(chosen) != 1:
            self.message_user(request, gettext("Choose one version: only one can serve."), messages.ERROR)
            return
        self._change(request, chosen[0], lambda: versions.activate(chosen[0], why=gettext("Activated in the admin.")))

    @admin.action(
        description=pgettext_lazy("model version", "Go back to the one before (choose the one that serves)"),
        permissions=["manage"],
    )
    def roll_back(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        version = queryset.first()
        if version is not None:
            self._change(request, version, lambda: versions.roll_back(version.tenant))

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


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "–" if value is None else str(value)


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
