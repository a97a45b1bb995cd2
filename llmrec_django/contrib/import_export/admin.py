"""The buttons."""

from __future__ import annotations

from typing import Any

from import_export.admin import ImportExportMixin

from llmrec_django.contrib.import_export.resources import CatalogueResource


class ResourceImportExportMixin(ImportExportMixin):
    """For the admin of resources. Importing needs the permissions to add and to change, exporting the one to view."""

    resource_classes = [CatalogueResource]
    # Named, or the package would put its buttons on Django's own template, without the notices of this app.
    change_list_template = "admin/llmrec_django/change_list.html"

    def has_import_permission(self, request: Any) -> bool:
        # The package's own answer is yes for everybody unless a setting says otherwise.
        admin: Any = self
        return bool(admin.has_add_permission(request) and admin.has_change_permission(request))

    def has_export_permission(self, request: Any) -> bool:
        admin: Any = self
        return bool(admin.has_view_permission(request))
