"""Which encoder does what in this process. Built once; loading a model is slow and its memory is large."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from llmrec_django.conf import LLMRecConfigurationError, conf
from llmrec_django.engine.encoders import build_encoder
from llmrec_django.exceptions import LLMRecError

if TYPE_CHECKING:
    from llmrec_django.engine.encoders.base import Encoder
    from llmrec_django.models import VectorSpace
    from llmrec_django.types import EncoderSpec

logger = logging.getLogger(__name__)


# By name, with the settings it was built from: tests change settings, and the next one must not meet the last one's.
_built: dict[str, tuple[EncoderSpec, Encoder]] = {}


def encoder_named(name: str) -> Encoder:
    """Return the encoder of `LLMREC["ENCODERS"][name]`, built once per process and again if its settings change.

    Raises:
        LLMRecConfigurationError: unknown name, or a remote encoder without the opt-in.
    """
    spec = conf.encoder_spec(name)
    known = _built.get(name)
    if known is None or known[0] != spec:
        known = _built[name] = (spec, build_encoder(spec))
    encoder = known[1]
    if encoder.is_remote and not encoder.is_local and not conf.ALLOW_REMOTE_TEXT:
        raise LLMRecConfigurationError(
            f"Cannot use encoder {name!r}: it sends texts to another machine. "
            "Set LLMREC['ALLOW_REMOTE_TEXT'] = True if your site allows that."
        )
    return encoder


def document_encoder() -> Encoder:
    """Return the encoder that embeds the catalogue."""
    return encoder_named(conf.ENCODER)


def export_folder(space: VectorSpace) -> Path:
    """Return the folder of a space's query encoder export."""
    root = conf.ARTIFACT_DIR or Path(getattr(settings, "BASE_DIR", ".")) / "llmrec_artifacts"
    return Path(root) / "query_encoders" / f"space_{space.pk}"


def query_encoder(space: VectorSpace) -> Encoder | None:
    """Return what can embed a search query for `space` inside a web request, or None.

    That is the space's encoder itself where it answers over HTTP or needs no model, else its ONNX export. A web
    process never loads torch.
    """
    try:
        encoder = encoder_named(space.encoder)
        if encoder.encoder_id != space.encoder_id:
            return None
        if not encoder.can_export_onnx:
            return encoder
        return _onnx_encoder(str(export_folder(space)), space.encoder_id)
    except LLMRecError as exc:
        _warn_once(f"{space.pk}: {exc}")
        return None


@functools.lru_cache(maxsize=4)
def _load_onnx(folder: str, modified_ns: int, encoder_id: str) -> Encoder | None:
    from llmrec_django.engine.encoders.onnx import OnnxEncoder

    encoder = OnnxEncoder(folder=folder)
    return encoder if encoder.encoder_id == encoder_id else None


def _onnx_encoder(folder: str, encoder_id: str) -> Encoder | None:
    manifest = Path(folder) / "encoder.json"
    if not manifest.exists():
        return None
    # A new export of the same space is picked up by its time.
    return _load_onnx(folder, manifest.stat().st_mtime_ns, encoder_id)


def export_query_encoder(space: VectorSpace, *, replace: bool = False) -> Path | None:
    """Write the ONNX export of a space's encoder for web processes; None when it needs or has none."""
    encoder = encoder_named(space.encoder)
    folder = export_folder(space)
    if not encoder.can_export_onnx or encoder.encoder_id != space.encoder_id:
        return None
    if (folder / "encoder.json").exists() and not replace:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    encoder.export_onnx(folder)
    return folder


@functools.cache
def _warn_once(cause: str) -> None:
    logger.warning("search goes on with words only, no query encoder for space %s", cause)
