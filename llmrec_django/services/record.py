"""Recording what learners do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrec_django.models import Interaction, LearnerProfile
    from llmrec_django.types import InteractionInput


def record(
    learner: LearnerProfile, interaction: InteractionInput, *, source: str = "site", trusted: bool = True
) -> tuple[Interaction | None, bool]:
    """Record one interaction, once per (learner, source, event_id).

    Args:
        trusted: False for what a learner's own client sends: only verbs with `learner_may_send` are taken.

    Returns:
        The stored row and whether it is new; (None, False) when the learner opted out.

    Raises:
        InvalidInteraction: with the field that is wrong; UnknownResource for a key that does not exist.
    """
    raise NotImplementedError


def record_many(
    learner: LearnerProfile, interactions: Iterable[InteractionInput], *, source: str = "site", trusted: bool = True
) -> int:
    """Record a batch, all or nothing, in a fixed number of queries; return how many rows are new."""
    raise NotImplementedError
