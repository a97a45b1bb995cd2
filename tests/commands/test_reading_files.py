"""What the import reads, without a database."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmrec_django.services.importing import ImportFileError, RowError, open_rows, values
from llmrec_django.services.importing.report import RowProblem


def read(path, **options):
    with open_rows(path, **options) as file:
        return list(file.rows)


def lines(rows):
    return [(row.line, isinstance(row, RowError)) for row in rows]


class TestFiles:
    @pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "no_extension"])
    def test_csv_plain_and_gzipped(self, write, name):
        [row] = read(write(name, "item_id,title\n1,数学\n"))
        assert row.cells == {"item_id": "1", "title": "数学"}

    def test_a_byte_order_mark_is_not_part_of_the_first_column(self, write):
        [row] = read(write("a.csv", b"\xef\xbb\xbfitem_id,title\n1,x\n"))
        assert row.cells["item_id"] == "1"

    @pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
    def test_line_ends_of_every_system(self, write, end):
        rows = read(write("a.csv", end.join(["item_id", "1", "", "2"])))
        assert [(row.line, row.cells["item_id"]) for row in rows] == [(2, "1"), (4, "2")]

    @pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson.gz"])
    def test_json_lines(self, write, name):
        rows = read(write(name, [{"item_id": 1, "keywords": ["a"]}, {"item_id": "2"}]))
        assert [row.cells for row in rows] == [{"item_id": 1, "keywords": ["a"]}, {"item_id": "2"}]

    @pytest.mark.parametrize("content", [b"item_id\n1\n", b'{"item_id": 1}\n'])
    def test_standard_input_of_either_kind(self, content):
        [row] = read("-", stdin=io.BytesIO(content))
        assert str(row.cells["item_id"]) == "1"

    def test_cells_over_several_lines_count_from_their_first(self, write):
        rows = read(write("a.csv", 'item_id,title\n1,"two\nlines"\n2,x\n'))
        assert [row.line for row in rows] == [2, 4]
        assert rows[0].cells["title"] == "two\nlines"

    def test_a_quote_inside_a_cell_is_only_a_quote(self, write):
        [row] = read(write("a.csv", 'item_id,title\n1,5" disks\n'))
        assert row.cells["title"] == '5" disks'

    def test_a_cell_that_looks_like_a_formula_is_data(self, write):
        [row] = read(write("a.csv", 'item_id,title\n1,"=HYPERLINK(""x"")"\n'))
        assert row.cells["title"] == '=HYPERLINK("x")'


class TestDamage:
    def test_an_unclosed_quote_costs_its_own_row_only(self, write):
        rows = read(write("a.csv", 'item_id,title\n1,"open\n2,good\n3,good\n'))
        assert lines(rows) == [(2, True), (3, False), (4, False)]

    def test_an_unclosed_quote_before_a_quoted_cell(self, write):
        rows = read(write("a.csv", 'item_id,title\n1,"open\n2,good\n3,"fine text"\n4,good\n'))
        assert lines(rows) == [(2, True), (3, False), (4, False), (5, False)]
        assert rows[2].cells["title"] == "fine text"

    def test_an_unclosed_quote_in_a_file_longer_than_one_row_may_be(self, write):
        body = "".join(f"{n},{'x' * 1000}\n" for n in range(3000))
        rows = read(write("a.csv", f'item_id,title\n0,"open\n{body}'))
        assert sum(isinstance(row, RowError) for row in rows) == 1
        assert len(rows) == 3001
        assert "quote left open" in rows[0].message

    @pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
    def test_a_cell_of_ten_megabytes_is_refused_and_the_next_row_read(self, write, name):
        huge = "x" * 10_000_000
        if name == "a.csv":
            content = f"item_id,title\n1,{huge}\n2,good\n"
        else:
            content = [{"item_id": "0"}, {"item_id": huge}, {"item_id": "2"}]
        rows = read(write(name, content))
        assert isinstance(rows[-2], RowError)
        assert rows[-1].cells["item_id"] == "2"

    def test_other_encodings_are_named_with_their_line(self, write):
        rows = read(write("a.csv", b"item_id,title\n1,x\n2,caf\xe9\n3,x\n"))
        assert lines(rows) == [(2, False), (3, True), (4, False)]
        assert "UTF-8" in rows[1].message

    def test_utf16_is_refused_at_once(self, write):
        with pytest.raises(ImportFileError, match="UTF-16"):
            read(write("a.csv", "item_id\n1\n".encode("utf-16")))

    def test_nul_characters_cost_their_row(self, write):
        rows = read(write("a.csv", "item_id,title\n1,a\x00b\n2,x\n"))
        assert lines(rows) == [(2, True), (3, False)]
        rows = read(write("a.jsonl", [{"item_id": "a\x00"}, {"item_id": "b"}]))
        assert lines(rows) == [(1, True), (2, False)]

    def test_cells_too_many_and_too_few(self, write):
        rows = read(write("a.csv", "item_id,title\n1\n2,a,b\n3,x\n"))
        assert lines(rows) == [(2, True), (3, True), (4, False)]
        assert rows[0].message == "has 1 cells, the first line has 2"

    @pytest.mark.parametrize("text", ["{", "[1]", '"x"', '{"a": NaN}', "[" * 100_000])
    def test_lines_that_are_no_json_object(self, write, text):
        rows = read(write("a.jsonl", f'{text}\n{{"item_id": "2"}}\n'))
        assert lines(rows) == [(1, True), (2, False)]

    def test_damaged_gzip(self, write, tmp_path):
        good = Path(write("a.csv.gz", "item_id\n" + "1\n" * 5000)).read_bytes()
        (tmp_path / "cut.csv.gz").write_bytes(good[:-20])
        with pytest.raises(ImportFileError, match="damaged"):
            read(str(tmp_path / "cut.csv.gz"))

    @pytest.mark.parametrize(
        ("content", "words"),
        [("", "no first line"), ("\n\n", "no first line"), ("a,a\n", "named twice"), ('"a\n1\n', "first line")],
    )
    def test_headers_that_are_none(self, write, content, words):
        with pytest.raises(ImportFileError, match=words):
            read(write("a.csv", content))

    def test_a_file_that_is_not_there(self, tmp_path):
        for path in (tmp_path / "none.csv", tmp_path):
            with pytest.raises(ImportFileError, match="Cannot open"):
                read(str(path))


class TestValues:
    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            ("a; b ;c", ["a", "b", "c"]),
            ("a|b", ["a", "b"]),
            ("a, b", ["a", "b"]),
            ("Lists, trees; graphs", ["Lists, trees", "graphs"]),
            ("代数、几何，概率", ["代数", "几何", "概率"]),
            ("a;a;;", ["a"]),
            ("", []),
            (["x, y", "z"], ["x, y", "z"]),
        ],
    )
    def test_keywords(self, cell, expected):
        assert values.words({"k": cell}, "k", commas=True) == expected

    def test_authors_are_not_cut_at_commas(self):
        assert values.words({"a": "Doe, Jane"}, "a", commas=False) == ["Doe, Jane"]

    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            ("1500000000", datetime(2017, 7, 14, 2, 40, tzinfo=UTC)),
            ("1500000000.0", datetime(2017, 7, 14, 2, 40, tzinfo=UTC)),
            ("1500000000000", datetime(2017, 7, 14, 2, 40, tzinfo=UTC)),
            (1500000000, datetime(2017, 7, 14, 2, 40, tzinfo=UTC)),
            ("2017-07-14T02:40:00Z", datetime(2017, 7, 14, 2, 40, tzinfo=UTC)),
            ("2017-07-14 04:40:00+02:00", datetime(2017, 7, 14, 2, 40, tzinfo=UTC)),
            ("", None),
        ],
    )
    def test_times(self, cell, expected):
        assert values.moment({"t": cell}, "t") == expected

    @pytest.mark.parametrize("cell", ["2017-07-14", "20170714", "2017-07-14 00:00"])
    def test_times_without_a_zone_are_the_sites(self, cell, settings):
        settings.TIME_ZONE = "Asia/Shanghai"
        assert values.moment({"t": cell}, "t") == datetime(2017, 7, 13, 16, tzinfo=UTC)

    @pytest.mark.parametrize(
        "cell", ["yesterday", "12", "nan", "inf", "1e400", "99999999999999999", "2017-13-01", "-5"]
    )
    def test_what_is_no_time(self, cell):
        with pytest.raises(RowProblem, match="epoch seconds nor an ISO"):
            values.moment({"t": cell}, "t")

    @pytest.mark.parametrize(
        "cell", ["javascript:alert(1)", "//evil.example", "data:text/html,x", "ftp://x", " JaVaScript:x"]
    )
    def test_addresses_that_would_run_or_lead_away(self, cell):
        with pytest.raises(RowProblem):
            values.address({"url": cell}, "url")

    @pytest.mark.parametrize("cell", ["https://example.org/a?b=c", "HTTP://EXAMPLE.ORG", "/courses/1", ""])
    def test_addresses(self, cell):
        assert values.address({"url": cell}, "url") == cell

    @pytest.mark.parametrize("cell", [{"a": 1}, [1], True])
    def test_text_is_not_a_structure(self, cell):
        with pytest.raises(RowProblem, match="must be text"):
            values.text({"t": cell}, "t")
