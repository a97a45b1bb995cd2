"""The report of a model version in a browser: on a desk and on a phone, by day and by night, under a strict policy."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse
from django.utils import timezone

from llmrec_django.models import EvaluationRecord, ModelVersion
from llmrec_django.services.reasons import Reason, explain
from tests.browser.looking import CONTRAST, OVERLAPS, keep_screenshot

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SOURCES = {"blend": 0.212, "transitions": 0.181, "relevance": 0.176, "ease": 0.154, "content": 0.09, "popularity": 0.05}


def metrics(factor: float) -> dict:
    rows = [
        {
            "source": name,
            **{
                f"{metric}@10": ndcg * factor
                for metric in ("NDCG", "recall", "precision", "F1", "hit rate", "MRR", "MAP")
            },
            **{
                "coverage@10": 0.61,
                "Gini@10": 0.83,
                "novelty@10": 7.25,
                "diversity@10": None if name == "ease" else 0.4,
            },
            "intervals": {"NDCG@10": [ndcg * factor - 0.008, ndcg * factor + 0.008]},
        }
        for name, ndcg in SOURCES.items()
    ]
    segment = {name: ndcg * factor for name, ndcg in SOURCES.items()}
    return {
        "ndcg": SOURCES["blend"] * factor,
        "split": "leave one out",
        "learners": 4321,
        "table": rows,
        "segments": {
            "0": {"learners": 0},
            "1-2": {"learners": 812, **{name: value * 0.6 for name, value in segment.items()}},
            "3-9": {"learners": 2109, **segment},
            "10+": {"learners": 1400, **{name: value * 1.1 for name, value in segment.items()}},
        },
        "resources": {
            "0": {"learners": 37, **{name: value * 0.1 for name, value in segment.items()}},
            "1-9": {"learners": 400, **{name: value * 0.5 for name, value in segment.items()}},
            "10+": {"learners": 3884, **segment},
        },
    }


@pytest.fixture
def version(db) -> ModelVersion:
    """The last of four versions, measured six times since, at last with a fall."""
    now = timezone.now()
    for number, status in enumerate(("retired", "rejected", "retired", "active")):
        made = ModelVersion(
            status=status,
            metrics=metrics(0.9 + 0.03 * number),
            finished_at=now - timedelta(days=80 - 15 * number),
            activated_at=now - timedelta(days=80 - 15 * number),
        )
        values = {
            "k": 10,
            "ndcg": 0.212,
            "learners": 4321,
            "baseline": "transitions",
            "gain": 0.03,
            "low": 0.02,
            "high": 0.04,
        }
        explain(made, [Reason("beats_baselines", values)])
        made.save()
    for week, ndcg in enumerate((0.205, 0.2, 0.196, 0.18, 0.15, 0.12)):
        row = {"source": "blend", "NDCG@10": ndcg, "intervals": {"NDCG@10": [ndcg - 0.02, ndcg + 0.02]}}
        record = EvaluationRecord.objects.create(
            version=made, ndcg=ndcg, expected=0.204, has_fallen=ndcg < 0.14, metrics={"learners": 700, "table": [row]}
        )
        EvaluationRecord.objects.filter(pk=record.pk).update(created_at=now - timedelta(days=35 - 7 * week))
    return made


def open_report(page: Page, live_server, version: ModelVersion) -> None:
    page.goto(live_server.url + reverse("admin:llmrec_django_modelversion_report", args=[version.pk]))
    keep_screenshot(page, "report")


def box(page: Page, selector: str) -> dict:
    return page.locator(selector).first.bounding_box()


def test_the_report_is_seen_whole_and_its_marks_stand_where_the_numbers_say(
    page: Page, live_server, version: ModelVersion
) -> None:
    open_report(page, live_server, version)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    rows = page.locator("section").first.locator("tbody tr")
    assert rows.count() == len(SOURCES)
    ends = [rows.nth(n).locator("line.stem").bounding_box()["width"] for n in range(rows.count())]
    for end, ndcg in zip(ends, SOURCES.values(), strict=True):
        assert end / ends[0] == pytest.approx(ndcg / SOURCES["blend"], abs=0.02)
    assert ends[0] > 0.3 * page.viewport_size["width"] * (2 if "phone" in page.name else 0.5)
    # A wide table scrolls inside its frame.
    assert page.locator(".scroll").first.bounding_box()["width"] <= page.viewport_size["width"]
    assert page.locator(".timeline svg").first.bounding_box()["height"] > 150
    assert page.locator(".timeline svg line.dot").count() == 10
    assert page.locator(".outcome.fallen").is_visible()
    # No two words lie on each other.
    overlaps = page.locator("table.plot tr").evaluate_all(OVERLAPS)
    assert overlaps == []
    # Contrast of at least 4.5 to 1 for text and 3 to 1 for marks, by day and by night.
    for selector, name, least in (
        (".llmrec-report .number", "color", 4.5),
        (".llmrec-report .quiet", "color", 4.5),
        (".llmrec-report line.dot.baseline", "stroke", 3),
        (".llmrec-report line.dot.blend", "stroke", 3),
        (".llmrec-report line.dot.fallen", "stroke", 3),
    ):
        ratio = page.locator(selector).first.evaluate(CONTRAST, name)
        assert ratio >= least, (selector, ratio)
