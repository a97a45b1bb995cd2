"""What training makes: versions, and the neighbours that a version found."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import numpy as np
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.models.base import LLMRecManager, LLMRecModel, LLMRecQuerySet
from llmrec_django.models.resource import Resource
from llmrec_django.models.vectors import VectorSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray


def new_run_id() -> str:
    """Return a name that no other training run has."""
    return secrets.token_hex(8)


class ModelVersion(LLMRecModel):
    """One training run of one tenant: what went in, how good it was, and whether it serves.

    .. no_pii:
    """

    class Status(models.TextChoices):
        TRAINING = "training", pgettext_lazy("model version", "training")
        CANDIDATE = "candidate", pgettext_lazy("model version", "candidate")
        ACTIVE = "active", pgettext_lazy("model version", "active")
        RETIRED = "retired", pgettext_lazy("model version", "retired")
        REJECTED = "rejected", pgettext_lazy("model version", "rejected")
        FAILED = "failed", pgettext_lazy("model version", "failed")

    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    run_id = models.CharField(_("run id"), max_length=32, unique=True, default=new_run_id)
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.TRAINING)
    why = models.TextField(_("why"), blank=True, help_text=_("Why it serves, or why it does not."))
    why_data = models.JSONField(default=list, blank=True, editable=False)  # codes and numbers: see services/reasons.py

    config = models.JSONField(_("configuration"), default=dict, blank=True)
    seed = models.IntegerField(_("seed"), default=0)
    last_interaction_id = models.BigIntegerField(
        _("last interaction"), null=True, blank=True, help_text=_("No later one was known to this version.")
    )
    last_interaction_at = models.DateTimeField(_("time of the last interaction"), null=True, blank=True)
    n_learners = models.PositiveIntegerField(_("learners"), default=0)
    n_resources = models.PositiveIntegerField(_("learning resources"), default=0)
    n_interactions = models.PositiveBigIntegerField(_("interactions"), default=0)
    metrics = models.JSONField(
        _("metrics"), default=dict, blank=True, help_text=_("Of this version and of every baseline, on the same split.")
    )

    source_space = models.ForeignKey(
        VectorSpace,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="versions",
        verbose_name=_("space of the text vectors"),
    )
    relevance_space = models.ForeignKey(
        VectorSpace,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("space of the trained vectors"),
    )
    artifact = models.CharField(_("artefact"), max_length=255, blank=True, help_text=_("Its name in the storage."))
    digest = models.CharField(_("digest"), max_length=64, blank=True, help_text=_("SHA-256 of the archive."))

    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    activated_at = models.DateTimeField(_("activated"), null=True, blank=True)
    retired_at = models.DateTimeField(pgettext_lazy("when", "retired"), null=True, blank=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")
        constraints = [
            models.UniqueConstraint(fields=["tenant"], condition=Q(status="active"), name="llmrec_version_one_active"),
        ]
        indexes = [models.Index(fields=["tenant", "-created_at"], name="llmrec_version_newest")]

    def __str__(self) -> str:
        return gettext("version %(id)s (%(status)s)") % {"id": self.pk, "status": self.get_status_display()}


class EvaluationRecord(LLMRecModel):
    """How good a version was when it was measured again, on what came after its training.

    .. no_pii:
    """

    version = models.ForeignKey(
        ModelVersion, models.CASCADE, related_name="evaluations", verbose_name=_("model version"), db_index=False
    )
    created_at = models.DateTimeField(_("measured"), auto_now_add=True)
    ndcg = models.FloatField(_("NDCG@10"))
    expected = models.FloatField(
        _("expected NDCG@10"),
        null=True,
        blank=True,
        help_text=_("What learners with histories as long reached when the version was trained."),
    )
    has_fallen = models.BooleanField(
        _("has fallen"),
        default=False,
        help_text=_("It is surely worse than expected, by more than the setting allows."),
    )
    metrics = models.JSONField(_("metrics"), default=dict, blank=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("evaluation")
        verbose_name_plural = _("evaluations")
        indexes = [models.Index(fields=["version", "-created_at"], name="llmrec_evaluation_newest")]

    def __str__(self) -> str:
        return gettext("evaluation of version %(id)s") % {"id": self.version_id}


class ResourceNeighbours(LLMRecModel):
    """What one source of a version says goes with a resource: other resources, strongest first.

    The first twenty of each, for people and for reports to look at. Lists are made from the version's files.

    .. no_pii:
    """

    version = models.ForeignKey(
        ModelVersion, models.CASCADE, related_name="neighbours", verbose_name=_("model version"), db_index=False
    )
    resource = models.ForeignKey(
        Resource, models.CASCADE, related_name="neighbours", verbose_name=_("learning resource")
    )
    source = models.CharField(_("source"), max_length=32, help_text=_("The collaborative filter that found them."))
    # bytea, not arrays: Django 6 refuses ArrayField in hosts without django.contrib.postgres.
    neighbour_ids = models.BinaryField(_("neighbours"))
    weights = models.BinaryField(_("weights"))

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("neighbours of a learning resource")
        verbose_name_plural = _("neighbours of learning resources")
        constraints = [
            models.UniqueConstraint(fields=["version", "resource", "source"], name="llmrec_neighbours_unique")
        ]

    def __str__(self) -> str:
        return gettext("%(source)s of resource %(resource)s") % {
            "source": self.source,
            "resource": self.resource_id,
        }

    @property
    def pairs(self) -> list[tuple[int, float]]:
        """(resource id, weight), strongest first. Resources deleted since training may be among them."""
        ids: NDArray[np.int64] = np.frombuffer(bytes(self.neighbour_ids), dtype="<i8")
        weights: NDArray[np.float32] = np.frombuffer(bytes(self.weights), dtype="<f4")
        return list(zip(ids.tolist(), weights.tolist(), strict=True))
