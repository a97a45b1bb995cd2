import pytest

from llmrec_django.testing.factories import (
    InteractionFactory,
    LearnerProfileFactory,
    ResourceFactory,
    make_account,
)

pytestmark = pytest.mark.django_db


def test_resources_have_keys_and_titles_of_their_own():
    one, other = ResourceFactory.create_batch(2)
    assert one.key != other.key
    assert one.title != other.title
    assert one.published


def test_a_learner_is_a_visitor_or_an_account():
    assert LearnerProfileFactory().visitor_key
    profile = LearnerProfileFactory(user=make_account("ada"))
    assert profile.user_id
    assert profile.visitor_key is None


def test_an_interaction_brings_learner_and_resource_of_its_tenant():
    interaction = InteractionFactory(tenant="north", verb="completed")
    assert {interaction.learner.tenant, interaction.resource.tenant} == {"north"}
    assert interaction.verb == "completed"
    assert InteractionFactory(learner=interaction.learner).learner == interaction.learner
