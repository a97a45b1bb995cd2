"""The warning that recommendations have become worse, on the front page of the admin.

That page is the host's: its site and its templates stay as they are. But it asks every admin class whether it may be
seen, and shows the messages of the request like any other page of the admin.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.contrib import messages
from django.db import DatabaseError, router, transaction
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext

from llmrec_django.models import EvaluationRecord
from llmrec_django.services.quality import fallen_records
from llmrec_django.services.training import outcome_of

if TYPE_CHECKING:
    from django.http import HttpRequest

logger = logging.getLogger(__name__)

_WARNED = "_llmrec_warned"


def warn_on_front_page(request: HttpRequest, site_name: str) -> None:
    """Add the warning to the messages of a request for the front page of an admin site, once; one query there.

    Args:
        request: Of somebody who may see model versions.
        site_name: Of the admin site.
    """
    match = request.resolver_match
    if match is None or match.url_name != "index" or match.app_names != ["admin"] or request.method != "GET":
        return
    if getattr(request, _WARNED, False):
        return
    setattr(request, _WARNED, True)
    try:
        # In a step of its own: the host's transaction goes on where the tables are not there yet.
        with transaction.atomic(using=router.db_for_read(EvaluationRecord)):
            records = list(fallen_records())
    except DatabaseError:
        logger.warning("the admin's front page goes without our warning", exc_info=True)
        return
    for record in records:
        text = format_html(
            '{} {} <a href="{}">{}</a>',
            gettext("Recommendations have become worse."),
            outcome_of(record),
            reverse(f"{site_name}:llmrec_django_modelversion_report", args=[record.version_id]),
            gettext("Report"),
        )
        # A host's admin may do without messages.
        messages.warning(request, text, fail_silently=True)
