"""What is known about a learner at this moment, without training: a click a second ago counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from llmrec_django.conf import conf
from llmrec_django.engine.ranking import history_vector
from llmrec_django.models import Interaction
from llmrec_django.retrieval.candidates import vectors_of_learner

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmrec_django.models import LearnerProfile, VectorSpace
    from llmrec_django.types import Float32Vector

PROFILE_SHARE = 0.35
"""Weight of goals and interests beside a history; what a learner says they want must be felt at once."""
FEW = 10
"""With fewer resources among a learner's latest interactions, earlier ones are read too: a video that reports its
progress each minute would soon be all that is known of them."""


@dataclass(frozen=True, slots=True)
class Deed:
    """A resource that a learner's history speaks for."""

    resource_id: int
    weight: float
    """Of the strongest thing they did with it."""
    verb: str
    """What that was."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A learner's recent resources, goals and interests."""

    history: tuple[Deed, ...] = ()
    """Newest first, each resource once."""
    vectors: dict[int, Float32Vector] = field(default_factory=dict)
    """Of the history, by resource; without those that have none."""
    profile: Float32Vector | None = None
    """Vector of goals and interests."""
    text: str = ""
    """Goals and interests."""

    def vector(self, without: Collection[int] = (), *, with_profile: bool = True) -> Float32Vector | None:
        """Return where in the space of texts to look for this learner; float32 [D], None where that is not known.

        Args:
            without: Resources to be left out of the history.
            with_profile: Count goals and interests.
        """
        known = [deed for deed in self.history if deed.resource_id in self.vectors and deed.resource_id not in without]
        profile = self.profile if with_profile else None
        if not known:
            return profile
        return history_vector(
            np.stack([self.vectors[deed.resource_id] for deed in known]),
            [deed.weight for deed in known],
            decay=conf.HISTORY_DECAY,
            profile=profile,
            profile_share=PROFILE_SHARE,
        )


def learn(learner: LearnerProfile, space: VectorSpace | None) -> Learned:
    """Read a learner's recent interactions and profile, in two queries; one without a space. One more for somebody
    whose latest interactions are little but reports on a few resources."""
    history = _history(learner)
    vectors: dict[int, Float32Vector] = {}
    profile = None
    if space is not None:
        vectors, profile = vectors_of_learner(space, [deed.resource_id for deed in history], learner)
    return Learned(history, vectors, profile if learner.text else None, learner.text)


def _history(learner: LearnerProfile) -> tuple[Deed, ...]:
    length = int(conf.HISTORY_LENGTH)
    rows = _latest(learner, 2 * length)
    if len(rows) == 2 * length and len({resource_id for resource_id, _, _ in rows}) < FEW:
        rows = _latest(learner, 20 * length)
    deeds: dict[int, Deed] = {}
    against: set[int] = set()
    for resource_id, name, value in rows:
        verb = conf.VERBS.get(name)
        if verb is None or verb.effect == "neutral":
            continue
        disliked = name == "rated" and value is not None and value < conf.RATING_LIKED_FROM
        if verb.effect == "negative" or disliked:
            against.add(resource_id)
        elif resource_id not in deeds or verb.weight > deeds[resource_id].weight:
            deeds[resource_id] = Deed(resource_id, verb.weight, name)
    liked = [deed for deed in deeds.values() if deed.resource_id not in against]
    return tuple(liked[:length])


def _latest(learner: LearnerProfile, n: int) -> list[tuple[int, str, float | None]]:
    rows = Interaction.objects.filter(learner=learner, resource__isnull=False).newest_first()
    return list(rows.values_list("resource_id", "verb", "value")[:n])
