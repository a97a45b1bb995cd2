"""Screening what is new or changed. Computed from the content hash, so a sweep finds whatever way it came in.

The rules look first and settle everything within moments; a site's classifier, which may be slow or away, looks
afterwards at what they let pass. No save waits for either.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections, router, transaction

from llmrec_django.conf import conf
from llmrec_django.engine.safety.screen import screen_fields
from llmrec_django.models import Resource, ResourceScreening
from llmrec_django.models.base import is_supported
from llmrec_django.models.screening import rules_id, screen_id
from llmrec_django.services.screening.classifier import classify
from llmrec_django.services.writing.forgetting import forget_texts_about

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmrec_django.engine.safety.screen import Finding

logger = logging.getLogger(__name__)

RESOURCES = Resource._meta.db_table
SCREENINGS = ResourceScreening._meta.db_table
BATCH = 200
CLASSIFIED_TOGETHER = 16
MOST_FINDINGS = 20
"""Kept of one resource; a person has seen enough then."""
TEXT_COLUMNS = ("title", "description", "keywords", "translations", "body")


@dataclass(slots=True)
class ScreenReport:
    """What one run did."""

    screened: int = 0
    flagged: int = 0
    classifier_failed: bool = False


@dataclass(frozen=True, slots=True)
class _Look:
    resource_id: int
    content_hash: str
    fields: dict[str, str]
    findings: Sequence[Finding] = ()


def screen_pending(*, limit: int | None = None) -> ScreenReport:
    """Screen every resource that is new, has changed, or was last looked at by other rules.

    What a person decided about a text stands. Safe to run twice or beside itself.

    Args:
        limit: Look at no more than so many resources.
    """
    report = ScreenReport()
    if not conf.SCREEN["ENABLED"] or not is_supported(_alias()):
        return report
    for looks in _batches(_unseen_by_rules, BATCH, limit):
        _store(looks, rules_id(), report)
    if conf.SCREEN["CLASSIFIER"]:
        for looks in _batches(_unseen_by_classifier, CLASSIFIED_TOGETHER, limit):
            try:
                found = classify([look.fields for look in looks])
            except Exception:
                # What the rules let pass is looked at again by the next run.
                logger.exception("classifier failed, the rules alone have looked at what is new")
                report.classifier_failed = True
                break
            looked = [
                _Look(look.resource_id, look.content_hash, look.fields, findings)
                for look, findings in zip(looks, found, strict=True)
            ]
            _store(looked, screen_id(), report)
    return report


def count_unscreened() -> int:
    """Return how many resources wait for the screen."""
    sql, params = _unseen_by_rules()
    with connections[_alias()].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({sql}) AS waiting", params)
        return int(cursor.fetchone()[0])


def text_fields(row: dict[str, Any]) -> dict[str, str]:
    """Return every text of a resource that is shown or embedded, by name. JSON may hold anything."""
    fields = {name: str(row[name] or "") for name in ("title", "description", "body")}
    keywords = row["keywords"] if isinstance(row["keywords"], list) else [row["keywords"]]
    fields["keywords"] = "\n".join(str(word) for word in keywords if word)
    translations = row["translations"] if isinstance(row["translations"], dict) else {"": row["translations"]}
    for tag, entry in translations.items():
        for name, text in entry.items() if isinstance(entry, dict) else [("", entry)]:
            fields[f"translations.{tag}.{name}"] = str(text or "")
    return {name: text for name, text in fields.items() if text}


def texts_of(resource: Resource) -> dict[str, str]:
    """Return every text of a resource that is looked at, by the name that findings give it."""
    return text_fields({name: getattr(resource, name) for name in TEXT_COLUMNS})


def _unseen_by_rules() -> tuple[str, list[Any]]:
    return (
        f"SELECT r.id FROM {RESOURCES} r LEFT JOIN {SCREENINGS} s ON s.resource_id = r.id "
        "WHERE (s.id IS NULL OR s.content_hash <> r.content_hash "
        "OR (s.status IN ('clear', 'flagged') AND split_part(s.screen_id, ' ', 1) <> %s))",
        [rules_id()],
    )


def _unseen_by_classifier() -> tuple[str, list[Any]]:
    return (
        f"SELECT r.id FROM {RESOURCES} r JOIN {SCREENINGS} s ON s.resource_id = r.id "
        "WHERE (s.status = 'clear' AND s.content_hash = r.content_hash AND s.screen_id <> %s)",
        [screen_id()],
    )


def _batches(pending: Any, size: int, limit: int | None) -> Iterator[list[_Look]]:
    """Yield pending resources with the rules' findings, the newest first; each once, whatever becomes of it."""
    before, seen = None, 0
    while limit is None or seen < limit:
        sql, params = pending()
        if before is not None:
            sql, params = f"{sql} AND r.id < %s", [*params, before]
        with connections[_alias()].cursor() as cursor:
            cursor.execute(f"{sql} ORDER BY r.id DESC LIMIT %s", [*params, min(size, (limit or size + seen) - seen)])
            ids = [pk for (pk,) in cursor.fetchall()]
        if not ids:
            return
        before, seen = ids[-1], seen + len(ids)
        rows = Resource.objects.using(_alias()).filter(pk__in=ids).values("pk", "content_hash", *TEXT_COLUMNS)
        yield [_look(row) for row in rows]


def _look(row: dict[str, Any]) -> _Look:
    fields = text_fields(row)
    ignored = set(conf.SCREEN["IGNORE"])
    findings = [finding for finding in screen_fields(fields) if finding.rule not in ignored]
    # The hash read with the text: the row may have changed since it was found.
    return _Look(row["pk"], row["content_hash"], fields, findings)


def _store(looks: Sequence[_Look], looked_by: str, report: ScreenReport) -> None:
    status = [ResourceScreening.Status.FLAGGED if look.findings else ResourceScreening.Status.CLEAR for look in looks]
    with transaction.atomic(using=_alias()), connections[_alias()].cursor() as cursor:
        cursor.execute(
            f"""
            WITH r AS (SELECT id FROM {RESOURCES} WHERE id = ANY(%s) FOR KEY SHARE)
            INSERT INTO {SCREENINGS} AS s (resource_id, status, content_hash, screen_id, findings, screened_at)
            SELECT r.id, row.status, row.content_hash, %s, row.findings::jsonb, statement_timestamp()
            FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) AS row(id, status, content_hash, findings)
            JOIN r ON r.id = row.id
            ON CONFLICT (resource_id) DO UPDATE SET
                -- Who was kept out by a person comes back by a person.
                status = CASE WHEN s.status = 'blocked' THEN s.status ELSE excluded.status END,
                content_hash = excluded.content_hash, screen_id = excluded.screen_id,
                findings = excluded.findings, screened_at = excluded.screened_at
            WHERE NOT (s.status = 'cleared' AND s.content_hash = excluded.content_hash)
            RETURNING s.status
            """,
            [
                [look.resource_id for look in looks],
                looked_by,
                [look.resource_id for look in looks],
                [str(value) for value in status],
                [look.content_hash for look in looks],
                [json.dumps([asdict(finding) for finding in look.findings[:MOST_FINDINGS]]) for look in looks],
            ],
        )
        stored = [found for (found,) in cursor.fetchall()]
    report.screened += len(stored)
    n_flagged = stored.count(ResourceScreening.Status.FLAGGED)
    report.flagged += n_flagged
    if n_flagged:
        flagged = [look.resource_id for look in looks if look.findings]
        forget_texts_about(flagged)
        logger.warning("resources wait for a person, they are shown to nobody resources=%s", flagged)


def _alias() -> str:
    return router.db_for_write(ResourceScreening)
