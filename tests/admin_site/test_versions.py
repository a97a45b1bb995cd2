"""Model versions in the admin: why, the report, warnings, letting serve."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from llmrec_django.admin.charts import Scale, mark, points
from llmrec_django.models import EvaluationRecord, ModelVersion
from llmrec_django.services import artifacts
from llmrec_django.services.reasons import Reason, explain
from tests.browser.test_report import metrics

LIST = "admin:llmrec_django_modelversion_changelist"
REPORT = "admin:llmrec_django_modelversion_report"


def make_version(status="active", **fields):
    version = ModelVersion(status=status, metrics=metrics(1.0), finished_at=timezone.now(), **fields)
    explain(version, [Reason("few_learners", {"learners": 9, "needed": 10})])
    version.save()
    return version


def make_record(version, *, has_fallen):
    return EvaluationRecord.objects.create(
        version=version, ndcg=0.1, expected=0.2, has_fallen=has_fallen, metrics={"learners": 77, "table": []}
    )


@pytest.fixture
def version(db):
    return make_version()


class TestReport:
    def test_shows_every_source_with_its_interval_and_every_segment(self, boss, version):
        html = boss.get(reverse(REPORT, args=[version.pk])).content.decode()
        assert "Only 9 learners have an interaction to hold out" in html
        for text in (
            "relevance model",
            "nearness of texts",
            "0.2120",
            "0.2040–0.2200",
            "1-2 interactions",
            "812 learners",
        ):
            assert text in html
        # Nobody without a history was asked about.
        assert "0 interactions" not in html
        assert "0 learners before" in html

    def test_holds_no_script_and_no_style_of_its_own(self, boss, version):
        html = boss.get(reverse(REPORT, args=[version.pk])).content.decode()
        content = html[html.index('id="content-main"') :].partition("<footer")[0]
        assert "<script" not in content
        assert "style=" not in content
        assert "//" not in content.replace("://testserver", "")

    def test_numbers_in_svg_keep_their_point_where_a_language_writes_a_comma(self, boss, version, settings):
        settings.LANGUAGES = [("en", "English"), ("de", "Deutsch")]
        html = boss.get(reverse(REPORT, args=[version.pk]), headers={"accept-language": "de"}).content.decode()
        assert "0,2120" in html
        assert 'x2="95,' not in html
        assert 'x2="9' in html

    def test_takes_the_permission_to_view_versions(self, staff_with, version):
        assert staff_with("view_modelversion").get(reverse(REPORT, args=[version.pk])).status_code == 200

    def test_is_closed_without_it(self, staff_with, version):
        assert staff_with("view_resource").get(reverse(REPORT, args=[version.pk])).status_code == 403

    def test_of_no_version_is_not_found(self, boss, db):
        assert boss.get(reverse(REPORT, args=[999])).status_code == 404

    def test_of_a_run_that_measured_nothing_opens(self, boss, db):
        version = ModelVersion.objects.create(status="failed", why="It broke.")
        html = boss.get(reverse(REPORT, args=[version.pk])).content.decode()
        assert "It broke." in html
        assert "Nothing was measured." in html

    def test_costs_the_same_for_one_version_and_for_twenty(self, boss, version):
        address = reverse(REPORT, args=[version.pk])
        make_record(version, has_fallen=False)
        boss.get(address)
        with CaptureQueriesContext(connection) as one:
            boss.get(address)
        for _ in range(19):
            make_record(make_version("retired"), has_fallen=False)
        with CaptureQueriesContext(connection) as twenty:
            boss.get(address)
        assert len(twenty) == len(one)

    def test_another_tenants_versions_are_not_in_it(self, boss, version):
        other = make_version(tenant="b")
        html = boss.get(reverse(REPORT, args=[version.pk])).content.decode()
        assert reverse(REPORT, args=[version.pk]) in html
        assert reverse(REPORT, args=[other.pk]) not in html


class TestList:
    def test_warns_when_what_serves_has_become_worse(self, boss, version):
        make_record(version, has_fallen=True)
        html = boss.get(reverse(LIST)).content.decode()
        assert "NDCG@10 0.1000 on 77 interactions since training is surely below the 0.2000" in html

    def test_does_not_warn_when_it_has_recovered_or_serves_no_more(self, boss, version):
        make_record(version, has_fallen=True)
        make_record(version, has_fallen=False)
        make_record(make_version("retired"), has_fallen=True)
        assert "surely below" not in boss.get(reverse(LIST)).content.decode()

    def test_leads_to_the_report(self, boss, version):
        assert reverse(REPORT, args=[version.pk]) in boss.get(reverse(LIST)).content.decode()

    def test_letting_a_version_serve_says_that_a_person_did_it(self, boss, version, monkeypatch):
        monkeypatch.setattr(artifacts, "fetch", lambda version: None)
        other = make_version("retired", artifact="a.zip")
        boss.post(reverse(LIST), {"action": "activate", "_selected_action": other.pk})
        other.refresh_from_db()
        assert (other.status, other.why) == ("active", "Activated in the admin.")
        assert other.why_data == [{"code": "activated_by_hand"}]


class TestMarks:
    def test_lengths_are_in_proportion_and_begin_at_zero(self):
        scale = Scale.of([0.1, 0.2, None])
        assert scale(0.2) == pytest.approx(2 * scale(0.1), abs=0.01)
        assert scale(0.0) == 0
        assert scale(None) is None
        assert scale(99) == 100
        assert mark(scale, 0.1, (0.05, 0.2)).high == scale(0.2)

    def test_nothing_is_no_error(self):
        assert Scale.of([]) == Scale.of([0.0, None]) == Scale(1.0)
        assert points(Scale(1.0), []) == []
        assert mark(Scale(1.0), None).value is None

    def test_points_stand_in_the_order_of_time(self):
        now = timezone.now()
        rows = [(now, 0.2, None, "b", ""), (now - timedelta(days=10), 0.1, None, "a", "")]
        first, last = points(Scale(1.0), rows)
        assert (first.kind, last.kind) == ("a", "b")
        assert first.x < last.x
        assert first.y > last.y  # y grows downwards
        [alone] = points(Scale(1.0), rows[:1])
        assert 0 < alone.x < 100
