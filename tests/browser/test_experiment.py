"""The report of an experiment that learners really went through, on a desk and on a phone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from llmrec_django import api
from llmrec_django.models import Experiment, ExperimentArm, LearnerProfile, Placement, Resource
from llmrec_django.types import FeedbackInput, InteractionInput
from tests.browser.looking import CONTRAST, OVERLAPS, keep_screenshot

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def experiment(db) -> Experiment:
    """Sixty learners are given lists of two lengths; those of the longer ones click more and enrol."""
    cache.clear()
    experiment = Experiment.objects.create(
        name="list-length",
        description="Do learners choose more from a longer list?",
        salt="always the same learners",
        starts_at=timezone.now() - timezone.timedelta(days=1),
    )
    ExperimentArm.objects.create(experiment=experiment, name="control")
    ExperimentArm.objects.create(experiment=experiment, name="a-longer-list-of-eight", settings={"size": 8})
    Placement.objects.create(name="home", size=4, experiment=experiment)
    for n in range(20):
        Resource.objects.create(key=f"r{n}", title=f"Resource {n}")
    for n in range(60):
        learner = LearnerProfile.objects.create(visitor_key=f"v{n}")
        result = api.recommend(learner, placement="home")
        keys = [item.resource.key for item in result]
        said = [FeedbackInput("shown", key, result.recommendation_id) for key in keys]
        clicks = 6 if len(keys) == 8 else 3 if n % 5 == 0 else 0
        said += [FeedbackInput("clicked", key, result.recommendation_id) for key in keys[:clicks]]
        if n % 9 == 0:
            said.append(FeedbackInput("dismissed", keys[-1], result.recommendation_id))
        api.give_feedback(learner, said)
        if len(keys) == 8 and n % 2:
            api.record(learner, InteractionInput("enrolled", keys[0]))
    return experiment


def test_the_report_is_seen_whole_and_its_marks_stand_where_the_numbers_say(
    page: Page, live_server, experiment
) -> None:
    page.goto(live_server.url + reverse("admin:llmrec_django_experiment_report", args=[experiment.pk]))
    keep_screenshot(page, "experiment")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    tables = page.locator("table.plot")
    assert tables.count() == 3, "clicked, enrolled, dismissed"
    clicked = tables.first.locator("tbody tr")
    assert clicked.count() == 2
    ends = [clicked.nth(n).locator("line.stem").bounding_box()["width"] for n in range(2)]
    shares = [
        float(re.match(r"[0-9]+[.][0-9]{2}", clicked.nth(n).locator("td.number").inner_text())[0]) for n in range(2)
    ]
    assert shares[1] > shares[0], "those of the longer list click more"
    assert ends[0] / ends[1] == pytest.approx(shares[0] / shares[1], abs=0.03)
    assert page.locator("table.plot tr").evaluate_all(OVERLAPS) == []
    for selector, name, least in (
        (".llmrec-report .number", "color", 4.5),
        (".llmrec-report .quiet", "color", 4.5),
        (".llmrec-report line.dot", "stroke", 3),
    ):
        ratio = page.locator(selector).first.evaluate(CONTRAST, name)
        assert ratio >= least, (selector, ratio)
