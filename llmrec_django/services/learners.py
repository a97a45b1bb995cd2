"""Finding the learner behind an account or a visitor."""

from __future__ import annotations

from typing import Any

from llmrec_django.conf import resolve_tenant
from llmrec_django.models import LearnerProfile


def find_learner(
    user: Any = None, *, visitor_key: str | None = None, tenant: str | None = None
) -> LearnerProfile | None:
    """Return the profile of an account or, for an anonymous one, of a visitor key; None when there is none yet."""
    raise NotImplementedError


def get_learner(user: Any = None, *, visitor_key: str | None = None, tenant: str | None = None) -> LearnerProfile:
    """Return the profile of an account or visitor, made on first use.

    Raises:
        ValueError: neither an authenticated account nor a visitor key was given.
    """
    raise NotImplementedError


def merge_visitor(visitor_key: str, user: Any, *, tenant: str | None = None) -> LearnerProfile:
    """Give a visitor's history to the account they turned out to be, and drop the visitor's profile."""
    raise NotImplementedError
