"""Which of a learner's own resources lifted those in a list, and which parts of the score they owe it to.

Measured, not guessed: the listed resources are scored again without each of the learner's own, by the very code that
scored them, and what is missing then is what it did. The relevance model finds that out as it scores, nearly as well
(docs/decisions/0014).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from llmrec_django.engine.ranking.attribution import occluded, strongest
from llmrec_django.services.excerpt import Costly, Excerpt
from llmrec_django.services.training.dataset import rows_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.services.excerpt import Variants
    from llmrec_django.services.learned import Learned
    from llmrec_django.services.scorer import Scorer
    from llmrec_django.services.training.sources import Asked
    from llmrec_django.types import Float32Matrix, Float32Vector

LEAST_SAY = 0.1
"""Sources with a smaller share in the weights of the blend are not asked: they decide nothing."""
MOST_TRIED = 40
"""Own resources left out in turn, the latest; of the relevance model no more than its `MOST_LEFT_OUT`."""
MOST_NAMED = 3
"""Own resources named for each listed one, at most."""
LEAST_SHARE = 0.1
"""Of what all own resources and goals did: with less, one is not named."""
LEAST_PART = 0.05
"""Of what sets the resource above an average one: where a history does less than that, it is not why."""
LEAST_TOGETHER = 0.5
"""Of what sets the resource above an average one: where a whole history does so much, and no part of it enough to be
named, it is the history as a whole that the resource is there for."""
LEAST_ASKED_AGAIN = 0.5
"""A source that costs much and has a smaller say is not asked again: the others tell as well what lifted a resource.
`python -m benchmarks.faithfulness` measures it."""
VARIANTS = 10
"""Own resources left out in turn for models that cost much, times their say."""


@dataclass(frozen=True, slots=True)
class Influence:
    """Why one listed resource stands where it does."""

    own: tuple[tuple[int, float], ...] = ()
    """(own resource, share of what lifted it), largest first."""
    goal_share: float = 0.0
    """The same of goals and interests."""
    parts: dict[str, float] = field(default_factory=dict)
    """Source → what it added to the score, against an average resource."""
    together: bool = False
    """It is the history as a whole that lifted it, and no single resource worth naming."""
    among: int | None = None
    """Then the own resource that did most."""


def of_trained(
    scorer: Scorer,
    asked: Asked,
    ids: Sequence[int],
    given: Callable[[NDArray[np.int64]], Mapping[str, Float32Matrix]] | None = None,
) -> dict[int, Influence]:
    """Return what lifted resources that a trained version scored, by resource.

    Args:
        scorer: What scored them.
        asked: The one learner, as they were scored.
        ids: The listed resources; those that the scorer does not know are left out.
        given: What each source gave some rows of the scorer, where that is at hand; float32 [1, k].
    """
    rows = rows_in(scorer.resource_ids, np.asarray(ids, dtype=np.int64))
    listed = [pk for pk, row in zip(ids, rows, strict=True) if row >= 0]
    rows = rows[rows >= 0]
    if not len(rows):
        return {}
    excerpt = Excerpt.of(scorer, rows, asked, least_say=LEAST_SAY)
    own = asked.latest_liked(MOST_TRIED)
    has_goal = asked.profiles is not None and bool(asked.profiles.any())
    every = excerpt.variants(asked, own, without_goal=has_goal, without_history=True)
    parts, left = _parts_without_each(excerpt, every, own, given(rows) if given else {})
    effects = sum((occluded(part) for part in parts.values()), np.zeros((len(own) + has_goal, len(rows)), np.float32))
    above = sum((np.maximum(part[0], 0) for part in parts.values()), np.zeros(len(rows), np.float32))
    found = _named(effects, scorer.resource_ids[own], above, has_goal=has_goal)
    first = {name: part[0].astype(np.float64).round(4).tolist() for name, part in parts.items()}
    influences = {
        pk: Influence(named, goal, {name: part[column] for name, part in first.items() if part[column]})
        for column, (pk, (named, goal)) in enumerate(zip(listed, found, strict=True))
    }
    unnamed = [column for column, (named, goal) in enumerate(found) if not named and not goal]
    if unnamed and len(own):
        together = _by_whole_history(excerpt, every, parts, left, above, unnamed)
        for column in unnamed:
            if together[column]:
                most = _strongest_own(effects[: len(own), column], scorer.resource_ids[own])
                influences[listed[column]] = replace(influences[listed[column]], together=True, among=most)
    return influences


def of_content(learned: Learned, vectors: Mapping[int, Float32Vector], ids: Sequence[int]) -> dict[int, Influence]:
    """Return what lifted resources that were found by the mean of a learner's texts, by resource.

    Args:
        learned: The learner, as they were asked about.
        vectors: Of the listed resources.
        ids: The listed resources; those without a vector are left out.
    """
    listed = [pk for pk in ids if pk in vectors]
    vector = learned.vector()
    if not listed or vector is None:
        return {}
    matrix = np.stack([vectors[pk] for pk in listed])  # [k, D]
    own = [deed.resource_id for deed in learned.history if deed.resource_id in learned.vectors]
    others = [learned.vector(without=(pk,)) for pk in own]
    if learned.profile is not None:
        others.append(learned.vector(with_profile=False))
    nothing = np.zeros_like(vector)
    asked = np.stack([vector, *(nothing if other is None else other for other in others)])
    scores = asked @ matrix.T  # [1 + own + goal, k]
    # An average resource is not at hand; the last of the candidates is nearer to the learner than that one.
    least = min(float(vector @ candidate) for candidate in vectors.values())
    above = scores[0] - least if len(vectors) > len(listed) else scores[0]
    effects, own_ids = occluded(scores), np.array(own, dtype=np.int64)
    found = _named(effects, own_ids, above, has_goal=learned.profile is not None)
    influences = {}
    for column, (pk, (named, goal)) in enumerate(zip(listed, found, strict=True)):
        # The mean of the texts is all there is: where no single one stands out, it is all of them.
        is_together = bool(own) and not named and not goal
        among = _strongest_own(effects[: len(own), column], own_ids) if is_together else None
        parts = {"content": round(float(scores[0, column]), 4)}
        influences[pk] = Influence(named, goal, parts, is_together, among)
    return influences


def _strongest_own(effects: NDArray[np.floating], own: NDArray[np.int64]) -> int | None:
    """Return which own resource did most for one listed resource; None where none did anything."""
    row = int(effects.argmax())
    return int(own[row]) if effects[row] > 0 else None


def _named(
    effects: Float32Matrix, own: NDArray[np.int64], above: NDArray[np.floating], *, has_goal: bool
) -> list[tuple[tuple[tuple[int, float], ...], float]]:
    """Return own resources worth naming and the share of the goal, for each listed resource.

    Args:
        effects: Of each own resource, then of the goal; float32 [m, k].
        own: Ids of the own resources.
        above: What sets each listed resource above an average one; [k].
    """
    least = LEAST_PART * np.maximum(above, 0)
    goal_row = len(own) if has_goal else -1
    found = []
    # No more than so many can have the least share of all.
    for column, lifting in enumerate(strongest(effects, most=int(1 / LEAST_SHARE), least_share=LEAST_SHARE)):
        named = [(row, share) for row, share in lifting if effects[row, column] >= least[column]]
        goal = sum(share for row, share in named if row == goal_row)
        mine = [(int(own[row]), round(share, 3)) for row, share in named if row != goal_row]
        found.append((tuple(mine[:MOST_NAMED]), round(goal, 3)))
    return found


def _by_whole_history(
    excerpt: Excerpt,
    every: Variants,
    parts: Mapping[str, Float32Matrix],
    left: Mapping[str, Float32Vector],
    above: Float32Vector,
    unnamed: Sequence[int],
) -> NDArray[np.bool_]:
    """Say which listed resources are there for the learner's history as a whole; bool [k].

    What a resource lacks where the learner has no history, only goals, is known of the quick sources, and asked of
    those that cost much where that does not settle it.

    Args:
        left: What each quick source adds without any history; source → float32 [k].
        unnamed: Of which it is asked; what is said of the others is not to be used.
    """
    lost = sum((parts[name][0] - there for name, there in left.items()), np.zeros(len(above), np.float32))
    for name in [name for name in parts if name not in left]:
        if (lost >= LEAST_TOGETHER * above)[unnamed].all():
            break
        lost += parts[name][0] - excerpt.part(name, excerpt.score(name, every.newcomer()))[0]
    return (above > 0) & (lost >= LEAST_TOGETHER * above)


def _parts_without_each(
    excerpt: Excerpt, every: Variants, own: NDArray[np.int64], given: Mapping[str, Float32Matrix]
) -> tuple[dict[str, Float32Matrix], dict[str, Float32Vector]]:
    """Return what each source adds for the learner, without each own resource, and last without goals if there are any.

    The weights are those of the whole history for all: weights that change with its length would change every
    resource's score, not this one's place.

    Returns:
        Source → float32 [1 + own (+ 1), k]; and what is left without any history by those that are quick to ask,
        source → float32 [k].
    """
    has_goal = every.without_goal
    parts: dict[str, Float32Matrix] = {}
    left: dict[str, Float32Vector] = {}
    costly: list[str] = []
    for name, source in excerpt.sources.items():
        if isinstance(source, Costly):
            costly.append(name)
        else:
            part = excerpt.part(name, excerpt.score(name, every))
            parts[name], left[name] = part[:-1], part[-1]
    for name in costly:
        chosen = _worth_asking(excerpt, name, own, parts)
        variants = every.only(chosen)
        if name not in given:
            scores = excerpt.score(name, variants)
        elif len(variants) > 1:
            scores = np.concatenate([given[name], excerpt.score_rest(name, variants)])
        else:
            scores = given[name]
        part = excerpt.part(name, scores)
        # Without those that were not asked about, nothing is taken to change.
        result = np.repeat(part[:1], 1 + len(own) + has_goal, axis=0)
        result[1 + chosen] = part[1 : 1 + len(chosen)]
        result[1 + len(own) :] = part[1 + len(chosen) :]
        parts[name] = result
    return parts, left


def _worth_asking(
    excerpt: Excerpt, name: str, own: NDArray[np.int64], parts: dict[str, Float32Matrix]
) -> NDArray[np.int64]:
    """Return which own resources a source that costs much is asked to do without; places in `own`, increasing.

    Those that did most by the other sources, and the latest; the more it has to say in the blend, the more of them.
    """
    say = excerpt.say(name)
    if say < LEAST_ASKED_AGAIN:
        return np.zeros(0, dtype=np.int64)
    promise = np.zeros(len(own), dtype=np.float32)
    for part in parts.values():
        promise += np.maximum(occluded(part)[: len(own)], 0).sum(axis=1)
    return np.sort(np.argsort(-promise, kind="stable")[: int(VARIANTS * say)])
