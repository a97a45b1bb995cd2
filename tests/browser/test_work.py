"""Recommendations at work, on a desk and on a phone."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from llmrec_django.models import (
    EvaluationRecord,
    Interaction,
    LearnerProfile,
    ModelVersion,
    RecommendationItem,
    RecommendationList,
    Resource,
    ResourceVector,
    VectorSpace,
)
from llmrec_django.services.reasons import Reason, explain
from tests.browser.looking import CONTRAST, OVERLAPS, keep_screenshot
from tests.browser.test_report import metrics

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
DIFFERENCES = {
    "transitions": {"mean": 0.0312, "low": 0.0201, "high": 0.0423},
    "ease": {"mean": 0.058, "low": 0.045, "high": 0.071},
    "popularity": {"mean": 0.162, "low": 0.151, "high": 0.173},
}


@pytest.fixture
def busy_site(db) -> None:
    """Three placements, two versions, and what learners did for three weeks."""
    cache.clear()
    now = timezone.now()
    space = VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=3, status="active")
    VectorSpace.objects.update(created_at=now - timedelta(days=400))
    for number, status in enumerate(("retired", "rejected", "active")):
        version = ModelVersion(
            status=status,
            metrics={**metrics(0.9 + 0.05 * number), "differences": DIFFERENCES},
            finished_at=now - timedelta(days=40 - 12 * number),
        )
        explain(version, [Reason("few_learners", {"learners": 9, "needed": 10})])
        version.save()
    for week, ndcg in enumerate((0.205, 0.2, 0.12)):
        row = {"source": "blend", "NDCG@10": ndcg, "intervals": {"NDCG@10": [ndcg - 0.02, ndcg + 0.02]}}
        record = EvaluationRecord.objects.create(
            version=version, ndcg=ndcg, expected=0.204, has_fallen=ndcg < 0.14, metrics={"learners": 7, "table": [row]}
        )
        EvaluationRecord.objects.filter(pk=record.pk).update(created_at=now - timedelta(days=15 - 7 * week))
    resources = [Resource.objects.create(key=f"r{n}", title=f"R{n}") for n in range(30)]
    for n, resource in enumerate(resources):  # the last six were added one by one
        added = now - timedelta(days=400 if n < 24 else 3 * (30 - n))
        Resource.objects.filter(pk=resource.pk).update(created_at=added, updated_at=added)
    ResourceVector.objects.bulk_create(
        ResourceVector(
            resource=resource, space=space, vector=[1, 0, 0], content_hash=resource.content_hash, text_hash="t"
        )
        for resource in Resource.objects.order_by("pk")[:28]
    )
    ResourceVector.objects.update(embedded_at=now - timedelta(days=8))
    learners = [LearnerProfile.objects.create(visitor_key=f"v{n}") for n in range(40)]
    Interaction.objects.create(
        learner=learners[0], resource=resources[0], verb="viewed", occurred_at=now - timedelta(days=50), event_id="e"
    )
    lists, items = [], []
    for n in range(240):
        at = now - timedelta(days=21 * n / 240, hours=1)
        made = RecommendationList(
            learner=learners[(n * 7) % 40],
            placement=("home", "after-lesson", "a-placement-with-a-rather-long-name-at-the-bottom-of-pages")[n % 3],
            version=version if n % 4 else None,
            k=3,
        )
        lists.append((made, at))
        for rank in range(3):
            number = (n * 5 + rank * 11) % 30
            done = {"enrolled": at.isoformat()} if (n + rank) % 9 == 0 else {}
            items.append(
                RecommendationItem(
                    list=made,
                    rank=rank + 1,
                    resource=resources[number],
                    score=1,
                    shown_at=at,
                    clicked_at=at if (n * 3 + rank) % 7 == 0 else None,
                    completed_at=at if (n + rank) % 31 == 0 else None,
                    dismissed_at=at if (n + rank) % 37 == 0 else None,
                    outcomes=done,
                )
            )
    RecommendationList.objects.bulk_create([made for made, _at in lists])
    for made, at in lists:
        RecommendationList.objects.filter(pk=made.pk).update(created_at=at)
    RecommendationItem.objects.bulk_create(items)


def test_the_page_is_seen_whole_and_its_marks_stand_where_the_numbers_say(page: Page, live_server, busy_site) -> None:
    page.goto(live_server.url + reverse("admin:llmrec_django_recommendationlist_work"))
    keep_screenshot(page, "work")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator(".messagelist .warning").is_visible(), "what serves has fallen"
    assert page.locator(".timeline:not(.small)").count() == 2
    plots = page.locator(".timeline.small")
    assert plots.count() == 6
    for n in range(6):
        box = plots.nth(n).locator("svg").bounding_box()
        assert box["width"] > 150, "wide enough to read, on a phone too"
        assert box["height"] > 80
        assert plots.nth(n).locator("line.dot").count() >= 21
    assert page.locator(".timeline.small figcaption").evaluate_all(OVERLAPS) == []
    waited = plots.nth(5).locator("line.dot").evaluate_all("dots => dots.map((dot) => Number(dot.getAttribute('y1')))")
    assert waited[0] < 100, "the higher, the more wait"
    assert waited[-1] > min(waited), "most of them were embedded since"
    assert page.locator(".timeline svg").first.bounding_box()["height"] > 150
    assert page.locator(".timeline svg").first.locator("line.dot").count() >= 21
    clicked = page.locator("section", has=page.locator("table.plot")).first.locator("tbody tr")
    assert clicked.count() == 4
    ends = [clicked.nth(n).locator("line.stem").bounding_box()["width"] for n in range(4)]
    shares = [
        float(re.match(r"[0-9]+[.][0-9]{2}", clicked.nth(n).locator("td.number").inner_text())[0]) for n in range(4)
    ]
    for end, share in zip(ends, shares, strict=True):
        assert end / ends[0] == pytest.approx(share / shares[0], abs=0.03)
    assert page.locator("table.plot tr").evaluate_all(OVERLAPS) == []
    page.locator("section", has=plots).locator("summary").click()
    assert page.locator("section", has=plots).locator("tbody tr").count() >= 30
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the table scrolls in itself"
    keep_screenshot(page, "work-numbers")
    assert page.locator("dl.card").count() == 4
    for selector, name, least in (
        (".llmrec-report .number", "color", 4.5),
        (".llmrec-report dl.card dt:not(.name)", "color", 4.5),
        (".llmrec-report line.dot.measured", "stroke", 3),
    ):
        ratio = page.locator(selector).first.evaluate(CONTRAST, name)
        assert ratio >= least, (selector, ratio)
    page.locator("select[name=days]").select_option("7")
    page.locator("select[name=by]").select_option("version")
    with page.expect_navigation():
        page.locator("form.ask input[type=submit]").click()
    assert "days=7" in page.url
    assert page.locator("dl.card").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_an_empty_site_is_told_what_to_do(page: Page, live_server, db) -> None:
    page.goto(live_server.url + reverse("admin:llmrec_django_recommendationlist_work"))
    keep_screenshot(page, "work-empty")
    assert page.locator(".todo li").count() >= 1
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
