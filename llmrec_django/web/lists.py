"""Lists for pages, as data and as HTML. The template tags and the plain views are thin over these functions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.contrib.contenttypes.models import ContentType
from django.core.signing import Signer
from django.db.models import Model
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from llmrec_django import api
from llmrec_django.models import Placement, Resource
from llmrec_django.services.writing.reasons import reasons_are_written
from llmrec_django.sources import registry
from llmrec_django.types import RecommendationResult
from llmrec_django.web.guard import shown
from llmrec_django.web.identity import caller, learner_of_lists

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_TEMPLATE = "llmrec_django/recommendations.html"


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a page asks for; the arguments of `{% recommend %}` and `{% similar %}`."""

    placement: str = ""
    k: int | None = None
    kinds: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    heading: str | None = None
    """Text above the list; None takes the placement's title or a general one, "" shows none."""
    template: str = DEFAULT_TEMPLATE

    def signed(self) -> str:
        """Return the options as a text that can travel through an address unchanged."""
        return _signer().sign_object(dataclasses.asdict(self), compress=True)

    @classmethod
    def from_signed(cls, text: str) -> ListOptions:
        """Return the options behind a signed text.

        Raises:
            BadSignature: the text was not made by `signed` on this site.
        """
        values = _signer().unsign_object(text)
        return cls(**{**values, "kinds": tuple(values["kinds"]), "languages": tuple(values["languages"])})


@dataclass(frozen=True, slots=True)
class PageList:
    """A list and the words above it."""

    result: RecommendationResult
    heading: str = ""


def recommendations(request: Any, options: ListOptions) -> PageList:
    """Return what to recommend to whoever is behind `request` (None: someone unknown); never raises."""
    heading = options.heading

    def compute() -> RecommendationResult:
        nonlocal heading
        who = caller(request)
        result = api.recommend(
            learner_of_lists(who),
            placement=options.placement,
            k=options.k,
            tenant=who.tenant,
            user=who.user,
            kinds=options.kinds,
            languages=options.languages or None,
        )
        if heading is None and options.placement:
            named = Placement.objects.filter(tenant=who.tenant, name=options.placement)
            heading = named.values_list("title", flat=True).first() or None
        return with_safe_links(result)

    result = shown(compute, what="recommend")
    if heading is None:
        heading = _("Recommended for you") if result.is_personal else _("You may like")
    return PageList(result, heading)


def similar(request: Any, target: Any, options: ListOptions) -> PageList:
    """Return what is like `target` (a `Resource`, its key, or a row of a registered host model); never raises."""

    def compute() -> RecommendationResult:
        who = caller(request)
        resource = resource_for(target, who.tenant)
        if resource is None:
            return RecommendationResult()
        k = 10 if options.k is None else options.k
        result = api.similar(resource, k=k, user=who.user, kinds=options.kinds, languages=options.languages)
        return with_safe_links(result)

    heading = _("Similar") if options.heading is None else options.heading
    return PageList(shown(compute, what="similar"), heading)


def render(page_list: PageList, options: ListOptions, *, kind: str, request: Any = None) -> SafeString:
    """Return a list as HTML; "" for an empty one.

    Args:
        kind: "recommend" or "similar"; becomes a class name.
    """
    if not page_list.result.items:
        return mark_safe("")
    context = {
        "items": page_list.result.items,
        "heading": page_list.heading,
        "kind": kind,
        "placement": page_list.result.placement or options.placement,
        "recommendation_id": page_list.result.recommendation_id,
        "reasons_url": _reasons_url(page_list.result),
        "is_personal": page_list.result.is_personal,
        "fallback": page_list.result.fallback,
        "request": request,
    }
    return render_to_string(options.template, context)


def _reasons_url(result: RecommendationResult) -> str:
    """Return where better worded reasons of this list will be; "" where none will."""
    waits = any(item.reason_source == "template" for item in result.items)
    if result.recommendation_id is None or not waits or not reasons_are_written():
        return ""
    try:
        return f"{reverse('llmrec_web:reasons')}?list={result.recommendation_id}"
    except NoReverseMatch:
        return ""


def resource_for(target: Any, tenant: str) -> Resource | None:
    """Return the resource that `target` is, stands for, or names; None when there is none in the tenant."""
    if isinstance(target, Resource):
        return target
    if isinstance(target, str):
        return Resource.objects.in_tenant(tenant).filter(key=target).first() if target else None
    if not isinstance(target, Model) or target.pk is None:
        return None
    source = registry.source_for(target)
    content_type = ContentType.objects.get_for_model(source.model if source else target)
    return Resource.objects.in_tenant(tenant).filter(content_type=content_type, object_id=str(target.pk)).first()


def with_safe_links(result: RecommendationResult) -> RecommendationResult:
    """Return `result` with addresses that are safe in a link."""
    items = tuple(dataclasses.replace(item, url=safe_url(item.url)) for item in result.items)
    return dataclasses.replace(result, items=items)


def safe_url(url: str) -> str:
    """Return an http(s) or relative address unchanged, anything else (javascript:, data:) as ""."""
    url = url.strip()
    # Browsers drop control characters inside a scheme, so "java\nscript:" would run.
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in url):
        return ""
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        return ""
    return url if scheme in ("", "http", "https") else ""


def names(value: str | Iterable[Any] | None) -> tuple[str, ...]:
    """Return the names in a list, or in a text with commas between them."""
    if not value:
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(text for text in (str(part).strip() for part in parts) if text)


def _signer() -> Signer:
    return Signer(salt="llmrec_django.web.lists")
