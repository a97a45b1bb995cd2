"""Vector spaces and the vectors in them (DESIGN: a vector means nothing without the encoder that made it)."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from pgvector.django import VectorField

from llmrec_django.models.base import LLMRecManager, LLMRecModel, LLMRecQuerySet
from llmrec_django.models.learner import LearnerProfile
from llmrec_django.models.resource import Resource


class VectorSpaceQuerySet(LLMRecQuerySet):
    def fed(self) -> VectorSpaceQuerySet:
        """Spaces of texts that new and changed resources must still be embedded into.

        Besides the one that serves and the one being built, the space that an active model version was trained on:
        what is added since can be recommended by it only if it has its vector there.
        """
        trained_on = VectorSpace.objects.filter(versions__status="active")
        return self.texts().filter(
            Q(status__in=[VectorSpace.Status.BUILDING, VectorSpace.Status.ACTIVE]) | Q(pk__in=trained_on.values("pk"))
        )

    def texts(self) -> VectorSpaceQuerySet:
        """Spaces of an encoder; the others hold what a model version learned."""
        return self.filter(purpose=VectorSpace.Purpose.TEXT)


class VectorSpace(LLMRecModel):
    """One encoder, one text recipe, one dimension. What it names never changes; only its status does.

    A space of purpose "relevance" holds the vectors R(i) that one model version learned.

    .. no_pii:
    """

    class Status(models.TextChoices):
        BUILDING = "building", pgettext_lazy("vector space", "building")
        ACTIVE = "active", pgettext_lazy("vector space", "active")
        RETIRED = "retired", pgettext_lazy("vector space", "retired")

    class Purpose(models.TextChoices):
        TEXT = "text", pgettext_lazy("vector space", "texts")
        RELEVANCE = "relevance", pgettext_lazy("vector space", "a model version")

    purpose = models.CharField(
        pgettext_lazy("vector space", "holds vectors of"), max_length=16, choices=Purpose.choices, default=Purpose.TEXT
    )
    encoder = models.CharField(_("encoder"), max_length=64, help_text=_("Its name in LLMREC['ENCODERS']."))
    encoder_id = models.CharField(_("encoder id"), max_length=255, help_text=_("Model, revision and options."))
    recipe = models.CharField(_("text recipe"), max_length=64)
    dimension = models.PositiveIntegerField(_("dimension"))
    metric = models.CharField(_("metric"), max_length=8, default="ip")
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.BUILDING)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    activated_at = models.DateTimeField(_("activated"), null=True, blank=True)
    retired_at = models.DateTimeField(pgettext_lazy("when", "retired"), null=True, blank=True)

    objects = LLMRecManager.from_queryset(VectorSpaceQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("vector space")
        verbose_name_plural = _("vector spaces")
        constraints = [
            models.UniqueConstraint(
                fields=["status"], condition=Q(status="active", purpose="text"), name="llmrec_space_one_active"
            ),
            models.UniqueConstraint(
                fields=["encoder_id", "recipe", "dimension"],
                condition=~Q(status="retired"),
                name="llmrec_space_identity_unique",
            ),
            # halfvec, which the index is made of, ends at 4,000 dimensions.
            models.CheckConstraint(
                condition=Q(dimension__gte=1, dimension__lte=4000), name="llmrec_space_dimension_range"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.encoder_id} ({self.dimension})"

    @property
    def index_name(self) -> str:
        return f"llmrec_vectors_space_{self.pk}"


class ResourceVector(LLMRecModel):
    """A resource in a space: one unit vector, float32 [dimension].

    .. no_pii:
    """

    resource = models.ForeignKey(Resource, models.CASCADE, related_name="vectors", verbose_name=_("learning resource"))
    space = models.ForeignKey(
        VectorSpace, models.CASCADE, related_name="vectors", verbose_name=_("vector space"), db_index=False
    )
    # No dimension: spaces of all dimensions share the column, each with a partial index of its own.
    vector = VectorField(_("vector"))
    content_hash = models.CharField(_("content hash"), max_length=32)
    text_hash = models.CharField(_("hash of the encoded text"), max_length=32)
    embedded_at = models.DateTimeField(_("embedded"), auto_now=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("resource vector")
        verbose_name_plural = _("resource vectors")
        constraints = [models.UniqueConstraint(fields=["space", "resource"], name="llmrec_resource_vector_unique")]

    def __str__(self) -> str:
        return gettext("resource %(resource)s in space %(space)s") % {
            "resource": self.resource_id,
            "space": self.space_id,
        }


class ProfileVector(LLMRecModel):
    """A learner's goals and interests in a space: one unit vector, float32 [dimension].

    .. pii: computed from the learner's free text
    .. pii_types: other
    .. pii_retirement: local_api
    """

    learner = models.ForeignKey(LearnerProfile, models.CASCADE, related_name="vectors", verbose_name=_("learner"))
    space = models.ForeignKey(
        VectorSpace, models.CASCADE, related_name="profile_vectors", verbose_name=_("vector space"), db_index=False
    )
    vector = VectorField(_("vector"))
    content_hash = models.CharField(_("content hash"), max_length=32)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("profile vector")
        verbose_name_plural = _("profile vectors")
        constraints = [models.UniqueConstraint(fields=["space", "learner"], name="llmrec_profile_vector_unique")]

    def __str__(self) -> str:
        return gettext("learner %(learner)s in space %(space)s") % {
            "learner": self.learner_id,
            "space": self.space_id,
        }


class EmbeddingClaim(LLMRecModel):
    """A resource that a worker is embedding, that failed, or that has no text to embed.

    A resource is pending when no vector and no settled claim carries its current content hash; so most pending
    resources have no row here. Working rows hold a lease: whoever finds it expired may take the work over.

    .. no_pii:
    """

    class State(models.TextChoices):
        WORKING = "working", pgettext_lazy("embedding", "in progress")
        FAILED = "failed", pgettext_lazy("embedding", "failed")
        EMPTY = "empty", pgettext_lazy("embedding", "no text")

    resource = models.ForeignKey(
        Resource, models.CASCADE, related_name="embedding_claims", verbose_name=_("learning resource")
    )
    space = models.ForeignKey(
        VectorSpace, models.CASCADE, related_name="claims", verbose_name=_("vector space"), db_index=False
    )
    state = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.WORKING)
    content_hash = models.CharField(_("content hash"), max_length=32)
    token = models.CharField(_("claim token"), max_length=32)
    lease_until = models.DateTimeField(_("lease until"), help_text=_("A failed one is tried again after this."))
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    error = models.TextField(_("error"), blank=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("embedding in progress or failed")
        verbose_name_plural = _("embeddings in progress or failed")
        constraints = [models.UniqueConstraint(fields=["space", "resource"], name="llmrec_claim_unique")]

    def __str__(self) -> str:
        return gettext("%(state)s: resource %(resource)s in space %(space)s") % {
            "state": self.get_state_display(),
            "resource": self.resource_id,
            "space": self.space_id,
        }
