"""All examinations, in the order in which a fault explains the next."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db import DatabaseError

from llmrec_django.services.doctor import database, embedding, site, trained, workers
from llmrec_django.services.doctor.findings import Finding, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

logger = logging.getLogger(__name__)

Examination = "Callable[[], Iterable[Finding]]"


def examine() -> list[Finding]:
    """Look at everything; an examination that breaks is a finding itself and does not stop the others.

    Without the tables only what does not need them is looked at.
    """
    findings = list(_safely("database", database.examine_database))
    if not any(finding.status == "fail" for finding in findings):
        findings += _safely("vector spaces", embedding.examine_spaces)
        findings += _safely("embeddings", embedding.examine_embeddings)
        findings += _safely("search", embedding.examine_search)
        findings += _safely("trained version", trained.examine_versions)
        findings += _safely("sources", site.examine_sources)
    findings += _safely("encoder", embedding.examine_encoder)
    findings += _safely("celery", workers.examine_celery)
    findings += _safely("settings", site.examine_settings)
    findings += _safely("cache", site.examine_cache)
    return findings


def _safely(name: str, examination: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from examination()
    except DatabaseError as exc:
        yield fail(name, f"the database refuses: {_first_line(exc)}", "Correct that and run this again.")
    except Exception as exc:
        logger.debug("examination failed name=%s", name, exc_info=True)
        yield fail(name, f"{type(exc).__name__}: {_first_line(exc)}", "Correct that and run this again.")


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or ["(no message)"])[0]
