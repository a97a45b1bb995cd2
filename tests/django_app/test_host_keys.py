"""Keys of whatever queryset a host says is visible, as text."""

import pytest
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, Window
from django.db.models.functions import Length, Rank

from llmrec_django.retrieval.eligibility import _keys, _plain_keys
from tests.testapp.models import Book, Course, FeaturedCourse, Lesson, Run, VideoCourse

pytestmark = pytest.mark.django_db

PLAIN = {
    "all": lambda: Course.objects.all(),
    "a condition": lambda: Course.objects.filter(name__contains="5 %"),
    "none of a list": lambda: Course.objects.exclude(pk__in=[]),
    "either": lambda: Course.objects.filter(Q(name="a") | Q(deleted=False)).order_by("name"),
    "a subquery": lambda: Course.objects.filter(Exists(Run.objects.filter(course=OuterRef("pk")))),
    "keys of another table": lambda: Course.objects.filter(pk__in=Run.objects.values("course")),
    "an expression": lambda: Course.objects.annotate(n=Length("name") + 1).filter(n__gt=2),
    "raw conditions": lambda: Course.objects.extra(where=["length(name) > %s"], params=[1]),
    "another class of the same rows": lambda: FeaturedCourse.objects.filter(name="a"),
    "keys that are no numbers": lambda: Book.objects.all(),
}
OTHERS = {
    "a join": lambda: Course.objects.filter(runs__isnull=False).distinct(),
    "a join without distinct": lambda: Lesson.objects.filter(course__name="a"),
    "the first": lambda: Course.objects.order_by("-pk")[:2],
    "a count": lambda: Course.objects.annotate(n=Count("runs")).filter(n__gt=0),
    "a rank": lambda: Course.objects.annotate(rank=Window(Rank(), order_by="pk")).filter(rank__lte=2),
    "one or the other": lambda: Course.objects.filter(name="a").union(Course.objects.filter(name="bb")),
    "a parent's key": lambda: VideoCourse.objects.all(),
}


@pytest.fixture(autouse=True)
def _rows():
    courses = [Course.objects.create(name=name) for name in ("a", "5 % off", "", "bb")]
    VideoCourse.objects.create(name="film")
    Run.objects.create(course=courses[0])
    Run.objects.create(course=courses[3])
    Run.objects.create(course=courses[3])
    Lesson.objects.create(course=courses[0])
    Book.objects.create()


@pytest.mark.parametrize("name", [*PLAIN, *OTHERS])
def test_they_are_those_of_the_rows(name):
    rows = {**PLAIN, **OTHERS}[name]()
    expected = sorted({str(pk) for (pk, *_) in rows.values_list("pk")})
    sql, params = _keys(rows, "default")
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        assert sorted({key for (key,) in cursor.fetchall()}) == expected
    assert expected


def test_a_condition_on_one_table_is_compiled_alone_and_nothing_else_is():
    assert [name for name, rows in PLAIN.items() if _plain_keys(rows(), "default") is None] == []
    assert [name for name, rows in OTHERS.items() if _plain_keys(rows(), "default") is not None] == []


def test_no_rows_are_no_rows():
    for rows in (Course.objects.none(), Course.objects.filter(pk__in=[])):
        with pytest.raises(EmptyResultSet):
            _keys(rows, "default")
