"""What the admin classes of this app share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import connections, router
from django.utils.functional import cached_property

from llmrec_django.models.base import is_supported

if TYPE_CHECKING:
    from django.http import HttpRequest

ESTIMATE_FROM = 50_000
"""Tables of more rows than this are not counted to show page numbers."""


class LargeTablePaginator(Paginator):
    """Takes the planner's estimate for the number of rows of a large table that is not filtered.

    Counting millions of rows takes seconds, on every page.
    """

    @cached_property
    def count(self) -> int:
        queryset: Any = self.object_list
        query = getattr(queryset, "query", None)
        if query is not None and not query.where and not query.is_empty():
            with connections[queryset.db].cursor() as cursor:
                cursor.execute(
                    "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)",
                    [connections[queryset.db].ops.quote_name(queryset.model._meta.db_table)],
                )
                row = cursor.fetchone()
            if row and row[0] > ESTIMATE_FROM:
                return int(row[0])
        return int(super().count)


class PreparedChangeList(ChangeList):
    """Lets the admin class load what the rows of one page need, in one go."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        model_admin: Any = self.model_admin
        model_admin.prepare_page(rows)
        self.result_list = rows


class LLMRecModelAdmin(admin.ModelAdmin):
    """Base of every admin class here."""

    show_full_result_count = False
    list_per_page = 50

    def prepare_page(self, rows: list[Any]) -> None:
        """Hook: load in one query what the columns of these rows show."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PreparedChangeList

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        # On a host's SQLite the tables do not exist: the lists are empty there, and adding would fail.
        return is_supported(router.db_for_write(self.model)) and super().has_add_permission(request, *args)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Count what goes along instead of loading it: a learner may have a hundred thousand interactions.

        Rows of our own tables that belong to the deleted ones need no permission of their own.
        """
        relations = [
            relation
            for relation in self.model._meta.related_objects
            if getattr(relation, "on_delete", None) is not None
        ]
        if any(relation.related_model._meta.app_label != self.model._meta.app_label for relation in relations):
            return super().get_deleted_objects(objs, request)
        objs = list(objs)
        counts = {str(self.model._meta.verbose_name_plural): len(objs)}
        for relation in relations:
            related: Any = relation.related_model
            n = related.objects.filter(**{f"{relation.field.name}__in": objs}).count()
            if n:
                name = str(related._meta.verbose_name_plural)
                counts[name] = counts.get(name, 0) + n
        needed = set() if self.has_delete_permission(request) else {self.model._meta.verbose_name}
        return [str(obj) for obj in objs], counts, needed, []

    def log_many(self, request: HttpRequest, objs: list[Any], message: str) -> None:
        """Write the history of an action that changed several rows."""
        if objs:
            LogEntry.objects.log_actions(
                user_id=str(request.user.pk),
                queryset=objs,
                action_flag=CHANGE,
                change_message=message,
            )


class ReadOnlyModelAdmin(LLMRecModelAdmin):
    """For tables that are computed or only ever appended to: seen here, changed elsewhere."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """For actions, where there are any: the account may change this table in principle."""
        opts = self.model._meta
        return request.user.has_perm(f"{opts.app_label}.change_{opts.model_name}")
