"""Handing out, forgetting and pruning learner data."""

import datetime as dt
import io
import json

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command

from llmrec_django.conf import LLMRecConfigurationError
from llmrec_django.models import (
    GoalDraft,
    Interaction,
    LearnerProfile,
    ProfileVector,
    RecommendationItem,
    RecommendationList,
    Resource,
    VectorSpace,
    WrittenText,
)
from llmrec_django.services.privacy import HELD, export_learner, forget_learner, prune
from llmrec_django.signals import learner_forgotten
from tests.testapp.models import Member

pytestmark = pytest.mark.django_db
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


@pytest.fixture
def resource():
    return Resource.objects.create(key="r", title="Rings")


@pytest.fixture
def member():
    return Member.objects.create_user("a@example.org")


@pytest.fixture
def learner(member, resource):
    learner = LearnerProfile.objects.create(user=member, goals="topology", interests=["maths"])
    did(learner, resource, days=1)
    did(learner, None, days=2, verb="searched", query="knots")
    space = VectorSpace.objects.create(encoder="default", encoder_id="test@1", recipe="1", dimension=2)
    ProfileVector.objects.create(learner=learner, space=space, vector=[0.6, 0.8], content_hash="x")
    recommended(learner, resource, days=1)
    return learner


def recommended(learner, resource, *, days):
    row = RecommendationList.objects.create(learner=learner, placement="home", k=1)
    RecommendationItem.objects.create(list=row, rank=1, resource=resource, score=0.5)
    RecommendationList.objects.filter(pk=row.pk).update(created_at=NOW - dt.timedelta(days=days))
    return row


def did(learner, resource, *, days, verb="viewed", query=""):
    count = Interaction.objects.count()
    row = Interaction.objects.create(
        learner=learner, resource=resource, verb=verb, query=query, event_id=str(count),
        occurred_at=NOW - dt.timedelta(days=days),
    )  # fmt: skip
    Interaction.objects.filter(pk=row.pk).update(received_at=row.occurred_at)
    return row


def command(name, *args):
    out = io.StringIO()
    call_command(name, *args, stdout=out)
    return out.getvalue()


def test_every_table_with_learner_data_is_exported_and_forgotten():
    """A model whose docstring says `.. pii:` is in HELD, and a learner's deletion takes its rows along."""
    annotated = set()
    for model in apps.get_app_config("llmrec_django").get_models():
        doc = model.__doc__ or ""
        assert (".. pii:" in doc) != (".. no_pii:" in doc), (
            f"{model.__name__} does not say whether it holds learner data"
        )
        if ".. pii:" in doc:
            annotated.add(model)
            assert ".. pii_types:" in doc
            assert ".. pii_retirement: local_api" in doc
    assert annotated == {model for model, _ in HELD.values()}
    # Whatever points to a learner is learner data.
    for relation in LearnerProfile._meta.related_objects:
        assert relation.related_model in annotated
    for model in annotated - {LearnerProfile, RecommendationItem}:
        field = model._meta.get_field("learner")
        assert field.related_model is LearnerProfile
        assert field.remote_field.on_delete.__name__ == "CASCADE"
    # Items are their list's, and a list is its learner's.
    assert RecommendationItem._meta.get_field("list").remote_field.on_delete.__name__ == "CASCADE"


def test_the_export_is_plain_json_and_complete(learner, member, resource):
    held = json.loads(json.dumps(export_learner(learner)))
    assert held["profile"]["account"] == {"id": str(member.pk)}
    assert (held["profile"]["goals"], held["profile"]["interests"]) == ("topology", ["maths"])
    assert [(i["verb"], i["resource"], i["title"], i["query"]) for i in held["interactions"]] == [
        ("searched", None, None, "knots"),
        ("viewed", "r", "Rings", ""),
    ]
    assert held["vectors"] == [{"encoder": "test@1", "vector": pytest.approx([0.6, 0.8])}]
    missing = {f.name for f in LearnerProfile._meta.concrete_fields} - held["profile"].keys()
    assert missing == {"id", "user", "content_hash"}
    missing = {f.name for f in Interaction._meta.concrete_fields} - held["interactions"][0].keys()
    assert missing == {"id", "learner", "tenant"}
    missing = {f.name for f in RecommendationList._meta.concrete_fields} - held["lists"][0].keys()
    assert missing == {"learner", "tenant"}
    missing = {f.name for f in RecommendationItem._meta.concrete_fields} - held["list_items"][0].keys()
    assert missing == {"id"}
    assert (held["list_items"][0]["list"], held["list_items"][0]["resource"]) == (held["lists"][0]["id"], "r")


def test_the_export_does_not_query_a_row(learner, resource, django_assert_max_num_queries):
    for _ in range(20):
        did(learner, resource, days=1)
        recommended(learner, resource, days=1)
    with django_assert_max_num_queries(len(HELD)):
        export_learner(learner)


def test_forgetting_leaves_nothing_and_tells_listeners(learner, resource):
    other = LearnerProfile.objects.create(visitor_key="other")
    did(other, resource, days=1)
    heard = []

    def listen(deleted, **_):
        heard.append(deleted)

    learner_forgotten.connect(listen)
    try:
        deleted = forget_learner(learner)
    finally:
        learner_forgotten.disconnect(listen)
    assert deleted["llmrec_django.Interaction"] == 2
    assert deleted["llmrec_django.ProfileVector"] == 1
    assert len(heard) == 1
    assert list(LearnerProfile.objects.all()) == [other]
    assert Interaction.objects.count() == 1
    assert Member.objects.exists()


def test_forgetting_can_keep_the_wish_not_to_be_recorded(learner, member):
    forget_learner(learner, keep_opt_out=True)
    left = LearnerProfile.objects.get()
    assert (left.user, left.personalise, left.goals, left.interactions.count()) == (member, False, "", 0)


class TestPruning:
    @pytest.fixture(autouse=True)
    def _rules(self, settings):
        settings.LLMREC = {"RETENTION_DAYS": {"interactions": 100, "searches": 10, "visitors": 50, "lists": 20}}

    def test_each_kind_expires_by_its_own_rule(self, resource):
        known = LearnerProfile.objects.create(visitor_key="recent")
        did(known, resource, days=1)
        did(known, resource, days=99)
        did(known, resource, days=101)
        did(known, None, days=9, verb="searched", query="new")
        did(known, None, days=11, verb="searched", query="old")
        for key in ("silent", "opted-out", "account"):
            LearnerProfile.objects.create(
                visitor_key=key, personalise=key != "opted-out",
                user=Member.objects.create_user("b@example.org") if key == "account" else None,
            )  # fmt: skip
        kept = recommended(known, resource, days=19)
        recommended(known, resource, days=21)
        LearnerProfile.objects.update(updated_at=NOW - dt.timedelta(days=51))
        for days, who in ((6, known), (8, LearnerProfile.objects.get(visitor_key="account"))):
            GoalDraft.objects.create(learner=who, text="knots", try_after=NOW)
            GoalDraft.objects.filter(learner=who).update(created_at=NOW - dt.timedelta(days=days))
        for days in (179, 181):
            WrittenText.objects.create(kind="reason", resource=resource, subject_hash=str(days), try_after=NOW)
            WrittenText.objects.filter(subject_hash=days).update(created_at=NOW - dt.timedelta(days=days))
        expected = {"interactions": 1, "searches": 1, "visitors": 1, "lists": 1, "goal_drafts": 1, "written_texts": 1}
        assert prune(now=NOW, dry_run=True) == expected
        assert Interaction.objects.count() == 5
        assert prune(now=NOW) == expected
        assert sorted(Interaction.objects.values_list("query", flat=True)) == ["", "", "new"]
        assert set(LearnerProfile.objects.values_list("visitor_key", flat=True)) == {"recent", "opted-out", "account"}
        assert [item.list for item in RecommendationItem.objects.select_related("list")] == [kept]
        assert sum(prune(now=NOW).values()) == 0

    def test_none_keeps_for_ever(self, settings, learner):
        settings.LLMREC = {"RETENTION_DAYS": {"interactions": None, "searches": None, "visitors": None, "lists": None}}
        assert sum(prune(now=NOW + dt.timedelta(days=9999)).values()) == 0

    @pytest.mark.parametrize("rules", [{"interaction": 3}, {"searches": -1}, {"searches": "30"}, {"searches": True}])
    def test_a_rule_that_cannot_be_used_deletes_nothing(self, settings, rules, learner):
        settings.LLMREC = {"RETENTION_DAYS": {"interactions": 0, **rules}}
        with pytest.raises(LLMRecConfigurationError, match="RETENTION_DAYS"):
            prune(now=NOW)
        assert Interaction.objects.count() == 2
        with pytest.raises(CommandError):
            call_command("llmrec_prune")


class TestCommands:
    def test_export_by_name_and_by_id(self, learner, member, tmp_path):
        for name in (member.email, str(member.pk)):
            (held,) = json.loads(command("llmrec_export", "--user", name))
            assert held["profile"]["goals"] == "topology"
        target = tmp_path / "held.json"
        command("llmrec_export", "--user", member.email, "--output", str(target))
        assert json.loads(target.read_text())[0]["profile"]["goals"] == "topology"
        assert json.loads(command("llmrec_export", "--visitor", "nobody")) == []
        with pytest.raises(CommandError, match="Cannot write"):
            command("llmrec_export", "--user", member.email, "--output", str(tmp_path / "no" / "where"))

    def test_an_unknown_account_is_an_error(self):
        with pytest.raises(CommandError, match="Cannot find account 'nobody'"):
            command("llmrec_export", "--user", "nobody")
        with pytest.raises(CommandError):
            command("llmrec_forget")

    def test_forget_in_every_tenant(self, learner, member):
        LearnerProfile.objects.create(user=member, tenant="other")
        assert "2 interactions" in command("llmrec_forget", "--user", member.email, "--dry-run")
        assert LearnerProfile.objects.count() == 2
        out = command("llmrec_forget", "--user", member.email)
        assert "llmrec_django.LearnerProfile: 2 deleted" in out
        assert not LearnerProfile.objects.exists()
        assert "Nothing is held" in command("llmrec_forget", "--user", member.email)

    def test_forget_a_visitor_who_opts_out(self):
        LearnerProfile.objects.create(visitor_key="v", goals="x")
        command("llmrec_forget", "--visitor", "v", "--opt-out")
        assert LearnerProfile.objects.get().personalise is False

    def test_prune_says_what_it_did(self, settings, learner):
        settings.LLMREC = {"RETENTION_DAYS": {"interactions": None, "searches": 10, "visitors": None}}
        assert "searches: older than 10 days: 1 would be deleted" in command("llmrec_prune", "--dry-run")
        out = command("llmrec_prune")
        assert "searches: older than 10 days: 1 deleted" in out
        assert "interactions: kept for ever" in out
