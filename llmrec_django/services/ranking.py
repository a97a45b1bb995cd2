"""The best resources for an audience: by the trained version that serves, else by texts; then popular, newest."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from django.db import Error as DatabaseError

from llmrec_django.engine.ranking import mmr_order
from llmrec_django.retrieval.candidates import levels_and_vectors, nearest, newest, popular, words
from llmrec_django.retrieval.eligibility import eligible
from llmrec_django.services.discovery import places_for_new, with_new
from llmrec_django.services.editorial import NONE
from llmrec_django.services.evidence import Basis
from llmrec_django.services.learned import learn
from llmrec_django.services.levels import leans
from llmrec_django.services.scoring import score_learners
from llmrec_django.services.versions import serving_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmrec_django.models import LearnerProfile, ModelVersion, VectorSpace
    from llmrec_django.retrieval.eligibility import Audience, Eligibility
    from llmrec_django.retrieval.history import Known
    from llmrec_django.services.editorial import Rules
    from llmrec_django.services.scoring import Scored
    from llmrec_django.types import Float32Vector

logger = logging.getLogger(__name__)

OVERFETCH = 5
"""Candidates per place in the list, for diversity to choose from."""

Ranked = list[tuple[int, float, str]]
"""(resource id, score, source), best first."""


def rank(
    audience: Audience,
    *,
    k: int,
    diversity: float,
    space: VectorSpace | None,
    scored: Mapping[int, Scored] | None = None,
    basis: Basis | None = None,
    rules: Rules = NONE,
) -> Ranked:
    """Return the best `k` eligible resources for an audience as (resource id, score, source).

    Scores fall along the list inside one source; between sources they cannot be compared.

    Args:
        scored: What `trained_scores` gave for learners among whom the audience's is; None: ask it for this one.
        basis: Takes down what the list is made by, for its reasons.
        rules: Editorial rules; what they pin comes first.
    """
    ranked: Ranked = []
    basis = basis or Basis(audience.learner, audience.level)
    eligibility = basis.eligibility = eligible(audience)
    if eligibility.is_empty:
        return ranked
    if scored is None:
        scored = trained_scores(audience.tenant, [audience.learner] if audience.learner else [])
    basis.scored = scored.get(audience.learner.pk) if audience.learner is not None else None
    basis.rules = rules.placed
    ranked += rules.pinned(
        eligibility,
        k,
        lambda only, n: [
            pk for pk, _, _ in rank(replace(audience, only=only), k=n, diversity=0.0, space=space, scored=scored)
        ],
    )
    steps: tuple[Callable[[int], Ranked], ...] = (
        lambda n: _trained(audience, eligibility, space, n, diversity, scored, rules),
        lambda n: _personal(audience, eligibility, space, n, diversity, basis, rules),
        lambda n: _plain("popular", audience, n, lambda depth: popular(audience.tenant, eligibility, depth), rules),
        lambda n: _plain("newest", audience, n, lambda depth: newest(eligibility, depth), rules),
    )
    for step in steps:
        taken = {pk for pk, _, _ in ranked}
        try:
            # Ask for k, not for what is missing: the step may offer again what an earlier one brought.
            found = step(k + len(taken))
        except DatabaseError:
            # A statement that took too long, most likely. The next step is simpler.
            logger.exception("a step of the list failed, going on with the next")
            continue
        ranked += [row for row in found if row[0] not in taken][: k - len(ranked)]
        if len(ranked) >= k:
            break
    return ranked


def trained_scores(
    tenant: str,
    learners: Sequence[LearnerProfile],
    version: ModelVersion | None = None,
    blend: Mapping[str, float] | None = None,
    known: Known | None = None,
    *,
    explains: bool = False,
) -> Mapping[int, Scored]:
    """Score the catalogue with a version (None: the one that serves the tenant); by learner id.

    Args:
        known: What is known of the learners, where it has been read.
        explains: Reasons follow.

    Returns:
        Empty without a version, and when it cannot be used: the list is then made as if nothing had been trained.
    """
    if not learners:
        return {}
    try:
        version = version or serving_version(tenant)
        return score_learners(version, learners, blend, known, explains=explains) if version is not None else {}
    except Exception:
        logger.exception("the trained version cannot be used, lists are made without it tenant=%s", tenant)
        return {}


def _personal(
    audience: Audience,
    eligibility: Eligibility,
    space: VectorSpace | None,
    n: int,
    diversity: float,
    basis: Basis,
    rules: Rules,
) -> Ranked:
    learner = audience.learner
    if learner is None or not learner.personalise:
        return []
    learned = basis.learned = learn(learner, space, basis.known)
    basis.space = space
    vector = learned.vector()
    if space is not None and vector is not None:
        depth = n * OVERFETCH if diversity > 0 or not _keeps_places(audience, rules) else n
        near = nearest(space, vector, eligibility, depth)
        found, vectors = _arranged(near, audience, space, n, diversity, rules)
        basis.vectors = vectors or None
        return [(pk, score, "content") for pk, score in found[:n]]
    if learned.text:
        # It has no vector yet: its words are matched instead.
        return _plain("words", audience, n, lambda depth: words(learned.text, eligibility, depth, at_least=0), rules)
    return []


def _plain(
    source: str, audience: Audience, n: int, find: Callable[[int], list[tuple[int, float]]], rules: Rules
) -> Ranked:
    """Return the first `n` of what is the same for everyone, but for their level."""
    stays = _keeps_places(audience, rules)
    found = find(n if stays else n * OVERFETCH)
    if not stays:
        levels, _ = levels_and_vectors([pk for pk, _ in found], None)
        found = rules.tilted(found, audience.level, n, levels)
    return [(pk, score, source) for pk, score in found[:n]]


def _arranged(
    found: list[tuple[int, float]],
    audience: Audience,
    space: VectorSpace | None,
    n: int,
    diversity: float,
    rules: Rules,
) -> tuple[list[tuple[int, float]], dict[int, Float32Vector]]:
    """Let candidates be moved by the learner's level and by rules, and be unlike each other; one query at most.

    Returns:
        (resource id, score), best first; up to `n` where it is diverse. The vectors that were read for that, by id.
    """
    is_diverse = diversity > 0 and len(found) > 1 and space is not None
    stays = _keeps_places(audience, rules)
    if stays and not is_diverse:
        return found, {}
    levels, vectors = levels_and_vectors([pk for pk, _ in found], space if is_diverse else None)
    if not stays:
        found = rules.tilted(found, audience.level, n, levels)
    if is_diverse and space is not None:
        # A resource without text is unlike every other one, as far as anybody can tell.
        none = np.zeros(space.dimension, dtype=np.float32)
        matrix = np.stack([vectors.get(pk, none) for pk, _ in found])
        found = [found[i] for i in mmr_order(np.array([s for _, s in found]), matrix, n, diversity)]
    return found, vectors


def _keeps_places(audience: Audience, rules: Rules) -> bool:
    """Say whether nothing moves candidates from their places, so that no more than are shown need be asked for."""
    return not leans(audience.level) and not rules.moves


def _trained(
    audience: Audience,
    eligibility: Eligibility,
    space: VectorSpace | None,
    n: int,
    diversity: float,
    scored: Mapping[int, Scored],
    rules: Rules,
) -> Ranked:
    learner = audience.learner
    if learner is None or learner.pk not in scored:
        return []
    depth = n * OVERFETCH if diversity > 0 or not _keeps_places(audience, rules) else n
    n_new = places_for_new(n) if audience.among_ids is None else 0
    best = scored[learner.pk].best(eligibility, depth, audience.among_ids, n_new=n_new)
    found, _ = _arranged(best, audience, space, n, diversity, rules)
    # What goes on with the next step has no last place yet.
    if audience.among_ids is None and len(found) >= n:
        found = with_new(found, scored[learner.pk], eligibility, n)
    return [(pk, score, "trained") for pk, score in found[:n]]
