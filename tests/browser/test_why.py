"""The page that explains one learner's recommendations, on a desk and on a phone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from llmrec_django import api
from llmrec_django.models import Interaction, LearnerProfile, Placement, Resource, ResourceVector, VectorSpace
from llmrec_django.services import scorer, training
from llmrec_django.services.reasons import Reason
from tests.browser.looking import CONTRAST, OVERLAPS, keep_screenshot
from tests.django_app.test_training import TOPICS, make_activity, make_resources, mixed_sequences

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def learner(db) -> LearnerProfile:
    """Somebody who did two of twelve courses and turned down one."""
    cache.clear()
    Placement.objects.create(name="home", title="Next for you", size=6)
    space = VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=3, status="active")
    resources = []
    for n in range(12):
        resource = Resource.objects.create(
            key=f"course-{n}",
            title=f"Course {n}: an introduction to the geometry of curves and surfaces for students of engineering",
            keywords=["geometry", f"part {n // 3}"],
            level="beginner",
        )
        resource.refresh_from_db()
        vector = np.array([math.cos(n * math.pi / 24), math.sin(n * math.pi / 24), 0], dtype=np.float32)
        ResourceVector.objects.create(
            resource=resource, space=space, vector=vector, content_hash=resource.content_hash, text_hash="t"
        )
        resources.append(resource)
    learner = LearnerProfile.objects.create(visitor_key="v", goals="Learn geometry", level="beginner")
    for n, verb in ((2, "completed"), (3, "viewed"), (5, "dismissed")):
        Interaction.objects.create(
            learner=learner, resource=resources[n], verb=verb, occurred_at=timezone.now(), event_id=f"{n}"
        )
    return learner


def test_the_page_is_seen_whole_and_opens_what_is_behind_each_place(page: Page, live_server, learner) -> None:
    address = reverse("admin:llmrec_django_learnerprofile_why", args=[learner.pk])
    page.goto(f"{live_server.url}{address}?placement=home&resource=course-5")
    rows = page.locator("details.row")
    assert rows.count() >= 8
    assert page.locator("details.row[open]").count() == 1, "what was asked for is open"
    rows.nth(1).locator("summary").click()
    assert rows.nth(1).locator("table.sources").is_visible()
    assert rows.nth(1).locator("dl.facts dt").count() >= 2
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("table.sources tr").evaluate_all(OVERLAPS) == []
    for selector in (".llmrec-report .quiet", ".llmrec-report dt", ".llmrec-report .why-not"):
        assert page.locator(selector).first.evaluate(CONTRAST, "color") >= 4.5, selector
    keep_screenshot(page, "why")


@pytest.fixture
def trained(db, settings, tmp_path, monkeypatch) -> LearnerProfile:
    """Somebody whom a trained version serves."""
    cache.clear()
    scorer.forget()
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": tmp_path,
        "TRAIN_SOURCES": ("transitions", "linear_next", "item_knn", "content", "popularity", "popular_lately"),
        "TUNE_S": 0,
    }
    monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
    space = VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active")
    learners = make_activity(make_resources(space), mixed_sequences(100))
    training.train("default")
    api.recommend(learners[0])
    return learners[0]


@pytest.mark.model
def test_every_source_of_a_trained_version_is_readable(page: Page, live_server, trained) -> None:
    page.goto(live_server.url + reverse("admin:llmrec_django_learnerprofile_why", args=[trained.pk]))
    rows = page.locator("details.row")
    rows.first.locator("summary").click()
    table = rows.first.locator("table.sources")
    assert table.locator("tbody tr").count() == 6
    assert table.locator("thead th").count() == 5
    assert table.locator("tr").evaluate_all(OVERLAPS) == []
    width = page.viewport_size["width"]
    assert table.bounding_box()["x"] + table.bounding_box()["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    keep_screenshot(page, "why-trained")
