"""Who is behind a request: the tenant, the account, or the anonymous visitor. Never an id the client sends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model

from llmrec_django import api
from llmrec_django.conf import conf, resolve_tenant

if TYPE_CHECKING:
    from llmrec_django.models import LearnerProfile

# A short value could be guessed, and guessing one would open another visitor's list.
_VISITOR_KEY = re.compile(r"[\x21-\x7e]{16,200}")

# Keeps cookies apart from the keys that imports give to learners without an account: without it, a cookie holding
# an imported learner's id would be that learner.
COOKIE_PREFIX = "visitor:"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. With neither account nor visitor key: someone unknown."""

    tenant: str
    user: Any = None
    """The authenticated account of the host, or None."""
    visitor_key: str | None = None

    @property
    def is_known(self) -> bool:
        """True when there is someone whose activity may be kept."""
        return self.user is not None or self.visitor_key is not None

    @property
    def ident(self) -> str:
        """A text that names the caller to rate limits; "" for someone unknown."""
        if self.user is not None:
            return f"user:{self.user.pk}"
        return self.visitor_key or ""


def caller(request: Any) -> Caller:
    """Return who is behind a Django or REST framework request (None: someone unknown)."""
    tenant = resolve_tenant(request)
    user = _account(getattr(request, "user", None))
    return Caller(tenant, user, None if user is not None else visitor_key(request))


def visitor_key(request: Any) -> str | None:
    """Return the learner key of an anonymous visitor, from the cookie LLMREC["VISITOR_COOKIE"].

    The host sets that cookie, when its visitors agreed to it. Values under 16 characters are ignored. A host that
    merges a visitor into an account at login passes this key to `services.learners.merge_visitor`.
    """
    name = conf.VISITOR_COOKIE
    value = getattr(request, "COOKIES", {}).get(name, "") if name else ""
    return COOKIE_PREFIX + value if _VISITOR_KEY.fullmatch(value) else None


def find_learner(who: Caller) -> LearnerProfile | None:
    """Return the caller's profile; None when there is none yet or nobody is known."""
    if not who.is_known:
        return None
    return api.find_learner(who.user, visitor_key=who.visitor_key, tenant=who.tenant)


def get_learner(who: Caller) -> LearnerProfile:
    """Return the caller's profile, made on first use.

    Raises:
        ValueError: the caller is unknown.
    """
    return api.get_learner(who.user, visitor_key=who.visitor_key, tenant=who.tenant)


def learner_of_lists(who: Caller) -> LearnerProfile | None:
    """Return the caller's profile for a list that is kept: made on first use, so that a first click finds its list."""
    keeps = conf.STORE_LISTS is not None and bool(conf.ENABLED)
    return get_learner(who) if keeps and who.is_known else find_learner(who)


def _account(user: Any) -> Any:
    """Return `user` if it is an account of this site.

    Authentication classes may answer with other objects (service accounts, stateless tokens). Their keys say
    nothing about our learners, and might equal the key of somebody else's account.
    """
    try:
        is_ours = user is not None and user.is_authenticated and isinstance(user, get_user_model())
    except AttributeError:
        # The host's lazy user, on a request that has no session to look into.
        return None
    return user if is_ours else None
