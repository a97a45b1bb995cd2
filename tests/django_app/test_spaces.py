"""The life of a vector space."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from llmrec_django.models import Resource, ResourceVector, VectorSpace
from llmrec_django.services import embedding, spaces

# Indexes are built outside transactions, so these tests commit.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def space(hashing):
    Resource.objects.bulk_create([Resource(key=f"r{i}", title=f"Subject {i}") for i in range(30)])
    embedding.embed_pending()
    return spaces.active_space()


def test_the_database_allows_one_active_space(space):
    with pytest.raises(IntegrityError), transaction.atomic():
        VectorSpace.objects.create(encoder="x", encoder_id="x", recipe="r", dimension=3, status="active")


def test_a_small_space_has_no_index_and_a_grown_one_gets_its_own(space, hashing):
    assert spaces.index_state(space) == "none"
    hashing(INDEX_MIN_VECTORS=10)
    assert spaces.ensure_index(space)
    assert spaces.index_state(space) == "valid"
    assert not spaces.ensure_index(space), "it is there already"
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [space.index_name])
        definition = cursor.fetchone()[0]
    assert f"space_id = {space.pk}" in definition
    assert "halfvec(64)" in definition


def test_a_broken_index_is_repaired(space, hashing):
    hashing(INDEX_MIN_VECTORS=10)
    spaces.ensure_index(space)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [space.index_name])
    assert spaces.index_state(space) == "invalid"
    assert spaces.ensure_index(space)
    assert spaces.index_state(space) == "valid"


def test_the_active_space_cannot_be_retired(space):
    with pytest.raises(ValueError, match="Activate another"):
        spaces.retire(space)


def test_switching_back_is_one_call(space, hashing):
    hashing(ENCODER="other")
    embedding.embed_pending()
    assert spaces.active_space() != space
    spaces.activate(space)
    assert spaces.active_space() == space
    assert VectorSpace.objects.filter(status="active").count() == 1


def test_a_retired_space_is_deleted_after_its_time_with_index_and_rows(space, hashing):
    hashing(ENCODER="other", INDEX_MIN_VECTORS=10)
    spaces.ensure_index(space)
    embedding.embed_pending()
    assert spaces.purge_retired() == 0, "kept for a way back"
    VectorSpace.objects.filter(pk=space.pk).update(retired_at=timezone.now() - timezone.timedelta(days=8))
    assert spaces.purge_retired(batch=7) == 1
    assert not VectorSpace.objects.filter(pk=space.pk).exists()
    assert not ResourceVector.objects.filter(space_id=space.pk).exists()
    assert spaces.index_state(space) == "none"
    assert ResourceVector.objects.count() == 30
