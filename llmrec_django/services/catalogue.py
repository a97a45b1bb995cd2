"""Reading the catalogue: the resources somebody may see, page by page and one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models.expressions import RawSQL

from llmrec_django.conf import resolve_tenant
from llmrec_django.models import Resource
from llmrec_django.retrieval.eligibility import Audience, eligible
from llmrec_django.services.results import HIDDEN_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet

    from llmrec_django.retrieval.eligibility import Eligibility


def list_resources(
    *,
    n: int = 20,
    before_id: int | None = None,
    tenant: str | None = None,
    user: Any = None,
    kinds: Sequence[str] = (),
    languages: Sequence[str] = (),
    levels: Sequence[str] = (),
) -> list[Resource]:
    """Return up to `n` resources that `user` may see, the last added first.

    Args:
        before_id: Only resources with a smaller row id: the id of the last resource of the page before.
    """
    eligibility = eligible(Audience(tenant or resolve_tenant(), user, kinds=kinds, languages=languages))
    queryset = _rows(eligibility)
    if levels:
        queryset = queryset.filter(level__in=list(levels))
    found: list[Resource] = []
    while len(found) < n:
        # Rights that another database knows are asked for the rows of a page; so a page may take several reads.
        page = queryset if before_id is None else queryset.filter(pk__lt=before_id)
        rows = list(page.order_by("-pk")[:n])
        found += _checked(rows, eligibility)
        if len(rows) < n:
            break
        before_id = rows[-1].pk
    return found[:n]


def get_resource(key: str, *, tenant: str | None = None, user: Any = None) -> Resource | None:
    """Return the resource with this key if `user` may see it; None for a hidden one as for one that is not there."""
    return get_resources([key], tenant=tenant, user=user).get(key)


def get_resources(keys: Iterable[str], *, tenant: str | None = None, user: Any = None) -> dict[str, Resource]:
    """Return those of the named resources that `user` may see, by key."""
    wanted = {key for key in keys if key and "\x00" not in key}
    if not wanted:
        return {}
    eligibility = eligible(Audience(tenant or resolve_tenant(), user))
    rows = list(_rows(eligibility).filter(key__in=wanted))
    return {resource.key: resource for resource in _checked(rows, eligibility)}


def _rows(eligibility: Eligibility) -> QuerySet[Resource]:
    if eligibility.is_empty:
        return Resource.objects.none()
    rows = Resource.objects.defer(*HIDDEN_COLUMNS)
    return rows.filter(pk__in=RawSQL(eligibility.sql, eligibility.params))  # noqa: S611 - compiled by the ORM


def _checked(rows: list[Resource], eligibility: Eligibility) -> list[Resource]:
    if eligibility.check_rows is None:
        return rows
    visible = eligibility.check_rows([resource.pk for resource in rows])
    return [resource for resource in rows if resource.pk in visible]
