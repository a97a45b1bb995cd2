"""Pending work, claims and vectors, on the real database with the hashing encoder."""

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from llmrec_django.exceptions import EncoderError, EncoderUnavailable
from llmrec_django.models import EmbeddingClaim, LearnerProfile, ProfileVector, Resource, ResourceVector, VectorSpace
from llmrec_django.retrieval.candidates import resource_vectors
from llmrec_django.services import embedding, encoders, spaces
from llmrec_django.services.embedding import run
from llmrec_django.services.embedding.claims import claim
from llmrec_django.testing import HashingEncoder

pytestmark = pytest.mark.django_db


def make(n, **fields):
    return Resource.objects.bulk_create(
        [
            Resource(key=f"r{i}", **{"title": f"Course {i}", "description": f"About topic {i}", **fields})
            for i in range(n)
        ]
    )


class CountingEncoder(HashingEncoder):
    """Remembers what it was asked and fails on texts that hold a marker."""

    def __init__(self, **options):
        super().__init__(**options)
        self.texts = []
        self.unavailable = False

    def encode_documents(self, texts):
        if self.unavailable:
            raise EncoderUnavailable("Cannot reach the encoder.")
        if any("poison" in text for text in texts):
            raise EncoderError("Cannot encode a text.")
        self.texts += texts
        return super().encode_documents(texts)


@pytest.fixture
def encoder(hashing, monkeypatch):
    built = CountingEncoder(dimension=64)
    monkeypatch.setattr(run, "document_encoder", lambda: built)
    monkeypatch.setattr(run, "encoder_named", lambda name: built)
    return built


def test_every_resource_gets_one_unit_vector_of_its_own_text(encoder):
    made = make(130)
    report = embedding.embed_pending()
    assert report.embedded == 130
    space = VectorSpace.objects.get()
    assert space.status == "active"
    vectors = resource_vectors(space, [r.pk for r in made])
    assert len(vectors) == 130
    assert np.allclose([np.linalg.norm(v) for v in vectors.values()], 1, atol=1e-5)
    expected = HashingEncoder(dimension=64).encode_documents([encoder.texts[7]])[0]
    assert np.allclose(vectors[made[7].pk], expected, atol=1e-6)
    assert not EmbeddingClaim.objects.exists()


def test_nothing_is_encoded_twice_and_only_what_changed_again(encoder):
    make(5)
    embedding.embed_pending()
    assert embedding.embed_pending().done == 0
    # No signal is sent by any of these.
    Resource.objects.filter(key="r2").update(title="Another title")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE llmrec_django_resource SET description = 'raw SQL' WHERE key = 'r3'")
    Resource.objects.filter(key="r4").update(url="https://example.org/4", level="beginner")
    encoder.texts.clear()
    assert embedding.embed_pending().embedded == 2
    assert sorted(text.splitlines()[0] for text in encoder.texts) == ["Another title", "Course 3"]


def test_a_change_that_the_encoder_does_not_see_is_not_encoded(encoder):
    make(1, description="Plain words")
    embedding.embed_pending()
    Resource.objects.update(description="<p>Plain   words</p>")
    encoder.texts.clear()
    report = embedding.embed_pending()
    assert (report.unchanged, report.embedded, encoder.texts) == (1, 0, [])
    assert embedding.embed_pending().done == 0


def test_one_bad_resource_is_isolated_and_recorded(encoder):
    make(40)
    Resource.objects.filter(key="r17").update(description="poison")
    report = embedding.embed_pending()
    assert (report.embedded, report.failed) == (39, 1)
    claim = EmbeddingClaim.objects.get()
    assert claim.resource.key == "r17"
    assert claim.state == "failed"
    assert "Cannot encode a text" in claim.error
    assert embedding.embed_pending().done == 0, "a failure rests before it is tried again"
    Resource.objects.filter(key="r17").update(description="healed")
    assert embedding.embed_pending().embedded == 1
    assert not EmbeddingClaim.objects.exists()


def test_a_failure_is_tried_again_later_but_not_for_ever(encoder, hashing):
    hashing(EMBED_MAX_ATTEMPTS=3)
    make(1, description="poison")
    for attempt in (1, 2, 3):
        assert embedding.embed_pending().failed == 1
        assert EmbeddingClaim.objects.get().attempts == attempt
        EmbeddingClaim.objects.update(lease_until=timezone.now() - timezone.timedelta(seconds=1))
    assert embedding.embed_pending().done == 0


def test_a_resource_without_text_gets_no_vector_and_is_not_pending(encoder):
    made = make(1, title="", description=" ")[0]
    assert embedding.embed_pending().empty == 1
    assert not ResourceVector.objects.exists()
    assert embedding.embed_pending().done == 0
    assert not embedding.work_is_pending()
    Resource.objects.filter(pk=made.pk).update(title="Now it has one")
    assert embedding.embed_pending().embedded == 1
    Resource.objects.filter(pk=made.pk).update(title="")
    assert embedding.embed_pending().empty == 1
    assert not ResourceVector.objects.exists(), "a vector of text that is gone would go on recommending it"


def test_an_unreachable_encoder_leaves_everything_pending(encoder):
    make(3)
    encoder.unavailable = True
    with pytest.raises(EncoderUnavailable):
        embedding.embed_pending()
    assert not EmbeddingClaim.objects.exists()
    encoder.unavailable = False
    assert embedding.embed_pending().embedded == 3


def test_an_expired_lease_is_taken_over_and_a_live_one_is_not(encoder):
    make(4)
    space = spaces.space_for(encoder)
    assert len(claim(space, 2).to_encode) == 2
    assert embedding.embed_pending().embedded == 2
    EmbeddingClaim.objects.update(lease_until=timezone.now() - timezone.timedelta(seconds=1))
    assert embedding.embed_pending().embedded == 2
    assert ResourceVector.objects.count() == 4


def test_a_resource_that_kills_its_worker_ends_alone_and_settled(encoder, hashing):
    hashing(EMBED_MAX_ATTEMPTS=4)
    make(6)
    space = spaces.space_for(encoder)
    for _ in range(2):  # the worker dies twice with all six
        claim(space, 10)
        EmbeddingClaim.objects.update(lease_until=timezone.now() - timezone.timedelta(seconds=1))
    for _ in range(2):  # now each is claimed alone; the first one kills its worker again and again
        chunk = claim(space, 10)
        assert len(chunk.to_encode) == 1
        killer = chunk.to_encode[0].resource_id
        EmbeddingClaim.objects.filter(token=chunk.token).update(
            lease_until=timezone.now() - timezone.timedelta(seconds=1)
        )
    report = embedding.embed_pending()
    assert report.embedded == 5
    assert EmbeddingClaim.objects.get(state="failed").resource_id == killer


def test_a_limit_is_kept(encoder):
    make(30)
    assert embedding.embed_pending(limit=7).embedded == 7
    assert ResourceVector.objects.count() == 7


def test_a_changed_row_is_stored_with_the_hash_of_the_text_that_was_read(encoder, monkeypatch):
    made = make(1)[0]
    real = encoder.encode_documents

    def change_while_encoding(texts):
        Resource.objects.filter(pk=made.pk).update(title="Changed meanwhile")
        monkeypatch.setattr(encoder, "encode_documents", real)
        return real(texts)

    monkeypatch.setattr(encoder, "encode_documents", change_while_encoding)
    report = embedding.embed_pending()
    # The first vector is of the old text: the row stays pending and is embedded again.
    if report.embedded == 1:
        report = embedding.embed_pending()
    made.refresh_from_db()
    assert ResourceVector.objects.get().content_hash == made.content_hash
    assert encoder.texts[-1].startswith("Changed meanwhile")


def test_a_resource_deleted_while_it_is_encoded_does_no_harm(encoder, monkeypatch):
    made = make(3)
    real = encoder.encode_documents

    def delete_while_encoding(texts):
        Resource.objects.filter(pk=made[1].pk).delete()
        return real(texts)

    monkeypatch.setattr(encoder, "encode_documents", delete_while_encoding)
    embedding.embed_pending()
    assert ResourceVector.objects.count() == 2


def test_goals_and_interests_are_embedded_and_embedded_again_when_they_change(encoder):
    learner = LearnerProfile.objects.create(visitor_key="v", goals="Learn to cook", interests=["bread"])
    LearnerProfile.objects.create(visitor_key="silent")
    LearnerProfile.objects.create(visitor_key="out", goals="Nothing of yours", personalise=False)
    assert embedding.embed_pending().profiles == 1
    assert embedding.embed_pending().profiles == 0
    before = ProfileVector.objects.get().vector
    learner.goals = "Repair bicycles"
    learner.save()
    assert embedding.embed_pending().profiles == 1
    assert list(ProfileVector.objects.get().vector) != list(before)


def test_garbage_from_an_encoder_is_recorded_not_stored(encoder, monkeypatch):
    make(2)
    monkeypatch.setattr(encoder, "encode_documents", lambda texts: np.full((len(texts), 64), np.nan, np.float32))
    report = embedding.embed_pending()
    assert report.failed == 2
    monkeypatch.setattr(encoder, "encode_documents", lambda texts: np.ones((len(texts), 3), np.float32))
    EmbeddingClaim.objects.all().delete()
    embedding.embed_pending()
    assert not ResourceVector.objects.exists()
    assert "shape" in EmbeddingClaim.objects.first().error


def test_a_new_encoder_is_built_beside_and_switched_when_complete(hashing):
    make(20)
    embedding.embed_pending()
    old = spaces.active_space()
    hashing(ENCODER="other")
    embedding.embed_pending(limit=8)
    new = VectorSpace.objects.get(encoder="other")
    assert spaces.active_space() == old, "half a space must not serve"
    assert new.status == "building"
    Resource.objects.create(key="late", title="Saved during the change")
    report = embedding.embed_pending()
    assert report.activated == [new.pk]
    assert spaces.active_space() == new
    assert ResourceVector.objects.filter(space=new).count() == 21
    old.refresh_from_db()
    assert old.status == "retired"
    assert encoders.query_encoder(new) is not None


def test_changed_settings_change_the_encoder_at_once(hashing, settings):
    first = encoders.document_encoder()
    assert encoders.document_encoder() is first, "built once"
    hashing(ENCODER="other")
    assert encoders.document_encoder().dimension == 32
    settings.LLMREC = {}
    assert encoders.document_encoder() is not first, "what the last settings said is forgotten"
