"""Which resources may be shown to whom. Part of the SQL of every candidate query, never a filter after LIMIT."""

from __future__ import annotations

import functools
import logging
import math
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db import connections, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.db.models.sql import Query

from llmrec_django.conf import conf
from llmrec_django.models import Interaction, LearnerProfile, Placement, Resource, ResourceScreening
from llmrec_django.models.learner import DISMISSING, RESTORED
from llmrec_django.models.screening import screen_id
from llmrec_django.retrieval.dismissals import unlike
from llmrec_django.retrieval.sql import database, spelt_out
from llmrec_django.sources import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet

    from llmrec_django.models import VectorSpace

logger = logging.getLogger(__name__)

EVERYTHING_TOUCHED = Placement.Seen.HIDE
ANYBODY = -1
"""Stands for a learner while what is asked of all of them is compiled."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Who asks, and what they asked for."""

    tenant: str
    user: Any = None
    """Whose rights decide what is visible; None or anonymous: the public."""
    learner: LearnerProfile | None = None
    kinds: Sequence[str] = ()
    languages: Sequence[str] = ()
    """Language tags; "zh" takes zh-hans and zh-cn too. Resources of unknown language always pass."""
    seen: str = Placement.Seen.SHOW
    exclude_ids: Sequence[int] = ()
    exclude_keys: Sequence[str] = ()
    among_ids: Sequence[int] | None = None
    space: VectorSpace | None = None
    """Where it is asked what is nearly the same as something dismissed; None: nothing is."""
    dismissed_ids: Sequence[int] = ()
    """What the learner turned down, as `dismissals` gives it."""
    excluded: Q | None = None
    """Left out by editorial rules, as a condition on the resource table."""
    only: Q | None = None
    """Nothing else, in the same way; None: everything."""
    level: float | None = None
    """The learner's place on the scale of levels, the easiest 0; None: unknown."""


@dataclass(frozen=True, slots=True)
class Eligibility:
    """The eligible resources as SQL, and what is asked of candidates alone."""

    sql: str
    """A SELECT of resource ids."""
    params: tuple[Any, ...]
    check_rows: Callable[[Sequence[int]], set[int]] | None = field(default=None)
    """Given resource ids, return those that may be shown. Set when the host's tables are in another database, and for
    learners who dismissed something: comparing its text with the whole catalogue would take too long."""
    visible: str = ""
    """The part of `sql` that asks the host what the caller may see; a condition on the resource table."""
    visible_params: tuple[Any, ...] = ()
    visible_rows: Callable[[Sequence[int]], set[int]] | None = field(default=None)
    """The part of `check_rows` that asks the host."""

    @property
    def is_empty(self) -> bool:
        return not self.sql


def everything(tenant: str) -> Eligibility:
    """Return all resources of a tenant, whoever may be shown them: for staff, who ask why something is missing."""
    return Eligibility(f'SELECT "id" FROM "{Resource._meta.db_table}" WHERE "tenant" = %s', (tenant,))


def eligible(audience: Audience) -> Eligibility:
    """Return what `audience` may be shown."""
    using = database()
    visible, visible_params, visible_rows = _visibility(audience.user, using)
    check_rows = visible_rows
    if audience.dismissed_ids and audience.space is not None and conf.DISMISS_SIMILAR_FROM is not None:
        check_rows = _both(check_rows, unlike(audience.space, audience.dismissed_ids))
    try:
        sql, params = _asked_for(audience, using)
    except EmptyResultSet:
        return Eligibility("", ())
    if audience.learner is not None and audience.learner.pk:
        seen = _seen_by_anybody(using, audience.seen, tuple(conf.VERBS.items()))
        sql += seen
        params += (audience.learner.pk,) if seen else ()
    # Joined as text: resolving the host's querysets inside ours costs as much as the rest of the query together.
    return Eligibility(
        f"{sql} AND ({visible})",
        (*params, *visible_params),
        check_rows,
        visible=visible,
        visible_params=tuple(visible_params),
        visible_rows=visible_rows,
    )


def nameable(eligibility: Eligibility) -> tuple[str, tuple[Any, ...]]:
    """Return a condition on the resource table: what the audience may be told the title of, whatever they did with it.

    Where the host's tables are in another database, `eligibility.visible_rows` is to be asked as well.
    """
    public = _public(database(), conf.SCREEN["UNSCREENED"], screen_id())
    return f"{public} AND ({eligibility.visible})", eligibility.visible_params


@functools.lru_cache(maxsize=8)
def _public(using: str, unscreened: str, screen: str) -> str:
    """Compile what anybody may see as far as we know, as a condition; the arguments are what it depends on."""
    resources = _screened(Resource.objects.available(Now())).order_by().values("pk")
    sql, params = resources.query.get_compiler(using).as_sql()
    return f"({spelt_out(sql.partition(' WHERE ')[2], params, using)})"


def _asked_for(audience: Audience, using: str) -> tuple[str, tuple[Any, ...]]:
    """Compile what does not depend on who asks; what whole pages ask for alike is compiled once.

    Raises:
        EmptyResultSet: nothing passes.
    """
    plain = replace(audience, user=None, learner=None, space=None, dismissed_ids=(), level=None)
    if audience.exclude_ids or audience.exclude_keys or audience.among_ids is not None:
        return _compiled(plain, using)
    plain = replace(
        plain, kinds=tuple(audience.kinds), languages=tuple(audience.languages), exclude_ids=(), exclude_keys=()
    )
    return _compiled_once(plain, using, conf.SCREEN["UNSCREENED"], screen_id())


def _compiled(audience: Audience, using: str) -> tuple[str, tuple[Any, ...]]:
    sql, params = eligible_resources(audience).order_by().values("pk").query.get_compiler(using).as_sql()
    return sql, tuple(params)


@functools.lru_cache(maxsize=256)
def _compiled_once(audience: Audience, using: str, unscreened: str, screen: str) -> tuple[str, tuple[Any, ...]]:
    """The arguments are what it depends on."""
    return _compiled(audience, using)


@functools.lru_cache(maxsize=16)
def _seen_by_anybody(using: str, policy: str, verbs: Any) -> str:
    """Compile the condition that leaves out what a learner has seen; its one parameter is the learner. "" for none.

    The arguments are what it depends on.
    """
    seen = _seen(LearnerProfile(pk=ANYBODY), policy).values("resource")
    try:
        sql, params = seen.order_by().query.get_compiler(using).as_sql()
    except EmptyResultSet:
        return ""
    # NOT IN, not NOT EXISTS: it is read once into a hash whatever the planner believes about the tables.
    return f' AND "{Resource._meta.db_table}"."id" NOT IN ({spelt_out(sql, params, using, but=ANYBODY)})'


def _both(
    first: Callable[[Sequence[int]], set[int]] | None, second: Callable[[Sequence[int]], set[int]]
) -> Callable[[Sequence[int]], set[int]]:
    return second if first is None else lambda ids: second(list(first(ids)))


def eligible_resources(audience: Audience) -> QuerySet[Resource]:
    """Return the resources that pass everything but the host's own `visible_to`."""
    queryset: QuerySet[Resource] = Resource.objects.all()
    for narrow in rules(audience).values():
        queryset = narrow(queryset)
    return queryset


def rules(audience: Audience) -> dict[str, Callable[[QuerySet[Resource]], QuerySet[Resource]]]:
    """Return what `eligible_resources` asks: the name of a rule → what it leaves of a queryset."""
    found: dict[str, Callable[[QuerySet[Any]], QuerySet[Any]]] = {
        "tenant": lambda resources: resources.in_tenant(audience.tenant),  # type: ignore[attr-defined]
        "available": lambda resources: resources.available(Now()),  # type: ignore[attr-defined]
        "screened": _screened,
    }
    if audience.kinds:
        found["kinds"] = lambda resources: resources.filter(kind__in=list(audience.kinds))
    if audience.languages:
        found["languages"] = lambda resources: resources.filter(_speaks(audience.languages))
    if audience.exclude_ids:
        found["exclude_ids"] = lambda resources: resources.exclude(pk__in=list(audience.exclude_ids))
    if audience.exclude_keys:
        found["exclude_keys"] = lambda resources: resources.exclude(key__in=list(audience.exclude_keys))
    among = audience.among_ids
    if among is not None:
        found["among"] = lambda resources: resources.filter(pk__in=list(among))
    excluded, only = audience.excluded, audience.only
    if excluded is not None:
        found["editorial"] = lambda resources: resources.exclude(excluded)
    if only is not None:
        found["only"] = lambda resources: resources.filter(only)
    learner = audience.learner
    if learner is not None and learner.pk:
        # NOT IN, not NOT EXISTS: it is read once into a hash whatever the planner believes about the tables.
        found["seen"] = lambda resources: resources.exclude(pk__in=_seen(learner, audience.seen).values("resource"))
    return found


def _screened(resources: QuerySet[Resource]) -> QuerySet[Resource]:
    """Leave out what is held back and, where the site wants that, what the safety screen has not seen yet."""
    resources = resources.exclude(pk__in=ResourceScreening.objects.held().values("resource"))
    if conf.SCREEN["UNSCREENED"] == "hold":
        passed = ResourceScreening.objects.passed().filter(content_hash=OuterRef("content_hash"))
        resources = resources.filter(Exists(passed.filter(resource=OuterRef("pk"))))
    return resources


def _speaks(languages: Sequence[str]) -> Q:
    condition = Q(language="")
    for primary in {tag.lower().split("-")[0] for tag in languages}:
        condition |= Q(language__iexact=primary) | Q(language__istartswith=f"{primary}-")
    return condition


def _seen(learner: LearnerProfile, policy: str) -> QuerySet[Interaction]:
    """Return the learner's interactions that hide their resource; what was dismissed is hidden by every policy."""
    touched = Interaction.objects.filter(learner=learner, resource__isnull=False)
    if policy == EVERYTHING_TOUCHED:
        return touched.exclude(verb=RESTORED)
    by_days: dict[float, list[str]] = {}
    for name, verb in conf.VERBS.items():
        if verb.seen_days is not None and (policy != Placement.Seen.SHOW or name in DISMISSING):
            by_days.setdefault(verb.seen_days, []).append(name)
    hides = Q(pk__in=[])
    for days, verbs in by_days.items():
        condition = Q(verb__in=verbs)
        if days != math.inf:
            condition &= Q(occurred_at__gt=Now() - timedelta(days=days))
        hides |= condition
    return touched.filter(hides)


def _visibility(user: Any, using: str) -> tuple[str, list[Any], Callable[[Sequence[int]], set[int]] | None]:
    """Ask every registered source what `user` may see; return a condition on the resource table and its parameters.

    Resources of a host model that nobody registers any more are hidden, and so are those of a source whose
    `visible_to` fails: closed, never open.
    """
    if user is not None and not getattr(user, "is_authenticated", False):
        user = None
    table = Resource._meta.db_table
    conditions, params = [f'"{table}"."content_type_id" IS NULL'], []
    elsewhere: dict[int, QuerySet[Any]] = {}
    for source in registry.resources():
        content_type = ContentType.objects.get_for_model(source.model).pk
        condition = f'"{table}"."content_type_id" = {int(content_type)}'
        try:
            rows = source.visible_to(user, source.get_queryset())
            if rows is not None and rows.db != using:
                elsewhere[content_type] = rows
            elif rows is not None:
                keys, key_params = _keys(rows, using)
                condition = f'({condition} AND "{table}"."object_id" IN ({keys}))'
                params += key_params
        except EmptyResultSet:
            continue
        except Exception:
            logger.exception("visible_to failed, its resources are hidden source=%s", source.name)
            continue
        conditions.append(condition)
    return " OR ".join(conditions), params, _row_check(elsewhere) if elsewhere else None


def _keys(rows: QuerySet[Any], using: str) -> tuple[str, list[Any]]:
    """Return SQL for the primary keys of the host's rows as text: they may be numbers or UUIDs, ours are text."""
    plain = _plain_keys(rows, using)
    if plain is not None:
        return plain
    query = rows.values("pk").query
    if not query.is_sliced:
        query.clear_ordering(force=True)
    sql, params = query.get_compiler(using).as_sql()
    # Turned into text around the host's query: to put a Cast into it costs as much as compiling it.
    return f"SELECT host.key::text FROM ({sql}) AS host(key)", list(params)


def _plain_keys(rows: QuerySet[Any], using: str) -> tuple[str, list[Any]] | None:
    """Return the same of a query that is a condition on one table, as most are: to compile that alone costs a third,
    and every list pays it. None for any other query.
    """
    query, key = rows.query, rows.model._meta.pk
    table = rows.model._meta.db_table
    has_more = query.is_sliced or query.combinator or query.distinct or query.group_by is not None or query.extra_tables
    if type(query) is not Query or has_more or query.where.contains_over_clause or query.where.contains_aggregate:
        return None
    if any(count and alias != table for alias, count in query.alias_refcount.items()):
        return None  # it joins others
    if key is None or key.column is None or key.model._meta.db_table != table:
        return None  # its key stands in a parent's table, or is made of several columns
    compiler = query.get_compiler(using)
    try:
        where, params = compiler.compile(query.where)
    except FullResultSet:
        where, params = "", ()
    quoted, condition = compiler.quote_name_unless_alias(table), f" WHERE {where}" if where else ""
    return f"SELECT {quoted}.{compiler.quote_name_unless_alias(key.column)}::text FROM {quoted}{condition}", list(
        params
    )


def _row_check(elsewhere: dict[int, QuerySet[Any]]) -> Callable[[Sequence[int]], set[int]]:
    def visible(resource_ids: Sequence[int]) -> set[int]:
        wanted: dict[int, dict[str, int]] = {content_type: {} for content_type in elsewhere}
        found: set[int] = set()
        rows = Resource.objects.filter(pk__in=resource_ids).values_list("pk", "content_type_id", "object_id")
        for pk, content_type, object_id in rows:
            if content_type in wanted:
                wanted[content_type][object_id] = pk
            else:
                found.add(pk)
        for content_type, keys in wanted.items():
            if keys:
                found.update(keys[key] for key in _present(elsewhere[content_type], list(keys)))
        return found

    return visible


def _present(rows: QuerySet[Any], keys: list[str]) -> list[str]:
    """Return which primary keys are among the host's `rows`; an error leaves the host's transaction intact."""
    guard = transaction.atomic(using=rows.db) if connections[rows.db].in_atomic_block else nullcontext()
    with guard:
        return [str(key) for key in rows.filter(pk__in=keys).values_list("pk", flat=True)]
