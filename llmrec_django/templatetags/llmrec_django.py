"""`{% recommend %}`, `{% similar %}` and `{% llmrec_beacon %}`.

None of them raises: a recommender in trouble renders nothing and says so in the log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django import template
from django.conf import settings
from django.template.base import token_kwargs
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse

from llmrec_django.conf import conf
from llmrec_django.types import RecommendationResult
from llmrec_django.web import lists
from llmrec_django.web.guard import log_failure, savepoint
from llmrec_django.web.identity import caller, find_learner

if TYPE_CHECKING:
    from django.template.base import FilterExpression, Parser, Token
    from django.template.context import Context

register = template.Library()
logger = logging.getLogger(__name__)

SCRIPT = "llmrec_django/llmrec.js"
LIST_OPTIONS = frozenset({"k", "kinds", "languages", "heading", "template"})


class ListNode(template.Node):
    """A list, rendered in place or kept in a variable (`as name`)."""

    kind = ""

    def __init__(
        self, target: FilterExpression | None, options: dict[str, FilterExpression], variable: str | None
    ) -> None:
        self.target = target
        self.options = options
        self.variable = variable

    def render(self, context: Context) -> str:
        html = ""
        result = RecommendationResult()
        try:
            values = {name: value.resolve(context) for name, value in self.options.items()}
            request = context.get("request")
            if self.kind == "recommend" and values.pop("lazy", False) and self.variable is None:
                html = _placeholder(context, _list_options(values))
            else:
                options = _list_options(values)
                page_list = self.page_list(context, request, options)
                result = page_list.result
                if self.variable is None:
                    html = lists.render(page_list, options, kind=self.kind, request=request)
        except Exception as exc:  # noqa: BLE001 - see the module's first lines
            log_failure(f"tag {self.kind}", exc)
        if self.variable is not None:
            context[self.variable] = result
        return html

    def page_list(self, context: Context, request: Any, options: lists.ListOptions) -> lists.PageList:
        raise NotImplementedError


class RecommendNode(ListNode):
    kind = "recommend"

    def page_list(self, context: Context, request: Any, options: lists.ListOptions) -> lists.PageList:
        return lists.recommendations(request, options)


class SimilarNode(ListNode):
    kind = "similar"

    def page_list(self, context: Context, request: Any, options: lists.ListOptions) -> lists.PageList:
        assert self.target is not None
        return lists.similar(request, self.target.resolve(context), options)


@register.tag
def recommend(parser: Parser, token: Token) -> RecommendNode:
    """Show what to recommend to whoever reads the page.

    `{% recommend placement="home" k=6 kinds="course,book" languages="en" heading="Next for you" %}`; with
    `as items` nothing is shown and `items` holds the list; with `lazy=True` the browser fetches it.
    """
    name, *bits = token.split_contents()
    options, variable = _arguments(name, bits, parser, LIST_OPTIONS | {"placement", "lazy"})
    return RecommendNode(None, options, variable)


@register.tag
def similar(parser: Parser, token: Token) -> SimilarNode:
    """Show what is like a resource: `{% similar course k=6 %}`, for a `Resource`, its key or your own object."""
    name, *bits = token.split_contents()
    if not bits or "=" in bits[0]:
        raise template.TemplateSyntaxError(f"'{name}' needs a resource or one of your objects as its first argument.")
    target = parser.compile_filter(bits.pop(0))
    options, variable = _arguments(name, bits, parser, LIST_OPTIONS)
    return SimilarNode(target, options, variable)


@register.simple_tag(takes_context=True)
def llmrec_beacon(context: Context, obj: Any = None, seconds: float = 5) -> str:
    """Record that this page was read (visible for `seconds`) and which recommended links were followed.

    Without `obj`, or with one that is no resource, only clicks are recorded. Renders nothing for people whose
    activity is not kept: those who switched it off, and anonymous visitors without a visitor cookie.
    """
    try:
        with savepoint():
            return _beacon(context, obj, seconds)
    except NoReverseMatch:
        logger.debug("no beacon: llmrec_django.urls is not included in the URLconf")
    except Exception as exc:  # noqa: BLE001 - see the module's first lines
        log_failure("tag llmrec_beacon", exc)
    return ""


def _beacon(context: Context, obj: Any, seconds: float) -> str:
    request = context.get("request")
    if request is None:
        return ""
    url = reverse("llmrec_web:event")
    who = caller(request)
    if not who.is_known:
        return ""
    learner = find_learner(who)
    if learner is not None and not learner.personalise:
        return ""
    resource = lists.resource_for(obj, who.tenant)
    readable = not (settings.CSRF_USE_SESSIONS or settings.CSRF_COOKIE_HTTPONLY)
    values = {
        "url": url,
        "token_url": reverse("llmrec_web:token"),
        "csrf_cookie": settings.CSRF_COOKIE_NAME if readable else "",
        "key": resource.key if resource else "",
        "seconds": float(seconds),
        **_script(context),
    }
    return render_to_string("llmrec_django/beacon.html", values)


def _placeholder(context: Context, options: lists.ListOptions) -> str:
    """Return an element that fetches the list, so that a cached page holds nobody's.

    Touches neither user nor session: the page stays the same for everyone.
    """
    if not conf.ENABLED:
        return ""
    values = {"url": reverse("llmrec_web:recommendations"), "options": options.signed(), **_script(context)}
    return render_to_string("llmrec_django/lazy.html", values)


def _script(context: Context) -> dict[str, Any]:
    """Return the address of our script, and the nonce a strict Content-Security-Policy asks for."""
    nonce = context.get("csp_nonce") or getattr(context.get("request"), "csp_nonce", "")
    return {"script": static(SCRIPT), "nonce": str(nonce or "")}


def _list_options(values: dict[str, Any]) -> lists.ListOptions:
    k, heading = values.get("k"), values.get("heading")
    return lists.ListOptions(
        placement=str(values.get("placement") or ""),
        k=None if k in (None, "") else int(k),
        kinds=lists.names(values.get("kinds")),
        languages=lists.names(values.get("languages")),
        heading=None if heading is None else str(heading),
        template=str(values.get("template") or lists.DEFAULT_TEMPLATE),
    )


def _arguments(
    name: str, bits: list[str], parser: Parser, allowed: frozenset[str] | set[str]
) -> tuple[dict[str, FilterExpression], str | None]:
    """Parse `name=value … [as variable]`; a misspelt option is an error when the template is compiled."""
    variable = None
    if len(bits) >= 2 and bits[-2] == "as":
        variable = bits[-1]
        bits = bits[:-2]
    options = token_kwargs(bits, parser)
    unknown = [*bits, *(option for option in options if option not in allowed)]
    if unknown:
        raise template.TemplateSyntaxError(
            f"'{name}' got {unknown[0]!r}. Its options are name=value with one of: {', '.join(sorted(allowed))}."
        )
    return options, variable
