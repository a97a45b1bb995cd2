"""Learners and what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LargeTablePaginator, LLMRecModelAdmin, ReadOnlyModelAdmin
from llmrec_django.admin.forms import LearnerProfileForm
from llmrec_django.conf import conf
from llmrec_django.models import Interaction, LearnerProfile
from llmrec_django.services.importing.accounts import load_accounts

if TYPE_CHECKING:
    from django.http import HttpRequest

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


class VerbFilter(admin.SimpleListFilter):
    """From the settings: asking a table of millions for its distinct verbs takes long."""

    title = _("verb")
    parameter_name = "verb"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted(conf.VERBS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(verb=self.value()) if self.value() else queryset


@admin.register(Interaction)
class InteractionAdmin(ReadOnlyModelAdmin):
    paginator = LargeTablePaginator
    list_display = ("occurred_at", "account", "verb", "resource", "value", "source")
    list_filter = (VerbFilter, "occurred_at")
    list_select_related = ("learner", "resource")
    search_fields = ("=resource__key", "=learner__visitor_key", "=event_id")
    search_help_text = _("Exact resource key, visitor key or event id.")
    ordering = ("-pk",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("resource__search_words", "resource__body")

    def prepare_page(self, rows: list[Any]) -> None:
        load_accounts([row.learner for row in rows])

    @admin.display(description=_("learner"))
    def account(self, obj: Interaction) -> str:
        return account_name(obj.learner)
