"""The warning that recommendations have become worse: on every page of this app, to those who may see it."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from llmrec_django.admin import notices
from llmrec_django.models import LearnerProfile, Resource
from tests.admin_site.test_versions import make_record, make_version

WARNING = "Recommendations have become worse."


@pytest.fixture
def fallen(db):
    version = make_version()
    make_record(version, has_fallen=True)
    return version


def pages(resource, learner):
    return [
        reverse("admin:app_list", args=["llmrec_django"]),
        reverse("admin:llmrec_django_resource_changelist"),
        reverse("admin:llmrec_django_resource_add"),
        reverse("admin:llmrec_django_resource_change", args=[resource.pk]),
        reverse("admin:llmrec_django_experiment_changelist"),
        reverse("admin:llmrec_django_learnerprofile_change", args=[learner.pk]),
        reverse("admin:llmrec_django_learnerprofile_why", args=[learner.pk]),
        reverse("admin:llmrec_django_recommendationlist_work"),
    ]


def test_it_stands_on_every_page_with_the_way_to_the_report(boss, fallen, make_resource):
    learner = LearnerProfile.objects.create(visitor_key="v")
    for page in pages(make_resource("r"), learner):
        html = boss.get(page).content.decode()
        assert html.count(WARNING) == 1, page
        assert reverse("admin:llmrec_django_modelversion_report", args=[fallen.pk]) in html


def test_it_is_gone_once_a_measurement_is_good_again(boss, fallen):
    make_record(fallen, has_fallen=False)
    assert WARNING not in boss.get(reverse("admin:app_list", args=["llmrec_django"])).content.decode()


def test_it_is_gone_once_another_version_serves(boss, fallen):
    fallen.status = "retired"
    fallen.save()
    make_version()
    assert WARNING not in boss.get(reverse("admin:app_list", args=["llmrec_django"])).content.decode()


def test_it_is_for_those_who_may_see_versions(staff_with, fallen):
    staff = staff_with("view_resource")
    assert WARNING not in staff.get(reverse("admin:llmrec_django_resource_changelist")).content.decode()


def test_it_costs_one_query_for_any_number_of_versions(boss, fallen, django_assert_num_queries):
    address = reverse("admin:llmrec_django_placement_changelist")
    boss.get(address)
    with CaptureQueriesContext(connection) as one:
        boss.get(address)
    for tenant in "abc":
        make_record(make_version(tenant=tenant), has_fallen=True)
    with django_assert_num_queries(len(one)):
        html = boss.get(address).content.decode()
    assert html.count(WARNING) == 4
    assert sum("evaluationrecord" in query["sql"] for query in one) == 1


class TestFrontPage:
    def test_it_stands_there_once_at_every_visit(self, boss, fallen):
        for _visit in range(2):
            html = boss.get(reverse("admin:index")).content.decode()
            assert html.count(WARNING) == 1
            assert reverse("admin:llmrec_django_modelversion_report", args=[fallen.pk]) in html
        assert boss.get(reverse("admin:app_list", args=["llmrec_django"])).content.decode().count(WARNING) == 1

    def test_it_costs_one_query(self, boss, db, django_assert_num_queries):
        address = reverse("admin:index")
        boss.get(address)
        with CaptureQueriesContext(connection) as without:
            boss.get(address)
        make_record(make_version(), has_fallen=True)
        with django_assert_num_queries(len(without)):
            assert WARNING in boss.get(address).content.decode()
        assert sum("evaluationrecord" in query["sql"] for query in without) == 1

    def test_it_is_in_the_readers_language(self, boss, fallen):
        html = boss.get(reverse("admin:index"), headers={"accept-language": "zh-hans"}).content.decode()
        assert "推荐质量下降。" in html

    def test_it_is_for_those_who_may_see_versions(self, staff_with, fallen):
        assert WARNING not in staff_with("view_resource").get(reverse("admin:index")).content.decode()

    def test_it_waits_in_no_message_for_another_page(self, boss, fallen):
        boss.get(reverse("admin:index"))
        address = reverse("admin:auth_group_changelist")
        assert WARNING not in boss.get(address).content.decode()


def test_pages_of_other_apps_stay_as_they_are(boss, fallen):
    assert WARNING not in boss.get(reverse("admin:app_list", args=["auth"])).content.decode()
    assert not Resource.objects.exists()


def test_the_front_page_opens_where_the_tables_are_not_there_yet(boss, monkeypatch):
    def unmigrated():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM no_such_table")

    monkeypatch.setattr(notices, "fallen_records", unmigrated)
    assert boss.get(reverse("admin:index")).status_code == 200
