"""Personal lists: by the trained version that serves, else by what a learner did and wants; then popular, newest."""

from __future__ import annotations

import functools
import logging
import uuid
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.conf import conf, resolve_tenant
from llmrec_django.engine.ranking.explore import draw_places
from llmrec_django.models import LearnerProfile, Placement, VectorSpace
from llmrec_django.retrieval.dismissals import dismissals, dismissals_query
from llmrec_django.retrieval.eligibility import Audience
from llmrec_django.retrieval.history import far_enough, latest_query
from llmrec_django.retrieval.sql import run_together
from llmrec_django.services import versions
from llmrec_django.services.editorial import NONE, SOURCE, rules_for
from llmrec_django.services.evidence import Basis, explained
from llmrec_django.services.experiments import assign
from llmrec_django.services.levels import level_of
from llmrec_django.services.lists import is_kept, store_list
from llmrec_django.services.ranking import rank, trained_scores
from llmrec_django.services.reasons.templates import with_reasons
from llmrec_django.services.results import requester
from llmrec_django.services.spaces import active_space, tables_exist
from llmrec_django.services.writing.reasons import with_written
from llmrec_django.types import RecommendationResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from llmrec_django.models import ModelVersion
    from llmrec_django.retrieval.dismissals import Dismissal
    from llmrec_django.retrieval.history import Known
    from llmrec_django.services.experiments import Assignment
    from llmrec_django.services.ranking import Ranked
    from llmrec_django.services.scoring import Scored
    from llmrec_django.types import Recommendation

logger = logging.getLogger(__name__)

SCORED_TOGETHER = 200
"""Learners whose whole catalogues are scored at once in a batch."""


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
    turned_down, active, known = _read(tenant, learner)
    rules = rules_for(tenant, place)
    version = _version(tenant, active, assignment) if learner else None
    space = _space(version)
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
    blend = assignment.blend if assignment else None
    scored: Mapping[int, Scored] = {}
    if learner and version:
        scored = trained_scores(tenant, [learner], version, blend, known, explains=bool(conf.EXPLAIN))
    explored = min(place.explore_places, size) if lot is not None else 0
    basis = Basis(learner, audience.level, known=known)
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


def _read(tenant: str, learner: LearnerProfile | None) -> tuple[Sequence[Dismissal], ModelVersion | None, Known | None]:
    """Read what a list begins with, in one message: what the learner turned down, the active version, their history."""
    if learner is None or learner._state.adding:
        return (), None, None
    ids = [learner.pk]
    # Of somebody who opted out the history is not asked.
    about = [latest_query(ids)] if learner.personalise else []
    turned_down, active, *read = run_together(dismissals_query(learner), versions.active_query(tenant), *about)
    return turned_down, active[0] if active else None, far_enough(read[0]) if read else None


def _version(tenant: str, active: ModelVersion | None, assignment: Assignment | None) -> ModelVersion | None:
    if assignment is not None and not assignment.is_trained:
        return None
    chosen = assignment.version if assignment else None
    # A version of another tenant knows resources and learners that this one must never meet.
    if chosen is not None and chosen.tenant == tenant and chosen.artifact:
        return chosen
    return versions.readable(active) if active else None


def _space(version: ModelVersion | None) -> VectorSpace | None:
    """Return the space of texts that serves; mostly it is the version's own, which has been read already."""
    own = version.source_space if version is not None else None
    return own if own is not None and own.status == VectorSpace.Status.ACTIVE else active_space()


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
    return found or _usual_placement(tenant, name)


@functools.lru_cache(maxsize=64)
def _usual_placement(tenant: str, name: str) -> Placement:
    """Return what stands in for a placement that nobody has set up; it is read and never changed."""
    return Placement(tenant=tenant, name=name)


def _languages(asked: Sequence[str] | None, place: Placement, learner: LearnerProfile | None) -> Sequence[str]:
    if asked is not None:
        return asked
    return place.languages or (learner.languages if learner else []) or conf.LANGUAGES or []
