"""What a language model wrote, why a text did not pass, and how many calls were made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LargeTablePaginator, ReadOnlyModelAdmin
from llmrec_django.admin.learners import account_name
from llmrec_django.models import GoalDraft, WriterUsage, WrittenText
from llmrec_django.services.importing.accounts import load_accounts
from llmrec_django.services.writing import forgetting

if TYPE_CHECKING:
    from django.http import HttpRequest


@admin.register(WrittenText)
class WrittenTextAdmin(ReadOnlyModelAdmin):
    paginator = LargeTablePaginator
    list_display = ("resource", "kind", "locale", "state", "shown", "attempts", "created_at")
    list_filter = ("state", "kind", "locale", "model", "prompt_version")
    list_select_related = ("resource",)
    search_fields = ("resource__key", "resource__title", "text", "error")
    ordering = ("-pk",)
    actions = ("write_again", "withdraw")
    readonly_fields = ("created_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("resource__search_words", "resource__body")

    @admin.display(description=_("text, or why there is none"))
    def shown(self, obj: WrittenText) -> str:
        text = obj.text or obj.error
        return text if len(text) <= 200 else f"{text[:199]}…"

    @admin.action(description=_("Write again"), permissions=["manage"])
    def write_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        texts = list(queryset)
        n = forgetting.write_again(queryset)
        self.log_many(request, texts, gettext("Asked for again."))
        text = ngettext("%(n)d text will be written again.", "%(n)d texts will be written again.", n)
        self.message_user(request, text % {"n": n})

    @admin.action(description=_("Withdraw: the template stays"), permissions=["manage"])
    def withdraw(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        texts = list(queryset)
        n = forgetting.withdraw(queryset)
        self.log_many(request, texts, gettext("Withdrawn."))
        text = ngettext("%(n)d text withdrawn.", "%(n)d texts withdrawn.", n)
        self.message_user(request, text % {"n": n})


@admin.register(GoalDraft)
class GoalDraftAdmin(ReadOnlyModelAdmin):
    list_display = ("account", "source", "state", "created_at")
    list_filter = ("state", "source")
    list_select_related = ("learner",)
    ordering = ("-pk",)
    fields = ("account", "text", "proposal", "source", "state", "error", "attempts", "created_at")
    readonly_fields = ("account", "created_at")

    def prepare_page(self, rows: list[Any]) -> None:
        load_accounts([row.learner for row in rows])

    @admin.display(description=_("learner"))
    def account(self, obj: GoalDraft) -> str:
        return account_name(obj.learner)


@admin.register(WriterUsage)
class WriterUsageAdmin(ReadOnlyModelAdmin):
    list_display = ("hour", "tenant", "calls")
    list_filter = ("tenant",)
    ordering = ("-hour", "tenant")
