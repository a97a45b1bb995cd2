"""Rows of a matrix in a file, or rounded in memory."""

import numpy as np
import pytest

from llmrec_django.engine.rows import ByteRows, RowFile


@pytest.fixture
def matrix():
    return np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)


@pytest.fixture
def file(matrix, tmp_path):
    np.save(tmp_path / "m.npy", matrix)
    return RowFile(tmp_path / "m.npy")


def test_gives_what_the_array_gives(file, matrix):
    for rows in ([], [0], [49, 3, 3, 0], [7, 8, 9, 20, 21, 3, 4, 48, 49], range(50)):
        assert np.array_equal(file[np.array(rows, dtype=np.int64)], matrix[np.array(rows, dtype=np.int64)])
    assert np.array_equal(file[5:9], matrix[5:9])
    assert np.array_equal(np.asarray(file), matrix)
    assert np.array_equal(matrix[:2] @ file.T, matrix[:2] @ matrix.T)
    assert (len(file), file.shape, file.dtype) == (50, (50, 7), np.float32)


def test_an_overlay_changes_rows_and_a_later_one_wins(file, matrix):
    ones, twos = np.ones((2, 7), np.float32), np.full((2, 7), 2, np.float32)
    first = file.overlaid(np.array([3, 10]), ones)
    second = first.overlaid(np.array([1, 10]), twos)
    rows = np.array([10, 1, 3, 4])
    assert np.array_equal(file[rows], matrix[rows])
    assert np.array_equal(first[rows], np.stack([ones[0], matrix[1], ones[0], matrix[4]]))
    assert np.array_equal(second[rows], np.stack([twos[0], twos[0], ones[0], matrix[4]]))
    assert np.array_equal(np.asarray(second)[rows], second[rows])


def test_a_row_that_is_not_there_is_an_error(file):
    with pytest.raises(IndexError, match="row 50 of 50"):
        file[np.array([50])]
    with pytest.raises(IndexError, match="row -1"):
        file[np.array([-1])]


def test_a_file_that_was_cut_is_an_error(file, tmp_path):
    with (tmp_path / "m.npy").open("r+b") as raw:
        raw.truncate(300)
    with pytest.raises(OSError, match="ends before"):
        file[np.array([40])]


def test_what_is_no_matrix_is_refused(tmp_path):
    np.save(tmp_path / "v.npy", np.zeros(4))
    with pytest.raises(ValueError, match="holds no matrix"):
        RowFile(tmp_path / "v.npy")


class TestByteRows:
    def test_numbers_are_within_half_a_step_of_their_row(self, file, matrix):
        rounded = ByteRows(file)
        rows = np.array([49, 3, 3, 0])
        step = np.abs(matrix).max(axis=1, keepdims=True) / 127
        assert (np.abs(rounded[rows] - matrix[rows]) <= 0.501 * step[rows]).all()
        assert np.array_equal(np.asarray(rounded), rounded[np.arange(50)])
        assert np.array_equal(rounded.T, rounded.whole.T)
        assert (len(rounded), rounded.shape, rounded.dtype) == (50, (50, 7), np.float32)

    def test_inner_products_of_unit_rows_are_right_to_a_thousandth(self):
        rng = np.random.default_rng(1)
        matrix = rng.normal(size=(5000, 256)).astype(np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        error = (ByteRows(matrix).whole - matrix) @ matrix[0]
        assert error.std() < 1e-3

    def test_a_row_of_zeros_stays_one(self):
        assert not ByteRows(np.zeros((3, 4), np.float32))[np.arange(3)].any()

    def test_an_overlay_is_kept_as_it_is(self, matrix):
        values = np.full((1, 7), 0.123, np.float32)
        over = ByteRows(matrix).overlaid(np.array([3]), values)
        assert np.array_equal(over[np.array([3])], values)
        assert np.array_equal(over.whole[3], values[0])
