from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LLMRecConfig(AppConfig):
    name = "llmrec_django"
    label = "llmrec_django"
    verbose_name = _("Learning recommendations")
    # A host without DEFAULT_AUTO_FIELD must not find migrations to make inside site-packages.
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.utils.module_loading import autodiscover_modules

        from llmrec_django import checks, receivers  # noqa: F401

        # Hosts register their models in `llmrec.py`; a broken module raises here instead of hiding.
        autodiscover_modules("llmrec")
        receivers.connect()
