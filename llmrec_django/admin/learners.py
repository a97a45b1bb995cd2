"""Learners and what they did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.cache import patch_cache_control
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LargeTablePaginator, LLMRecModelAdmin, ReadOnlyModelAdmin
from llmrec_django.admin.forms import LearnerProfileForm
from llmrec_django.admin.why import why_context
from llmrec_django.conf import conf
from llmrec_django.models import ForgottenDeed, Interaction, LearnerProfile
from llmrec_django.models.learner import verb_label
from llmrec_django.services import privacy
from llmrec_django.services.importing.accounts import load_accounts

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase

SEARCHED_ACCOUNTS = 1000


def account_name(learner: LearnerProfile) -> str:
    """Return how the host names the account; a visitor has only a key."""
    if learner.user_id is None:
        return str(learner.visitor_key)
    user = learner.user
    return str(user.get_username()) if user is not None else f"{learner.user_id}"


@admin.register(LearnerProfile)
class LearnerProfileAdmin(LLMRecModelAdmin):
    form = LearnerProfileForm
    paginator = LargeTablePaginator
    list_display = ("account", "tenant", "level", "personalise", "history", "updated_at")
    list_filter = ("personalise", "level", "tenant")
    search_fields = ("visitor_key",)
    search_help_text = _("Name of the account, or visitor key.")
    # The accounts may be in another database: no join, and no list of all of them.
    raw_id_fields = ("user",)
    ordering = ("-pk",)
    actions = ("export", "forget")
    readonly_fields = ("history", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("tenant", "user", "visitor_key", "personalise", "history")}),
        (_("What the learner wants"), {"fields": ("goals", "interests", "level", "languages", "minutes_per_week")}),
        (_("State"), {"fields": ("created_at", "updated_at")}),
    )

    def prepare_page(self, rows: list[Any]) -> None:
        load_accounts(rows)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        found, has_duplicates = super().get_search_results(request, queryset, search_term)
        if search_term.strip():
            model: Any = get_user_model()
            accounts = model._base_manager.filter(**{f"{model.USERNAME_FIELD}__icontains": search_term.strip()})
            keys = list(accounts.values_list("pk", flat=True)[:SEARCHED_ACCOUNTS])
            found = queryset.filter(Q(pk__in=found.values("pk")) | Q(user__in=keys))
        return found, has_duplicates

    @admin.display(description=_("learner"))
    def account(self, obj: LearnerProfile) -> str:
        return account_name(obj)

    @admin.display(description=_("history"))
    def history(self, obj: LearnerProfile) -> Any:
        address = reverse(f"{self.admin_site.name}:llmrec_django_interaction_changelist")
        return format_html('<a href="{}?learner__exact={}">{}</a>', address, obj.pk, _("what they did"))

    # Why they are recommended what they are

    def has_explain_permission(self, request: HttpRequest) -> bool:
        """The page shows what a learner did and wants: it takes a permission of its own."""
        return bool(request.user.has_perm("llmrec_django.explain_learnerprofile"))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        extra = {**(extra_context or {}), "may_explain": self.has_explain_permission(request)}
        return super().change_view(request, object_id, form_url, extra)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.why_view)
        return [
            path("<path:object_id>/why/", view, name="llmrec_django_learnerprofile_why"),
            *super().get_urls(),
        ]

    def why_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what would be recommended now and everything behind it; who looked at whom is written down."""
        if not self.has_explain_permission(request):
            raise PermissionDenied
        learner = self.get_object(request, object_id)
        if learner is None:
            raise Http404(gettext("There is no such learner."))
        self.log_learner(request, learner, CHANGE, gettext("Looked at the recommendations and the reasons for them."))
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Why these recommendations"),
            "subtitle": account_name(learner),
            "opts": self.model._meta,
            "may_view_versions": request.user.has_perm("llmrec_django.view_modelversion"),
            "may_view_lists": request.user.has_perm("llmrec_django.view_recommendationlist"),
            "may_view_resources": request.user.has_perm("llmrec_django.view_resource"),
            **why_context(learner, request.GET),
        }
        response = TemplateResponse(request, "admin/llmrec_django/learnerprofile/why.html", context)
        patch_cache_control(response, private=True, no_store=True)
        return response

    # Deleting a profile is forgetting the learner: the receivers of that signal must hear of it.

    def delete_model(self, request: HttpRequest, obj: LearnerProfile) -> None:
        privacy.forget_learner(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for learner in queryset:
            privacy.forget_learner(learner)

    # Handing out and forgetting

    def has_export_permission(self, request: HttpRequest) -> bool:
        """An export holds everything a learner did: it takes more than the right to look."""
        return request.user.has_perms(["llmrec_django.change_learnerprofile", "llmrec_django.view_interaction"])

    @admin.action(description=_("Export all that is held about them"), permissions=["export"])
    def export(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
        learners = list(queryset)
        self.log_many(request, learners, gettext("Exported."))
        # One line a learner, written while the next is read.
        lines = (json.dumps(privacy.export_learner(learner), ensure_ascii=False) + "\n" for learner in learners)
        response = StreamingHttpResponse(lines, content_type="application/x-ndjson; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="learners.jsonl"'
        return response

    @admin.action(description=_("Forget them and record them no more"), permissions=["delete"])
    def forget(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase | None:
        learners = list(queryset)
        if request.POST.get("confirmed"):
            for learner in learners:
                self.log_learner(request, learner, DELETION)
                privacy.forget_learner(learner, keep_opt_out=True)
            n = len(learners)
            text = ngettext("%(n)d learner is forgotten.", "%(n)d learners are forgotten.", n)
            self.message_user(request, text % {"n": n})
            return None
        load_accounts(learners)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Forget learners"),
            "opts": self.model._meta,
            "learners": [(learner.pk, account_name(learner)) for learner in learners],
        }
        return TemplateResponse(request, "admin/llmrec_django/learnerprofile/forget.html", context)

    def log_learner(self, request: HttpRequest, learner: LearnerProfile, flag: int, message: str = "") -> None:
        """Write who did what with whom, by number: a name in the history would not be forgotten."""
        LogEntry.objects.create(
            user_id=str(request.user.pk),
            content_type=ContentType.objects.get_for_model(LearnerProfile),
            object_id=str(learner.pk),
            object_repr=f"{LearnerProfile._meta.verbose_name} {learner.pk}",
            action_flag=flag,
            change_message=message,
        )


class VerbFilter(admin.SimpleListFilter):
    """From the settings: asking a table of millions for its distinct verbs takes long."""

    title = _("verb")
    parameter_name = "verb"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, verb_label(name)) for name in sorted(conf.VERBS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(verb=self.value()) if self.value() else queryset


class _DeedAdmin(ReadOnlyModelAdmin):
    list_select_related = ("learner", "resource")
    ordering = ("-pk",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("resource__search_words", "resource__body")

    def prepare_page(self, rows: list[Any]) -> None:
        load_accounts([row.learner for row in rows])

    @admin.display(description=_("learner"))
    def account(self, obj: Any) -> str:
        return account_name(obj.learner)


@admin.register(Interaction)
class InteractionAdmin(_DeedAdmin):
    paginator = LargeTablePaginator
    list_display = ("occurred_at", "account", "did", "resource", "value", "source")
    list_filter = (VerbFilter, "occurred_at")
    search_fields = ("=resource__key", "=learner__visitor_key", "=event_id")
    fields = (
        "tenant",
        "learner",
        "resource",
        "did",
        "value",
        "query",
        "occurred_at",
        "received_at",
        "source",
        "event_id",
    )
    readonly_fields = ("did", "received_at")
    search_help_text = _("Exact resource key, visitor key or event id.")

    @admin.display(description=_("verb"), ordering="verb")
    def did(self, obj: Interaction) -> str:
        return verb_label(obj.verb)


@admin.register(ForgottenDeed)
class ForgottenDeedAdmin(_DeedAdmin):
    list_display = ("forgotten_at", "account", "resource")
    list_filter = ("forgotten_at",)
    search_fields = ("=resource__key", "=learner__visitor_key")
    fields = ("learner", "resource", "forgotten_at")
    search_help_text = _("Exact resource key or visitor key.")
