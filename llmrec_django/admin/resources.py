"""Resources, competencies and prerequisites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.module_loading import import_string
from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django import api
from llmrec_django.admin.base import LargeTablePaginator, LLMRecModelAdmin
from llmrec_django.admin.forms import ResourceForm
from llmrec_django.models import Competency, Prerequisite, Resource, ResourceCompetency
from llmrec_django.models.resource import kind_label
from llmrec_django.services import pending

if TYPE_CHECKING:
    from django.http import HttpRequest

SIMILAR_SHOWN = 20
# What the name of a resource is made of.
NAMED = ("pk", "title", "key", "translations")
STATE_LABELS = {
    "done": pgettext_lazy("embedding", "done"),
    "pending": pgettext_lazy("embedding", "pending"),
    "working": pgettext_lazy("embedding", "in progress"),
    "failed": pgettext_lazy("embedding", "failed"),
    "empty": pgettext_lazy("embedding", "no text"),
}


class EmbeddingStateFilter(admin.SimpleListFilter):
    title = _("embedding")
    parameter_name = "embedding"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(STATE_LABELS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(embedding_state=self.value()) if self.value() in STATE_LABELS else queryset


class KindFilter(admin.AllValuesFieldListFilter):
    """Shows kinds in the reader's language."""

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            yield {**choice, "display": kind_label(str(choice["display"]))}


class CompetencyInline(admin.TabularInline):
    model = ResourceCompetency
    extra = 0
    autocomplete_fields = ("competency",)


class PrerequisiteInline(admin.TabularInline):
    model = Prerequisite
    fk_name = "resource"
    extra = 0
    autocomplete_fields = ("requires",)


def _import_export_mixins() -> tuple[type, ...]:
    """Return the import and export buttons where the host has django-import-export installed and switched on."""
    if not apps.is_installed("import_export"):
        return ()
    # Named by string: an optional integration is imported only when it is used.
    return (import_string("llmrec_django.contrib.import_export.admin.ResourceImportExportMixin"),)


@admin.register(Resource)
class ResourceAdmin(*_import_export_mixins(), LLMRecModelAdmin):  # type: ignore[misc]
    form = ResourceForm
    paginator = LargeTablePaginator
    list_display = ("name", "kind_name", "language", "published", "embedding", "updated_at")
    list_filter = ("published", EmbeddingStateFilter, ("kind", KindFilter), "language", "level")
    search_fields = ("key", "title", "publisher")
    search_help_text = _("Key, title or publisher.")
    ordering = ("-pk",)
    inlines = (CompetencyInline, PrerequisiteInline)
    actions = ("embed_again", "publish", "unpublish")
    readonly_fields = ("host_object", "embedding", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("title", "description", "kind", "authors", "keywords", "language", "level")}),
        (_("Where it is"), {"fields": ("tenant", "key", "host_object", "url", "image", "publisher", "license")}),
        (_("When it is shown"), {"fields": ("published", "available_from", "available_until", "duration_minutes")}),
        (_("More text"), {"classes": ("collapse",), "fields": ("translations", "body", "extra")}),
        (_("State"), {"fields": ("embedding", "created_at", "updated_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        resources = super().get_queryset(request).defer("search_words")
        return pending.with_embedding_state(resources)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Clients and imports know a resource by its tenant and key.
        return (*self.readonly_fields, "tenant", "key") if obj else self.readonly_fields

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets if obj else self.fieldsets[:-1]

    @admin.display(description=_("title"), ordering="title")
    def name(self, obj: Resource) -> str:
        return str(obj)

    @admin.display(description=_("kind"), ordering="kind")
    def kind_name(self, obj: Resource) -> str:
        return obj.kind_label

    @admin.display(description=_("embedding"))
    def embedding(self, obj: Any) -> Any:
        state = getattr(obj, "embedding_state", "pending")
        if state != "failed":
            return STATE_LABELS[state]
        return format_html('<span title="{}">{}</span>: {}', obj.embedding_error, STATE_LABELS[state], _cut(obj))

    @admin.display(description=_("made from"))
    def host_object(self, obj: Resource) -> Any:
        if obj.content_type_id is None or obj.content_type is None:
            return "–"
        label = f"{obj.content_type} {obj.object_id}"
        kind = obj.content_type
        try:
            address = reverse(f"{self.admin_site.name}:{kind.app_label}_{kind.model}_change", args=[obj.object_id])
        except NoReverseMatch:
            return label
        return format_html('<a href="{}">{}</a>', address, label)

    # Actions

    @admin.action(description=_("Embed again"), permissions=["change"])
    def embed_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        resources = list(queryset.only(*NAMED))
        n = pending.embed_again([resource.pk for resource in resources])
        self.log_many(request, resources, gettext("Embedding asked for."))
        self.message_user(
            request,
            ngettext("%(n)d resource will be embedded again.", "%(n)d resources will be embedded again.", n) % {"n": n},
        )

    @admin.action(description=_("Publish"), permissions=["change"])
    def publish(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._set_published(request, queryset, True)

    @admin.action(description=_("Unpublish"), permissions=["change"])
    def unpublish(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._set_published(request, queryset, False)

    def _set_published(self, request: HttpRequest, queryset: QuerySet[Any], published: bool) -> None:
        resources = list(queryset.exclude(published=published).only(*NAMED, "content_type_id"))
        n = Resource.objects.filter(pk__in=[resource.pk for resource in resources]).update(
            published=published, updated_at=timezone.now()
        )
        self.log_many(request, resources, gettext("Published.") if published else gettext("Unpublished."))
        text = (
            ngettext("%(n)d resource published.", "%(n)d resources published.", n)
            if published
            else ngettext("%(n)d resource unpublished.", "%(n)d resources unpublished.", n)
        )
        self.message_user(request, text % {"n": n})
        if any(resource.content_type_id is not None for resource in resources):
            self.message_user(
                request,
                gettext("Some are made from objects of this site; the next change there decides again."),
                messages.WARNING,
            )

    # Similar resources

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.similar_view)
        return [
            path("<path:object_id>/similar/", view, name="llmrec_django_resource_similar"),
            *super().get_urls(),
        ]

    def similar_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what learners would be shown beside this resource, with scores."""
        resource = self.get_object(request, object_id)
        if resource is None:
            raise Http404(gettext("There is no such resource."))
        if not self.has_view_permission(request, resource):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Similar resources"),
            "subtitle": str(resource),
            "opts": self.model._meta,
            "original": resource,
            "recommendations": api.similar(resource, k=SIMILAR_SHOWN, user=request.user),
            "embedding": self.embedding(resource),
        }
        return TemplateResponse(request, "admin/llmrec_django/resource/similar.html", context)


def _cut(obj: Any) -> str:
    return obj.embedding_error if len(obj.embedding_error) <= 80 else f"{obj.embedding_error[:79]}…"


@admin.register(Competency)
class CompetencyAdmin(LLMRecModelAdmin):
    list_display = ("title", "key", "tenant")
    list_filter = ("tenant",)
    search_fields = ("key", "title")
    ordering = ("title",)


@admin.register(ResourceCompetency)
class ResourceCompetencyAdmin(LLMRecModelAdmin):
    list_display = ("resource", "relation", "competency", "strength")
    list_filter = ("relation",)
    list_select_related = ("resource", "competency")
    search_fields = ("resource__title", "resource__key", "competency__title", "competency__key")
    autocomplete_fields = ("resource", "competency")
    ordering = ("-pk",)


@admin.register(Prerequisite)
class PrerequisiteAdmin(LLMRecModelAdmin):
    list_display = ("resource", "requires", "strength")
    list_select_related = ("resource", "requires")
    search_fields = ("resource__title", "resource__key", "requires__title", "requires__key")
    autocomplete_fields = ("resource", "requires")
    ordering = ("-pk",)
