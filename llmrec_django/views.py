"""Plain views: the lazy list, the beacon's events, a CSRF token, what is thought of a learner. No REST framework."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.core.signing import BadSignature
from django.core.validators import ProhibitNullCharactersValidator
from django.http import HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.shortcuts import render as render_page
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_protect, ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from llmrec_django.exceptions import InvalidInteraction, UnknownList, UnknownResource
from llmrec_django.models import LearnerProfile, RecommendationItem
from llmrec_django.services.feedback import restore
from llmrec_django.services.insight import forget_deed, insight, reset
from llmrec_django.services.lists import find_list
from llmrec_django.services.writing.goal_rules import MOST_MINUTES, language_tag
from llmrec_django.services.writing.goals import LONGEST_TEXT
from llmrec_django.services.writing.reasons import upgrade_list
from llmrec_django.types import FeedbackInput, InteractionInput
from llmrec_django.web import rates
from llmrec_django.web.events import give_own_feedback, record_own, restore_own
from llmrec_django.web.guard import log_failure, savepoint
from llmrec_django.web.identity import caller, find_learner, get_learner
from llmrec_django.web.lists import ListOptions, recommendations, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest

    from llmrec_django.web.identity import Caller

VERBS = ("viewed", "shown", "clicked", "read", "dismissed", "restored")
MAX_KEYS = 100
"""Resources that one event may name."""


class EventForm(forms.Form):
    """What the beacon may say. Who did it is known from the request, when from the clock."""

    verb = forms.ChoiceField(choices=[(verb, verb) for verb in VERBS])
    key = forms.CharField(max_length=255, strip=False, validators=[ProhibitNullCharactersValidator()])
    list = forms.UUIDField(required=False)
    seconds = forms.FloatField(required=False, min_value=0)
    reason = forms.ChoiceField(required=False, choices=RecommendationItem.DismissReason.choices)
    id = forms.CharField(max_length=255, required=False, validators=[ProhibitNullCharactersValidator()])

    @property
    def keys(self) -> Sequence[str]:
        """All keys; several of one list may be on a screen."""
        given: Any = self.data
        return [self.fields["key"].clean(key) for key in given.getlist("key")[:MAX_KEYS]]


def _private(response: HttpResponse) -> HttpResponse:
    """Keep an answer made for one person out of every cache."""
    response["Cache-Control"] = "private, no-store"
    response["X-Robots-Tag"] = "noindex"
    patch_vary_headers(response, ["Cookie"])
    return response


@require_GET
def recommendation_fragment(request: HttpRequest) -> HttpResponse:
    """Return the HTML of a list whose options `{% recommend lazy=True %}` signed; 200 and empty if there is none."""
    try:
        options = ListOptions.from_signed(request.GET.get("options", ""))
    except BadSignature:
        return _private(HttpResponse(status=400))
    try:
        html: str = render(recommendations(request, options), options, kind="recommend", request=request)
    except Exception as exc:  # noqa: BLE001 - a host's template that fails must not break the page around it
        log_failure("recommend fragment", exc)
        html = ""
    return _private(HttpResponse(html))


@require_GET
def list_reasons(request: HttpRequest) -> HttpResponse:
    """Return the better worded reasons of a list of the caller's, by key of resource; 404 for anybody else's list.

    `wait` says that others may still come.
    """
    try:
        list_id = UUID(request.GET.get("list", ""))
    except ValueError:
        return _private(HttpResponse(status=400))
    reasons: dict[str, str] = {}
    wait = False
    try:
        with savepoint():
            who = caller(request)
            stored = find_list(list_id, find_learner(who))
            if stored is None:
                return _private(HttpResponse(status=404))
            reasons, wait = upgrade_list(stored, user=who.user)
    except Exception as exc:  # noqa: BLE001 - the page has its reasons; these would only be better ones
        log_failure("reasons", exc)
    return _private(JsonResponse({"reasons": reasons, "wait": wait}))


@require_POST
@csrf_protect
def event(request: HttpRequest) -> HttpResponse:
    """Record a view or click of the caller; 204 whether or not anything is kept, 4xx for a malformed one."""
    who = caller(request)
    if not who.is_known:
        return _private(HttpResponse(status=403))
    wait_s = rates.wait_for("write", who.ident)
    if wait_s is not None:
        return _private(HttpResponse(status=429, headers={"Retry-After": str(int(wait_s) + 1)}))
    form = EventForm(request.POST)
    if not form.is_valid():
        return _private(HttpResponse(status=400))
    try:
        with savepoint():
            _take(who, form)
    except UnknownList:
        return _private(HttpResponse(status=404))
    except (InvalidInteraction, UnknownResource, ValidationError):
        return _private(HttpResponse(status=400))
    except Exception as exc:  # noqa: BLE001 - an event that is lost is better than an error page
        log_failure("event", exc)
    return _private(HttpResponse(status=204))


def _take(who: Caller, form: EventForm) -> None:
    said = form.cleaned_data
    verb, list_id = said["verb"], said["list"]
    if verb == "restored":
        restore_own(who, said["key"])
    elif verb == "viewed" or (verb == "clicked" and list_id is None):
        record_own(who, [InteractionInput(verb, said["key"], event_id=said["id"])], source="beacon")
    else:
        keys = form.keys if verb == "shown" else [said["key"]]
        entries = [
            FeedbackInput(verb, key, list_id, said["seconds"], reason=said["reason"], event_id=said["id"])
            for key in keys
        ]
        give_own_feedback(who, entries, source="beacon")


@require_GET
@ensure_csrf_cookie
def csrf_token(request: HttpRequest) -> HttpResponse:
    """Return a CSRF token, for pages that come from a cache or whose cookie scripts cannot read."""
    return _private(JsonResponse({"token": get_token(request)}))


class GoalsField(forms.CharField):
    """A text of several lines, as long as the REST API takes; browsers count and send line ends differently."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 3}), **options)

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


class AboutForm(forms.ModelForm):
    """What a learner says about themselves."""

    goals = GoalsField(label=_("Goals"), required=False, help_text=_("What you want to be able to do."))
    interests = forms.CharField(
        label=_("Interests"), required=False, max_length=2000, help_text=_("Separated by commas.")
    )
    languages = forms.CharField(
        label=_("Languages"),
        required=False,
        max_length=1000,
        help_text=_("What you learn in: names or codes, separated by commas."),
    )
    minutes_per_week = forms.IntegerField(
        label=_("Minutes a week"),
        required=False,
        min_value=0,
        max_value=MOST_MINUTES,
        help_text=_("The time you have for learning."),
    )

    class Meta:
        model = LearnerProfile
        fields = ("goals", "interests", "level", "languages", "minutes_per_week", "personalise")
        labels = {"level": _("Level"), "personalise": _("Personal recommendations")}
        help_texts = {"personalise": _("Without the tick what you do here is neither recorded nor used.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("interests", "languages"):
            self.initial[name] = ", ".join(map(str, getattr(self.instance, name) or []))

    def clean_interests(self) -> list[str]:
        return [part[:100] for part in _parts(self.cleaned_data["interests"])][:50]

    def clean_languages(self) -> list[str]:
        tags = []
        for part in _parts(self.cleaned_data["languages"]):
            tag = language_tag(part)
            if not tag:
                raise ValidationError(
                    _("No language is known as “%(name)s”. Give its code, such as en or zh-hans."),
                    params={"name": part[:50]},
                )
            tags.append(tag)
        return list(dict.fromkeys(tags))[:20]


def _parts(text: str) -> list[str]:
    # A list that is typed in Chinese has Chinese commas.
    return [part.strip() for part in re.split(r"[,，、;；\n]", text) if part.strip()]


@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def about_you(request: HttpRequest) -> HttpResponse:
    """Show a learner what is thought of them; let them change it, take dismissals and deeds back, or start anew."""
    who = caller(request)
    if not who.is_known:
        return redirect_to_login(request.get_full_path())
    if request.method == "POST":
        wait_s = rates.wait_for("write", who.ident)
        if wait_s is not None:
            return _private(HttpResponse(status=429, headers={"Retry-After": str(int(wait_s) + 1)}))
        learner = get_learner(who)
        if learner._state.adding:
            return _private(HttpResponse(status=503))
        form = AboutForm(request.POST, instance=learner) if "save" in request.POST else None
        if form is None or form.is_valid():
            return _private(redirect(f"{request.path}?done={_change(request, learner, form)}"))
    else:
        learner = find_learner(who) or LearnerProfile(tenant=who.tenant)
        form = AboutForm(instance=learner)
    context = {"form": form, "insight": insight(learner, user=who.user), "done": request.GET.get("done", "")}
    return _private(render_page(request, "llmrec_django/about_you.html", context))


def _change(request: HttpRequest, learner: LearnerProfile, form: AboutForm | None) -> str:
    if form is not None:
        learner.save(update_fields=[*form.cleaned_data, "updated_at"])
        return "saved"
    if "restore" in request.POST:
        return "restored" if restore(learner, request.POST["restore"][:255]) else ""
    if "forget" in request.POST:
        return "forgotten" if forget_deed(learner, request.POST["forget"]) else ""
    if "reset" in request.POST:
        reset(learner)
        return "reset"
    return ""
