"""Goals over the API: understood, corrected, confirmed."""

import pytest

from llmrec_django.models import GoalDraft, LearnerProfile

pytestmark = pytest.mark.django_db
GOALS, CONFIRM = "/api/v1/profile/goals/", "/api/v1/profile/goals/confirm/"
TEXT = "I'm new to programming and want to learn Python. I have 3 hours a week."
PROPOSAL = {"level": "beginner", "languages": [], "minutes_per_week": 180, "topics": ["Python"]}


def post(client, address, data):
    return client.post(address, data, format="json")


def test_a_text_is_understood_and_confirmed(signed_in, member):
    answer = post(signed_in, GOALS, {"text": TEXT})
    assert answer.status_code == 200
    assert answer.json() == {"text": TEXT, "proposal": PROPOSAL, "source": "rules", "wait": False}
    assert LearnerProfile.objects.get(user=member).goals == ""
    answer = post(signed_in, CONFIRM, {"level": "intermediate"})
    assert answer.status_code == 200
    profile = answer.json()
    assert (profile["goals"], profile["level"], profile["interests"]) == (TEXT, "intermediate", ["Python"])
    assert post(signed_in, CONFIRM, {}).json()["code"] == "no_draft"


def test_a_visitor_may_too_and_sees_only_their_own(visitor, signed_in):
    post(visitor, GOALS, {"text": TEXT})
    assert post(signed_in, CONFIRM, {}).status_code == 404
    assert post(visitor, CONFIRM, {}).json()["minutes_per_week"] == 180


def test_a_draft_can_be_dropped(signed_in):
    post(signed_in, GOALS, {"text": TEXT})
    assert signed_in.delete(GOALS).status_code == 204
    assert not GoalDraft.objects.exists()


@pytest.mark.parametrize("data", [{}, {"text": ""}, {"text": "x" * 2001}, {"text": TEXT, "user": 3}, {"text": None}])
def test_a_text_must_be_one(signed_in, data):
    assert post(signed_in, GOALS, data).status_code == 400


@pytest.mark.parametrize(
    "data",
    [
        {"level": "guru"},
        {"minutes_per_week": -1},
        {"topics": "Python"},
        {"languages": ["not a tag at all"]},
        {"goals": "x"},
    ],
)
def test_a_correction_must_be_allowed(signed_in, data):
    post(signed_in, GOALS, {"text": TEXT})
    assert post(signed_in, CONFIRM, data).status_code == 400
    assert GoalDraft.objects.exists()


def test_strangers_have_no_goals_here(client):
    assert post(client, GOALS, {"text": TEXT}).status_code in (401, 403)
    assert post(client, CONFIRM, {}).status_code in (401, 403)
