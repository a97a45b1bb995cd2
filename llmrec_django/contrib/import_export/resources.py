"""The catalogue as django-import-export sees it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from import_export.fields import Field
from import_export.resources import ModelResource
from import_export.widgets import Widget

from llmrec_django.conf import resolve_tenant
from llmrec_django.models import Resource
from llmrec_django.services.importing import values
from llmrec_django.services.importing.resources import READERS

COLUMNS = (
    "tenant",
    "item_id",
    "title",
    "description",
    "author",
    "keywords",
    "language",
    "kind",
    "level",
    "publisher",
    "url",
    "image",
    "license",
    "duration_minutes",
    "published",
    "available_from",
    "available_until",
    "translations",
    "body",
    "extra",
)


class ColumnWidget(Widget):
    """Reads a cell exactly as `llmrec_import` does, and writes what it would read."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> Any:
        if self.column in READERS:
            return READERS[self.column][1]({self.column: value})
        return values.text({self.column: value}, self.column, limit=255, needed=True)

    def render(self, value: Any, obj: Any = None, **kwargs: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, list):
            # The mark at the end keeps the comma inside a single entry from cutting it.
            return "; ".join(map(str, value)) + (";" if len(value) == 1 and "," in str(value[0]) else "")
        if isinstance(value, dict):
            return json.dumps(value, ensure_ascii=False) if value else ""
        return str(value)


def _column(name: str, attribute: str = "") -> Field:
    return Field(attribute=attribute or READERS[name][0], column_name=name, widget=ColumnWidget(name))


class CatalogueResource(ModelResource):
    """One column a field; rows are known by tenant and item_id."""

    tenant = _column("tenant", "tenant")
    item_id = _column("item_id", "key")
    title = _column("title")
    description = _column("description")
    author = _column("author")
    keywords = _column("keywords")
    language = _column("language")
    kind = _column("kind")
    level = _column("level")
    publisher = _column("publisher")
    url = _column("url")
    image = _column("image")
    license = _column("license")
    duration_minutes = _column("duration_minutes")
    published = _column("published")
    available_from = _column("available_from")
    available_until = _column("available_until")
    translations = _column("translations")
    body = _column("body")
    extra = _column("extra")

    class Meta:
        model = Resource
        fields = COLUMNS
        import_id_fields = ("tenant", "item_id")
        skip_unchanged = True
        report_skipped = True
        # What the widgets let through may still break a rule between two columns.
        clean_model_instances = True

    def before_import(self, dataset: Any, **kwargs: Any) -> None:
        """Take rows without a tenant for the site's own."""
        dataset.headers = [str(header).strip().lower() for header in dataset.headers or ()]
        if "tenant" not in dataset.headers:
            dataset.append_col([resolve_tenant()] * len(dataset), header="tenant")
