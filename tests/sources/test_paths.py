"""Following paths from a host's object."""

import pytest

from llmrec_django.sources.paths import PathError, check_path, prefetch_lookup, resolve
from tests.testapp.models import Course, Enrolment, Lesson, Member, Run, Student, Subject, Tag

pytestmark = pytest.mark.django_db


@pytest.fixture
def course():
    course = Course.objects.create(name="Algebra")
    Lesson.objects.create(course=course, text="second", position=2)
    Lesson.objects.create(course=course, text="first", position=1)
    course.subjects.add(Subject.objects.create(name="maths"))
    Tag.objects.create(item=course, name="tagged")
    return course


@pytest.fixture
def enrolment(course):
    student = Student.objects.create(user=Member.objects.create_user("a@example.org"))
    return Enrolment.objects.create(run=Run.objects.create(course=course), student=student)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("name", "Algebra"),
        ("lessons__text", ["first", "second"]),
        ("lessons.text", ["first", "second"]),
        ("subjects__name", ["maths"]),
        ("tags__name", ["tagged"]),
        ("author__name", None),
        ("lessons__course__name", ["Algebra", "Algebra"]),
    ],
)
def test_paths_from_a_course(course, path, expected):
    assert resolve(course, path) == expected


def test_methods_are_called_and_json_keys_followed(course):
    assert resolve(course, "get_absolute_url") == f"/courses/{course.pk}/"
    course.meta = {"level": {"name": "easy"}}
    assert resolve(course, "meta__level__name") == "easy"
    assert resolve(course, "meta__missing__name") is None


def test_the_empty_path_is_the_object(course):
    assert resolve(course, "") is course


def test_paths_over_several_foreign_keys(enrolment, course):
    assert resolve(enrolment, "run.course") == course
    assert resolve(enrolment, "student__user__email") == "a@example.org"


def test_a_reverse_relation_may_be_named_as_in_queries(enrolment):
    assert resolve(enrolment.run, "enrolment") == [enrolment]
    assert resolve(enrolment.run, "enrolment_set") == [enrolment]


def test_a_missing_one_to_one_is_none():
    assert resolve(Member.objects.create_user("b@example.org"), "student__pk") is None


def test_a_hidden_row_is_reached_over_a_foreign_key(enrolment, course):
    Course.everything.filter(pk=course.pk).update(deleted=True)
    assert resolve(Enrolment.objects.get(), "run.course") == course


def test_a_wrong_path_says_which_step(course):
    with pytest.raises(PathError, match="Lesson has no 'words'"):
        resolve(course, "lessons__words")


def test_methods_that_change_data_are_not_called(course):
    with pytest.raises(PathError, match="changes data"):
        resolve(course, "delete")
    assert Course.objects.filter(pk=course.pk).exists()


def test_an_error_inside_a_property_is_not_taken_for_a_wrong_path(course, monkeypatch):
    monkeypatch.setattr(Course, "broken", property(lambda self: self.nothing), raising=False)
    with pytest.raises(AttributeError, match="nothing"):
        resolve(course, "broken")


def test_prefetch_lookups_load_what_paths_cross():
    assert prefetch_lookup(Course, "lessons__text") == "lessons"
    assert prefetch_lookup(Enrolment, "run.course") == "run__course"
    assert prefetch_lookup(Run, "enrolment__student__user") == "enrolment_set__student__user"
    assert prefetch_lookup(Tag, "item__name") == "item"
    assert prefetch_lookup(Course, "name") is None


@pytest.mark.parametrize("path", ["name", "lessons__text", "author_id", "get_absolute_url", "tags__item__anything", ""])
def test_sound_paths_pass_the_check(path):
    check_path(Course, path)


@pytest.mark.parametrize("path", ["nmae", "lessons__txt", "subjects__courses__nothing"])
def test_unsound_paths_fail_the_check(path):
    with pytest.raises(PathError):
        check_path(Course, path)
