"""Why a resource may not be shown to somebody: the rules of eligibility, asked one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

from llmrec_django.conf import conf
from llmrec_django.models import Resource
from llmrec_django.retrieval.dismissals import unlike
from llmrec_django.retrieval.eligibility import Audience, eligible, rules
from llmrec_django.retrieval.sql import database

if TYPE_CHECKING:
    from collections.abc import Sequence

VISIBLE = "visible"
"""The host's own `visible_to`."""
LIKE_DISMISSED = "like_dismissed"
"""Nearly the same as something that was turned down."""
DISMISSED = "dismissed"
"""Turned down by the learner; a case of the rule "seen"."""


def excluded_by(audience: Audience, resource_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Return the rules that keep each resource from an audience; none for what `eligible` lets pass.

    Args:
        audience: As lists are made for it.
        resource_ids: Resources, whoever they belong to.

    Note:
        One query for each rule, whatever the number of resources: about ten.
    """
    ids = list(dict.fromkeys(resource_ids))
    if not ids:
        return {}
    failed: dict[int, list[str]] = {pk: [] for pk in ids}
    for name, narrow in rules(audience).items():
        passing = set(narrow(Resource.objects.filter(pk__in=ids)).values_list("pk", flat=True))
        _note(failed, name, passing)
    _note(failed, VISIBLE, _visible(audience, ids))
    if audience.dismissed_ids and audience.space is not None and conf.DISMISS_SIMILAR_FROM is not None:
        _note(failed, LIKE_DISMISSED, unlike(audience.space, audience.dismissed_ids)(ids))
    for pk in set(audience.dismissed_ids).intersection(ids):
        # It is hidden as seen, and is like itself: what says most is that it was turned down.
        others = [name for name in failed[pk] if name not in ("seen", LIKE_DISMISSED)]
        failed[pk] = [DISMISSED, *others] if "seen" in failed[pk] else failed[pk]
    return {pk: tuple(names) for pk, names in failed.items()}


def _note(failed: dict[int, list[str]], name: str, passing: set[int]) -> None:
    for pk, names in failed.items():
        if pk not in passing:
            names.append(name)


def _visible(audience: Audience, ids: Sequence[int]) -> set[int]:
    asked = eligible(Audience(audience.tenant, audience.user))
    with connections[database()].cursor() as cursor:
        cursor.execute(
            f'SELECT id FROM "{Resource._meta.db_table}" WHERE id = ANY(%s) AND ({asked.visible or "false"})',
            [list(ids), *asked.visible_params],
        )
        found = {int(row[0]) for row in cursor.fetchall()}
    return found if asked.visible_rows is None else found & asked.visible_rows(sorted(found))
