import json

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from llmrec_django.models import Interaction, LearnerProfile
from llmrec_django.signals import learner_forgotten
from tests.testapp.models import Member

LIST = "admin:llmrec_django_learnerprofile_changelist"


@pytest.fixture
def learner(make_resource):
    """A learner with an account, a goal and one interaction."""
    profile = LearnerProfile.objects.create(user=Member.objects.create_user("ada@example.org"), goals="Prove theorems")
    Interaction.objects.create(
        learner=profile, resource=make_resource("r"), verb="viewed", occurred_at=timezone.now(), event_id="e"
    )
    return profile


def act(browser, name, *learners, **data):
    data |= {"action": name, "_selected_action": [learner.pk for learner in learners]}
    return browser.post(reverse(LIST), data)


def test_accounts_are_found_by_name(boss, learner):
    visitor = LearnerProfile.objects.create(visitor_key="import:ada-2")
    LearnerProfile.objects.create(visitor_key="somebody")
    rows = boss.get(reverse(LIST), {"q": "ada"}).context["cl"].result_list
    assert set(rows) == {learner, visitor}


def test_the_history_link_shows_this_learner_only(boss, learner, make_resource):
    other = LearnerProfile.objects.create(visitor_key="v")
    Interaction.objects.create(
        learner=other, resource=make_resource("o"), verb="viewed", occurred_at=timezone.now(), event_id="e"
    )
    page = boss.get(reverse("admin:llmrec_django_learnerprofile_change", args=[learner.pk])).content.decode()
    address = reverse("admin:llmrec_django_interaction_changelist") + f"?learner__exact={learner.pk}"
    assert address in page
    assert [row.learner for row in boss.get(address).context["cl"].result_list] == [learner]


def test_interests_are_edited_as_words(boss, learner):
    data = {"tenant": "default", "user": learner.user_id, "visitor_key": "", "interests": "logic, sets"}
    address = reverse("admin:llmrec_django_learnerprofile_change", args=[learner.pk])
    assert boss.post(address, data | {"languages": "en", "personalise": "on"}).status_code == 302
    learner.refresh_from_db()
    assert (learner.interests, learner.languages, learner.visitor_key) == (["logic", "sets"], ["en"], None)


def test_a_profile_of_nobody_is_refused_in_the_form(boss):
    response = boss.post(reverse("admin:llmrec_django_learnerprofile_add"), {"tenant": "default", "personalise": "on"})
    assert response.status_code == 200
    assert response.context["errors"]


def test_export_hands_out_all_that_is_held(boss, learner):
    response = act(boss, "export", learner)
    [line] = b"".join(response.streaming_content).decode().splitlines()
    held = json.loads(line)
    assert held["profile"]["goals"] == "Prove theorems"
    assert [row["resource"] for row in held["interactions"]] == ["r"]
    assert "no-store" in response["Cache-Control"]
    assert LogEntry.objects.filter(object_id=str(learner.pk)).exists()


def test_forget_asks_first_and_then_leaves_only_the_opt_out(boss, learner):
    heard = []
    receiver = lambda **payload: heard.append(payload["learner"])  # noqa: E731
    learner_forgotten.connect(receiver)
    try:
        page = act(boss, "forget", learner)
        assert "ada@example.org" in page.content.decode()
        assert Interaction.objects.exists()
        act(boss, "forget", learner, confirmed="yes")
    finally:
        learner_forgotten.disconnect(receiver)
    [left] = LearnerProfile.objects.all()
    assert (left.user_id, left.goals, left.personalise) == (learner.user_id, "", False)
    assert not Interaction.objects.exists()
    assert len(heard) == 1
    assert "ada" not in LogEntry.objects.get(object_id=str(learner.pk)).object_repr


def test_deleting_takes_the_history_along(boss, learner):
    address = reverse("admin:llmrec_django_learnerprofile_delete", args=[learner.pk])
    assert dict(boss.get(address).context["model_count"])["interactions"] == 1
    boss.post(address, {"post": "yes"})
    assert not LearnerProfile.objects.exists()
    assert not Interaction.objects.exists()


@pytest.mark.parametrize("name", ["export", "forget", "delete_selected"])
def test_looking_is_not_enough_to_act(staff_with, learner, name):
    browser = staff_with("view_learnerprofile")
    response = act(browser, name, learner, confirmed="yes", post="yes")
    assert not response.streaming
    assert Interaction.objects.count() == 1
    assert LearnerProfile.objects.get().personalise


def test_interactions_cannot_be_made_or_changed(boss, learner):
    row = Interaction.objects.get()
    boss.post(reverse("admin:llmrec_django_interaction_change", args=[row.pk]), {"verb": "completed"})
    row.refresh_from_db()
    assert row.verb == "viewed"


def test_the_verb_filter_comes_from_the_settings(boss, learner, settings):
    settings.LLMREC = {"VERBS": {"annotated": {"weight": 0.5}}}
    address = reverse("admin:llmrec_django_interaction_changelist")
    assert "?verb=annotated" in boss.get(address).content.decode()
    assert not boss.get(address, {"verb": "annotated"}).context["cl"].result_list
    assert len(boss.get(address, {"verb": "viewed"}).context["cl"].result_list) == 1
