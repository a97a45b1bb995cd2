"""Every page of every admin class opens, and costs the same for one row and for twenty."""

import numpy as np
import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from llmrec_django import models
from tests.testapp.models import Member

MODELS = [
    models.Competency,
    models.EditorialRule,
    models.EmbeddingClaim,
    models.EvaluationRecord,
    models.Experiment,
    models.ExperimentArm,
    models.ForgottenDeed,
    models.GoalDraft,
    models.Interaction,
    models.LearnerProfile,
    models.ModelVersion,
    models.Placement,
    models.Prerequisite,
    models.ProfileVector,
    models.RecommendationItem,
    models.RecommendationList,
    models.Resource,
    models.ResourceCompetency,
    models.ResourceNeighbours,
    models.ResourceScreening,
    models.ResourceVector,
    models.ScreeningReview,
    models.VectorSpace,
    models.WriterUsage,
    models.WrittenText,
]
READ_ONLY = [
    models.EmbeddingClaim,
    models.EvaluationRecord,
    models.ExperimentArm,
    models.RecommendationItem,
    models.RecommendationList,
    models.Interaction,
    models.ModelVersion,
    models.ProfileVector,
    models.ResourceNeighbours,
    models.ResourceVector,
    models.VectorSpace,
    models.ForgottenDeed,
    models.GoalDraft,
    models.ScreeningReview,
    models.WriterUsage,
    models.WrittenText,
]


DECIDED = [models.ResourceScreening]
"""Rows are made and deleted by the app alone; people change them."""


def page(model, name, *args):
    return reverse(f"admin:llmrec_django_{model._meta.model_name}_{name}", args=args)


def make_rows(n, space):
    """Make row `n` of every table."""
    vector = np.array([1, 0, 0], dtype=np.float32)
    resource = models.Resource.objects.create(key=f"r{n}", title=f"Resource {n}", kind="book", language="en")
    other = models.Resource.objects.create(key=f"o{n}", title=f"Other {n}", kind="book", language="en")
    competency = models.Competency.objects.create(key=f"c{n}", title=f"Competency {n}")
    models.ResourceCompetency.objects.create(resource=resource, competency=competency)
    models.Prerequisite.objects.create(resource=resource, requires=other)
    learner = models.LearnerProfile.objects.create(user=Member.objects.create_user(f"m{n}@example.org"), goals="x")
    models.Interaction.objects.create(
        learner=learner, resource=resource, verb="viewed", occurred_at=timezone.now(), event_id="e"
    )
    models.ResourceVector.objects.create(resource=resource, space=space, vector=vector, content_hash="x", text_hash="x")
    models.ProfileVector.objects.create(learner=learner, space=space, vector=vector, content_hash="x")
    models.EmbeddingClaim.objects.create(
        resource=other, space=space, state="failed", content_hash="x", token="t", lease_until=timezone.now(), error="no"
    )
    models.Placement.objects.create(name=f"place-{n}")
    version = models.ModelVersion.objects.create(
        status="rejected", metrics={"ndcg": 0.1, "table": [{"source": "blend", "NDCG@10": 0.1, "learners": 3}]}
    )
    models.EvaluationRecord.objects.create(version=version, ndcg=0.1)
    experiment = models.Experiment.objects.create(name=f"experiment-{n}")
    models.ExperimentArm.objects.create(experiment=experiment, name="control", version=version)
    made = models.RecommendationList.objects.create(
        learner=learner, placement=f"place-{n}", version=version, experiment=experiment, arm="control", k=1
    )
    models.RecommendationItem.objects.create(list=made, rank=1, resource=resource, score=0.5)
    models.ResourceNeighbours.objects.create(
        version=version,
        resource=resource,
        source="ease",
        neighbour_ids=np.array([other.pk], "<i8").tobytes(),
        weights=np.array([0.5], "<f4").tobytes(),
    )
    finding = {"rule": "pushes-itself", "field": "title", "excerpt": "always"}
    models.ResourceScreening.objects.create(
        resource=resource,
        status="flagged",
        content_hash="x",
        screen_id="x",
        findings=[finding],
        screened_at=timezone.now(),
    )
    models.EditorialRule.objects.create(name="exams", effect="pin", resource=resource)
    models.ScreeningReview.objects.create(
        resource=resource, decision="cleared", why="fine", reviewer_key=str(learner.user_id), content_hash="x"
    )
    models.WrittenText.objects.create(
        resource=resource, kind="reason", subject_hash="x", state="written", text="A text.", try_after=timezone.now()
    )
    models.ForgottenDeed.objects.create(learner=learner, resource=other, forgotten_at=timezone.now())
    models.GoalDraft.objects.create(learner=learner, text="goals", try_after=timezone.now())
    models.WriterUsage.objects.create(tenant=f"t{n}", hour=timezone.now(), calls=3)
    models.VectorSpace.objects.create(encoder="e", encoder_id=f"e{n}", recipe="1", dimension=3, status="retired")


def test_every_model_has_an_admin():
    ours = {model for model in admin.site._registry if model._meta.app_label == "llmrec_django"}
    assert ours == set(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_list_costs_the_same_for_one_row_and_for_twenty(boss, space, model):
    make_rows(0, space)
    boss.get(page(model, "changelist"))  # content types and settings are read once
    with CaptureQueriesContext(
        connection,
    ) as one:
        assert boss.get(page(model, "changelist")).status_code == 200
    for n in range(1, 20):
        make_rows(n, space)
    with CaptureQueriesContext(connection) as twenty:
        response = boss.get(page(model, "changelist"))
    assert len(response.context["cl"].result_list) >= 20
    assert len(twenty) <= len(one)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_page_of_a_row_opens(boss, space, model):
    make_rows(0, space)
    row = model.objects.first()
    for name in ("change", "history"):
        assert boss.get(page(model, name, row.pk)).status_code == 200
    assert boss.get(page(model, "changelist"), {"q": "resource"}).status_code == 200
    if model in READ_ONLY:
        assert boss.get(page(model, "add")).status_code == 403
        assert boss.get(page(model, "delete", row.pk)).status_code == 403
        assert boss.post(page(model, "change", row.pk), {}).status_code == 403
    elif model in DECIDED:
        assert boss.get(page(model, "add")).status_code == 403
        assert boss.get(page(model, "delete", row.pk)).status_code == 403
    else:
        assert boss.get(page(model, "add")).status_code == 200
        assert boss.get(page(model, "delete", row.pk)).status_code == 200


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_staff_without_permission_see_nothing(staff_with, space, model):
    make_rows(0, space)
    browser = staff_with()
    row = model.objects.first()
    for address in (page(model, "changelist"), page(model, "change", row.pk)):
        assert browser.get(address).status_code == 403


def test_the_index_opens(boss):
    assert b"Learning resources" in boss.get(reverse("admin:index")).content


def test_no_page_shows_a_whole_vector(boss, space):
    wide = np.ones(300, dtype=np.float32)
    resource = models.Resource.objects.create(key="r", title="R")
    row = models.ResourceVector.objects.create(
        resource=resource, space=space, vector=wide, content_hash="x", text_hash="x"
    )
    content = boss.get(page(models.ResourceVector, "change", row.pk)).content.decode()
    assert "(300)" in content
    assert content.count("1.0000") == 8
