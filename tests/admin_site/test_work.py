"""Recommendations at work: numbers checked by hand, a bound of queries, and what an empty site is told."""

import html as html_module
import math
import re
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.urls import reverse
from django.utils import timezone

from llmrec_django.models import (
    EmbeddingClaim,
    Experiment,
    ExperimentArm,
    Interaction,
    LearnerProfile,
    RecommendationItem,
    RecommendationList,
    Resource,
    ResourceVector,
)
from llmrec_django.services import backlog
from llmrec_django.services.backlog import backlog_over_time, backlogs
from llmrec_django.services.dashboard import numbers
from llmrec_django.services.work_report import QUERIES, report_work
from tests.admin_site.test_versions import make_record, make_version

WORK = "admin:llmrec_django_recommendationlist_work"


@pytest.fixture(autouse=True)
def _no_cache():
    cache.clear()


def counted_anew(boss, **query):
    cache.clear()
    return boss.get(reverse(WORK), query).content.decode()


class Site:
    """A few resources and learners, and lists that are written as they are said."""

    def __init__(self):
        self.now = timezone.now()
        self.resources = [Resource.objects.create(key=f"r{n}", title=f"R{n}") for n in range(8)]
        old = self.now - timedelta(days=400)
        Resource.objects.filter(key__in=["r0", "r1", "r2", "r3"]).update(created_at=old)
        self.learners = [LearnerProfile.objects.create(visitor_key=f"v{n}") for n in range(4)]

    def list(self, learner, shown, *, placement="home", days_ago=1.0, clicked=(), outcomes=None, **fields):
        at = self.now - timedelta(days=days_ago)
        made = RecommendationList.objects.create(
            learner=None if learner is None else self.learners[learner], placement=placement, k=len(shown), **fields
        )
        RecommendationList.objects.filter(pk=made.pk).update(created_at=at)
        for rank, number in enumerate(shown, start=1):
            RecommendationItem.objects.create(
                list=made,
                rank=rank,
                resource=self.resources[number],
                score=1,
                shown_at=at,
                clicked_at=at if number in clicked else None,
                outcomes=(outcomes or {}).get(number, {}),
            )
        return made

    def met(self, learner, number, days_ago=100.0):
        Interaction.objects.create(
            learner=self.learners[learner],
            resource=self.resources[number],
            verb="viewed",
            occurred_at=self.now - timedelta(days=days_ago),
            event_id=f"{learner}:{number}",
        )

    def report(self, days=30, **options):
        return report_work("default", self.now - timedelta(days=days), self.now + timedelta(seconds=1), **options)


@pytest.fixture
def site(db):
    return Site()


def claim(resource, space, state):
    """Let a resource be claimed for embedding, with its text as it is."""
    EmbeddingClaim.objects.create(
        resource=resource,
        space=space,
        state=state,
        content_hash=resource.content_hash,
        token="t",
        lease_until=timezone.now(),
    )


class TestRates:
    def test_clicks_and_conversions_are_counted_by_items_seen(self, site):
        site.list(0, [0, 1, 2], clicked=[0])
        site.list(1, [0, 3], clicked=[0, 3], outcomes={3: {"enrolled": "2026-01-01T00:00:00+00:00"}})
        site.list(2, [4], placement="mail", outcomes={4: {"borrowed": "2026-01-01T00:00:00+00:00"}})
        report = site.report()
        rates = report.whole.counted.rates
        assert report.whole.counted.shown == 6
        assert report.whole.counted.learners == 3
        assert rates["clicked"].value == pytest.approx(3 / 6)
        assert rates["enrolled"].value == pytest.approx(1 / 6)
        assert rates["borrowed"].value == pytest.approx(1 / 6)
        assert rates["purchased"].value == 0
        by = {part.name: part.counted for part in report.parts}
        assert list(by) == ["home", "mail"], "most items seen first"
        assert by["home"].rates["clicked"].value == pytest.approx(3 / 5)
        assert by["mail"].rates["borrowed"].value == 1

    def test_intervals_are_those_of_the_experiment_report(self, site):
        from llmrec_django.engine.evaluation.arms import rate

        site.list(0, [0, 1, 2, 3], clicked=[0])
        site.list(0, [0, 1], clicked=[0, 1])
        site.list(1, [0, 1, 2], clicked=[])
        site.list(2, [5], clicked=[5])
        found = site.report().whole.counted.rates["clicked"]
        by_hand = rate([3, 0, 1], [6, 3, 1])
        assert (found.value, found.low, found.high) == pytest.approx((by_hand.value, by_hand.low, by_hand.high))

    def test_lists_of_somebody_unknown_count_each_for_itself(self, site):
        site.list(None, [0])
        site.list(None, [1])
        assert site.report().whole.counted.learners == 2

    def test_what_nobody_saw_what_was_not_shown_and_what_is_older_is_left_out(self, site):
        unseen = site.list(0, [0])
        unseen.items.update(shown_at=None)
        site.list(1, [1], is_shadow=True)
        site.list(2, [2], days_ago=40)
        site.list(3, [3], tenant="b")
        report = site.report()
        assert report.whole.counted.shown == 0
        assert report.whole.counted.rates["clicked"].value is None
        assert site.report(days=90).whole.counted.shown == 1

    def test_days_and_weeks_are_told_apart(self, site):
        for days_ago in (1, 2, 2, 20):
            site.list(0, [0], days_ago=days_ago, clicked=[0] if days_ago == 2 else [])
        days = site.report(days=7).over_time
        assert [(step.counted.shown, step.counted.rates["clicked"].value) for step in days] == [(2, 1.0), (1, 0.0)]
        assert [step.begins for step in days] == sorted(step.begins for step in days)
        assert sum(step.counted.shown for step in site.report(days=30, step="week").over_time) == 4

    def test_by_version_and_by_arm(self, site):
        version = make_version()
        experiment = Experiment.objects.create(name="short")
        ExperimentArm.objects.create(experiment=experiment, name="control")
        site.list(0, [0], version=version)
        site.list(1, [0, 1], experiment=experiment, arm="control")
        assert {part.name: part.counted.shown for part in site.report(by="version").parts} == {
            None: 2,
            str(version.pk): 1,
        }
        assert {part.name: part.counted.shown for part in site.report(by="arm").parts} == {
            None: 1,
            f"{experiment.pk}:control": 2,
        }


class TestSpread:
    def test_coverage_and_gini_are_those_of_the_whole_catalogue(self, site):
        import numpy as np

        from llmrec_django.engine.evaluation.metrics import gini

        for learner in range(3):
            site.list(learner, [0, 1])
        site.list(3, [0, 5])
        spread = site.report().whole.spread
        assert spread.resources == 3
        assert spread.coverage == pytest.approx(3 / 8)
        ranked = np.array([[0, 1], [0, 1], [0, 1], [0, 5]])
        assert spread.gini == pytest.approx(gini(ranked, 8))

    def test_novelty_is_in_bits_of_learners_who_met_it(self, site):
        for learner in range(3):
            site.met(learner, 0)
        site.list(0, [0, 1])
        # Of three learners, and one imagined, four met r0 and one r1.
        assert site.report().whole.spread.novelty == pytest.approx((0 + math.log2(4)) / 2)

    def test_new_resources_are_those_added_lately(self, site):
        site.list(0, [0, 1, 4])
        site.list(1, [5], placement="mail")
        report = site.report()
        assert report.whole.spread.new_share == pytest.approx(2 / 4)
        assert {part.name: part.spread.new_share for part in report.parts} == {
            "home": pytest.approx(1 / 3),
            "mail": 1.0,
        }

    def test_new_learners_are_those_who_had_done_nothing_before(self, site):
        site.met(0, 0, days_ago=50)
        site.met(1, 0, days_ago=0.5)
        for learner in (0, 1, 2):
            site.list(learner, [3], fallback="popular" if learner == 2 else "")
        site.list(None, [3])
        lists = site.report().whole.lists
        assert (lists.lists, lists.learners, lists.named, lists.new_learners) == (4, 3, 3, 2)
        assert lists.new_share == pytest.approx(2 / 3)
        assert lists.fallback_share == pytest.approx(1 / 4)


class TestOverTime:
    @pytest.fixture(autouse=True)
    def _all_day(self, site):
        """Lists are made at noon, so that days do not depend on when the test runs."""
        site.now = timezone.localtime().replace(hour=12, minute=0, second=0, microsecond=0)

    def test_each_day_has_its_own_coverage_gini_novelty_and_new_resources(self, site):
        Resource.objects.update(created_at=site.now - timedelta(days=400))
        Resource.objects.filter(key="r7").update(created_at=site.now - timedelta(days=3))
        site.met(0, 0)
        site.list(0, [0, 1], days_ago=5)
        site.list(1, [0, 7], days_ago=2)
        site.list(2, [0, 7], days_ago=2)
        before, after = (step.spread for step in site.report().over_time)
        assert (before.resources, after.resources) == (2, 2)
        assert before.coverage == pytest.approx(2 / 7), "r7 was not there yet"
        assert after.coverage == pytest.approx(2 / 8)
        assert before.gini == pytest.approx(5 / 7)
        assert after.gini == pytest.approx(6 / 8)
        # Of one learner, and one imagined, two met r0 and one what nobody met.
        assert before.novelty == pytest.approx((0 + 1) / 2)
        assert (before.new_share, after.new_share) == (0, pytest.approx(2 / 4))

    def test_the_days_add_up_to_the_whole(self, site):
        for n in range(12):
            site.list(n % 4, [n % 8, (n + 3) % 8], days_ago=1 + n % 5, placement=f"p{n % 3}")
        report = site.report()
        assert len(report.over_time) == 5
        assert sum(step.counted.shown for step in report.over_time) == report.whole.counted.shown == 24
        assert sum(step.lists.lists for step in report.over_time) == report.whole.lists.lists == 12
        assert max(step.spread.resources for step in report.over_time) < report.whole.spread.resources

    def test_each_day_has_its_own_new_learners(self, site):
        site.met(0, 0, days_ago=4)
        site.list(0, [1], days_ago=5)
        site.list(0, [1], days_ago=2)
        site.list(1, [1], days_ago=2)
        assert [step.lists.new_share for step in site.report().over_time] == [1.0, 0.5]

    def test_a_day_whose_lists_nobody_saw_has_lists_alone(self, site):
        site.list(0, [0], days_ago=3).items.update(shown_at=None)
        [step] = site.report().over_time
        assert (step.lists.lists, step.counted.shown, step.spread.coverage) == (1, 0, None)
        assert step.counted.rates["clicked"].value is None


class TestBacklogOverTime:
    @pytest.fixture
    def noon(self, space):
        space.created_at = timezone.now() - timedelta(days=300)
        space.save()
        return timezone.localtime().replace(hour=12, minute=0, second=0, microsecond=0)

    def waiting(self, space, noon, *, tenant="default", days=6, **options):
        found = backlog_over_time(space, tenant, noon - timedelta(days=days), noon, **options)
        assert [when for when, _n in found] == sorted({when for when, _n in found})
        return [n for _when, n in found]

    def at(self, resource, noon, *, added, changed=None, embedded=None):
        """Say how many days ago what happened."""
        moments = {"created_at": added, "updated_at": added if changed is None else changed}
        Resource.objects.filter(pk=resource.pk).update(
            **{name: noon - timedelta(days=days) for name, days in moments.items()}
        )
        if embedded is not None:
            ResourceVector.objects.filter(resource=resource).update(embedded_at=noon - timedelta(days=embedded))

    def test_a_resource_waits_from_when_it_was_added_until_it_was_embedded(self, space, noon, make_resource, embed):
        late, now = make_resource("late"), make_resource("now")
        embed(late, [1, 0, 0])
        self.at(late, noon, added=5, embedded=2)
        self.at(now, noon, added=1)
        assert self.waiting(space, noon) == [0, 1, 1, 1, 0, 1, 1]

    def test_what_was_embedded_the_same_day_has_not_waited_at_its_end(self, space, noon, make_resource, embed):
        quick = make_resource("quick")
        embed(quick, [1, 0, 0])
        self.at(quick, noon, added=3, embedded=3)
        assert self.waiting(space, noon) == [0] * 7

    def test_a_changed_text_waits_from_the_change(self, space, noon, make_resource, embed):
        again, stale, touched = (make_resource(key) for key in ("again", "stale", "touched"))
        for resource in (again, stale, touched):
            embed(resource, [1, 0, 0])
        Resource.objects.filter(pk=stale.pk).update(title="Another title")
        self.at(again, noon, added=200, changed=4, embedded=3)
        self.at(stale, noon, added=200, changed=1, embedded=100)
        self.at(touched, noon, added=200, changed=0, embedded=2)  # when its text changed, nobody knows
        assert self.waiting(space, noon) == [0, 0, 1, 0, 0, 1, 1]

    def test_a_new_space_has_no_backlog_before_it_began(self, space, noon, make_resource):
        self.at(make_resource("r"), noon, added=100)
        space.created_at = noon - timedelta(days=2)
        space.save()
        assert self.waiting(space, noon) == [0, 0, 0, 0, 1, 1, 1]

    def test_what_failed_counts_and_what_has_no_text_does_not(self, space, noon, make_resource):
        for state in ("failed", "empty"):
            resource = make_resource(state)
            self.at(resource, noon, added=1)
            claim(resource, space, state)
        assert self.waiting(space, noon) == [0, 0, 0, 0, 0, 1, 1]
        assert backlogs("default")[0].failed == 1

    def test_another_tenants_resources_are_not_counted(self, space, noon, make_resource):
        self.at(make_resource("r", tenant="b"), noon, added=1)
        assert self.waiting(space, noon) == [0] * 7
        assert self.waiting(space, noon, tenant="b")[-1] == 1
        assert (backlogs("default")[0].waiting, backlogs("b")[0].waiting, backlogs()[0].waiting) == (0, 1, 1)

    def test_weeks_begin_on_mondays_and_end_now(self, space, noon, make_resource):
        self.at(make_resource("r"), noon, added=0)
        found = backlog_over_time(space, "default", noon - timedelta(days=90), noon, step="week")
        assert {when.weekday() for when, _n in found} == {0}
        assert len(found) in (13, 14)
        assert [n for _when, n in found[-2:]] == [0, 1]

    def test_there_is_none_where_working_it_out_takes_too_long(self, space, noon, monkeypatch):
        def too_slow(*args):
            raise OperationalError("canceling statement due to statement timeout")

        monkeypatch.setattr(backlog, "_in_time", too_slow)
        assert self.waiting(space, noon) == []


class TestKept:
    """Numbers are counted once in some minutes."""

    def shown(self, boss, **query):
        found = re.search(r"Items seen</dt><dd>(\d+)", boss.get(reverse(WORK), query).content.decode())
        return int(found[1])

    def test_they_stay_for_a_while_and_are_counted_again_when_asked(self, boss, site):
        site.list(0, [0, 1])
        assert self.shown(boss) == 2
        site.list(1, [0])
        html = boss.get(reverse(WORK)).content.decode()
        assert "Numbers as of" in html
        assert self.shown(boss) == 2
        again = html_module.unescape(re.search(r'<a href="([?][^"]*)">Count again', html)[1])
        assert "Items seen</dt><dd>3 " in boss.get(reverse(WORK) + again).content.decode()
        assert self.shown(boss) == 3

    def test_asking_twice_for_the_same_counts_once(self, boss, site):
        site.list(0, [0])
        html = boss.get(reverse(WORK)).content.decode()
        again = html_module.unescape(re.search(r'<a href="([?][^"]*)">Count again', html)[1])
        boss.get(reverse(WORK) + again)
        site.list(1, [0])
        assert "Items seen</dt><dd>1 " in boss.get(reverse(WORK) + again).content.decode()

    def test_the_choices_are_kept_when_counting_again(self, boss, site):
        html = boss.get(reverse(WORK), {"days": "7", "by": "version"}).content.decode()
        assert re.search(r'href="[?]days=7&amp;by=version&amp;after=', html)

    def test_no_tenant_time_or_part_gets_the_numbers_of_another(self, boss, site):
        Resource.objects.create(key="other", tenant="b", title="B")
        site.list(0, [0, 1], version=make_version())
        site.list(0, [0], days_ago=20)
        site.list(1, [2, 3, 4, 5], tenant="b")
        assert self.shown(boss, tenant="default") == 3
        assert self.shown(boss, tenant="b") == 4
        assert self.shown(boss, tenant="default", days="7") == 2
        assert "without training" in boss.get(reverse(WORK), {"by": "version"}).content.decode()
        assert "home" in boss.get(reverse(WORK), {"by": "placement"}).content.decode()

    def test_days_of_another_time_zone_are_counted_for_themselves(self, site):
        site.list(0, [0])
        with timezone.override("Pacific/Kiritimati"):
            east = numbers("default", days=7, by="placement")
        with timezone.override("Pacific/Pago_Pago"):
            west = numbers("default", days=7, by="placement")
        assert east.report.over_time[0].begins.date() != west.report.over_time[0].begins.date()

    def test_readers_of_all_languages_share_them(self, boss, site):
        site.list(0, [0])
        boss.get(reverse(WORK))
        site.list(1, [0])
        html = boss.get(reverse(WORK), headers={"accept-language": "zh-hans"}).content.decode()
        assert re.search(r"<dd>1 \(", html)
        assert "Coverage" not in html

    def test_other_settings_count_anew(self, boss, site, settings):
        site.list(0, [0])
        assert "Over time: Enrolled" in boss.get(reverse(WORK), {"measure": "enrolled"}).content.decode()
        settings.LLMREC = {**settings.LLMREC, "TARGET_VERBS": ["completed", "watched"]}
        assert "Over time: Watched" in boss.get(reverse(WORK), {"measure": "watched"}).content.decode()

    def test_without_a_cache_they_are_counted_each_time(self, boss, site, settings):
        settings.CACHES = {"default": {"BACKEND": "tests.rest_api.test_access.BrokenCache"}}
        site.list(0, [0])
        assert self.shown(boss) == 1
        site.list(1, [0])
        assert self.shown(boss) == 2

    @pytest.mark.parametrize("after", ["", "x", "nan", "1e999", "-1", "9999999999"])
    def test_nonsense_is_no_error(self, boss, site, after):
        assert boss.get(reverse(WORK), {"after": after}).status_code == 200


class TestBacklog:
    def test_counts_what_waits_and_what_failed(self, make_resource, embed, space):
        embed(make_resource("done"), [1, 0, 0])
        make_resource("waits")
        failed, empty, changed = make_resource("failed"), make_resource("empty"), make_resource("changed")
        for resource, state in ((failed, "failed"), (empty, "empty")):
            claim(resource, space, state)
        embed(changed, [0, 1, 0])
        Resource.objects.filter(pk=changed.pk).update(title="Another title")
        [found] = backlogs()
        assert (found.waiting, found.failed) == (2, 1)

    def test_says_when_counting_takes_too_long(self, make_resource, space):
        for n in range(3):
            make_resource(f"r{n}")
        with pytest.raises(Exception, match="statement timeout"):
            backlog._in_time("SELECT 1, 2 FROM pg_sleep(5)", [], 50)
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone()[0] == "0"


class TestPage:
    def test_costs_the_same_for_two_lists_and_for_many(self, boss, site, django_assert_max_num_queries):
        version = make_version()
        make_record(version, has_fallen=False)
        site.list(0, [0, 1], version=version)
        site.list(1, [0], placement="mail")
        boss.get(reverse(WORK))
        with django_assert_max_num_queries(10):
            boss.get(reverse(WORK))
        cache.clear()
        with django_assert_max_num_queries(30) as few:
            boss.get(reverse(WORK))
        for n in range(30):
            site.list(n % 4, [0, 1, 2], placement=f"p{n}", version=make_version("retired"))
        cache.clear()
        with django_assert_max_num_queries(len(few)):
            boss.get(reverse(WORK), {"days": "90"})
        assert QUERIES == 4

    def test_the_choice_of_days_is_in_the_readers_language(self, boss, db):
        html = boss.get(reverse(WORK), headers={"accept-language": "zh-hans"}).content.decode()
        assert ">30 天<" in html

    def test_what_was_seen_is_read_from_its_index_alone(self, site):
        site.list(0, [0, 1], outcomes={0: {"enrolled": "2026-01-01T00:00:00+00:00"}})
        # So many that nobody saw, and known to the planner, that this index is the cheapest way whatever ran before.
        unseen = [RecommendationList(k=1) for _ in range(500)]
        RecommendationList.objects.bulk_create(unseen)
        RecommendationItem.objects.bulk_create(
            RecommendationItem(list=made, rank=1, resource=site.resources[0], score=1) for made in unseen
        )
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE llmrec_django_recommendationitem")
        statements = []

        def note(execute, sql, params, many, context):
            statements.append((sql, params))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(note):
            site.report()
        reading = [(sql, params) for sql, params in statements if "recommendationitem" in sql]
        assert len(reading) == 2
        for sql, params in reading:
            with connection.cursor() as cursor:
                for other in ("seqscan", "bitmapscan", "nestloop", "mergejoin"):
                    cursor.execute(f"SET LOCAL enable_{other} = off")
                cursor.execute(f"EXPLAIN {sql}", params)
                plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Index Only Scan using llmrec_item_shown" in plan, plan

    def test_the_report_itself_takes_as_many_as_it_says(self, site, django_assert_num_queries):
        site.list(0, [0, 1])
        with django_assert_num_queries(QUERIES):
            site.report()

    def test_shows_rates_by_placement_and_the_gate(self, boss, site):
        version = make_version()
        version.metrics["differences"] = {"transitions": {"mean": 0.031, "low": 0.02, "high": 0.042}}
        version.save()
        site.list(0, [0, 1, 2, 3], clicked=[0], version=version)
        site.list(1, [0], placement="after-lesson")
        html = boss.get(reverse(WORK)).content.decode()
        assert re.findall(r"<h2>(.*?)</h2>", html)[-6:] == [
            "Over time: Clicked",
            "Clicked",
            "Spread",
            "Spread and backlog over time",
            "Quality over time",
            "Model history",
        ]
        assert "after-lesson" in html
        assert "25.00" in html
        assert "0.0310" in html
        assert "Over time: Enrolled" in boss.get(reverse(WORK), {"measure": "enrolled"}).content.decode()
        by_version = boss.get(reverse(WORK), {"by": "version", "days": "7"}).content.decode()
        assert f"version {version.pk}" in by_version
        assert "without training" in by_version

    def test_quality_is_for_those_who_may_see_versions(self, staff_with, site):
        make_version()
        html = staff_with("view_recommendationlist").get(reverse(WORK)).content.decode()
        assert "Model history" not in html

    def test_is_closed_without_the_permission_to_view_lists(self, staff_with, db):
        assert staff_with("view_resource").get(reverse(WORK)).status_code == 403

    def test_is_reached_from_the_lists_and_from_the_index_of_the_app(self, boss, db):
        for page in (
            reverse("admin:llmrec_django_recommendationlist_changelist"),
            reverse("admin:app_list", args=["llmrec_django"]),
        ):
            assert reverse(WORK) in boss.get(page).content.decode()

    def test_nonsense_in_the_address_is_no_error(self, boss, site):
        for query in (
            {"days": "x"},
            {"by": "colour"},
            {"measure": "laughed"},
            {"tenant": "nobody"},
            {"days": "9" * 19},
        ):
            assert boss.get(reverse(WORK), query).status_code == 200

    def test_spread_and_backlog_are_plotted_with_every_number_in_a_table(self, boss, site, space):
        for days_ago in (1, 3, 5):
            site.list(0, [0, 1], days_ago=days_ago)
        html = boss.get(reverse(WORK), {"days": "7"}).content.decode()
        for label in ("Coverage", "Gini", "Novelty", "New resources", "New learners", "Embedding backlog"):
            plot = re.search(rf"<figcaption>{label} <b>[^<]+</b></figcaption>.*?</svg>", html, re.DOTALL)
            assert plot, label
            dots = plot[0].count('class="dot')
            assert dots == (8 if label == "Embedding backlog" else 3), label
            assert f'aria-label="{label} over time; the table below holds the numbers"' in plot[0]
        table = re.search(r"<th[^>]*>Embedding backlog</th></tr></thead>\s*<tbody>(.*?)</tbody>", html, re.DOTALL)[1]
        assert table.count("<tr>") == 8
        assert ">50.0 %<" in table, "four resources are old"
        assert table.count(">–<") == 5 * 5, "days without lists"

    def test_an_empty_site_is_told_what_to_do_next(self, boss, db):
        html = boss.get(reverse(WORK)).content.decode()
        assert "What to do next" in html
        assert "run llmrec_sync" in html

    def test_each_thing_that_is_missing_is_named(self, boss, site, settings):
        html = counted_anew(boss)
        assert "run llmrec_embed" in html
        assert "put the recommend tag on a page" in html
        made = site.list(0, [0])
        made.items.update(shown_at=None)
        site.met(0, 0)
        html = counted_anew(boss)
        assert "nobody is known to have seen one" in html
        assert "run llmrec_train" in html
        made.items.update(shown_at=site.now - timedelta(hours=1), clicked_at=site.now)
        assert "most likely only clicks are reported" in counted_anew(boss)
        settings.LLMREC = {"CELERY": False, "STORE_LISTS": None, "ENABLED": False}
        html = counted_anew(boss)
        assert "STORE_LISTS" in html
        assert "ENABLED" in html

    def test_another_tenant_can_be_chosen(self, boss, site):
        Resource.objects.create(key="other", tenant="b", title="B")
        site.list(0, [0])
        site.list(1, [0, 1], tenant="b")
        assert re.search(r"<dd>2\s+\(1 learner\)", boss.get(reverse(WORK), {"tenant": "b"}).content.decode())
        html = boss.get(reverse(WORK)).content.decode()
        assert '<option value="b">' in html
