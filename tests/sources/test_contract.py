"""The contract hosts run on their sources, run on ours; and it fails where it should."""

import random

import pytest

from llmrec_django.sources import ResourceSource, registry
from llmrec_django.testing.sources import SourceContract
from tests.testapp.models import Book, Course, Paper, Subject


@pytest.mark.django_db
class TestCourseSource(SourceContract):
    model = Course

    def make_object(self):
        course = Course.objects.create(name="Algebra", summary="Groups and rings")
        course.subjects.add(Subject.objects.create(name="maths"))
        Course.objects.create(name="Secret", members_only=True)


@pytest.mark.django_db
class TestPaperSource(SourceContract):
    model = Paper

    def make_object(self):
        return Paper.objects.create(doi="10.1000/182", title="On handles")


@pytest.mark.django_db
class TestABadSource:
    @pytest.fixture
    def contract(self):
        class Bad(ResourceSource):
            name = "bad"
            fields = {"title": "blurb", "description": lambda book: str(random.random())}

            def visible_to(self, user, queryset):
                return list(queryset)

        good = registry.source_for(Book)
        registry.unregister(Book)
        registry.add_resources(Bad(Book))
        contract = SourceContract()
        contract.model = Book
        contract.make_object = lambda: Book.objects.create(title="A book")
        yield contract
        registry.unregister(Book)
        registry.add_resources(good)

    @pytest.mark.parametrize(
        "test",
        [
            "test_every_row_maps_and_has_a_title",
            "test_keys_are_stable_and_distinct",
            "test_visible_to_narrows_the_queryset_it_is_given",
        ],
    )
    def test_fails_the_contract(self, contract, test):
        with pytest.raises(AssertionError):
            getattr(contract, test)()
