from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CampusConfig(AppConfig):
    name = "example_project.campus"
    label = "campus"
    verbose_name = _("Campus")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Usually in the project's __init__; there it would make bootstrap.py need Celery before it is installed.
        from example_project import celery  # noqa: F401
