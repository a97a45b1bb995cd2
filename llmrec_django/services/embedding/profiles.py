"""Embedding what learners say about themselves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db.models import Exists, F, OuterRef, Q

from llmrec_django.engine.text import clean_text
from llmrec_django.exceptions import EncoderError, EncoderUnavailable
from llmrec_django.models import LearnerProfile, ProfileVector, VectorSpace
from llmrec_django.services.embedding.encoding import checked

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from llmrec_django.engine.encoders.base import Encoder

logger = logging.getLogger(__name__)


def embed_profiles(space: VectorSpace, encoder: Encoder, *, batch: int = 256) -> int:
    """Embed goals and interests that have no vector of their present text; they are few, so no lease."""
    done = 0
    while profiles := list(pending_profiles(space)[:batch]):
        texts = [clean_text(profile.text) for profile in profiles]
        try:
            matrix = checked(encoder.unhurried().encode_queries(texts), len(texts), space.dimension)
        except EncoderUnavailable:
            raise
        except EncoderError as exc:
            logger.warning("profiles not embedded n=%s cause=%s", len(profiles), type(exc).__name__)
            return done
        ProfileVector.objects.bulk_create(
            [
                ProfileVector(learner=profile, space=space, vector=vector, content_hash=profile.content_hash)
                for profile, vector in zip(profiles, matrix, strict=True)
            ],
            update_conflicts=True,
            unique_fields=["space", "learner"],
            update_fields=["vector", "content_hash"],
        )
        done += len(profiles)
    return done


def pending_profiles(space: VectorSpace) -> QuerySet[LearnerProfile]:
    """Return the profiles whose present text has no vector in `space`; never those of learners who opted out."""
    current = ProfileVector.objects.filter(space=space, learner=OuterRef("pk"), content_hash=F("learner__content_hash"))
    has_text = ~Q(goals="") | ~Q(interests=[])
    return LearnerProfile.objects.filter(has_text, ~Exists(current), personalise=True).order_by("pk")
