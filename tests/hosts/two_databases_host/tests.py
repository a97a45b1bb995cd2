"""Run by `manage.py test` of this host: the two databases never meet in one statement."""

import io

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections
from django.template.loader import render_to_string
from django.test import RequestFactory, SimpleTestCase, TestCase
from django.test.utils import CaptureQueriesContext

from llmrec_django import api
from llmrec_django.models import Interaction, LearnerProfile, Resource
from llmrec_django.sources import registry
from llmrec_django.types import InteractionInput
from tests.hosts.school.models import Course, Enrolment

User = get_user_model()


def tables(alias):
    return set(connections[alias].introspection.table_names())


class TwoDatabasesTests(TestCase):
    databases = {"default", "llmrec"}

    def setUp(self):
        self.ann = User.objects.create_user("ann")
        for n in range(40):
            # Those that only members see are nine of ten, so that pages must be read on and on.
            Course.objects.create(title=f"Painting {n}", summary="Oil and light.", members_only=n % 10 != 0)
        call_command("llmrec_embed", stdout=io.StringIO())

    def test_each_table_is_where_it_belongs(self):
        ours = {name for name in tables("llmrec") if name.startswith("llmrec_django_")}
        assert "llmrec_django_resource" in ours
        assert not any(name.startswith("llmrec_django_") for name in tables("default"))
        assert "school_course" in tables("default")

    def test_no_constraint_points_at_the_other_database(self):
        with connections["llmrec"].cursor() as cursor:
            cursor.execute(
                "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f' "
                "AND conrelid::regclass::text LIKE 'llmrec_django_%%'"
            )
            targets = {row[0] for row in cursor.fetchall()}
        assert targets
        assert all(target.startswith("llmrec_django_") for target in targets), targets

    def test_rights_are_asked_until_the_list_is_full(self):
        public = [item.resource.title for item in api.recommend(None, k=4)]
        assert len(public) == 4
        assert set(public) <= {f"Painting {n}" for n in range(0, 40, 10)}
        resource = Resource.objects.get(title="Painting 0")
        assert {item.resource.title for item in api.similar(resource, k=3)} == {
            "Painting 10", "Painting 20", "Painting 30"
        }  # fmt: skip
        assert len(api.search("painting", k=10)) == 4
        assert len(api.recommend(api.get_learner(self.ann), k=30)) == 30

    def test_no_statement_joins_the_two(self):
        learner = api.get_learner(self.ann)
        with (
            CaptureQueriesContext(connections["llmrec"]) as ours,
            CaptureQueriesContext(connections["default"]) as site,
        ):
            api.recommend(learner, k=5)
            api.similar(Resource.objects.first(), k=5)
            api.search("painting", k=5)
        assert len(ours)
        assert not [query["sql"] for query in ours if "school_" in query["sql"] or "auth_user" in query["sql"]]
        assert not [query["sql"] for query in site if "llmrec_django_" in query["sql"]]

    def test_rights_that_cannot_be_asked_hide_everything(self):
        source = registry.source_for(Course)

        def broken(user, queryset):
            raise RuntimeError("the rights service is away")

        source.visible_to = broken
        try:
            with self.assertLogs("llmrec_django", "ERROR"):
                assert len(api.recommend(None, k=4)) == 0
        finally:
            del source.visible_to

    def test_rights_whose_query_fails_show_nothing_and_break_no_page(self):
        source = registry.source_for(Course)
        source.visible_to = lambda user, queryset: queryset.extra(where=["no_such_column"])
        try:
            with self.assertLogs("llmrec_django", "ERROR"):
                assert len(api.recommend(None, k=4)) == 0
                page = self.client.get("/")
        finally:
            del source.visible_to
        self.assertContains(page, "<h1>")
        self.assertNotContains(page, "llmrec-item")
        assert User.objects.count() == 1, "the site's own transaction goes on"

    def test_deleting_an_account_deletes_its_learner(self):
        Enrolment.objects.create(course=Course.objects.first(), user=self.ann)
        bob = User.objects.create_user("bob")
        api.record(api.get_learner(bob), InteractionInput("viewed", Resource.objects.first().key))
        assert Interaction.objects.count() == 2
        self.ann.delete()
        assert list(LearnerProfile.objects.values_list("user_id", flat=True)) == [bob.pk]
        User.objects.all().delete()
        assert not LearnerProfile.objects.exists()
        assert not Interaction.objects.exists()

    def test_the_admin_and_the_api_work_across(self):
        self.client.force_login(User.objects.create_superuser("root"))
        api.get_learner(self.ann)
        for name in ("resource", "learnerprofile", "interaction"):
            assert self.client.get(f"/admin/llmrec_django/{name}/").status_code == 200, name
        profile = LearnerProfile.objects.get(user_id=self.ann.pk)
        assert self.client.get(f"/admin/llmrec_django/learnerprofile/{profile.pk}/change/").status_code == 200
        answer = self.client.get("/api/v1/resources/?page_size=7").json()
        assert len(answer["items"]) == 7
        assert self.client.post(f"/admin/auth/user/{self.ann.pk}/delete/", {"post": "yes"}).status_code == 302
        assert not LearnerProfile.objects.filter(pk=profile.pk).exists()


class TestsThatTheSiteHadBefore(TestCase):
    """Written for one database, with Django's guard against queries to any other."""

    databases = {"default"}

    def test_models_are_saved_and_deleted(self):
        course = Course.objects.create(title="Algebra")
        ann = User.objects.create_user("ann")
        Enrolment.objects.create(course=course, user=ann)
        ann.delete()
        course.delete()
        assert not Enrolment.objects.exists()

    def test_pages_are_whole(self):
        course = Course.objects.create(title="Algebra")
        self.client.force_login(User.objects.create_user("ann"))
        for address in ("/", course.get_absolute_url()):
            self.assertContains(self.client.get(address), "<h1>")


class TestsWithoutADatabase(SimpleTestCase):
    def test_a_page_is_whole(self):
        html = render_to_string("school/home.html", request=RequestFactory().get("/"))
        assert "<h1>Welcome</h1>" in html
