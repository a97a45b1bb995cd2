"""Naming a learner on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from llmrec_django.services.privacy import find_learners

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from llmrec_django.models import LearnerProfile


def add_learner_arguments(parser: ArgumentParser) -> None:
    """Add --user and --visitor, of which one must be given."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--user", metavar="NAME_OR_ID", help="The account: its username (as it logs in) or its id.")
    group.add_argument("--visitor", metavar="KEY", help="The visitor key of someone without an account.")


def named_learners(options: dict[str, Any]) -> list[LearnerProfile]:
    """Return the profiles of the named learner, one a tenant; empty when nothing is held.

    Raises:
        CommandError: there is no such account.
    """
    if options["visitor"]:
        return list(find_learners(visitor_key=options["visitor"]))
    return list(find_learners(_account(options["user"])))


def _account(name: str) -> Any:
    model: Any = get_user_model()
    accounts = model._base_manager
    account = accounts.filter(**{model.USERNAME_FIELD: name}).first()
    if account is not None:
        return account
    try:
        account = accounts.filter(pk=model._meta.pk.to_python(name)).first()
    except (ValidationError, ValueError, OverflowError):
        account = None
    if account is None:
        raise CommandError(f"Cannot find account {name!r}. No account has this username or id. Check the name.")
    return account
