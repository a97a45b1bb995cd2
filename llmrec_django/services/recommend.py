"""Personal lists: by the trained version that serves, else by what a learner did and wants; then popular, newest."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import Error as DatabaseError

from llmrec_django.conf import conf, resolve_tenant
from llmrec_django.engine.ranking import mmr_order
from llmrec_django.engine.ranking.explore import draw_places
from llmrec_django.models import LearnerProfile, Placement
from llmrec_django.retrieval.candidates import (
    levels_and_vectors,
    nearest,
    newest,
    popular,
    words,
)
from llmrec_django.retrieval.dismissals import dismissals
from llmrec_django.retrieval.eligibility import Audience, eligible
from llmrec_django.services.discovery import places_for_new, with_new
from llmrec_django.services.editorial import NONE, SOURCE, rules_for
from llmrec_django.services.evidence import Basis, explained
from llmrec_django.services.experiments import assign
from llmrec_django.services.learned import learn
from llmrec_django.services.levels import leans, level_of
from llmrec_django.services.lists import is_kept, store_list
from llmrec_django.services.reasons.templates import with_reasons
from llmrec_django.services.results import requester
from llmrec_django.services.scoring import score_learners
from llmrec_django.services.spaces import active_space, tables_exist
from llmrec_django.services.versions import serving_version
from llmrec_django.services.writing.reasons import with_written
from llmrec_django.types import RecommendationResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from llmrec_django.models import ModelVersion, VectorSpace
    from llmrec_django.retrieval.eligibility import Eligibility
    from llmrec_django.services.editorial import Rules
    from llmrec_django.services.experiments import Assignment
    from llmrec_django.services.scoring import Scored
    from llmrec_django.types import Float32Vector, Recommendation

logger = logging.getLogger(__name__)

OVERFETCH = 5
"""Candidates per place in the list, for diversity to choose from."""

SCORED_TOGETHER = 200
"""Learners whose whole catalogues are scored at once in a batch."""

Ranked = list[tuple[int, float, str]]
"""(resource id, score, source), best first."""


def recommend(
    learner: LearnerProfile | None,
    *,
    placement: str = "",
    k: int | None = None,
    tenant: str | None = None,
    user: Any = None,
    kinds: Sequence[str] = (),
    languages: Sequence[str] | None = None,
    exclude_keys: Sequence[str] = (),
) -> RecommendationResult:
    """Return an ordered list of `k` resources for a learner (None: someone unknown).

    Never empty while the tenant has an eligible resource; fewer than `k` only when fewer are eligible. The fallback
    chain is history and profile → popular in the tenant → newest.

    Args:
        placement: Name of a `Placement` of the tenant whose size, kinds, languages, diversity and treatment of seen
            resources apply; an unknown name means the defaults. What is given here wins over it.
        user: The account whose rights decide what is visible; None asks the learner's own account.
        languages: None takes the placement's, else the learner's, else LLMREC["LANGUAGES"]; () takes all.

    Returns:
        Empty while LLMREC["ENABLED"] is False or "shadow", and for a placement that is switched off.
    """
    list_id = uuid.uuid4()
    made = make_list(
        learner,
        placement=placement,
        k=k,
        tenant=tenant,
        user=user,
        kinds=kinds,
        languages=languages,
        exclude_keys=exclude_keys,
        lot=list_id,
    )
    if made is None:
        return RecommendationResult(placement=placement)
    is_stored = is_kept(learner) and store_list(
        list_id,
        made.items,
        learner=learner,
        tenant=made.audience.tenant,
        placement=placement,
        k=made.size,
        version=made.version,
        assignment=made.assignment,
        is_personal=made.is_personal,
        fallback=made.fallback,
    )
    if conf.ENABLED == "shadow":
        logger.info("shadow list placement=%s n=%s", placement, len(made.items))
        return RecommendationResult(placement=placement)
    return RecommendationResult(
        items=made.items,
        placement=placement,
        is_personal=made.is_personal,
        fallback=made.fallback,
        recommendation_id=list_id if is_stored else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class MadeList:
    """A list and what it was made by; nothing of it is stored."""

    items: tuple[Recommendation, ...]
    size: int
    """Places that were asked for."""
    place: Placement
    """As the arm of its experiment has it."""
    audience: Audience
    basis: Basis
    assignment: Assignment | None
    version: ModelVersion | None
    """Whose scores the learner got; None: made without training."""

    @property
    def is_personal(self) -> bool:
        """At least one item was chosen by the learner's own history or profile."""
        return any(item.source in ("trained", "content", "words") for item in self.items)

    @property
    def fallback(self) -> str:
        """The last step of the fallback chain that was needed: "", "popular" or "newest"."""
        sources = {item.source for item in self.items}
        return "newest" if "newest" in sources else "popular" if "popular" in sources else ""


def make_list(
    learner: LearnerProfile | None,
    *,
    placement: str = "",
    k: int | None = None,
    tenant: str | None = None,
    user: Any = None,
    kinds: Sequence[str] = (),
    languages: Sequence[str] | None = None,
    exclude_keys: Sequence[str] = (),
    lot: uuid.UUID | None = None,
) -> MadeList | None:
    """Make the list that `recommend` gives, with its reasons, and keep nothing of it; None where it gives none.

    Args:
        lot: Seed of the places that are drawn by lot; None: nothing is drawn.
    """
    if not conf.ENABLED or not tables_exist():
        return None
    tenant = tenant if tenant is not None else (learner.tenant if learner else resolve_tenant())
    place = _placement(tenant, placement)
    if not place.enabled:
        return None
    assignment = assign(place, learner)
    place = assignment.applied_to(place) if assignment else place
    size = place.size if k is None else k
    if size < 1:
        return None
    turned_down = dismissals(learner)
    rules = rules_for(tenant, place)
    space = active_space()
    audience = Audience(
        tenant=tenant,
        user=requester(user, learner),
        learner=learner,
        kinds=kinds or place.kinds,
        languages=_languages(languages, place, learner),
        seen=place.seen,
        exclude_keys=exclude_keys,
        space=space,
        dismissed_ids=[entry.resource_id for entry in turned_down],
        excluded=rules.excluded,
        level=level_of(learner, turned_down),
    )
    version = _version(tenant, assignment) if learner else None
    blend = assignment.blend if assignment else None
    scored = trained_scores(tenant, [learner], version, blend) if learner and version else {}
    explored = min(place.explore_places, size) if lot is not None else 0
    basis = Basis(learner, audience.level)
    ranked = rank(
        audience,
        k=size + (place.explore_pool - 1 if explored else 0),
        diversity=place.diversity,
        space=space,
        scored=scored,
        basis=basis,
        rules=rules,
    )
    chances: Mapping[int, float] = {}
    if explored and lot is not None:
        ranked, chances = _explored(ranked, size, place, lot)
    items = tuple(
        replace(item, propensity=chances[item.resource.pk], is_exploration=True)
        if item.resource.pk in chances
        else item
        for item in explained(ranked, basis)
    )
    items = with_written(with_reasons(items), tenant=tenant)
    return MadeList(items, size, place, audience, basis, assignment, version if scored else None)


def _version(tenant: str, assignment: Assignment | None) -> ModelVersion | None:
    if assignment is None:
        return serving_version(tenant)
    if not assignment.is_trained:
        return None
    chosen = assignment.version
    # A version of another tenant knows resources and learners that this one must never meet.
    return chosen if chosen is not None and chosen.tenant == tenant and chosen.artifact else serving_version(tenant)


def _explored(ranked: Ranked, size: int, place: Placement, list_id: uuid.UUID) -> tuple[Ranked, dict[int, float]]:
    """Keep the first places and draw the last ones from what comes next; the id of the list is the seed.

    Returns:
        The list, and the chance of each resource that was drawn.
    """
    pinned = sum(source == SOURCE for _, _, source in ranked[:size])
    kept = max(pinned, size - place.explore_places)
    rest = ranked[kept:]
    # Scores of two sources cannot be compared: the lot is drawn among the next ones of one source.
    pool = [row for row in rest if row[2] == rest[0][2]]
    drawn = draw_places(
        [score for _, score, _ in pool],
        size - kept,
        place.explore_pool,
        np.random.default_rng(list_id.int),
        by_score=place.explore_by == Placement.ExploreBy.SCORE,
    )
    chances = {pool[i][0]: chance for i, chance in drawn}
    left = [row for row in rest if row[0] not in chances][: size - kept - len(chances)]
    return [*ranked[:kept], *(pool[i] for i, _ in drawn), *left], chances


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


def recommend_batch(
    learners: Iterable[LearnerProfile | None],
    *,
    k: int,
    among_ids: Sequence[int] | None = None,
    placement: str = "",
    tenant: str | None = None,
) -> Iterator[tuple[LearnerProfile | None, list[tuple[int, float]]]]:
    """Yield (learner, [(resource id, score), …]) for many learners, by the same steps as `recommend`.

    Without a placement the list is for measuring: most relevant first with no diversity, and nothing that the
    learner ever touched. Scores fall strictly along each list, whatever source an item came from.
    """
    space = active_space()
    for learner, scored in _with_scores(learners, tenant):
        own = tenant if tenant is not None else (learner.tenant if learner else resolve_tenant())
        place = _placement(own, placement) if placement else Placement(seen=Placement.Seen.HIDE, diversity=0.0)
        turned_down = dismissals(learner)
        rules = rules_for(own, place) if placement else NONE
        audience = Audience(
            tenant=own,
            user=requester(None, learner),
            learner=learner,
            kinds=place.kinds,
            languages=_languages(None, place, learner) if placement else (),
            seen=place.seen,
            among_ids=among_ids,
            space=space,
            dismissed_ids=[entry.resource_id for entry in turned_down],
            excluded=rules.excluded,
            level=level_of(learner, turned_down),
        )
        ranked = rank(audience, k=k, diversity=place.diversity, space=space, scored=scored, rules=rules)
        yield learner, _falling(ranked)


def _with_scores(
    learners: Iterable[LearnerProfile | None], tenant: str | None
) -> Iterator[tuple[LearnerProfile | None, Mapping[int, Scored]]]:
    """Yield learners with the scores of the page they are in."""
    rest = iter(learners)
    while page := list(islice(rest, SCORED_TOGETHER)):
        by_tenant: dict[str, list[LearnerProfile]] = {}
        for learner in page:
            if learner is not None:
                by_tenant.setdefault(tenant if tenant is not None else learner.tenant, []).append(learner)
        scored: dict[int, Scored] = {}
        for own, theirs in by_tenant.items():
            scored.update(trained_scores(own, theirs))
        for learner in page:
            yield learner, scored


def trained_scores(
    tenant: str,
    learners: Sequence[LearnerProfile],
    version: ModelVersion | None = None,
    blend: Mapping[str, float] | None = None,
) -> Mapping[int, Scored]:
    """Score the catalogue with a version (None: the one that serves the tenant); by learner id.

    Returns:
        Empty without a version, and when it cannot be used: the list is then made as if nothing had been trained.
    """
    if not learners:
        return {}
    try:
        version = version or serving_version(tenant)
        return score_learners(version, learners, blend) if version is not None else {}
    except Exception:
        logger.exception("the trained version cannot be used, lists are made without it tenant=%s", tenant)
        return {}


def _plain(
    source: str, audience: Audience, n: int, find: Callable[[int], list[tuple[int, float]]], rules: Rules
) -> Ranked:
    """Return the first `n` of what is the same for everyone, but for their level."""
    is_level = _is_level(audience, rules)
    found = find(n if is_level else n * OVERFETCH)
    if not is_level:
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
    is_level = _is_level(audience, rules)
    if is_level and not is_diverse:
        return found, {}
    levels, vectors = levels_and_vectors([pk for pk, _ in found], space if is_diverse else None)
    if not is_level:
        found = rules.tilted(found, audience.level, n, levels)
    if is_diverse and space is not None:
        # A resource without text is unlike every other one, as far as anybody can tell.
        none = np.zeros(space.dimension, dtype=np.float32)
        matrix = np.stack([vectors.get(pk, none) for pk, _ in found])
        found = [found[i] for i in mmr_order(np.array([s for _, s in found]), matrix, n, diversity)]
    return found, vectors


def _is_level(audience: Audience, rules: Rules) -> bool:
    """Return whether nothing moves candidates from their places, so that no more than are shown need be asked for."""
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
    depth = n * OVERFETCH if diversity > 0 or not _is_level(audience, rules) else n
    n_new = places_for_new(n) if audience.among_ids is None else 0
    best = scored[learner.pk].best(eligibility, depth, audience.among_ids, n_new=n_new)
    found, _ = _arranged(best, audience, space, n, diversity, rules)
    if audience.among_ids is None:
        found = with_new(found, scored[learner.pk], eligibility, n)
    return [(pk, score, "trained") for pk, score in found[:n]]


def _falling(ranked: Ranked) -> list[tuple[int, float]]:
    """Return ids with scores that say the order: sources are stacked, each below the one before."""
    rows: list[tuple[int, float]] = []
    ceiling = float("inf")
    for pk, score, _ in ranked:
        ceiling = score if score < ceiling else float(np.nextafter(ceiling, -np.inf, dtype=np.float64))
        rows.append((pk, ceiling))
    return rows


def _placement(tenant: str, name: str) -> Placement:
    found = Placement.objects.filter(tenant=tenant, name=name).select_related("experiment").first() if name else None
    return found or Placement(tenant=tenant, name=name)


def _languages(asked: Sequence[str] | None, place: Placement, learner: LearnerProfile | None) -> Sequence[str]:
    if asked is not None:
        return asked
    return place.languages or (learner.languages if learner else []) or conf.LANGUAGES or []


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
    learned = basis.learned = learn(learner, space)
    basis.space = space
    vector = learned.vector()
    if space is not None and vector is not None:
        depth = n * OVERFETCH if diversity > 0 or not _is_level(audience, rules) else n
        near = nearest(space, vector, eligibility, depth)
        found, vectors = _arranged(near, audience, space, n, diversity, rules)
        basis.vectors = vectors or None
        return [(pk, score, "content") for pk, score in found[:n]]
    if learned.text:
        # It has no vector yet: its words are matched instead.
        return _plain("words", audience, n, lambda depth: words(learned.text, eligibility, depth, at_least=0), rules)
    return []
