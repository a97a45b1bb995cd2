"""Vector spaces, vectors and embeddings that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LargeTablePaginator, ReadOnlyModelAdmin
from llmrec_django.models import EmbeddingClaim, ProfileVector, ResourceVector, VectorSpace
from llmrec_django.services import pending, spaces

if TYPE_CHECKING:
    from django.http import HttpRequest

NUMBERS_SHOWN = 8


def _count(model: Any, **conditions: Any) -> Any:
    rows = model.objects.filter(space=OuterRef("pk"), **conditions).order_by().values("space")
    return Coalesce(Subquery(rows.annotate(n=Count("pk")).values("n")), 0)


@admin.register(VectorSpace)
class VectorSpaceAdmin(ReadOnlyModelAdmin):
    list_display = ("encoder_id", "dimension", "status", "n_vectors", "n_failed", "n_empty", "created_at")
    list_filter = ("purpose", "status")
    ordering = ("-pk",)
    actions = ("activate", "retire")
    readonly_fields = ("n_vectors", "n_failed", "n_empty", "index")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        counted: QuerySet[Any] = (
            super()
            .get_queryset(request)
            .annotate(
                count_vectors=_count(ResourceVector),
                count_failed=_count(EmbeddingClaim, state=EmbeddingClaim.State.FAILED),
                count_empty=_count(EmbeddingClaim, state=EmbeddingClaim.State.EMPTY),
            )
        )
        return counted

    @admin.display(description=_("vectors"))
    def n_vectors(self, obj: Any) -> int:
        return int(obj.count_vectors)

    @admin.display(description=pgettext_lazy("embedding", "failed"))
    def n_failed(self, obj: Any) -> int:
        return int(obj.count_failed)

    @admin.display(description=_("without text"))
    def n_empty(self, obj: Any) -> int:
        return int(obj.count_empty)

    @admin.display(description=_("index"))
    def index(self, obj: VectorSpace) -> Any:
        names = {
            "valid": pgettext_lazy("index", "present"),
            "invalid": pgettext_lazy("index", "broken"),
            "none": pgettext_lazy("index", "none: every search is exact"),
        }
        return names[spaces.index_state(obj)]

    @admin.action(description=_("Let it serve (the one that serves now is retired)"), permissions=["manage"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        space = self._the_one(request, queryset)
        if space is None:
            return
        if space.purpose != VectorSpace.Purpose.TEXT:
            text = gettext("%(space)s belongs to a model version: let that serve instead.")
            self.message_user(request, text % {"space": space}, messages.ERROR)
            return
        spaces.activate(space)
        self.log_many(request, [space], gettext("Activated."))
        self.message_user(request, gettext("%(space)s serves now.") % {"space": space})
        state = pending.counts(space)
        waiting = state["pending"] + state["working"]
        if waiting:
            self.message_user(
                request,
                ngettext(
                    "%(n)d resource has no vector in it yet and is left out of its lists.",
                    "%(n)d resources have no vector in it yet and are left out of its lists.",
                    waiting,
                )
                % {"n": waiting},
                messages.WARNING,
            )

    @admin.action(description=_("Retire"), permissions=["manage"])
    def retire(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for space in queryset:
            try:
                spaces.retire(space)
            except ValueError:
                text = gettext("Cannot retire %(space)s: it serves now. Let another one serve first.")
                self.message_user(request, text % {"space": space}, messages.ERROR)
                continue
            self.log_many(request, [space], gettext("Retired."))
            self.message_user(request, gettext("%(space)s is retired.") % {"space": space})

    def _the_one(self, request: HttpRequest, queryset: QuerySet[Any]) -> VectorSpace | None:
        chosen: list[VectorSpace] = list(queryset[:2])
        if len(chosen) == 1:
            return chosen[0]
        self.message_user(request, gettext("Choose one space: only one can serve."), messages.ERROR)
        return None


class _VectorAdmin(ReadOnlyModelAdmin):
    """Never loads or shows a whole vector in a list."""

    paginator = LargeTablePaginator
    list_filter = ("space",)
    ordering = ("-pk",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("vector")

    @admin.display(description=_("vector"))
    def numbers(self, obj: Any) -> str:
        shown = [f"{float(number):.4f}" for number in list(obj.vector)[:NUMBERS_SHOWN]]
        return f"{', '.join(shown)} … ({len(list(obj.vector))})"


@admin.register(ResourceVector)
class ResourceVectorAdmin(_VectorAdmin):
    list_display = ("resource", "space", "embedded_at")
    list_select_related = ("resource", "space")
    search_fields = ("resource__key", "resource__title")
    fields = ("resource", "space", "numbers", "content_hash", "text_hash", "embedded_at")
    readonly_fields = ("numbers", "embedded_at")


@admin.register(ProfileVector)
class ProfileVectorAdmin(_VectorAdmin):
    list_display = ("learner", "space")
    list_select_related = ("learner", "space")
    fields = ("learner", "space", "numbers", "content_hash")
    readonly_fields = ("numbers",)


@admin.register(EmbeddingClaim)
class EmbeddingClaimAdmin(ReadOnlyModelAdmin):
    list_display = ("resource", "space", "state", "attempts", "lease_until", "short_error")
    list_filter = ("state", "space")
    list_select_related = ("resource", "space")
    search_fields = ("resource__key", "resource__title", "error")
    ordering = ("-pk",)
    actions = ("retry",)

    @admin.display(description=_("error"))
    def short_error(self, obj: EmbeddingClaim) -> str:
        return obj.error if len(obj.error) <= 120 else f"{obj.error[:119]}…"

    @admin.action(description=_("Try again"), permissions=["manage"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        n = pending.retry(queryset)
        self.message_user(
            request,
            ngettext("%(n)d resource will be tried again.", "%(n)d resources will be tried again.", n) % {"n": n},
        )
