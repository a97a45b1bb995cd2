"""Learners are dealt to arms, arms change lists, places are drawn by lot, and all of it can be reported."""

from collections import Counter
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmrec_django.models import (
    Experiment,
    ExperimentArm,
    Interaction,
    LearnerProfile,
    ModelVersion,
    Placement,
    RecommendationItem,
    RecommendationList,
    Resource,
)
from llmrec_django.services import embedding
from llmrec_django.services.arms_report import report_arms
from llmrec_django.services.experiments import assign, check_arm_settings, choose_arm
from llmrec_django.services.feedback import give_feedback
from llmrec_django.services.recommend import recommend, recommend_batch
from llmrec_django.services.record import record
from llmrec_django.types import FeedbackInput, InteractionInput

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_cache():
    cache.clear()


@pytest.fixture
def catalogue(hashing):
    # The more other words, the further away: no two are equally near, so that their order is one.
    Resource.objects.bulk_create(
        Resource(
            key=f"law-{i}",
            title="Law",
            description="law court judge contract rights justice statute " + " ".join(f"w{j}" for j in range(i)),
        )
        for i in range(25)
    )
    embedding.embed_pending()
    return list(Resource.objects.all())


@pytest.fixture
def learner(catalogue):
    learner = LearnerProfile.objects.create(visitor_key="ann")
    record(learner, InteractionInput("completed", "law-0"))
    return learner


@pytest.fixture
def place(db):
    return Placement.objects.create(name="home", size=5, diversity=0.0)


@pytest.fixture
def experiment(place):
    """Two arms, of which one shows a shorter list."""
    experiment = Experiment.objects.create(name="shorter")
    ExperimentArm.objects.create(experiment=experiment, name="control")
    ExperimentArm.objects.create(experiment=experiment, name="short", settings={"size": 2, "diversity": 0.9})
    place.experiment = experiment
    place.save()
    return experiment


def arms_of(experiment, n=4000):
    arms = list(experiment.arms.all())
    return [choose_arm(experiment, arms, learner_id).name for learner_id in range(1, n + 1)]


class TestDealing:
    def test_a_learner_stays_in_their_arm(self, experiment, place, learner):
        assert {assign(place, learner).arm for _ in range(3)} == {assign(place, learner).arm}
        assert arms_of(experiment) == arms_of(experiment)

    def test_shares_are_kept(self, experiment):
        assert Counter(arms_of(experiment))["short"] / 4000 == pytest.approx(0.5, abs=0.03)
        experiment.arms.filter(name="control").update(weight=3)
        assert Counter(arms_of(experiment))["short"] / 4000 == pytest.approx(0.25, abs=0.03)
        experiment.arms.filter(name="short").update(weight=0)
        assert set(arms_of(experiment)) == {"control"}

    def test_arms_of_two_experiments_have_nothing_to_do_with_each_other(self, experiment):
        other = Experiment.objects.create(name="other")
        for name in ("control", "short"):
            ExperimentArm.objects.create(experiment=other, name=name)
        both = Counter(zip(arms_of(experiment), arms_of(other), strict=True))
        assert all(n / 4000 == pytest.approx(0.25, abs=0.03) for n in both.values())
        assert len(both) == 4

    def test_without_shares_there_is_no_arm(self, experiment, place, learner):
        experiment.arms.update(weight=0)
        assert assign(place, learner) is None

    def test_only_while_it_runs_and_only_for_those_who_may_be_compared(self, experiment, place, learner):
        now = timezone.now()
        assert assign(place, learner) is not None
        assert assign(place, None) is None
        assert assign(place, LearnerProfile.objects.create(visitor_key="bo", personalise=False)) is None
        for starts, ends in ((now + timedelta(days=1), None), (None, now - timedelta(days=1))):
            experiment.starts_at, experiment.ends_at = starts, ends
            assert assign(place, learner, at=now) is None
        experiment.starts_at, experiment.ends_at = now - timedelta(days=1), now + timedelta(days=1)
        assert assign(place, learner, at=now) is not None

    def test_an_experiment_that_ends_before_it_starts_is_refused(self, experiment):
        experiment.starts_at, experiment.ends_at = timezone.now(), timezone.now() - timedelta(days=1)
        with pytest.raises(ValidationError):
            experiment.full_clean()

    @pytest.mark.parametrize(
        "settings",
        [
            {"size": 0},
            {"size": "8"},
            {"size": True},
            {"diversity": 2},
            {"seen": "never"},
            {"kinds": "course"},
            {"explore_by": "luck"},
            {"trained": "no"},
            {"blend": {"content": -1}},
            {"colour": "red"},
            ["size"],
        ],
    )
    def test_what_an_arm_cannot_set_is_refused(self, settings):
        with pytest.raises(ValidationError):
            check_arm_settings(settings)

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"size": 8, "diversity": 0.6, "seen": "hide", "kinds": ["book"], "explore_places": 2},
            {"trained": False},
            {"blend": {"content": 0, "transitions": 1.5}},
            {"explore_by": "score", "explore_pool": 30},
        ],
    )
    def test_what_it_can_set_is_taken(self, settings):
        check_arm_settings(settings)


class TestLists:
    def test_an_arm_changes_the_list_and_is_written_down(self, experiment, learner, catalogue):
        sizes = {}
        for n in range(20):
            who = LearnerProfile.objects.create(visitor_key=f"visitor-{n}", goals="law court")
            result = recommend(who, placement="home")
            stored = RecommendationList.objects.get(pk=result.recommendation_id)
            assert stored.experiment == experiment
            sizes.setdefault(stored.arm, set()).add(len(result))
        assert sizes == {"control": {5}, "short": {2}}
        place = Placement.objects.get()
        assert (place.size, place.diversity) == (5, 0.0), "the placement itself stays"

    def test_what_is_asked_for_wins_over_the_arm(self, experiment, learner):
        assert len(recommend(learner, placement="home", k=7)) == 7

    def test_without_an_experiment_nothing_is_asked(self, place, experiment, learner):
        recommend(learner, placement="home")  # what is cached is there
        with CaptureQueriesContext(connections["default"]) as running:
            recommend(learner, placement="home")
        Placement.objects.update(experiment=None)
        with CaptureQueriesContext(connections["default"]) as without:
            recommend(learner, placement="home")
        assert len(running) - len(without) == 1
        assert not any("experimentarm" in query["sql"].lower() for query in without)


class TestVersions:
    """What an arm may serve by; the version itself is not opened here."""

    @pytest.fixture
    def asked(self, monkeypatch):
        """What was asked to be scored: (version, blend)."""
        asked = []
        service = "llmrec_django.services.ranking.score_learners"
        monkeypatch.setattr(
            service, lambda version, learners, blend=None, known=None, **rest: asked.append((version.pk, blend)) or {}
        )
        return asked

    def serve(self, experiment, learner, version=None, **settings):
        experiment.arms.update(version=version, settings=settings)
        return recommend(learner, placement="home")

    def test_an_arm_serves_by_its_own_version_and_blend(self, experiment, learner, asked):
        active = ModelVersion.objects.create(status="active", artifact="a")
        trial = ModelVersion.objects.create(status="candidate", artifact="b")
        self.serve(experiment, learner)
        self.serve(experiment, learner, trial, blend={"content": 0.5})
        self.serve(experiment, learner, blend={"ease": 0})
        assert [pk for pk, _ in asked] == [active.pk, trial.pk, active.pk]
        assert [blend or None for _, blend in asked] == [None, {"content": 0.5}, {"ease": 0}]

    def test_an_arm_can_do_without_training(self, experiment, learner, asked):
        ModelVersion.objects.create(status="active", artifact="a")
        assert len(self.serve(experiment, learner, trained=False)) == 5
        assert asked == []

    def test_a_version_without_files_or_of_another_tenant_serves_nobody(self, experiment, learner, asked):
        active = ModelVersion.objects.create(status="active", artifact="a")
        for version in (
            ModelVersion.objects.create(status="retired", artifact=""),
            ModelVersion.objects.create(status="candidate", artifact="b", tenant="other"),
        ):
            self.serve(experiment, learner, version)
        assert [pk for pk, _ in asked] == [active.pk, active.pk]


class TestExploring:
    @pytest.fixture(autouse=True)
    def _exploring(self, place):
        place.explore_places, place.explore_pool = 2, 6
        place.save()

    def test_the_last_places_are_drawn_from_what_comes_next(self, place, learner):
        place.explore_places = 0
        place.save()
        plain = [item.resource.key for item in recommend(learner, placement="home", k=20)]
        place.explore_places = 2
        place.save()
        last = Counter()
        for _ in range(60):
            result = recommend(learner, placement="home")
            keys = [item.resource.key for item in result]
            assert keys[:3] == plain[:3]
            assert len(set(keys)) == 5
            assert set(keys[3:]) <= set(plain[3:10])
            assert [item.rank for item in result] == [1, 2, 3, 4, 5]
            assert [(item.is_exploration, item.propensity) for item in result] == [
                *[(False, 1.0)] * 3,
                *[(True, pytest.approx(1 / 6))] * 2,
            ]
            last.update(keys[3:])
        assert len(last) == 7, "each of the pool has its turn"

    def test_it_is_written_down(self, learner):
        result = recommend(learner, placement="home")
        rows = RecommendationItem.objects.filter(list=result.recommendation_id, is_exploration=True)
        assert [row.propensity for row in rows] == [pytest.approx(1 / 6)] * 2

    def test_by_score_better_ones_come_more_often(self, place, learner):
        place.explore_by, place.explore_places = "score", 1
        place.save()
        chances = {}
        for _ in range(80):
            drawn = list(recommend(learner, placement="home"))[-1]
            chances[drawn.score] = drawn.propensity
        ordered = [chances[score] for score in sorted(chances, reverse=True)]
        assert len(set(ordered)) > 1
        assert all(one >= other - 1e-9 for one, other in zip(ordered, ordered[1:], strict=False))

    def test_few_eligible_ones_fill_the_list_all_the_same(self, learner):
        Resource.objects.exclude(key__in=["law-1", "law-2", "law-3", "law-4"]).update(published=False)
        result = recommend(learner, placement="home")
        assert {item.resource.key for item in result} == {"law-1", "law-2", "law-3", "law-4"}
        assert [item.propensity for item in result if item.is_exploration] == [1.0]

    def test_a_batch_draws_nothing(self, place, learner):
        lists = [
            [pk for pk, _ in rows] for _ in range(5) for _, rows in recommend_batch([learner], k=5, placement="home")
        ]
        assert all(row == lists[0] for row in lists)


class TestReport:
    def test_it_counts_what_each_arm_led_to(self, experiment, catalogue):
        shown = Counter()
        for n in range(30):
            who = LearnerProfile.objects.create(visitor_key=f"visitor-{n}", goals="law court")
            result = recommend(who, placement="home")
            arm = RecommendationList.objects.get(pk=result.recommendation_id).arm
            keys = [item.resource.key for item in result]
            shown[arm] += len(keys)
            give_feedback(who, [FeedbackInput("shown", key, result.recommendation_id) for key in keys])
            if arm == "short":
                give_feedback(who, [FeedbackInput("clicked", keys[0], result.recommendation_id)])
                record(who, InteractionInput("enrolled", keys[0]))
            elif n % 2:
                give_feedback(who, [FeedbackInput("clicked", keys[0], result.recommendation_id)])
                record(who, InteractionInput("completed", keys[0]))
        report = report_arms(experiment)
        control, short = report.arms
        assert (control.name, short.name) == ("control", "short")
        assert control.learners + short.learners == 30
        assert control.rates["clicked"].chances == shown["control"]
        assert short.rates["clicked"].value == pytest.approx(0.5)
        assert control.rates["clicked"].value == pytest.approx(control.rates["completed"].value)
        assert (short.rates["completed"].value, short.rates["enrolled"].value) == (0.0, 0.5)
        assert control.differences == {}
        assert short.differences["clicked"].is_sure
        assert short.differences["clicked"].value > 0.3
        assert not report.is_skewed
        assert report.sample_ratio_p > 0.001

    def test_arms_that_got_the_wrong_learners_are_told(self, experiment, learner):
        for n in range(60):
            who = LearnerProfile.objects.create(visitor_key=f"visitor-{n}")
            lists = RecommendationList.objects.create(
                learner=who, experiment=experiment, arm="short" if n % 6 else "control", k=1
            )
            RecommendationItem.objects.create(list=lists, rank=1, resource=Resource.objects.first(), score=1)
        assert report_arms(experiment).is_skewed

    def test_a_learner_in_two_arms_is_counted_as_moved(self, experiment, learner):
        for arm in ("control", "short"):
            row = RecommendationList.objects.create(learner=learner, experiment=experiment, arm=arm, k=1)
            RecommendationItem.objects.create(list=row, rank=1, resource=Resource.objects.first(), score=1)
        assert report_arms(experiment).moved == 1

    def test_dates_bound_it_and_nothing_shown_is_no_rate(self, experiment, learner):
        recommend(learner, placement="home")
        now = timezone.now()
        assert sum(arm.lists for arm in report_arms(experiment, since=now - timedelta(days=1)).arms) == 1
        assert sum(arm.lists for arm in report_arms(experiment, until=now - timedelta(days=1)).arms) == 0
        assert {arm.rates["clicked"].value for arm in report_arms(experiment).arms} == {None}
        assert Interaction.objects.count() == 1
