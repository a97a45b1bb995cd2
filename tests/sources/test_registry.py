"""Registering sources."""

import pytest
from django.contrib.auth.base_user import AbstractBaseUser

from llmrec_django.conf import LLMRecConfigurationError
from llmrec_django.sources import (
    ActivitySource,
    AlreadyRegistered,
    NotRegistered,
    ResourceSource,
    register,
    register_activity,
)
from llmrec_django.sources import registry as site_registry
from llmrec_django.sources.registry import Registry
from tests.testapp.models import Book, Course, Enrolment, FeaturedCourse, Lesson, Loan, Member, VideoCourse


@pytest.fixture
def registry():
    return Registry()


def test_the_hosts_module_was_found():
    assert site_registry.source_for(Course).name == "course"
    assert {source.name for source in site_registry.activities()} >= {
        "testapp.enrolment:enrolled",
        "testapp.loan:borrowed",
        "testapp.loan:completed",
    }


def test_a_second_source_for_a_model_is_an_error_that_names_both(registry):
    registry.add_resources(ResourceSource(Book))
    with pytest.raises(AlreadyRegistered, match=r"testapp\.Book.*replace=True"):
        registry.add_resources(ResourceSource(Book))


def test_a_proxy_is_the_same_model(registry):
    registry.add_resources(ResourceSource(Course))
    with pytest.raises(AlreadyRegistered):
        registry.add_resources(ResourceSource(FeaturedCourse))


def test_replace_takes_the_place(registry):
    registry.add_resources(ResourceSource(Book))
    second = ResourceSource(Book)
    registry.add_resources(second, replace=True)
    assert registry.resources() == [second]


def test_one_name_for_two_models_is_an_error(registry):
    class Named(ResourceSource):
        name = "same"

    registry.add_resources(Named(Book))
    with pytest.raises(AlreadyRegistered):
        registry.add_resources(Named(Course))


def test_one_row_may_say_two_things(registry):
    class Borrowed(ActivitySource):
        verb = "borrowed"

    class Completed(ActivitySource):
        verb = "completed"

    registry.add_activity(Borrowed(Loan))
    registry.add_activity(Completed(Loan))
    with pytest.raises(AlreadyRegistered):
        registry.add_activity(Borrowed(Loan))
    assert len(registry.activities_touched_by(Loan)) == 2


def test_lookup_by_class_object_proxy_and_child(registry):
    source = ResourceSource(Course)
    registry.add_resources(source)
    assert registry.source_for(Course) is source
    assert registry.source_for(Course(name="x")) is source
    assert registry.source_for(FeaturedCourse) is source
    assert registry.source_for(VideoCourse) is source
    assert registry.source_for(Lesson) is None
    assert registry.source_for("not a model") is None


def test_the_nearest_ancestor_wins(registry):
    parent, child = ResourceSource(Course), ResourceSource(VideoCourse)
    registry.add_resources(parent)
    registry.add_resources(child)
    assert registry.source_for(VideoCourse) is child
    assert set(registry.resources_touched_by(VideoCourse)) == {parent, child}
    assert set(registry.resources_touched_by(Course)) == {parent, child}


def test_unregistering(registry):
    registry.add_resources(ResourceSource(Book))
    registry.unregister("testapp.Book")
    assert registry.source_for(Book) is None
    with pytest.raises(NotRegistered):
        registry.unregister(Book)


def test_listeners_hear_of_sources_before_and_after_them(registry):
    heard = []
    first, second = ResourceSource(Book), ResourceSource(Course)
    registry.add_resources(first)
    registry.subscribe(heard.append)
    registry.add_resources(second)
    assert heard == [first, second]


def test_the_decorators_refuse_what_they_cannot_use():
    with pytest.raises(LLMRecConfigurationError, match="not a subclass of ResourceSource"):
        register(Book)(ActivitySource)
    with pytest.raises(LLMRecConfigurationError, match="No model was given"):
        register()(ResourceSource)
    with pytest.raises(LLMRecConfigurationError, match="not a concrete model"):
        register(AbstractBaseUser)(ResourceSource)
    with pytest.raises(AlreadyRegistered):
        register("testapp.Book")(ResourceSource)
    with pytest.raises(AlreadyRegistered):

        @register_activity(Enrolment)
        class Again(ActivitySource):
            verb = "enrolled"


def test_unknown_names_list_the_known_ones():
    with pytest.raises(NotRegistered, match="must be one of: book"):
        site_registry.named("nothing")


def test_a_path_named_like_a_base_method_means_the_hosts_column():
    class Plain(ResourceSource):
        fields = {"title": "title", "url": "url"}

    class WithUrl(Plain):
        def url(self, obj):
            return "/overridden/"

    assert Plain(Book).method("url") is None
    assert WithUrl(Book).method("url") is not None
    assert Member is not None


class TestChecks:
    def ids(self, registry):
        return [message.id for message in registry.check()]

    def test_the_test_hosts_sources_are_sound(self):
        assert site_registry.check() == []

    def test_unknown_fields_wrong_paths_and_missing_titles(self, registry):
        class Wrong(ResourceSource):
            name = "a:b"
            fields = {"titel": "title", "description": "blrub", "keywords": {"x": "title"}}
            watch = {"testapp.Nothing": "book"}

        registry.add_resources(Wrong(Book))
        assert set(self.ids(registry)) == {f"llmrec_django.E10{n}" for n in (1, 2, 3, 4, 7)}

    def test_parent_and_child_are_two_resources_for_one_row(self, registry):
        class Named(ResourceSource):
            fields = {"title": "name"}

        registry.add_resources(Named(Course))
        registry.add_resources(Named(VideoCourse))
        assert self.ids(registry) == ["llmrec_django.W101"]

    def test_activity_needs_a_verb_and_a_resource(self, registry):
        class Wrong(ActivitySource):
            verb = "devoured"
            learner = "reader.nobody"

        registry.add_activity(Wrong(Loan))
        assert set(self.ids(registry)) == {
            "llmrec_django.E104",
            "llmrec_django.E105",
            "llmrec_django.E106",
            "llmrec_django.W102",
        }

    def test_a_verb_that_only_a_method_gives_is_fine(self, registry):
        class ByMethod(ActivitySource):
            learner = "reader"
            resource = "book"

            def get_verb(self, obj):
                return "borrowed"

        registry.add_resources(ResourceSource(Book))
        registry.add_activity(ByMethod(Loan))
        assert self.ids(registry) == []

    def test_checking_makes_no_query(self, django_assert_num_queries, db):
        with django_assert_num_queries(0):
            site_registry.check()
