"""Reasons in the words of a language model, beside the template that always stands in.

A request reads what is written already and leaves a row for what is not; a worker or `llmrec_write` does the rest.
Two learners with the same evidence share a text: nothing in it says whose it is.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError
from django.db import connections, router, transaction
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.translation import get_language

from llmrec_django.conf import conf
from llmrec_django.engine.text import text_hash
from llmrec_django.models import RecommendationItem, WrittenText
from llmrec_django.models.texts import Written
from llmrec_django.retrieval.eligibility import Audience, eligible
from llmrec_django.retrieval.facts import nameable_ids
from llmrec_django.services import nudge
from llmrec_django.services.results import requester
from llmrec_django.services.writing.client import model_for
from llmrec_django.services.writing.languages import language_of
from llmrec_django.services.writing.prompt import PROMPT_VERSION, reason_allowed
from llmrec_django.types import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmrec_django.models import RecommendationList
    from llmrec_django.types import Recommendation

logger = logging.getLogger(__name__)


def with_written(items: Sequence[Recommendation], *, tenant: str) -> tuple[Recommendation, ...]:
    """Return a list's items with the written reasons there are in place of their templates; ask for the others.

    A reason is written in one language: whoever reads it in another gets the template.
    """
    items = tuple(items)
    if model_for(WrittenText.Kind.REASON) is None:
        return items
    locale = get_language() or ""
    evidence = [item.evidence for item in items if item.evidence is not None and item.reason_source]
    written = written_reasons(evidence, tenant=tenant, locale=locale, ask=conf.ENABLED is True)
    return tuple(
        replace(item, reason=_in_language(text, locale, item.reason), reason_source="llm")
        if item.evidence is not None and (text := written.get(item.evidence.hash))
        else item
        for item in items
    )


def upgrade_list(stored: RecommendationList, *, user: Any = None) -> tuple[dict[str, str], bool]:
    """Return the written reasons of a stored list in the active language, and whether others may still come.

    What is returned is shown, so the list's items remember it. Nothing is said of what the learner may not see any
    more, nor by means of it.

    Args:
        user: The account whose rights decide that; None: the learner's own.

    Returns:
        Reasons by the key of their resource, without those that the list was stored with.
    """
    locale = get_language() or ""
    rows = list(stored.items.exclude(reason="").exclude(evidence={}).select_related("resource"))
    evidence = {}
    for row in rows:
        try:
            evidence[row.pk] = Evidence.from_dict(row.evidence)
        except (AttributeError, TypeError, ValueError):  # stored by another release
            continue
    told = {pk: {one.id for one in item.resources()} for pk, item in evidence.items()}
    audience = Audience(stored.tenant, requester(user, stored.learner))
    named = nameable_ids(eligible(audience), sorted(set().union(*told.values()))) if told else set()
    evidence = {pk: item for pk, item in evidence.items() if told[pk] <= named}
    written = written_reasons(evidence.values(), tenant=stored.tenant, locale=locale, ask=False)
    changed: dict[str, str] = {}
    for row in rows:
        text = written.get(evidence[row.pk].hash) if row.pk in evidence else None
        if text and text != row.reason:
            row.reason, row.reason_source = text, RecommendationItem.ReasonSource.LLM
            row.save(update_fields=["reason", "reason_source"])
            changed[row.resource.key] = text
    return changed, reasons_are_written() and len(written) < len({item.hash for item in evidence.values()})


def reasons_are_written() -> bool:
    """Return whether a language model words reasons in the active language."""
    return model_for(WrittenText.Kind.REASON) is not None and language_of(get_language() or "") is not None


def written_reasons(evidence: Iterable[Evidence], *, tenant: str, locale: str, ask: bool = True) -> Mapping[str, str]:
    """Return the reasons that are written and passed, by the hash of their evidence; ask for those that are missing.

    Reads one query, writes at most one, and never raises: what is not in the answer has its template. A language that
    texts cannot be checked in has only templates.

    Args:
        ask: False only reads.
    """
    model = model_for(WrittenText.Kind.REASON)
    if model is None or language_of(locale) is None:
        return {}
    by_subject = {subject_hash(item, tenant): item for item in evidence if _says_something(item, locale)}
    if not by_subject:
        return {}
    alias = router.db_for_write(WrittenText)
    try:
        with transaction.atomic(using=alias) if connections[alias].in_atomic_block else nullcontext():
            rows = WrittenText.objects.using(alias).filter(
                subject_hash__in=by_subject,
                kind=WrittenText.Kind.REASON,
                locale=locale,
                prompt_version=PROMPT_VERSION,
                model=model,
            )
            texts = dict(rows.values_list("subject_hash", "text"))
            missing = [subject for subject in by_subject if subject not in texts] if ask else []
            if missing:
                WrittenText.objects.using(alias).bulk_create(
                    [_request(by_subject[subject], subject, tenant, locale, model) for subject in missing],
                    ignore_conflicts=True,
                )
                nudge.nudge_writing()
    except DatabaseError:
        logger.exception("written reasons not read, templates stand in")
        return {}
    return {by_subject[subject].hash: text for subject, text in texts.items() if text}


def subject_hash(evidence: Evidence, tenant: str) -> str:
    """Return what a reason is kept under: nothing of one tenant is shown in another."""
    return text_hash(f"{tenant}\x1f{evidence.hash}")


def _says_something(evidence: Evidence, locale: str) -> bool:
    if evidence.rule:
        return False  # the editors' words stand
    allowed = reason_allowed(evidence, locale)
    return bool(allowed.grounds or allowed.numbers or allowed.claims)


def _request(evidence: Evidence, subject: str, tenant: str, locale: str, model: str) -> WrittenText:
    told: dict[str, Any] = evidence.to_dict()
    # What is not in the hash must not be told: it may differ between those who share a text.
    for name in ("parts", "goal_share"):
        told.pop(name, None)
    return WrittenText(
        tenant=tenant,
        kind=WrittenText.Kind.REASON,
        subject_hash=subject,
        locale=locale,
        prompt_version=PROMPT_VERSION,
        model=model,
        resource_id=evidence.resource.id,
        facts={"evidence": told, "resource_ids": sorted({resource.id for resource in evidence.resources()})},
        state=Written.WAITING,
        try_after=timezone.now(),
    )


def _choose(text: str, locale: str, template: str) -> str:
    return text if get_language() == locale else str(template)


_in_language: Any = lazy(_choose, str)
