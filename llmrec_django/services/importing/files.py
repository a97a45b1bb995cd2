"""Reading rows from CSV and JSON-lines files, as they are found in the wild."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from llmrec_django.exceptions import LLMRecError
from llmrec_django.services.importing.report import RowError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RECORD = 2_000_000
"""Characters of one row. An unclosed quote would otherwise make one row of the rest of the file."""


class ImportFileError(LLMRecError):
    """A file cannot be read at all, or has not the columns it needs."""


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row by column name; columns that the row does not have are absent."""

    line: int
    cells: dict[str, Any]


@dataclass
class RowFile:
    """An open file: its columns (CSV; empty for JSON lines, where each row names its own) and its rows."""

    name: str
    columns: tuple[str, ...]
    rows: Iterator[Row | RowError]

    def require(self, *needed: str, known: frozenset[str]) -> tuple[str, ...]:
        """Check the columns of a CSV file; return those that nothing reads.

        Raises:
            ImportFileError: a needed column is missing.
        """
        if not self.columns:
            return ()
        missing = [column for column in needed if column not in self.columns]
        if missing:
            raise ImportFileError(
                f"Cannot import {self.name!r}: column {', '.join(missing)} is missing. "
                f"Found: {', '.join(self.columns)}. Add a first line with the column names "
                f"(needed: {', '.join(needed)})."
            )
        return tuple(column for column in self.columns if column not in known)


@contextmanager
def open_rows(path: str | Path, *, stdin: IO[bytes] | None = None) -> Iterator[RowFile]:
    """Open a CSV or JSON-lines file, plain or gzipped; "-" reads standard input.

    Gzip is recognised by its first bytes; JSON lines by the extension `.jsonl` or `.ndjson` and, on standard
    input, by a first character "{".

    Raises:
        ImportFileError: the file cannot be opened, is empty, is not UTF-8 or has no usable header.
    """
    name = str(path)
    with _open_bytes(name, stdin) as raw:
        head = raw.peek(8)[:8]
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ImportFileError(f"Cannot read {name!r}: it is UTF-16. Save it as UTF-8 and import it again.")
        # A byte that is not UTF-8 becomes a lone surrogate: only its own row is refused, with its line.
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        lines = _Lines(name, text)
        try:
            if _is_json_lines(name, head):
                yield RowFile(name, (), _json_rows(lines))
            else:
                columns, rows = _csv_rows(lines)
                yield RowFile(name, columns, rows)
        finally:
            text.detach()


@contextmanager
def _open_bytes(name: str, stdin: IO[bytes] | None) -> Iterator[io.BufferedReader]:
    try:
        raw: Any = (stdin or sys.stdin.buffer) if name == "-" else Path(name).open("rb")  # noqa: SIM115
    except OSError as exc:
        raise ImportFileError(f"Cannot open {name!r}: {exc.strerror or exc}. Check the path.") from exc
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)
    try:
        if buffered.peek(2)[:2] == b"\x1f\x8b":
            yield io.BufferedReader(gzip.GzipFile(fileobj=buffered))
        else:
            yield buffered
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise ImportFileError(f"Cannot read {name!r}: the gzip data is damaged ({exc}). Fetch it again.") from exc
    finally:
        if name != "-":
            raw.close()


def _is_json_lines(name: str, head: bytes) -> bool:
    if name == "-":
        return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    stem = name.lower().removesuffix(".gz")
    return stem.endswith((".jsonl", ".ndjson"))


class _TooLong(Exception):
    pass


class _Lines:
    """Lines of a text stream with their numbers; the lines of a broken record can be read anew."""

    def __init__(self, name: str, stream: IO[str]) -> None:
        self.name = name
        self._stream = stream
        self._back: deque[str] = deque()
        self.number = 0
        self.record: list[str] = []
        """Lines handed out since `start_record`."""
        self._length = 0

    def start_record(self) -> None:
        self.record = []
        self._length = 0

    def give_back(self) -> None:
        """Return all lines of the record but its first."""
        rest = self.record[1:]
        self._back.extendleft(reversed(rest))
        self.number -= len(rest)
        self.record = self.record[:1]

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._read_line()
        if not line:
            raise StopIteration
        self.number += 1
        self._length += len(line)
        self.record.append(line)
        if self._length > MAX_RECORD:
            raise _TooLong
        return line

    def _read_line(self) -> str:
        line = rest = self._stream.readline(MAX_RECORD + 1)
        while len(rest) > MAX_RECORD and not rest.endswith(("\n", "\r")):
            rest = self._stream.readline(MAX_RECORD + 1)
        return line


def _not_utf8(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _text_problem(lines: list[str]) -> str:
    text = "".join(lines)
    if _not_utf8(text):
        return "is not UTF-8; save the file as UTF-8"
    if "\x00" in text:
        return "holds a NUL character, which the database cannot store"
    return ""


TOO_LONG = f"is longer than {MAX_RECORD:,} characters; is a quote left open?"


def _csv_rows(lines: _Lines) -> tuple[tuple[str, ...], Iterator[Row | RowError]]:
    # The csv module's limit, 131,072, is below the text of a chapter. It is the process's: only raise it.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD))
    reader = csv.reader(lines, strict=True)
    columns = _header(lines, reader)
    return columns, _csv_body(lines, reader, columns)


def _header(lines: _Lines, reader: Any) -> tuple[str, ...]:
    try:
        header = next(reader, None)
    except (csv.Error, _TooLong) as exc:
        raise ImportFileError(
            f"Cannot read the first line of {lines.name!r} as CSV: {TOO_LONG if isinstance(exc, _TooLong) else exc}. "
            "It must hold the column names, separated by commas."
        ) from exc
    if not header or not any(cell.strip() for cell in header):
        raise ImportFileError(f"Cannot import {lines.name!r}: it has no first line with column names. Add one.")
    problem = _text_problem(lines.record)
    if problem:
        raise ImportFileError(f"Cannot import {lines.name!r}: its first line {problem}.")
    columns = tuple(cell.strip().lower() for cell in header)
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise ImportFileError(
            f"Cannot import {lines.name!r}: column {', '.join(twice)} is named twice. Name each once."
        )
    return columns


def _csv_body(lines: _Lines, reader: Any, columns: tuple[str, ...]) -> Iterator[Row | RowError]:
    while True:
        lines.start_record()
        first = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLong) as exc:
            # Whatever broke the row, the next line may begin a good one.
            lines.give_back()
            yield RowError(first, "", TOO_LONG if isinstance(exc, _TooLong) else f"is not valid CSV: {exc}")
            continue
        if not any(cells):
            continue
        problem = _text_problem(lines.record)
        if not problem and len(cells) != len(columns):
            problem = f"has {len(cells)} cells, the first line has {len(columns)}"
        yield RowError(first, "", problem) if problem else Row(first, dict(zip(columns, cells, strict=True)))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _json_rows(lines: _Lines) -> Iterator[Row | RowError]:
    while True:
        lines.start_record()
        first = lines.number + 1
        try:
            text = next(lines)
        except StopIteration:
            return
        except _TooLong:
            yield RowError(first, "", TOO_LONG)
            continue
        if not text.strip():
            continue
        problem = _text_problem([text])
        try:
            cells = None if problem else json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            problem = f"is not valid JSON: {exc}"
        if not problem and not isinstance(cells, dict):
            problem = f"is a JSON {type(cells).__name__}, not an object"
        if not problem and "\\u0000" in text:
            problem = "holds a NUL character, which the database cannot store"
        if problem or cells is None:
            yield RowError(first, "", problem)
        else:
            yield Row(first, {str(key).strip().lower(): value for key, value in cells.items()})
