"""Candidate queries run under settings of our own, of which nothing is left behind, however they are sent."""

import pytest
from django.db import InternalError, OperationalError, ProgrammingError, connection, transaction

from llmrec_django.retrieval import sql
from llmrec_django.retrieval.sql import Query, run_candidates, run_together

ASKED = "SELECT current_setting('jit'), current_setting('statement_timeout'), %s::text"


@pytest.fixture(params=["one message", "one by one"])
def sent(request, monkeypatch, hashing):
    """As psycopg 3 sends it, and as drivers do that take one statement at a time."""
    hashing(STATEMENT_TIMEOUT_MS=150)
    if request.param == "one by one":
        monkeypatch.setattr(sql, "_takes_several", lambda connection: False)


def left_behind():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
class TestAlone:
    def test_its_settings_end_with_the_query(self, sent):
        assert run_candidates(ASKED, ["100 %"]) == [("off", "150ms", "100 %")]
        assert left_behind() == "0"

    def test_an_error_leaves_nothing(self, sent):
        with pytest.raises(OperationalError):
            run_candidates("SELECT pg_sleep(5)", [])
        assert left_behind() == "0"
        assert run_candidates("SELECT 1 WHERE false", []) == []

    def test_it_is_one_message_where_the_driver_can(self, hashing, django_assert_num_queries):
        run_candidates("SELECT 1", [])  # the version of the extension is looked up once
        with django_assert_num_queries(1):
            assert run_candidates("SELECT 1", []) == [(1,)]


@pytest.mark.django_db(transaction=True)
class TestInATransactionOfTheHost:
    def test_the_hosts_settings_are_put_back(self, sent):
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = '7s'")
            assert run_candidates(ASKED, ["a"]) == [("off", "150ms", "a")]
            assert left_behind() == "7s"
        assert left_behind() == "0"

    @pytest.mark.parametrize("wrong", ["SELECT pg_sleep(5)", "SELECT nothing FROM nowhere"])
    def test_an_error_leaves_the_transaction_whole(self, sent, wrong):
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("CREATE TEMPORARY TABLE kept (n int) ON COMMIT DROP")
                cursor.execute("INSERT INTO kept VALUES (1)")
            with pytest.raises((OperationalError, ProgrammingError)):
                run_candidates(wrong, [])
            assert run_candidates("SELECT n FROM kept", []) == [(1,)]
            assert left_behind() == "0"

    def test_in_a_broken_transaction_the_database_says_so(self, sent):
        with transaction.atomic(), connection.cursor() as cursor:
            with pytest.raises(ProgrammingError):
                cursor.execute("SELECT nothing FROM nowhere")
            with pytest.raises(InternalError, match="current transaction is aborted"):
                run_candidates("SELECT 1", [])
            transaction.set_rollback(True)

    def test_a_host_that_commits_by_itself_keeps_its_transaction(self, sent):
        transaction.set_autocommit(False)
        try:
            with connection.cursor() as cursor:
                cursor.execute("CREATE TEMPORARY TABLE kept (n int) ON COMMIT DROP")
            assert run_candidates(ASKED, ["a"]) == [("off", "150ms", "a")]
            assert run_candidates("SELECT count(*) FROM kept", []) == [(0,)]
            assert left_behind() == "0"
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)


@pytest.mark.django_db
class TestTogether:
    QUERIES = (
        Query("SELECT %s::text", ["100 %"], lambda rows: rows[0][0]),
        Query("SELECT 1 WHERE false", [], len),
        Query("SELECT n FROM generate_series(1, %s) n", [3], lambda rows: [n for (n,) in rows]),
    )

    def test_each_reads_its_own_rows(self, sent):
        assert run_together(*self.QUERIES) == ["100 %", 0, [1, 2, 3]]
        assert run_together(self.QUERIES[0]) == ["100 %"]

    def test_they_are_one_message_where_the_driver_can(self, django_assert_num_queries):
        with django_assert_num_queries(1):
            run_together(*self.QUERIES)

    def test_an_error_of_one_is_raised(self, sent):
        with pytest.raises(ProgrammingError), transaction.atomic():
            run_together(self.QUERIES[0], Query("SELECT nothing FROM nowhere", [], len))
        assert run_together(*self.QUERIES[1:]) == [0, [1, 2, 3]]


@pytest.mark.django_db
def test_what_is_spelt_out_means_the_same():
    text = sql.spelt_out("SELECT %s::text, %s::int + %s, '%%'", ["5 % of 'it'", 3, -1], "default", but=-1)
    assert text.count("%s") == 1
    with connection.cursor() as cursor:
        cursor.execute(text, [4])
        assert cursor.fetchone() == ("5 % of 'it'", 7, "%")
