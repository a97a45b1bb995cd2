"""Who is in which arm of an experiment, and what that changes for their lists."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from llmrec_django.models import ExperimentArm, Placement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from llmrec_django.models import Experiment, LearnerProfile, ModelVersion

PLACEMENT_SETTINGS = (
    "size",
    "kinds",
    "languages",
    "diversity",
    "seen",
    "explore_places",
    "explore_pool",
    "explore_by",
)
"""What an arm may set in place of its placement."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The arm that a learner is in, and what it changes."""

    experiment_id: int
    arm: str
    version: ModelVersion | None = None
    """None: the version that serves."""
    is_trained: bool = True
    """False: lists are made as if nothing had been trained."""
    blend: Mapping[str, float] = field(default_factory=dict)
    """Source of the trained version → factor on its weight."""
    placement: Mapping[str, Any] = field(default_factory=dict)

    def applied_to(self, place: Placement) -> Placement:
        """Return the placement as this arm has it; `place` itself stays as it is."""
        if not self.placement:
            return place
        changed = copy.copy(place)
        for name, value in self.placement.items():
            setattr(changed, name, value)
        return changed


def assign(place: Placement, learner: LearnerProfile | None, *, at: datetime | None = None) -> Assignment | None:
    """Return the learner's arm of the experiment that runs on a placement; None where they are in none.

    The same learner is always in the same arm while salt, arms and shares stay. Someone unknown, and who opted out,
    is in no experiment: nothing about them is kept that could be compared.
    """
    if place.experiment is None or learner is None or learner._state.adding or not learner.personalise:
        return None
    experiment = place.experiment
    if not experiment.is_running(at or timezone.now()):
        return None
    arm = choose_arm(experiment, list(experiment.arms.select_related("version").defer("version__metrics")), learner.pk)
    if arm is None:
        return None
    settings = dict(arm.settings or {})
    return Assignment(
        experiment_id=experiment.pk,
        arm=arm.name,
        version=arm.version,
        is_trained=settings.get("trained", True) is not False,
        blend=settings.get("blend") or {},
        placement={name: value for name, value in settings.items() if name in PLACEMENT_SETTINGS},
    )


def choose_arm(experiment: Experiment, arms: Sequence[ExperimentArm], learner_id: int) -> ExperimentArm | None:
    """Return the arm whose share of the unit interval holds the learner's hash; None when all shares are 0.

    The salt is hashed along, so that arms of two experiments have nothing to do with each other.
    """
    ordered = sorted((arm for arm in arms if arm.weight > 0), key=lambda arm: arm.name)
    total = sum(arm.weight for arm in ordered)
    if not total:
        return None
    digest = hashlib.sha256(f"{experiment.salt}:{learner_id}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64 * total
    for arm in ordered:
        place -= arm.weight
        if place < 0:
            return arm
    return ordered[-1]


def check_arm_settings(settings: Any) -> None:
    """Check what an arm changes.

    Raises:
        ValidationError: an unknown name, or a value that a placement could not have.
    """
    if not isinstance(settings, dict):
        raise ValidationError(_('Settings must look like {"diversity": 0.6, "size": 8}.'), code="invalid")
    allowed = (*PLACEMENT_SETTINGS, "trained", "blend")
    unknown = sorted(set(settings) - set(allowed))
    if unknown:
        raise ValidationError(
            _("Unknown setting %(name)s. Use one of: %(allowed)s."),
            code="unknown",
            params={"name": unknown[0], "allowed": ", ".join(allowed)},
        )
    for name, value in settings.items():
        if name == "trained":
            sound = isinstance(value, bool)
        elif name == "blend":
            sound = isinstance(value, dict) and all(_is_factor(factor) for factor in value.values())
        elif name in ("kinds", "languages"):
            sound = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
        else:
            sound = _fits_placement(name, value)
        if not sound:
            raise ValidationError(
                _("%(name)s cannot be %(value)s."), code="invalid", params={"name": name, "value": repr(value)}
            )


def _is_factor(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _fits_placement(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    field_: Any = Placement._meta.get_field(name)
    try:
        # What Django converts ("8") is not what a list is made with: only values that stay as they are.
        return bool(field_.clean(value, None) == value) and not (isinstance(value, str) and not field_.choices)
    except ValidationError:
        return False
