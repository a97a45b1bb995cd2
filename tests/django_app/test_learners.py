"""Finding, making and merging learners."""

import datetime as dt
import threading

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connections
from django.utils.functional import SimpleLazyObject

from llmrec_django.models import Interaction, LearnerProfile, Resource
from llmrec_django.services import learners
from llmrec_django.services.learners import find_learner, get_learner, merge_visitor
from tests.testapp.models import Member


@pytest.fixture
def member(db):
    return Member.objects.create_user("a@example.org")


@pytest.fixture
def resource(db):
    return Resource.objects.create(key="r", title="r")


def did(learner, resource, event_id, source="site", verb="viewed"):
    return Interaction.objects.create(
        learner=learner, resource=resource, verb=verb, event_id=event_id, source=source,
        occurred_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    )  # fmt: skip


def test_a_profile_is_made_once_and_found_again(member):
    assert find_learner(member) is None
    learner = get_learner(member)
    assert (learner.user, learner.visitor_key, learner.tenant) == (member, None, "default")
    assert get_learner(member) == find_learner(member) == learner


def test_a_visitor_is_known_by_key(db):
    learner = get_learner(AnonymousUser(), visitor_key=" v1 ")
    assert (learner.user, learner.visitor_key) == (None, "v1")
    assert find_learner(None, visitor_key="v1") == learner
    assert find_learner(AnonymousUser()) is None


def test_an_account_wins_over_the_visitor_key(member):
    assert get_learner(member, visitor_key="v1").visitor_key is None


def test_tenants_do_not_share_learners(member, settings):
    here = get_learner(member)
    there = get_learner(member, tenant="other")
    assert here != there
    settings.LLMREC = {"TENANT": lambda request: "other"}
    assert get_learner(member) == there


@pytest.mark.parametrize("key", [None, "", "  ", "a\x00b", "a\ud800", "x" * 256])
def test_nobody_has_no_profile(db, key):
    with pytest.raises(ValueError, match="not an authenticated account"):
        get_learner(AnonymousUser(), visitor_key=key)
    assert find_learner(AnonymousUser(), visitor_key=key) is None
    assert find_learner(Member(email="unsaved@example.org", id=None)) is None


def test_an_authenticated_object_that_is_no_account_is_nobody(member):
    class Token:
        is_authenticated = True
        pk = member.pk

    get_learner(member)
    assert find_learner(Token()) is None
    assert find_learner(SimpleLazyObject(lambda: member)).user == member


def test_a_database_without_our_tables_gives_a_profile_that_stores_nothing(member, monkeypatch):
    monkeypatch.setattr(learners, "is_supported", lambda using: False)
    learner = get_learner(member)
    assert (learner.pk, learner.personalise) == (None, False)
    assert merge_visitor("v1", member).pk is None
    assert not LearnerProfile.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_requests_at_the_same_time_make_one_profile():
    member = Member.objects.create_user("a@example.org")
    barrier, found, errors = threading.Barrier(4), [], []

    def ask():
        try:
            barrier.wait()
            found.append(get_learner(member).pk)
        except Exception as exc:
            errors.append(exc)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(found)) == 1


class TestMerging:
    def test_history_moves_and_the_same_event_counts_once(self, member, resource):
        visitor, account = get_learner(visitor_key="v"), get_learner(member)
        did(visitor, resource, "1")
        did(visitor, resource, "2")
        did(account, resource, "2")
        assert merge_visitor("v", member) == account
        assert sorted(Interaction.objects.values_list("event_id", "learner")) == [("1", account.pk), ("2", account.pk)]
        assert not LearnerProfile.objects.filter(visitor_key="v").exists()

    def test_the_account_fills_its_gaps_only(self, member):
        LearnerProfile.objects.create(visitor_key="v", goals="from the visitor", interests=["maths"], level="beginner")
        account = get_learner(member)
        account.goals = "its own"
        account.save()
        merged = merge_visitor("v", member)
        merged.refresh_from_db()
        assert (merged.goals, merged.interests, merged.level) == ("its own", ["maths"], "beginner")

    def test_an_account_that_opted_out_takes_no_history(self, member, resource):
        did(get_learner(visitor_key="v"), resource, "1")
        LearnerProfile.objects.create(user=member, personalise=False)
        assert merge_visitor("v", member).personalise is False
        assert not Interaction.objects.exists()

    def test_a_new_account_takes_over_the_visitors_opt_out(self, member):
        LearnerProfile.objects.create(visitor_key="v", personalise=False)
        merge_visitor("v", member)
        assert LearnerProfile.objects.get().personalise is False

    def test_an_account_that_opted_in_stays_in(self, member):
        get_learner(member)
        LearnerProfile.objects.create(visitor_key="v", personalise=False)
        assert merge_visitor("v", member).personalise is True

    def test_visitors_of_other_tenants_stay(self, member, resource):
        LearnerProfile.objects.create(visitor_key="v", tenant="other")
        merge_visitor("v", member)
        assert LearnerProfile.objects.filter(visitor_key="v", tenant="other").exists()

    def test_an_unknown_visitor_changes_nothing(self, member):
        assert merge_visitor("nobody", member) == get_learner(member)

    def test_only_an_account_can_take_a_history(self, db):
        get_learner(visitor_key="v")
        with pytest.raises(ValueError, match="authenticated"):
            merge_visitor("v", AnonymousUser())
        assert LearnerProfile.objects.filter(visitor_key="v").exists()
