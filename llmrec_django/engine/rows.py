"""Large matrices of which a few rows are read at a time: in a file, or in a quarter of the memory."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class _File:
    """An open file, shared by the matrices that read it and closed with the last of them."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class _Rows:
    """Stands in for a matrix where rows are taken by number; some of them may have other values, kept beside it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ndim = 2
    _replaced: tuple[NDArray[np.int64], NDArray[Any]] | None = None

    def overlaid(self, rows: NDArray[np.int64], values: NDArray[Any]) -> Self:
        """Return the same matrix with other values in some rows, which are kept in memory; the rest is shared.

        Args:
            rows: Numbers, increasing; int64 [n].
            values: [n, D].
        """
        other = copy.copy(self)
        if self._replaced is not None:
            before, old = self._replaced
            kept = ~np.isin(before, rows)
            rows, values = np.concatenate([before[kept], rows]), np.concatenate([old[kept], values])
            order = np.argsort(rows)
            rows, values = rows[order], values[order]
        other._replaced = (rows, values)
        return other

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """Read rows by number; [n, D]. Anything but an array of numbers is answered by the whole matrix."""
        if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.kind not in "iu":
            part: NDArray[Any] = self.whole[rows]
            return part
        if self._replaced is None or not len(rows):
            return self._read(rows)
        at, values = self._replaced
        place = np.minimum(np.searchsorted(at, rows), len(at) - 1)
        held = at[place] == rows
        if held.all():
            return values[place]
        result = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        result[held], result[~held] = values[place[held]], self._read(rows[~held])
        return result

    def _read(self, rows: NDArray[Any]) -> NDArray[Any]:
        raise NotImplementedError

    def _all(self) -> NDArray[Any]:
        raise NotImplementedError

    @property
    def whole(self) -> NDArray[Any]:
        """The whole matrix; copied where rows have other values."""
        matrix = self._all()
        if self._replaced is None:
            return matrix
        copied = np.array(matrix)
        copied[self._replaced[0]] = self._replaced[1]
        return copied

    @property
    def T(self) -> NDArray[Any]:  # noqa: N802 - as numpy names it
        """The whole matrix, turned."""
        return self.whole.T

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.whole, dtype=dtype)


class ByteRows(_Rows):
    """A float32 matrix in memory, a byte for each number: for what hundreds of rows are asked of for each list.

    Each number is wrong by at most 1/254 of the largest in its row; errors of a row's numbers cancel each other, so
    an inner product with a unit vector is wrong by a thousandth of the row's length, about.
    """

    def __init__(self, matrix: Any) -> None:
        """Round a matrix, which may be a file; float32 [N, D]."""
        self.shape, self.dtype = tuple(matrix.shape), np.dtype(np.float32)
        self._bytes = np.empty(self.shape, dtype=np.int8)
        self._units = np.ones((len(self), 1), dtype=np.float32)
        for begin in range(0, len(self), 4096):
            part = np.asarray(matrix[np.arange(begin, min(begin + 4096, len(self)))], dtype=np.float32)
            largest = np.abs(part).max(axis=1, initial=0.0, keepdims=True)
            unit = np.where(largest > 0, largest / 127, 1).astype(np.float32)
            self._units[begin : begin + 4096] = unit
            self._bytes[begin : begin + 4096] = np.rint(part / unit)

    def _read(self, rows: NDArray[Any]) -> NDArray[Any]:
        read: NDArray[Any] = self._bytes.take(rows, axis=0).astype(np.float32)
        read *= self._units[rows]
        return read

    def _all(self) -> NDArray[Any]:
        return self._bytes * self._units


class RowFile(_Rows):
    """A matrix written by `np.save`, whose rows are read from the file when asked for.

    A mapped file would do too, but each page once touched counts as memory of the process until the system needs it:
    after an hour of requests that is the whole file, in each process. For all but rows by number it is mapped afresh,
    so that its pages go with it.
    """

    def __init__(self, path: Path) -> None:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r")
        if mapped.ndim != 2 or not mapped.flags.c_contiguous:
            raise ValueError(f"Cannot read {str(path)!r} by rows. It holds no matrix in the order of rows.")
        self.shape, self.dtype = mapped.shape, mapped.dtype
        self._begin = int(getattr(mapped, "offset", 0))
        self._path = path
        self._file = _File(path)

    def _read(self, rows: NDArray[Any]) -> NDArray[Any]:
        if not hasattr(os, "preadv"):  # Windows
            return np.array(self._all()[rows])
        outside = rows[(rows < 0) | (rows >= len(self))]
        if len(outside):
            raise IndexError(f"Cannot read row {outside[0]} of {len(self)}.")
        result = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        if not result.size:
            return result
        size = result.strides[0]
        buffer = memoryview(result).cast("B")  # type: ignore[arg-type]
        read, file = os.preadv, self._file.number
        # Rows that follow each other are read together.
        begins = np.flatnonzero(np.diff(rows.astype(np.int64), prepend=-2) != 1)
        ends = np.append(begins[1:], len(rows))
        starts = rows[begins].astype(np.int64) * size + self._begin
        for begin, end, start in zip((begins * size).tolist(), (ends * size).tolist(), starts.tolist(), strict=True):
            if read(file, [buffer[begin:end]], start) != end - begin:
                row = rows[begin // size]
                raise OSError(f"Cannot read row {row} of {str(self._path)!r}. The file ends before it.")
        return result

    def _all(self) -> NDArray[Any]:
        mapped: NDArray[Any] = np.load(self._path, mmap_mode="r")
        return mapped
