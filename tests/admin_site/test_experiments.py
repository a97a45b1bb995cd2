import re

from django.urls import reverse

from llmrec_django.models import (
    Experiment,
    ExperimentArm,
    LearnerProfile,
    ModelVersion,
    RecommendationItem,
    RecommendationList,
    Resource,
)

ARMS = {
    "arms-TOTAL_FORMS": 2,
    "arms-INITIAL_FORMS": 0,
    "arms-0-name": "control",
    "arms-0-weight": 1,
    "arms-0-settings": "{}",
    "arms-1-name": "diverse",
    "arms-1-weight": 1,
    "arms-1-settings": '{"diversity": 0.8}',
}


def address(name, *args):
    return reverse(f"admin:llmrec_django_experiment_{name}", args=args)


def test_an_experiment_is_made_with_its_arms(boss):
    data = {"tenant": "default", "name": "diversity", "description": "", **ARMS}
    assert boss.post(address("add"), data).status_code == 302
    experiment = Experiment.objects.get()
    assert experiment.salt
    assert dict(experiment.arms.values_list("name", "settings")) == {"control": {}, "diverse": {"diversity": 0.8}}


def test_settings_that_no_list_can_have_are_refused_with_their_name(boss):
    data = {"tenant": "default", "name": "diversity", "description": "", **ARMS}
    response = boss.post(address("add"), data | {"arms-1-settings": '{"diversity": 7}'})
    assert "diversity cannot be 7." in response.content.decode()
    response = boss.post(address("add"), data | {"arms-1-settings": '{"colour": 7}'})
    assert "Unknown setting colour." in response.content.decode()
    assert not Experiment.objects.exists()


def test_a_version_of_another_tenant_is_refused(boss):
    theirs = ModelVersion.objects.create(tenant="other")
    data = {"tenant": "default", "name": "diversity", "description": "", **ARMS, "arms-1-version": theirs.pk}
    assert "The version is of another tenant." in boss.post(address("add"), data).content.decode()
    assert not Experiment.objects.exists()


class TestReport:
    def make(self, learners=40):
        experiment = Experiment.objects.create(name="diversity")
        resource = Resource.objects.create(key="r", title="R")
        for name in ("control", "diverse"):
            ExperimentArm.objects.create(experiment=experiment, name=name)
        for n in range(learners):
            learner = LearnerProfile.objects.create(visitor_key=f"v{n}")
            made = RecommendationList.objects.create(
                learner=learner, experiment=experiment, arm="diverse" if n % 2 else "control", k=1
            )
            RecommendationItem.objects.create(
                list=made,
                rank=1,
                resource=resource,
                score=1,
                shown_at=made.created_at,
                clicked_at=made.created_at if n % 2 else None,
                outcomes={"enrolled": "2026-01-01T00:00:00+00:00"} if n % 4 == 1 else {},
            )
        return experiment

    def test_it_shows_each_arm_and_says_what_is_sure(self, boss):
        experiment = self.make()
        text = boss.get(address("report", experiment.pk)).content.decode()
        assert re.findall(r"<h2>(.*?)</h2>", text)[-3:] == ["Learners", "Clicked", "Enrolled"]
        assert "100.00 points from the control" in text
        assert "sure" in text
        assert "did not get the learners" not in text

    def test_a_skewed_one_warns(self, boss):
        experiment = self.make()
        RecommendationList.objects.update(arm="diverse")
        assert "did not get the learners" in boss.get(address("report", experiment.pk)).content.decode()

    def test_an_empty_one_opens(self, boss):
        experiment = self.make(learners=0)
        assert boss.get(address("report", experiment.pk)).status_code == 200
        assert boss.get(address("report", 99999)).status_code == 404

    def test_it_takes_the_permission_to_view(self, staff_with):
        experiment = self.make(learners=0)
        assert staff_with("view_placement").get(address("report", experiment.pk)).status_code == 403


def test_a_list_shows_what_became_of_its_items(staff_with, db):
    learner = LearnerProfile.objects.create(visitor_key="v")
    made = RecommendationList.objects.create(learner=learner, k=1)
    resource = Resource.objects.create(key="r", title="Rings and fields")
    RecommendationItem.objects.create(
        list=made, rank=1, resource=resource, score=1, dismissed_at=made.created_at, dismiss_reason="too_hard"
    )
    browser = staff_with("view_recommendationlist")
    text = browser.get(reverse("admin:llmrec_django_recommendationlist_change", args=[made.pk])).content.decode()
    assert "Rings and fields" in text
    assert "Too hard" in text
