"""An exported encoder, run with ONNX Runtime and tokenizers alone: for web processes, which never load torch."""

from __future__ import annotations

import hashlib
import json
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.encoders.base import Encoder
from llmrec_django.engine.encoders.batching import TokenWindows, embed_texts
from llmrec_django.engine.encoders.dependencies import require
from llmrec_django.exceptions import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix

FORMAT = 1
"""Version of the folder's layout; a reader refuses any other."""


class OnnxEncoder(Encoder):
    """Embeds with what `TransformersEncoder.export_onnx` wrote.

    Its `encoder_id` is that of the encoder it was exported from: their vectors belong to one space.

    Args:
        folder: Where the export is.
        threads: Threads that one call may use. A web process serves several requests at once, so 1.
        batch_tokens: Tokens in a batch, padding included.
    """

    is_deterministic = False

    def __init__(self, folder: str | Path, threads: int = 1, batch_tokens: int = 768) -> None:
        for name, value in (("threads", threads), ("batch_tokens", batch_tokens)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}")
        self._folder = Path(folder)
        self._threads = threads
        self._batch_tokens = batch_tokens
        self._lock = threading.Lock()
        self._loaded: tuple[Any, TokenWindows] | None = None

    @property
    def encoder_id(self) -> str:
        return str(self._manifest["encoder_id"])

    @property
    def dimension(self) -> int:
        return int(self._manifest["dimension"])

    def encode_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts of resources; see the base class."""
        return self._encode(texts, self._manifest["document_prefix"])

    def encode_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed queries, each after the query prefix; see the base class."""
        return self._encode(texts, self._manifest["query_prefix"])

    def known_share(self, text: str) -> float:
        """Ask the export's tokenizer; see the base class."""
        self.load()
        assert self._loaded is not None
        return self._loaded[1].known_share(text)

    def check(self) -> list[str]:
        """Return what is wrong with the folder's manifest; the files it names are checked when loaded."""
        try:
            _ = self._manifest
        except ArtifactError as exc:
            return [str(exc)]
        return []

    def load(self) -> None:
        """Load the model now rather than at the first text.

        Raises:
            ArtifactError: a file is missing or is not the one that was exported.
            MissingDependency: onnxruntime or tokenizers is not installed.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = self._open()

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        return read_manifest(self._folder)

    def _open(self) -> tuple[Any, TokenWindows]:
        runtime = require("onnxruntime", extra="web")
        tokenizers = require("tokenizers", extra="web")
        for name, digest in self._manifest["files"].items():
            _verify(self._folder / name, digest)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        try:
            session = runtime.InferenceSession(
                str(self._folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
            tokenizer = tokenizers.Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        except Exception as exc:  # both libraries raise bare Exceptions of their own
            raise ArtifactError(
                f"Cannot load encoder export {str(self._folder)!r}. {exc} Upgrade onnxruntime and tokenizers to "
                "the worker's versions, or export it again."
            ) from exc
        windows = TokenWindows(
            tokenizer,
            max_tokens=self._manifest["max_tokens"],
            overlap=self._manifest["chunk_overlap"],
            lowercase=self._manifest["lowercase"],
        )
        return session, windows

    def _encode(self, texts: Sequence[str], prefix: str) -> Float32Matrix:
        if not len(texts):
            return np.empty((0, self.dimension), dtype=np.float32)
        self.load()
        assert self._loaded is not None
        session, windows = self._loaded

        def forward(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Float32Matrix:
            vectors = session.run(["vector"], {"input_ids": ids, "attention_mask": mask})[0]
            return np.asarray(vectors, dtype=np.float32)

        return embed_texts(
            texts,
            windows=windows,
            prefix=prefix,
            forward=forward,
            batch_tokens=lambda: self._batch_tokens,
            dimension=self.dimension,
            pad_id=self._manifest["pad_id"],
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check encoder.json.

    Raises:
        ArtifactError: it is missing, damaged, or of another format.
    """
    path = folder / "encoder.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        is_intact = manifest["digest"] == manifest_digest(manifest)
        found = manifest["format"]
    except OSError as exc:
        raise ArtifactError(
            f"Cannot read encoder export {str(folder)!r}. {exc.strerror or exc}: {path.name}. Export it again."
        ) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise ArtifactError(
            f"Cannot read encoder export {str(folder)!r}. {path.name} is damaged. Export it again."
        ) from exc
    if found != FORMAT:
        raise ArtifactError(
            f"Cannot read encoder export {str(folder)!r}. Its format is {found!r}, this version reads {FORMAT}. "
            "Export it again."
        )
    if not is_intact:
        raise ArtifactError(
            f"Cannot read encoder export {str(folder)!r}. {path.name} is not what was exported. Export it again."
        )
    return dict(manifest)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything in encoder.json but the digest itself."""
    content = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _verify(path: Path, digest: str) -> None:
    try:
        found = file_digest(path)
    except OSError as exc:
        raise ArtifactError(
            f"Cannot load encoder export {str(path.parent)!r}. {exc.strerror or exc}: {path.name}. Export it again."
        ) from exc
    if found != digest:
        raise ArtifactError(
            f"Cannot load encoder export {str(path.parent)!r}. {path.name} is not what was exported: SHA-256 "
            f"{found[:12]}… instead of {digest[:12]}…. Export it again."
        )
