"""Embedding whatever is pending. The database is the record of work; a message is only a nudge."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import connections

from llmrec_django.conf import conf
from llmrec_django.models import Resource, VectorSpace
from llmrec_django.services import spaces, trained_vectors
from llmrec_django.services.embedding.claims import alias, claim, fail_repeaters, give_back, has_pending
from llmrec_django.services.embedding.encoding import encode_items
from llmrec_django.services.embedding.profiles import embed_profiles, pending_profiles
from llmrec_django.services.embedding.storing import store
from llmrec_django.services.encoders import document_encoder, encoder_named, export_query_encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrec_django.engine.encoders.base import Encoder
    from llmrec_django.services.embedding.claims import Chunk

logger = logging.getLogger(__name__)

FIRST_CLAIM = 64
LEASE_SHARE = 0.25
"""Share of a lease that encoding one claim may take: the next one is leased meanwhile and waits for it."""
ANALYSE_FROM = 500
"""After so many new vectors the planner's statistics are renewed; autovacuum may be a minute away."""


@dataclass(slots=True)
class EmbedReport:
    """What one run did."""

    embedded: int = 0
    unchanged: int = 0
    """The row changed, the text that the encoder sees did not."""
    empty: int = 0
    failed: int = 0
    profiles: int = 0
    activated: list[int] = field(default_factory=list)
    """Ids of spaces that were complete and now serve."""

    @property
    def done(self) -> int:
        return self.embedded + self.unchanged + self.empty + self.failed


def embed_pending(*, limit: int | None = None, on_progress: Callable[[EmbedReport], None] | None = None) -> EmbedReport:
    """Embed whatever is pending in every space that is fed; build, switch and index spaces that are complete.

    Raises:
        EncoderUnavailable: the encoder cannot be reached now. Claims are given back; nothing is lost.
    """
    report = EmbedReport()
    if not spaces.tables_exist():
        return report
    configured = spaces.space_for(document_encoder())
    for space in _fed_spaces(configured):
        encoder = encoder_named(space.encoder)
        _embed_space(space, encoder, report, limit, on_progress)
        report.profiles += embed_profiles(space, encoder)
        trained_vectors.feed_active(space)
        _finish(space, configured, report)
        if space.status == VectorSpace.Status.ACTIVE:
            _export(space)
    return report


def _fed_spaces(configured: VectorSpace) -> list[VectorSpace]:
    """Return the spaces to feed, the configured one first.

    A space whose encoder is no longer in the settings as it was cannot be fed: its vectors serve until the
    configured one takes over.
    """
    found = [configured]
    for space in VectorSpace.objects.fed().exclude(pk=configured.pk).order_by("pk"):
        try:
            same = encoder_named(space.encoder).encoder_id == space.encoder_id
        except Exception as exc:  # noqa: BLE001 - a setting of another encoder must not stop this one
            logger.warning("space not fed space=%s cause=%s", space.pk, exc)
            continue
        if same:
            found.append(space)
    return found


def _embed_space(
    space: VectorSpace,
    encoder: Encoder,
    report: EmbedReport,
    limit: int | None,
    on_progress: Callable[[EmbedReport], None] | None,
) -> None:
    """Claim, encode and store chunk by chunk; the database works on one chunk while the encoder works on the next."""
    background = _Background()
    fail_repeaters(space)
    # Small first, then as many as fit well into a lease at the rate seen.
    size = min(FIRST_CLAIM, conf.EMBED_BATCH) if limit is None else min(FIRST_CLAIM, conf.EMBED_BATCH, limit)
    chunk: Chunk | None = None
    upcoming: Future[Chunk | None] | None = None
    try:
        chunk = claim(space, size)
        started = report.done
        while chunk is not None:
            room = None if limit is None else limit - (report.done - started) - chunk.size
            ahead = min(size, room) if room is not None else size
            upcoming = background.submit(claim, space, ahead, chunk.last_id) if ahead > 0 else None
            began = time.monotonic()
            vectors, failures = encode_items(encoder, space, chunk.to_encode)
            if chunk.to_encode:
                rate = len(chunk.to_encode) / max(time.monotonic() - began, 1e-6)
                size = int(min(max(rate * conf.EMBED_LEASE_S * LEASE_SHARE, 1), conf.EMBED_BATCH))
            background.submit(store, space, chunk, vectors, failures)
            report.embedded += len(vectors)
            report.failed += len(failures)
            report.unchanged += len(chunk.unchanged)
            report.empty += len(chunk.empty)
            if on_progress:
                on_progress(report)
            chunk = upcoming.result() if upcoming else None
            upcoming = None
        background.finish()
    except BaseException:
        for unfinished in (chunk, upcoming.result() if upcoming else None):
            if unfinished is not None:
                give_back(space, unfinished.token)
        raise
    finally:
        background.close()


class _Background:
    """Runs database work beside the encoder, in order; inline inside a transaction, which another connection
    could not see."""

    def __init__(self) -> None:
        self._inline = connections[alias()].in_atomic_block
        self._pool = None if self._inline else ThreadPoolExecutor(1, thread_name_prefix="llmrec-embed")
        self._futures: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any]
        if self._pool is None:
            future = Future()
            future.set_result(function(*args))
            return future
        self._futures = [known for known in self._futures if not known.done() or known.exception()]
        future = self._pool.submit(function, *args)
        self._futures.append(future)
        return future

    def finish(self) -> None:
        """Wait for everything submitted; raise what failed."""
        for future in self._futures:
            future.result()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.submit(connections.close_all)
            self._pool.shutdown(wait=True)


def _finish(space: VectorSpace, configured: VectorSpace, report: EmbedReport) -> None:
    """Index a space that is complete, and let it serve if it is the configured one."""
    if has_pending(space):
        return
    if not spaces.ensure_index(space) and report.embedded >= ANALYSE_FROM:
        spaces.analyse()
    if space.pk == configured.pk and space.status == VectorSpace.Status.BUILDING:
        _export(space)
        spaces.activate(space)
        report.activated.append(space.pk)


def _export(space: VectorSpace) -> None:
    """Give web processes what they need to embed a search query; without it they search by words."""
    try:
        export_query_encoder(space)
    except Exception:
        logger.exception("query encoder not exported space=%s", space.pk)


def work_is_pending() -> bool:
    """Return whether a worker has something to do: a resource, a profile or a whole space without vectors.

    Asks the database and the encoder's identity; loads no model.
    """
    fed = list(VectorSpace.objects.fed())
    if document_encoder().encoder_id not in {space.encoder_id for space in fed}:
        return Resource.objects.exists()
    return any(
        space.status == VectorSpace.Status.BUILDING or has_pending(space) or pending_profiles(space).exists()
        for space in fed
    )
