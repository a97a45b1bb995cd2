"""POST a JSON body, get a JSON body: keep-alive, a limit on the whole exchange, errors in our words."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmrec_django.exceptions import EncoderError, EncoderUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEALING = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that go away by themselves."""
_ABOUT_THE_TEXTS = frozenset({400, 413, 422})
_CLOSED_WHILE_IDLE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
_PLAIN_WORD = re.compile(r"[\w.-]{1,64}")


class ServiceBusy(EncoderUnavailable):
    """The service asks to come back later, or did not answer in time."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class JsonService:
    """One address that takes and gives JSON. Each thread keeps a connection of its own open.

    Redirects are not followed: the key and the texts go to the address that was named and to no other. Bodies
    appear in no error, as services like to repeat what they were sent.

    Args:
        url: http or https, without user name and password.
        purpose: What errors say that could not be done.
        largest_answer: A longer answer is not read to its end; bytes.
    """

    def __init__(self, url: str, *, purpose: str = "embed with", largest_answer: int = 256 << 20) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url must be an http or https address, not {url!r}")
        if parts.username or parts.password:
            raise ValueError("base_url must not hold a user name or password; give api_key_env instead")
        self.url = url
        self.cannot = f"Cannot {purpose} {url!r}."
        self._largest_answer = largest_answer
        self.host = parts.hostname
        self.is_secure = parts.scheme == "https"
        self._port = parts.port
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._local = threading.local()

    def post(self, body: Mapping[str, Any], *, headers: Mapping[str, str], timeout_s: float) -> Any:
        """Send `body` and return the decoded answer, all within `timeout_s` (looking up the name excepted).

        Raises:
            ServiceBusy: no connection, no answer in time, or a status that goes away by itself.
            EncoderUnavailable: any other status or answer that is not about the texts.
            EncoderError: the service refuses the texts.
        """
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json", **headers}
        deadline = time.monotonic() + timeout_s
        try:
            status, kind, retry_after, answer = self._exchange(data, headers, deadline)
        except TimeoutError as exc:
            self.close()
            raise ServiceBusy(f"{self.cannot} No answer within {timeout_s:g} s.") from exc
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise ServiceBusy(f"{self.cannot} {type(exc).__name__}: {exc}. Check that the service runs.") from exc
        if status != 200:
            self._refuse(status, answer, retry_after)
        try:
            return json.loads(answer)
        except ValueError as exc:
            raise EncoderUnavailable(
                f"{self.cannot} The answer is no JSON but {kind or 'of no type'}. "
                "Check that the address is that of such a service."
            ) from exc

    def close(self) -> None:
        """Close this thread's connection."""
        local = getattr(self, "_local", None)  # missing where __init__ refused the address
        connection = getattr(local, "connection", None)
        if local is not None and connection is not None:
            local.connection = None
            connection.close()

    def __del__(self) -> None:
        self.close()

    def _exchange(
        self, data: bytes, headers: Mapping[str, str], deadline: float
    ) -> tuple[int, str, float | None, bytes]:
        is_reused = self._is_open()
        try:
            response = self._send(data, headers, deadline)
        except _CLOSED_WHILE_IDLE:
            if not is_reused:
                raise
            # The service closed the connection while we did not use it: no failure, open another.
            self.close()
            response = self._send(data, headers, deadline)
        chunks: list[bytes] = []
        size = 0
        while chunk := response.read1(1 << 20):
            chunks.append(chunk)
            size += len(chunk)
            if size > self._largest_answer:
                self.close()
                raise EncoderUnavailable(f"{self.cannot} The answer is larger than {self._largest_answer >> 20} MiB.")
            self._limit(deadline)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        will_close = response.will_close
        response.close()  # its body is read: the connection is free for the next request
        if will_close:
            self.close()
        return response.status, response.headers.get_content_type(), _seconds(response), b"".join(chunks)

    def _send(self, data: bytes, headers: Mapping[str, str], deadline: float) -> http.client.HTTPResponse:
        connection = self._connection(deadline)
        self._limit(deadline)
        connection.request("POST", self._target, body=data, headers=dict(headers))
        self._limit(deadline)
        return connection.getresponse()

    def _is_open(self) -> bool:
        # A connection from before a fork belongs to the parent.
        return getattr(self._local, "connection", None) is not None and self._local.pid == os.getpid()

    def _connection(self, deadline: float) -> http.client.HTTPConnection:
        if not self._is_open():
            self.close()
            timeout = _left(deadline)
            self._local.connection = (
                http.client.HTTPSConnection(
                    self.host, self._port, timeout=timeout, context=ssl.create_default_context()
                )
                if self.is_secure
                else http.client.HTTPConnection(self.host, self._port, timeout=timeout)
            )
            self._local.pid = os.getpid()
        connection: http.client.HTTPConnection = self._local.connection
        return connection

    def _limit(self, deadline: float) -> None:
        """Let the next step take no longer than what is left."""
        connection = getattr(self._local, "connection", None)
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(_left(deadline))
        else:
            _left(deadline)

    def _refuse(self, status: int, answer: bytes, retry_after: float | None) -> None:
        found = f"{self.cannot} It answers {status} {_name_of_error(answer)}".rstrip() + "."
        if status in _HEALING:
            raise ServiceBusy(found, retry_after)
        if status in _ABOUT_THE_TEXTS:
            raise EncoderError(f"{found} Check the model's name and the longest text it takes.")
        if status in (401, 403):
            raise EncoderUnavailable(f"{found} Check the key that api_key_env names.")
        ending = self._target.rpartition("/")[2]
        raise EncoderUnavailable(f"{found} Check base_url: it must end where /{ending} follows.")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _seconds(response: http.client.HTTPResponse) -> float | None:
    """Return what a Retry-After header asks for, when it is a number of seconds."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _name_of_error(answer: bytes) -> str:
    """Return the kind of error an OpenAI-compatible service names, if it is a plain word; never its message."""
    try:
        error = json.loads(answer)["error"]
        words = [str(error[key]) for key in ("type", "code") if error.get(key)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return ", ".join(word for word in words if _PLAIN_WORD.fullmatch(word))
