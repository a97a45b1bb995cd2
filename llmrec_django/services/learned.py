"""What is known about a learner at this moment, without training: a click a second ago counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from llmrec_django.conf import conf
from llmrec_django.engine.ranking import history_vector
from llmrec_django.retrieval.candidates import resource_vectors
from llmrec_django.retrieval.history import known_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from llmrec_django.models import LearnerProfile, VectorSpace
    from llmrec_django.retrieval.history import Known, Step
    from llmrec_django.types import Float32Vector

PROFILE_SHARE = 0.35
"""Weight of goals and interests beside a history; what a learner says they want must be felt at once."""


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


def learn(learner: LearnerProfile, space: VectorSpace | None, known: Known | None = None) -> Learned:
    """Read what a learner's history and profile say in a space of texts; one query, one less without a space.

    Args:
        known: What is known of the learner; None: it is read, in one query more.
    """
    known = known or known_of([learner.pk])
    history = _history(known.steps)
    vectors: dict[int, Float32Vector] = {}
    profile = None
    if space is not None:
        vectors = resource_vectors(space, [deed.resource_id for deed in history])
        profile = known.goals.get((learner.pk, space.pk))
    return Learned(history, vectors, profile if learner.text else None, learner.text)


def _history(steps: Sequence[Step]) -> tuple[Deed, ...]:
    deeds: dict[int, Deed] = {}
    against: set[int] = set()
    for step in reversed(steps):
        verb = conf.VERBS.get(step.verb)
        if verb is None or verb.effect == "neutral":
            continue
        disliked = step.verb == "rated" and step.value is not None and step.value < conf.RATING_LIKED_FROM
        if verb.effect == "negative" or disliked:
            against.add(step.resource_id)
        elif step.resource_id not in deeds or verb.weight > deeds[step.resource_id].weight:
            deeds[step.resource_id] = Deed(step.resource_id, verb.weight, step.verb)
    liked = [deed for deed in deeds.values() if deed.resource_id not in against]
    return tuple(liked[: int(conf.HISTORY_LENGTH)])
