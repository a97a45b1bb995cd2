"""A cache server that is away costs time, never a list, a page or a save."""

import pytest
from django.utils import timezone

from llmrec_django.models import EditorialRule, Interaction, LearnerProfile, Resource
from llmrec_django.services.recommend import recommend

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _away(settings):
    settings.CACHES = {"default": {"BACKEND": "tests.rest_api.test_access.BrokenCache"}}


@pytest.fixture
def resources(db):
    return [Resource.objects.create(key=f"r{n}", title=f"Title {n}") for n in range(3)]


def test_lists_are_made_and_say_what_is_popular(resources):
    somebody = LearnerProfile.objects.create(visitor_key="ann")
    Interaction.objects.create(
        learner=somebody, resource=resources[2], verb="completed", occurred_at=timezone.now(), event_id="1"
    )
    found = recommend(None, k=2)
    assert found.items[0].resource.key == "r2"


def test_editorial_rules_are_saved_and_count(resources):
    EditorialRule.objects.create(name="not this", effect="exclude", resource=resources[0])
    assert {item.resource.key for item in recommend(None, k=3)} == {"r1", "r2"}
