"""Summaries of resources whose description is too long for a list, or missing, in the words of a language model."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING

from django.db import Error as DatabaseError
from django.db import connections, router, transaction
from django.utils import timezone

from llmrec_django.engine.text import clean_text
from llmrec_django.exceptions import WriterError
from llmrec_django.models import Resource, ResourceScreening, WrittenText
from llmrec_django.models.screening import screen_id
from llmrec_django.models.texts import Written
from llmrec_django.services.writing.client import model_for
from llmrec_django.services.writing.languages import language_of, script_language
from llmrec_django.services.writing.prompt import PROMPT_VERSION, data, summary_allowed, summary_prompt
from llmrec_django.services.writing.titles import other_titles
from llmrec_django.services.writing.validate import overlap, problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrec_django.engine.writers import Prompt

logger = logging.getLogger(__name__)

LONG = 240
"""A description of more characters is worth a summary; two fifths of that in Chinese."""
ASKED_TOGETHER = 50
LEAST_OVERLAP = 0.6
"""So much of what a summary says stands in its source."""


def written_summaries(resource_ids: Iterable[int], locale: str) -> Mapping[int, str]:
    """Return the summaries there are of the present texts, by resource id. Never raises."""
    model = model_for(WrittenText.Kind.SUMMARY)
    language = language_of(locale)
    ids = list(resource_ids)
    if model is None or language is None or not ids:
        return {}
    alias = router.db_for_read(WrittenText)
    try:
        with transaction.atomic(using=alias) if connections[alias].in_atomic_block else nullcontext():
            rows = WrittenText.objects.using(alias).filter(
                resource__in=ids,
                kind=WrittenText.Kind.SUMMARY,
                locale=language,
                prompt_version=PROMPT_VERSION,
                model=model,
                state=Written.WRITTEN,
            )
            # The hash of the text that was summarised is the resource's own, as the database computes it.
            return {
                row.resource_id: row.text
                for row in rows.select_related("resource").only("text", "subject_hash", "resource__content_hash")
                if row.subject_hash == row.resource.content_hash
            }
    except DatabaseError:
        logger.exception("written summaries not read")
        return {}


def request_missing() -> int:
    """Leave rows for resources that want a summary and have none of their present text; return how many.

    Only texts that passed the safety screen: everything there is to look, or a person, has looked.
    """
    model = model_for(WrittenText.Kind.SUMMARY)
    if model is None:
        return 0
    alias = router.db_for_write(WrittenText)
    texts, resources, screenings = (each._meta.db_table for each in (WrittenText, Resource, ResourceScreening))
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT r.id FROM {resources} r JOIN {screenings} s ON s.resource_id = r.id
            WHERE r.published AND s.content_hash = r.content_hash
              AND (s.status = 'cleared' OR (s.status = 'clear' AND s.screen_id = %s))
              AND (char_length(r.description) > %s OR (r.description = '' AND r.body <> ''))
              AND NOT EXISTS (
                SELECT 1 FROM {texts} t WHERE t.resource_id = r.id AND t.kind = 'summary'
                  AND t.subject_hash = r.content_hash AND t.prompt_version = %s AND t.model = %s)
            ORDER BY r.id DESC LIMIT %s
            """,
            [screen_id(), LONG * 2 // 5, PROMPT_VERSION, model, ASKED_TOGETHER],
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    rows = [
        WrittenText(
            tenant=resource.tenant,
            kind=WrittenText.Kind.SUMMARY,
            subject_hash=resource.content_hash,
            locale=_language(resource) or "",
            prompt_version=PROMPT_VERSION,
            model=model,
            resource=resource,
            facts={"resource_ids": [resource.pk]},
            # A row for each, so that nobody looks at what needs none again.
            state=Written.WAITING if _wants_one(resource) else Written.REFUSED,
            error="" if _wants_one(resource) else "It needs no summary, or is in a language that cannot be checked.",
            try_after=timezone.now(),
        )
        for resource in Resource.objects.using(alias).filter(pk__in=ids).defer("search_words")
    ]
    WrittenText.objects.using(alias).bulk_create(rows, ignore_conflicts=True)
    return sum(row.state == Written.WAITING for row in rows)


def prompt(row: WrittenText, mark: str) -> Prompt:
    """Return what to ask.

    Raises:
        WriterError: the resource's text is not the one that was to be summarised.
    """
    resource = _resource(row)
    language = language_of(row.locale)
    if language is None:
        raise WriterError(f"Texts in {row.locale!r} cannot be checked.")
    return summary_prompt(resource.title, _source(resource), language, mark)


def problems_of(text: str, row: WrittenText) -> list[str]:
    """Return what speaks against showing a summary."""
    resource = _resource(row)
    language = language_of(row.locale)
    assert language is not None
    allowed = summary_allowed(resource.title, _source(resource), language)
    if other_titles(text, row.tenant, (*allowed.phrases, allowed.source)):
        return ["names a resource that is not in the facts"]
    found = problems(text, allowed, language)
    if overlap(text, allowed.source, language) < LEAST_OVERLAP:
        found.append("says what its source does not")
    return found


def _resource(row: WrittenText) -> Resource:
    resource = Resource.objects.using(router.db_for_write(Resource)).filter(pk=row.resource_id).first()
    if resource is None or resource.content_hash != row.subject_hash:
        raise WriterError("The text has changed since.")
    return resource


def _source(resource: Resource) -> str:
    return resource.description or resource.body


def _language(resource: Resource) -> str | None:
    return script_language(data(_source(resource), 500))


def _wants_one(resource: Resource) -> bool:
    text = clean_text(_source(resource))
    language = _language(resource)
    if language is None:
        return False
    return len(text) > (LONG if language == "en" else LONG * 2 // 5) or not resource.description
