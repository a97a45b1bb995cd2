"""Encoder, vector spaces, indexes and what is embedded."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from llmrec_django.conf import conf
from llmrec_django.engine.encoders.dependencies import missing
from llmrec_django.exceptions import LLMRecError
from llmrec_django.models import Resource, ResourceVector, VectorSpace
from llmrec_django.services import pending, spaces
from llmrec_django.services.doctor.findings import Finding, fail, ok, warn
from llmrec_django.services.encoders import document_encoder, encoder_named, export_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


def examine_encoder() -> Iterator[Finding]:
    """Look at the configured encoder without loading its model or asking its service."""
    name = f"encoder {conf.ENCODER!r}"
    try:
        encoder = document_encoder()
    except LLMRecError as exc:
        yield fail(name, str(exc), "Correct LLMREC['ENCODERS'] or LLMREC['ENCODER'].")
        return
    problems = encoder.check()
    if encoder.can_export_onnx:  # made with torch
        problems += missing("torch", "transformers", extra="worker")
    if problems:
        # A web tier needs no torch; where the workers run this is an error.
        yield warn(name, " ".join(problems), "Needed where workers or llmrec_embed run; other machines do without.")
    else:
        yield ok(name, encoder.encoder_id)
    if encoder.is_remote:
        where = "this machine" if encoder.is_local else "another machine, as LLMREC['ALLOW_REMOTE_TEXT'] allows"
        yield ok("texts leave for", where)


def examine_spaces() -> Iterator[Finding]:
    """Look at which space serves, whether its encoder is the configured one, and at the indexes."""
    fed = list(VectorSpace.objects.fed().order_by("pk"))
    active = next((space for space in fed if space.status == VectorSpace.Status.ACTIVE), None)
    if active is None:
        yield warn("vector spaces", "none serves: lists are popular and newest only", "Run manage.py llmrec_embed.")
    else:
        yield from _active(active)
    for space in (*fed, *spaces.learned_and_serving()):
        yield from _index(space)


def _active(space: VectorSpace) -> Iterator[Finding]:
    found = f"space {space.pk} serves: {space.encoder_id}, {space.dimension} numbers"
    try:
        configured = document_encoder().encoder_id
    except LLMRecError:
        configured = space.encoder_id  # examine_encoder() says what is wrong
    if configured == space.encoder_id:
        yield ok("vector spaces", found)
    else:
        yield warn(
            "vector spaces",
            f"{found}; the settings name {configured}",
            "Run manage.py llmrec_embed: it builds the space of the new encoder and lets it serve when complete.",
        )


def _index(space: VectorSpace) -> Iterator[Finding]:
    name = f"index of space {space.pk}"
    n = ResourceVector.objects.filter(space=space).count()
    state = spaces.index_state(space)
    if state == "invalid":
        yield fail(name, "a build broke off and left it unusable", "Run manage.py llmrec_doctor --repair.")
    elif state == "valid":
        yield ok(name, f"present, {n:,} vectors")
    elif n >= conf.INDEX_MIN_VECTORS:
        yield warn(
            name,
            f"missing; {n:,} vectors are scanned one by one",
            "Run manage.py llmrec_doctor --repair (or llmrec_embed, which builds it when all is embedded).",
        )
    else:
        yield ok(name, f"not needed: {n:,} vectors are scanned exactly, below {conf.INDEX_MIN_VECTORS:,}")


def examine_embeddings() -> Iterator[Finding]:
    """Count what is embedded, waiting and failed in the spaces that are fed."""
    if not Resource.objects.exists():
        yield warn("resources", "none", "Run manage.py llmrec_sync or llmrec_import resources FILE.")
        return
    fed = VectorSpace.objects.fed().order_by("pk")
    if not fed:
        yield warn("resources", f"{Resource.objects.count():,}, none embedded", "Run manage.py llmrec_embed.")
    for space in fed:
        counts = pending.counts(space)
        found = ", ".join(f"{n:,} {state}" for state, n in counts.items())
        name = f"embeddings in space {space.pk}"
        if counts["failed"]:
            yield warn(name, found, "The admin lists the failed ones with their errors; correct the texts.")
        elif counts["pending"]:
            yield warn(name, found, "Start a worker or run manage.py llmrec_embed.")
        else:
            yield ok(name, found)


def examine_search() -> Iterator[Finding]:
    """Look at whether a web process can embed a search query."""
    space = spaces.active_space()
    if space is None:
        return
    try:
        encoder = encoder_named(space.encoder)
    except LLMRecError:
        return  # examine_encoder() or examine_spaces() says it
    if not encoder.can_export_onnx:
        yield ok("search by meaning", "the encoder embeds queries itself, without torch")
        return
    folder = export_folder(space)
    absent = [package for package in ("onnxruntime", "tokenizers") if importlib.util.find_spec(package) is None]
    if not (folder / "encoder.json").exists():
        yield warn(
            "search by meaning",
            f"no query encoder in {folder}: search goes by words only",
            "Run manage.py llmrec_embed --export, and let web processes read that folder.",
        )
    elif absent:
        yield warn(
            "search by meaning",
            f"{' and '.join(absent)} not installed here: search goes by words only",
            'Run pip install "llmrec_django[web]" where the web processes run.',
        )
    else:
        yield ok("search by meaning", f"query encoder in {folder}")
