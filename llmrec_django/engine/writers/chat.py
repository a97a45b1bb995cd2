"""Language models behind an OpenAI-compatible chat endpoint, on this machine or another."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import random
import re
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmrec_django.engine.encoders.http_json import JsonService, ServiceBusy
from llmrec_django.engine.writers.base import Prompt, TextGenerator
from llmrec_django.exceptions import EncoderError, EncoderUnavailable, WriterError, WriterUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_LARGEST_ANSWER = 1 << 20
_LONGEST_WAIT_S = 20.0
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


class ChatWriter(TextGenerator):
    """Asks a service that answers `POST {base_url}/chat/completions` as OpenAI's does (vLLM, Ollama, llama.cpp …).

    Prompts leave this process; with a `base_url` that is not this machine, `LLMREC["ALLOW_REMOTE_TEXT"]` must allow
    it. Neither prompts nor answers nor keys are logged or put into errors.

    Args:
        base_url: Up to where /chat/completions follows: "http://127.0.0.1:8000/v1".
        model: The model's name there.
        api_key: Sent as a bearer token. Prefer api_key_env, which keeps it out of the settings.
        api_key_env: Name of the environment variable that holds the key.
        revision: A word of your own. Change it when the service puts another model behind the same name.
        temperature: Of attempts after the first; the first asks for the likeliest text, 0.
        extra_body: Further fields of every request: {"reasoning_effort": "low"}.
        timeout_s: Seconds a request may take.
        max_retries: How often a request is tried again where that may help.
        retry_wait_s: The first wait is up to so long, each next one up to twice as long.
    """

    is_remote = True

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str = "",
        api_key_env: str = "",
        revision: str = "",
        temperature: float = 0.7,
        extra_body: Mapping[str, Any] | None = None,
        timeout_s: float = 30.0,
        max_retries: int = 1,
        retry_wait_s: float = 1.0,
    ) -> None:
        if timeout_s <= 0:
            raise ValueError(f"timeout_s must be more than 0, not {timeout_s!r}")
        if max_retries < 0 or retry_wait_s < 0 or temperature < 0:
            raise ValueError("max_retries, retry_wait_s and temperature must be 0 or more")
        self._service = JsonService(
            f"{base_url.rstrip('/')}/chat/completions", purpose="write with", largest_answer=_LARGEST_ANSWER
        )
        self._model = model
        self._api_key = api_key
        self._api_key_env = api_key_env
        self._revision = revision
        self._temperature = temperature
        self._extra_body = dict(extra_body or {})
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._retry_wait_s = retry_wait_s

    @property
    def is_local(self) -> bool:
        """The service is on this machine: prompts do not leave it."""
        try:
            return ipaddress.ip_address(self._service.host).is_loopback
        except ValueError:
            return self._service.host == "localhost"

    @cached_property
    def model_id(self) -> str:
        """Names the model, not the address."""
        name = f"{self._model}@{self._revision}" if self._revision else self._model
        if not self._extra_body:
            return f"chat {name[:240]}"
        options = json.dumps(self._extra_body, sort_keys=True, default=str)
        return f"chat {name[:220]} #{hashlib.sha256(options.encode()).hexdigest()[:12]}"

    def generate(self, prompt: Prompt, *, attempt: int = 0) -> str:
        """Ask the service; see the base class."""
        body = {
            "max_tokens": prompt.max_tokens,
            "temperature": self._temperature if attempt else 0,
            **self._extra_body,
            "model": self._model,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            "stream": False,
        }
        return _THOUGHTS.sub("", self._read(self._ask(body)))

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

    def _ask(self, body: dict[str, Any]) -> Any:
        """Make the request, again where that may help."""
        for attempt in range(self._max_retries + 1):
            try:
                return self._service.post(body, headers=self._headers(), timeout_s=self._timeout_s)
            except ServiceBusy as exc:
                if attempt == self._max_retries:
                    raise WriterUnavailable(str(exc)) from exc
                # Full jitter: workers that failed together must not come back together.
                wait_s = random.uniform(0, self._retry_wait_s * 2**attempt)  # noqa: S311
                time.sleep(min(_LONGEST_WAIT_S, max(wait_s, exc.retry_after_s or 0)))
            except EncoderUnavailable as exc:
                raise WriterUnavailable(str(exc)) from exc
            except EncoderError as exc:
                raise WriterError(str(exc)) from exc
        raise AssertionError("unreachable")

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self._api_key_env, "") if self._api_key_env else self._api_key
        if not key and not self._api_key_env:
            return {}
        key = key.strip()
        # http.client would put an unusable key into its error.
        if not (key and key.isascii() and key.isprintable() and " " not in key):
            raise WriterUnavailable(
                f"{self._service.cannot} The key is missing or holds characters that no key has. Set it again."
            )
        return {"Authorization": f"Bearer {key}"}

    def _read(self, answer: Any) -> str:
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as exc:
            raise WriterUnavailable(
                f"{self._service.cannot} The answer has no message of a chat in it. "
                "Check that the address is that of an OpenAI-compatible service."
            ) from exc
        if not isinstance(text, str) or not text.strip():
            raise WriterError(f"{self._service.cannot} The model says nothing. Check the model and max_tokens.")
        return text
