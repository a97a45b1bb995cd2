"""A learner's level: what they say, moved by what they found too hard or too easy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmrec_django.conf import conf
from llmrec_django.engine.ranking.level import estimate_level, lean
from llmrec_django.models import Resource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrec_django.models import LearnerProfile
    from llmrec_django.retrieval.dismissals import Dismissal

LEVELS = {value: float(place) for place, value in enumerate(Resource.Level.values)}
"""Level → its place on the scale, the easiest 0."""
TOP = max(LEVELS.values())
DIRECTIONS = {"too_hard": -1, "too_easy": 1}


def level_of(learner: LearnerProfile | None, turned_down: Sequence[Dismissal]) -> float | None:
    """Return a learner's place on the scale of `LEVELS`; None when nothing is known, or they opted out.

    Args:
        turned_down: What `dismissals` gave, the last first.
    """
    if learner is None or not learner.personalise:
        return None
    statements = [
        (LEVELS.get(entry.level), DIRECTIONS[entry.verb]) for entry in reversed(turned_down) if entry.verb in DIRECTIONS
    ]
    return estimate_level(statements, LEVELS.get(learner.level), TOP)


def nearest_level(level: float) -> str:
    """Return the level that a place on the scale is nearest to; the easier one half way between."""
    return min(LEVELS, key=lambda name: abs(LEVELS[name] - level))


def leans(level: float | None) -> bool:
    """Say whether lists lean to a learner's level."""
    return level is not None and bool(conf.LEVEL_WEIGHT)


def leaning(
    found: Sequence[tuple[int, float]], level: float | None, n: int, levels: Mapping[int, str]
) -> list[tuple[int, float]]:
    """Return candidates with scores that lean to a learner's level, best first; unchanged where it is unknown.

    Args:
        n: Places that they are for.
        levels: Of the candidates, by id; those without one may be left out.
    """
    if level is None or not conf.LEVEL_WEIGHT or len(found) < 2:
        return list(found)
    ids = [pk for pk, _ in found]
    scores = lean(
        np.array([score for _, score in found]),
        np.array([LEVELS.get(levels.get(pk, ""), np.nan) for pk in ids]),
        level,
        float(conf.LEVEL_WEIGHT),
        n,
    )
    # Stable: ties stay in the order that their query settled.
    order = np.argsort(-scores, kind="stable")
    return [(ids[i], float(scores[i])) for i in order]
