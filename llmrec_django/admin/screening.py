"""The review queue of the safety screen: what it held back, what it found, and who decided what and why."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LLMRecModelAdmin, ReadOnlyModelAdmin
from llmrec_django.engine.safety.hidden import show_hidden
from llmrec_django.engine.safety.screen import places
from llmrec_django.models import ResourceScreening, ScreeningReview
from llmrec_django.services import screening

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest

RULES = {
    "overrides-instructions": pgettext_lazy("screening", "tells a model to ignore its instructions"),
    "reveals-instructions": pgettext_lazy("screening", "asks a model for its instructions"),
    "changes-role": pgettext_lazy("screening", "gives a model another role"),
    "addresses-a-model": pgettext_lazy("screening", "speaks to a model"),
    "chat-markup": pgettext_lazy("screening", "imitates a conversation with a model"),
    "pushes-itself": pgettext_lazy("screening", "orders itself to be recommended"),
    "sends-people-away": pgettext_lazy("screening", "sends people to somebody else"),
    "active-content": pgettext_lazy("screening", "holds code that a browser would run"),
    "text-direction": pgettext_lazy("screening", "turns the direction of letters around"),
    "hidden-text": pgettext_lazy("screening", "holds text that nobody sees"),
    "hidden-characters": pgettext_lazy("screening", "holds characters that nobody sees"),
    "encoded-instructions": pgettext_lazy("screening", "holds encoded orders"),
}
"""What each rule finds; a classifier's own names are shown as they are."""
LONGEST_SHOWN = 3000
DECISIONS = (
    ("", pgettext_lazy("screening", "leave it in the queue")),
    (ScreeningReview.Decision.CLEARED, pgettext_lazy("screening", "clear it: it may be recommended")),
    (ScreeningReview.Decision.BLOCKED, pgettext_lazy("screening", "keep it out, whatever its text becomes")),
)


def _now() -> str:
    return timezone.now().isoformat()


class ReviewActionForm(ActionForm):
    """Beside the actions: the reason, and when the list was shown."""

    why = forms.CharField(label=_("Why"), required=False, max_length=500)
    seen_at = forms.CharField(label="", required=False, widget=forms.HiddenInput, initial=_now)


class ReviewForm(forms.ModelForm):
    """On the page of one resource: the decision about the text that is shown there."""

    decision = forms.ChoiceField(label=_("Decision"), choices=DECISIONS, required=False)
    why = forms.CharField(label=_("Why"), required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 3}))
    seen_hash = forms.CharField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = ResourceScreening
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A reader without the right to decide sees no such fields.
        if "seen_hash" in self.fields:
            self.fields["seen_hash"].initial = self.instance.content_hash

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if values.get("decision") and not values.get("why", "").strip():
            self.add_error("why", gettext("Say why: whoever looks later must understand it."))
        if values.get("decision") and values.get("seen_hash") != self.instance.content_hash:
            raise forms.ValidationError(gettext("The text has changed since this page was shown. Look at it again."))
        return values


class StatusFilter(admin.SimpleListFilter):
    """Shows the queue unless asked for something else."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        others = [entry for entry in ResourceScreening.Status.choices if entry[0] != ResourceScreening.Status.FLAGGED]
        return [*others, ("all", _("all"))]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        yield {**first, "display": ResourceScreening.Status.FLAGGED.label}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.filter(status=self.value() or ResourceScreening.Status.FLAGGED)


def _rule(name: str) -> str:
    return str(RULES.get(name, name))


def _parts(text: str, field: str, rules: set[str]) -> list[str]:
    """Return a text, or of a long one what stands around the findings; its beginning where no place is known."""
    if len(text) <= LONGEST_SHOWN:
        return [text]
    stretches = places(text, field, rules) or [(0, LONGEST_SHOWN)]
    return [f"{'…' if start else ''}{text[start:stop]}{'…' if stop < len(text) else ''}" for start, stop in stretches]


@admin.register(ResourceScreening)
class ResourceScreeningAdmin(LLMRecModelAdmin):
    form = ReviewForm
    action_form = ReviewActionForm
    list_display = ("name", "found", "screened_at")
    list_filter = (StatusFilter, "screened_at")
    list_select_related = ("resource",)
    search_fields = ("resource__key", "resource__title")
    ordering = ("-screened_at", "-pk")
    actions = ("clear", "keep_out")
    readonly_fields = ("link", "status", "findings_shown", "texts", "screened_at", "screen_id", "reviews")
    fieldsets = (
        (None, {"fields": ("link", "status", "findings_shown", "texts")}),
        (_("Your decision"), {"fields": ("decision", "why", "seen_hash")}),
        (_("State"), {"fields": ("reviews", "screened_at", "screen_id")}),
    )

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("resource__search_words")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets if self.has_change_permission(request, obj) else (self.fieldsets[0], self.fieldsets[2])

    @admin.display(description=_("learning resource"), ordering="resource__title")
    def name(self, obj: ResourceScreening) -> str:
        return show_hidden(str(obj.resource))

    @admin.display(description=_("found"))
    def found(self, obj: ResourceScreening) -> Any:
        rules = dict.fromkeys(_rule(str(finding.get("rule", ""))) for finding in obj.findings)
        lines = format_html_join(mark_safe("<br>"), "{}", ((rule,) for rule in rules))
        return format_html('<span style="display: inline-block; min-width: 14em">{}</span>', lines) if rules else "–"

    @admin.display(description=_("learning resource"))
    def link(self, obj: ResourceScreening) -> Any:
        address = reverse(f"{self.admin_site.name}:llmrec_django_resource_change", args=[obj.resource_id])
        return format_html('<a href="{}">{}</a>', address, show_hidden(str(obj.resource)))

    @admin.display(description=_("findings"))
    def findings_shown(self, obj: ResourceScreening) -> Any:
        if not obj.findings:
            return "–"
        rows = (
            (_rule(entry.get("rule", "")), entry.get("field", ""), entry.get("excerpt", "")) for entry in obj.findings
        )
        return format_html_join("", "<p><strong>{}</strong> ({})<br><q>{}</q></p>", rows)

    @admin.display(description=_("text"))
    def texts(self, obj: ResourceScreening) -> Any:
        resource = obj.resource
        if resource.content_hash != obj.content_hash:
            return gettext("The text has changed and will be looked at again.")
        rules: dict[str, set[str]] = {"title": set(), "description": set()}
        for finding in obj.findings:
            rules.setdefault(str(finding.get("field", "")), set()).add(str(finding.get("rule", "")))
        # As text, invisible characters written out: it is hostile, maybe.
        shown = (
            (name, show_hidden(part))
            for name, text in screening.texts_of(resource).items()
            if name in rules
            for part in _parts(text, name, rules[name])
        )
        return format_html_join("", '<p style="white-space: pre-wrap"><strong>{}</strong><br>{}</p>', shown)

    @admin.display(description=_("decisions so far"))
    def reviews(self, obj: ResourceScreening) -> Any:
        found = list(ScreeningReview.objects.filter(resource=obj.resource_id).order_by("-pk")[:20])
        if not found:
            return "–"
        names = account_names(review.reviewer_key for review in found)
        rows = (
            (
                timezone.localtime(review.reviewed_at).strftime("%Y-%m-%d %H:%M"),
                review.get_decision_display(),
                names[review.reviewer_key],
                review.why,
            )
            for review in found
        )
        return format_html_join("", "<p>{} · {} · {}<br><q>{}</q></p>", rows)

    def save_model(self, request: HttpRequest, obj: ResourceScreening, form: Any, change: bool) -> None:
        decision = form.cleaned_data.get("decision")
        if not decision:
            self.message_user(request, gettext("Nothing was decided."), messages.WARNING)
            return
        if not screening.decide([obj], decision, why=form.cleaned_data["why"], reviewer=request.user):
            self.message_user(
                request, gettext("Nothing was decided: the text has changed meanwhile."), messages.WARNING
            )

    @admin.action(description=_("Clear: they may be recommended"), permissions=["change"])
    def clear(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._decide(request, queryset, ScreeningReview.Decision.CLEARED)

    @admin.action(description=_("Keep out, whatever their texts become"), permissions=["change"])
    def keep_out(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._decide(request, queryset, ScreeningReview.Decision.BLOCKED)

    def _decide(self, request: HttpRequest, queryset: QuerySet[Any], decision: str) -> None:
        why = request.POST.get("why", "").strip()
        if not why:
            self.message_user(request, gettext("Say why, in the field beside the action."), messages.ERROR)
            return
        try:
            seen_at = datetime.fromisoformat(request.POST.get("seen_at", ""))
        except ValueError:
            seen_at = timezone.now()
        if timezone.is_naive(seen_at):  # not as the form writes it
            seen_at = timezone.now()
        rows = list(queryset)
        # What was screened after the list was shown has another text than the one that was seen.
        seen = [row for row in rows if row.screened_at <= seen_at]
        decided = set(screening.decide(seen, decision, why=why, reviewer=request.user))
        self.log_many(request, [row for row in seen if row.resource_id in decided], f"{decision}: {why}")
        n = len(decided)
        text = ngettext("%(n)d resource decided about.", "%(n)d resources decided about.", n)
        self.message_user(request, text % {"n": n})
        if n < len(rows):
            self.message_user(request, gettext("Some have changed meanwhile; look at them again."), messages.WARNING)


@admin.register(ScreeningReview)
class ScreeningReviewAdmin(ReadOnlyModelAdmin):
    list_display = ("reviewed_at", "resource", "decision", "account", "why")
    list_filter = ("decision", "reviewed_at")
    list_select_related = ("resource",)
    search_fields = ("resource__key", "resource__title", "why")
    ordering = ("-pk",)
    fields = ("resource", "decision", "why", "account", "findings_found", "reviewed_at")
    readonly_fields = ("account", "findings_found", "reviewed_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("resource__search_words", "resource__body")

    def prepare_page(self, rows: list[Any]) -> None:
        names = account_names(row.reviewer_key for row in rows)
        for row in rows:
            row.account_name = names[row.reviewer_key]

    @admin.display(description=_("account"))
    def account(self, obj: Any) -> str:
        return getattr(obj, "account_name", "") or account_names([obj.reviewer_key])[obj.reviewer_key]

    @admin.display(description=_("findings"))
    def findings_found(self, obj: ScreeningReview) -> Any:
        rows = ((_rule(entry.get("rule", "")), entry.get("excerpt", "")) for entry in obj.findings)
        return format_html_join("", "<p>{}<br><q>{}</q></p>", rows) or "–"


def account_names(keys: Iterable[str]) -> dict[str, str]:
    """Return the names of the accounts with these keys, in one query; the key where the account is gone."""
    model: Any = get_user_model()
    given, wanted = set(keys), {}
    for key in given:
        try:
            wanted[model._meta.pk.to_python(key)] = key
        except ValidationError:
            continue
    accounts = model._base_manager.filter(pk__in=list(wanted))
    return {**{key: key for key in given}, **{wanted[account.pk]: str(account.get_username()) for account in accounts}}
