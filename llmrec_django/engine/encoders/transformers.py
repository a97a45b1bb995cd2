"""Encoders from transformers models and sentence-transformers folders, run with torch."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.encoders.base import Encoder
from llmrec_django.engine.encoders.batching import TokenWindows, embed_texts
from llmrec_django.engine.encoders.dependencies import require
from llmrec_django.engine.encoders.model_files import (
    ModelFolder,
    find_model,
    fingerprint,
    is_local,
    is_reference,
    read_model_folder,
)
from llmrec_django.engine.encoders.onnx import OnnxEncoder
from llmrec_django.exceptions import EncoderError, EncoderUnavailable, LLMRecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix

logger = logging.getLogger(__name__)

_POOLINGS = ("mean", "cls", "last")
_DTYPES = ("float32", "bfloat16", "float16", "int8")
# Measured (benchmarks/encoder_rate.py): a processor's caches are happiest with small batches of little padding,
# a GPU needs large ones to be busy.
_CPU_BATCH_TOKENS = 768
_GPU_BATCH_TOKENS = 32_768
_MAX_ID = 255


class TransformersEncoder(Encoder):
    """A language model from a folder, an installed package or a hub.

    A sentence-transformers folder brings its pooling, prompts, longest input and dense layers; options given here
    come first. Texts longer than the window are cut by tokens, and the vectors of the pieces averaged by length.

    Args:
        model: A folder, a "package.module:function" that returns one, or the name of a hub's model.
        revision: Commit, tag or branch of a hub's model. Pin a commit: a branch may move, and vectors with it.
        pooling: "mean", "cls" or "last"; None: as the folder says, else "mean".
        query_prefix: Instruction before each query; None: as the folder says.
        document_prefix: Instruction before each document; None: as the folder says.
        max_tokens: The window, special tokens and prefix included; None: as the folder says, else 512.
        dimension: Keep the first so many numbers (models trained the Matryoshka way); None: all.
        dtype: "float32", "bfloat16", "float16", or "int8" (dynamic quantisation, on the processor only).
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        batch_tokens: Tokens in a batch, padding included; None: what suits the device. Halved when a GPU's memory
            runs out.
        chunk_overlap: Tokens that neighbouring pieces of a long text share.

    Code that comes with a model is never run.
    """

    is_deterministic = False
    can_export_onnx = True

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        pooling: str | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        max_tokens: int | None = None,
        dimension: int | None = None,
        dtype: str = "float32",
        device: str = "auto",
        batch_tokens: int | None = None,
        chunk_overlap: int = 0,
    ) -> None:
        if pooling is not None and pooling not in _POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(_POOLINGS)}, not {pooling!r}")
        if dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, not {dtype!r}")
        if dtype == "int8" and device not in ("auto", "cpu"):
            raise ValueError(f"dtype 'int8' runs on the processor only, not on device {device!r}")
        for name, value in (("max_tokens", max_tokens), ("dimension", dimension), ("batch_tokens", batch_tokens)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}")
        if chunk_overlap < 0:
            raise ValueError(f"chunk_overlap must be 0 or more, not {chunk_overlap!r}")
        self._model = str(model)
        self._revision = revision
        self._pooling = pooling
        self._query_prefix = query_prefix
        self._document_prefix = document_prefix
        self._max_tokens = max_tokens
        self._dimension = dimension
        self._dtype = dtype
        self._device = device
        self._batch_tokens = batch_tokens
        self._chunk_overlap = chunk_overlap
        self._lock = threading.Lock()
        self._loaded: _LoadedModel | OnnxEncoder | None = None

    @cached_property
    def encoder_id(self) -> str:
        """Name, content and options: two encoders with one id give the same vectors wherever their files lie."""
        if is_local(self._model):
            name = self._model if is_reference(self._model) else Path(self._model).resolve().name
            version = fingerprint(find_model(self._model))
        else:
            name, version = self._model, self._revision or "main"
        options = {
            "name": name,
            "version": version,
            "pooling": self._pooling,
            "prefixes": [self._query_prefix, self._document_prefix],
            "max_tokens": self._max_tokens,
            "dimension": self._dimension,
            "dtype": self._dtype,
            "chunk_overlap": self._chunk_overlap,
        }
        digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]
        given = [str(option) for option in (self._pooling, self._dimension, self._dtype) if option]
        ending = f" {' '.join(given)} #{digest}"
        return f"{name}@{version}"[: _MAX_ID - len(ending)] + ending

    @property
    def dimension(self) -> int:
        """Read from the model's config; the weights are not loaded."""
        if self._dimension is not None:
            return self._dimension
        return read_model_folder(self._find(weights=False)).dimension

    def encode_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts of resources; see the base class."""
        return self._encode(texts, is_query=False)

    def encode_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed queries, each after the query prefix; see the base class."""
        return self._encode(texts, is_query=True)

    def check(self) -> list[str]:
        """Return what is wrong with a local model's folder."""
        if not is_local(self._model):
            return []
        try:
            read_model_folder(find_model(self._model))
        except LLMRecError as exc:
            return [str(exc)]
        return []

    def export_onnx(self, folder: Any, *, quantize: bool = False) -> None:
        """Write model, tokenizer and options to `folder` for `OnnxEncoder`, all or nothing.

        Args:
            folder: Need not exist; what it held is replaced.
            quantize: Weights as 8-bit integers. Always so when this encoder's dtype is "int8".

        Raises:
            EncoderError: the model cannot be exported.
        """
        from llmrec_django.engine.encoders.onnx_export import write_export
        from llmrec_django.engine.encoders.torch_model import build_module

        settled = self._settle()
        tokenizer = _load_tokenizer(settled.folder)
        module = build_module(
            settled.folder, pooling=settled.pooling, dimension=settled.dimension, dtype="float32", device="cpu"
        )
        write_export(
            Path(folder),
            module=module,
            tokenizer=tokenizer.backend_tokenizer,
            options={
                "encoder_id": self.encoder_id,
                "dimension": settled.dimension,
                "pooling": settled.pooling,
                "query_prefix": settled.query_prefix,
                "document_prefix": settled.document_prefix,
                "max_tokens": settled.max_tokens,
                "chunk_overlap": self._chunk_overlap,
                "lowercase": settled.folder.lowercase,
                "pad_id": int(tokenizer.pad_token_id or 0),
            },
            quantize=quantize or self._dtype == "int8",
            n_tokens=min(len(tokenizer), module.model.get_input_embeddings().num_embeddings),
        )

    def _find(self, *, weights: bool = True) -> Path:
        return find_model(self._model, self._revision, weights=weights)

    def _settle(self) -> _Settled:
        """Settle every option: what was given comes first, then what the folder says."""
        folder = read_model_folder(self._find())
        if self._dimension is not None and self._dimension > folder.dimension:
            raise EncoderError(
                f"Cannot keep {self._dimension} numbers of each vector. The model in {str(folder.path)!r} makes "
                f"{folder.dimension}. Lower the option dimension."
            )
        return _Settled(
            folder=folder,
            pooling=self._pooling or folder.pooling or "mean",
            query_prefix=folder.query_prefix if self._query_prefix is None else self._query_prefix,
            document_prefix=folder.document_prefix if self._document_prefix is None else self._document_prefix,
            max_tokens=self._max_tokens or folder.max_tokens or 512,
            dimension=self._dimension or folder.dimension,
        )

    def _encode(self, texts: Sequence[str], *, is_query: bool) -> Float32Matrix:
        if not len(texts):
            return np.empty((0, self.dimension), dtype=np.float32)
        loaded = self._load()
        if isinstance(loaded, OnnxEncoder):
            return loaded.encode_queries(texts) if is_query else loaded.encode_documents(texts)
        return loaded.encode(texts, is_query=is_query)

    def _load(self) -> _LoadedModel | OnnxEncoder:
        with self._lock:
            if self._loaded is None:
                if self._dtype == "int8":
                    self._loaded = self._load_quantised()
                else:
                    self._loaded = _LoadedModel(
                        self._settle(),
                        dtype=self._dtype,
                        device=self._device,
                        batch_tokens=self._batch_tokens,
                        chunk_overlap=self._chunk_overlap,
                    )
            return self._loaded

    def _load_quantised(self) -> OnnxEncoder:
        # torch's own dynamic quantisation is deprecated.
        threads = require("torch", extra="worker").get_num_threads()
        with tempfile.TemporaryDirectory(prefix="llmrec_int8_") as scratch:
            folder = Path(scratch) / "export"
            self.export_onnx(folder)
            encoder = OnnxEncoder(folder, threads=threads, batch_tokens=self._batch_tokens or _CPU_BATCH_TOKENS)
            encoder.load()
        return encoder


@dataclass(frozen=True, slots=True)
class _Settled:
    """A model's folder and the options that shape its vectors, each decided."""

    folder: ModelFolder
    pooling: str
    query_prefix: str
    document_prefix: str
    max_tokens: int
    dimension: int


class _LoadedModel:
    """A model in memory."""

    def __init__(
        self, settled: _Settled, *, dtype: str, device: str, batch_tokens: int | None, chunk_overlap: int
    ) -> None:
        from llmrec_django.engine.encoders.torch_model import build_module

        self._torch = require("torch", extra="worker")
        self._settled = settled
        self.device = _choose_device(self._torch, device)
        self.batch_tokens = batch_tokens or (_CPU_BATCH_TOKENS if self.device == "cpu" else _GPU_BATCH_TOKENS)
        tokenizer = _load_tokenizer(settled.folder)
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._windows = TokenWindows(
            tokenizer.backend_tokenizer,
            max_tokens=settled.max_tokens,
            overlap=chunk_overlap,
            lowercase=settled.folder.lowercase,
        )
        self._module = build_module(
            settled.folder, pooling=settled.pooling, dimension=settled.dimension, dtype=dtype, device=self.device
        )

    def encode(self, texts: Sequence[str], *, is_query: bool) -> Float32Matrix:
        """Embed texts; float32 [n, d], rows of unit length."""
        return embed_texts(
            texts,
            windows=self._windows,
            prefix=self._settled.query_prefix if is_query else self._settled.document_prefix,
            forward=self._forward,
            batch_tokens=lambda: self.batch_tokens,
            dimension=self._settled.dimension,
            pad_id=self._pad_id,
        )

    def _forward(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Float32Matrix:
        """Run one batch; where a GPU's memory does not hold it, in halves, and smaller ones from then on."""
        torch = self._torch
        try:
            with torch.inference_mode():
                vectors = self._module(torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device))
                return np.asarray(vectors.cpu().numpy(), dtype=np.float32)
        except torch.OutOfMemoryError as exc:
            if len(ids) == 1:
                raise EncoderUnavailable(
                    f"Cannot embed a text of {ids.shape[1]} tokens on {self.device!r}. Its memory is full. "
                    "Lower max_tokens or free the device."
                ) from exc
        self.batch_tokens = max(1, ids.size // 2)
        logger.warning("device=%s is out of memory, batch_tokens=%d from now on", self.device, self.batch_tokens)
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        middle = len(ids) // 2
        return np.concatenate([self._forward(ids[:middle], mask[:middle]), self._forward(ids[middle:], mask[middle:])])


def _choose_device(torch: Any, device: str) -> str:
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _load_tokenizer(folder: ModelFolder) -> Any:
    transformers = require("transformers", extra="worker")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder.path), trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as exc:
        raise EncoderUnavailable(
            f"Cannot load the tokenizer in {str(folder.path)!r}. {exc} Check that the folder is complete."
        ) from exc
    if not getattr(tokenizer, "is_fast", False):
        raise EncoderError(
            f"Cannot use the tokenizer in {str(folder.path)!r}. It has no tokenizer.json and cannot be converted. "
            "Use another model."
        )
    return tokenizer
