"""Evidence: what is true about a listed resource and this learner, and why it stands where it does."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError

from llmrec_django.conf import conf
from llmrec_django.engine.phrases import phrases_in, telling_words
from llmrec_django.exceptions import LLMRecError
from llmrec_django.retrieval.candidates import resource_vectors
from llmrec_django.retrieval.facts import Facts, nameable_ids, read_facts
from llmrec_django.services.influence import Influence, of_content, of_trained
from llmrec_django.services.levels import nearest_level
from llmrec_django.services.results import SHOWN_COLUMNS, hydrate
from llmrec_django.services.screening.naming import may_be_named
from llmrec_django.types import Evidence, EvidenceResource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrec_django.models import LearnerProfile, Resource, VectorSpace
    from llmrec_django.retrieval.eligibility import Eligibility
    from llmrec_django.retrieval.history import Known
    from llmrec_django.services.learned import Learned
    from llmrec_django.services.scoring import Scored
    from llmrec_django.types import Float32Vector, Recommendation

logger = logging.getLogger(__name__)

Row = tuple[int, float, str]
"""Resource id, score and source."""
MOST_WORDS = 3
"""Keywords, interests, competencies and words of each sort that are kept, at most."""
POPULARITY = ("popularity", "popular_lately")
"""Sources that look at no learner."""


@dataclass(slots=True)
class Basis:
    """What a list is ranked by; filled in while it is ranked."""

    learner: LearnerProfile | None = None
    level: float | None = None
    """The learner's place on the scale of levels."""
    eligibility: Eligibility | None = None
    known: Known | None = None
    """What was read of the learner before, if it was."""
    scored: Scored | None = None
    """What a trained version made of the learner."""
    learned: Learned | None = None
    """What was asked about without training."""
    space: VectorSpace | None = None
    """Where that was."""
    vectors: dict[int, Float32Vector] | None = None
    """Of the resources found there, where they were needed."""
    rules: dict[int, tuple[str, dict[str, str]]] | None = None
    """Resource → the editorial rule that placed it, and what its reader is told, by language."""


def explained(ranked: Sequence[Row], basis: Basis) -> tuple[Recommendation, ...]:
    """Load ranked resources with their evidence, in one query and in this order.

    Where evidence cannot be had they come without: a list is worth more than its reasons.
    """
    if not conf.EXPLAIN or not ranked or basis.eligibility is None:
        return hydrate(ranked)
    try:
        influences = _influences(ranked, basis)
        rows, known = _known(ranked, influences, basis)
        evidence = {pk: _evidence(rows[pk], source, influences, known, basis) for pk, _, source in ranked if pk in rows}
        return hydrate(ranked, rows, evidence)
    except (DatabaseError, LLMRecError, ArithmeticError, LookupError, TypeError, ValueError):
        logger.exception("a list goes without reasons")
        return hydrate(ranked)


def still_named(items: Sequence[Recommendation], eligibility: Eligibility) -> tuple[Recommendation, ...]:
    """Return items of a stored list whose evidence names only resources that its audience may still see."""
    named = {one.id for item in items if item.evidence for one in item.evidence.resources()[1:]}
    if not named:
        return tuple(items)
    visible = nameable_ids(eligibility, sorted(named))
    return tuple(
        item if item.evidence is None else replace(item, evidence=_without(item.evidence, named - visible))
        for item in items
    )


def without_deed(stored: Mapping[str, Any], resource_id: int) -> dict[str, Any]:
    """Return the evidence of a stored item without a resource that its learner has done nothing with any more."""
    if not stored:
        return {}
    try:
        evidence = Evidence.from_dict(stored)
    except (AttributeError, TypeError, ValueError):  # written by another release
        return {}
    if resource_id not in {one.id for one in evidence.resources()[1:]}:
        return dict(stored)
    told = _without(evidence, {resource_id}).to_dict()
    told.pop("parts", None)
    return told


def _without(evidence: Evidence, hidden: set[int]) -> Evidence:
    first = evidence.own[0].id if evidence.own else 0
    kept = replace(
        evidence,
        own=tuple(one for one in evidence.own if one.id not in hidden),
        unlocked_by=tuple(one for one in evidence.unlocked_by if one.id not in hidden),
        among=None if evidence.among is not None and evidence.among.id in hidden else evidence.among,
    )
    # What it shares with the first of them is no more than a riddle without it.
    return replace(kept, competencies=(), keywords=()) if first in hidden else kept


def round_down(n: int, least: int) -> int:
    """Return a number of people that may be said, not above `n`; 0 for fewer than `least`.

    Two counts a day apart then rarely tell what one person did.
    """
    if n < max(1, least):
        return 0
    step = 5 if n < 50 else 10 if n < 200 else 10 ** (len(str(n)) - 2)
    return max(n // step * step, max(1, least))


def _influences(ranked: Sequence[Row], basis: Basis) -> dict[int, Influence]:
    found: dict[int, Influence] = {}
    trained = [pk for pk, _, source in ranked if source == "trained"]
    if trained and basis.scored is not None:
        by = basis.scored.basis()
        found |= of_trained(by.scorer, by.asked, trained, by.given)
    content = [pk for pk, _, source in ranked if source == "content"]
    if content and basis.learned is not None and basis.space is not None:
        vectors = resource_vectors(basis.space, content) if basis.vectors is None else basis.vectors
        found |= of_content(basis.learned, vectors, content)
    return found


@dataclass(frozen=True, slots=True)
class _Known:
    """What was asked of the tables for a list."""

    facts: Facts
    verbs: dict[int, str]
    """Own → the strongest thing the learner did with it."""


def _known(ranked: Sequence[Row], influences: dict[int, Influence], basis: Basis) -> tuple[dict[int, Resource], _Known]:
    own = {pk for influence in influences.values() for pk, _ in influence.own}
    own |= {influence.among for influence in influences.values() if influence.among is not None}
    assert basis.eligibility is not None
    pairs = [
        (mine, pk)
        for pk, influence in influences.items()
        if _is_followed(influence)
        for mine in [own for own, _ in influence.own if own != pk][:1]
    ]
    popular = [pk for pk, _, source in ranked if source == "popular" or _is_popular(influences.get(pk, Influence()))]
    rows, facts = read_facts(
        basis.eligibility,
        [pk for pk, _, _ in ranked],
        sorted(own),
        basis.learner.pk if basis.learner is not None else None,
        columns=SHOWN_COLUMNS,
        pairs=pairs,
        popular=popular,
    )
    return rows, _Known(facts, _verbs(basis) if own or facts.unlocked_by else {})


def _is_followed(influence: Influence) -> bool:
    """Say whether what other learners did had a part in it."""
    return any(value > 0 for name, value in influence.parts.items() if name != "content" and name not in POPULARITY)


def _is_popular(influence: Influence) -> bool:
    """Say whether a resource is there for its popularity more than for the learner's own resources and goals."""
    popular = sum(max(influence.parts.get(name, 0.0), 0.0) for name in POPULARITY)
    rest = sum(max(value, 0.0) for name, value in influence.parts.items() if name not in POPULARITY)
    return popular > rest or (popular > 0 and not influence.own)


def _verbs(basis: Basis) -> dict[int, str]:
    """Return the strongest thing that the learner did with each resource."""
    if basis.scored is not None:
        by = basis.scored.basis()
        log = by.asked.log
        order = log.weights.argsort(kind="stable")  # the strongest last
        ids = by.scorer.resource_ids[log.resources[order]].tolist()
        return {pk: by.scorer.verbs[code] for pk, code in zip(ids, log.verbs[order].tolist(), strict=True)}
    if basis.learned is not None:
        return {deed.resource_id: deed.verb for deed in basis.learned.history}
    return {}


def _evidence(
    resource: Resource, source: str, influences: dict[int, Influence], known: _Known, basis: Basis
) -> Evidence:
    learner, pk = basis.learner, resource.pk
    influence = influences.get(pk) or Influence()
    facts = known.facts
    # One that is recommended again was in the history too: neither its own reason nor another learner's choice.
    is_again = pk in known.verbs
    own = tuple(
        _named(facts.titles[mine], known.verbs.get(mine, ""), share, facts.shared.get((mine, pk), 0) - is_again)
        for mine, share in influence.own
        if mine in facts.titles and mine != pk
    )
    unlocked = facts.unlocked_by.get(pk, ())
    text = learner.text if learner is not None and learner.personalise else ""
    minutes = learner.minutes_per_week if learner is not None else None
    rule, told = (basis.rules or {}).get(pk, ("", {}))
    chosen_lately = round_down(facts.lately.get(pk, 0), int(conf.EXPLAIN_MIN_LEARNERS))
    fits = bool(minutes and resource.duration_minutes and resource.duration_minutes <= minutes)
    return Evidence(
        resource=EvidenceResource(pk, resource.key, resource.title, _titles(resource.translations)),
        source=source,
        own=own,
        parts=influence.parts,
        goal_share=influence.goal_share,
        goal_words=_goal_words(learner.goals, resource) if text and learner is not None else (),
        interests=_interests(learner.interests, resource) if text and learner is not None else (),
        competencies=_shared_competencies(pk, own, facts),
        keywords=_shared_keywords(resource.keywords, own, facts),
        unlocked_by=tuple(
            _named(facts.titles[done], known.verbs.get(done, ""), 0.0, 0) for done in unlocked if done in facts.titles
        )[:MOST_WORDS],
        together=influence.together,
        among=(
            _named(facts.titles[influence.among], known.verbs.get(influence.among, ""), 0.0, 0)
            if influence.among in facts.titles and influence.among != pk
            else None
        ),
        popular=chosen_lately,
        popular_days=int(conf.POPULAR_DAYS) if chosen_lately else 0,
        level=resource.level if basis.level is not None and resource.level == nearest_level(basis.level) else "",
        minutes=(resource.duration_minutes or 0) if fits else 0,
        minutes_per_week=minutes if fits and minutes else 0,
        new_days=facts.ages.get(pk) if source == "newest" else None,
        rule=rule,
        rule_reasons=told,
    )


def _named(title: Any, verb: str, share: float, both: int) -> EvidenceResource:
    learners = round_down(both, int(conf.EXPLAIN_MIN_LEARNERS))
    return EvidenceResource(
        title.id, title.key, title.title, _titles(title.translations), verb=verb, share=share, learners=learners
    )


def _titles(translations: Any) -> dict[str, str]:
    """Return the titles by language tag; raw SQL may have stored anything that is JSON."""
    if not isinstance(translations, dict):
        return {}
    return {
        str(tag).lower(): str(entry["title"])
        for tag, entry in translations.items()
        if isinstance(entry, dict) and entry.get("title")
    }


def _shared_competencies(pk: int, own: Sequence[EvidenceResource], facts: Facts) -> tuple[str, ...]:
    mine = facts.competencies.get(own[0].id, {}) if own else {}
    theirs = facts.competencies.get(pk, {})
    shared = (title for competency, title in theirs.items() if competency in mine)
    # The screen holds back resources; a competency has no row of its own there.
    return tuple(title for title in shared if may_be_named(title))[:MOST_WORDS]


def _shared_keywords(keywords: Any, own: Sequence[EvidenceResource], facts: Facts) -> tuple[str, ...]:
    mine = {word.casefold() for word in _words(facts.titles[own[0].id].keywords)} if own else set()
    return tuple(word for word in _words(keywords) if word.casefold() in mine)[:MOST_WORDS]


def _words(value: Any) -> list[str]:
    return [str(word).strip() for word in value if str(word).strip()] if isinstance(value, list) else []


def _interests(interests: Any, resource: Resource) -> tuple[str, ...]:
    """Return the interests that a resource's title or keywords name."""
    named = "\n".join([*_all_titles(resource), *_words(resource.keywords)])
    return phrases_in(named, _words(interests), most=MOST_WORDS)


def _goal_words(goals: str, resource: Resource) -> tuple[str, ...]:
    """Return keywords of a resource, else words of its titles, that the goals hold too; never more of the goals."""
    found = phrases_in(goals, _words(resource.keywords), most=MOST_WORDS)
    return found or phrases_in(goals, telling_words(_all_titles(resource)), most=MOST_WORDS)


def _all_titles(resource: Resource) -> list[str]:
    return [resource.title, *_titles(resource.translations).values()]
