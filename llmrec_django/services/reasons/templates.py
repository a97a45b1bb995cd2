"""The template writer: evidence as one sentence, at once, in the language of whoever reads it.

Each sentence states what is in the evidence and nothing else. A list does not repeat itself: of what can be said
about the cause of a place, and of the ways to say it, those come first that the list has used least.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from django.utils.functional import lazy
from django.utils.translation import get_language, gettext, gettext_noop, ngettext, pgettext

from llmrec_django.engine.phrases import JOINERS, continues_letter
from llmrec_django.models import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmrec_django.types import Evidence, EvidenceResource, Recommendation

LONGEST_TITLE = 80
_HAN = re.compile("[\u3400-\u9fff]")
_OPENERS = {**dict.fromkeys("\u202a\u202b\u202d\u202e", "\u202c"), **dict.fromkeys("\u2066\u2067\u2068", "\u2069")}
"""Character that begins a direction → the one that ends it."""
_TURNS = re.compile(f"[{''.join(_OPENERS)}]")
BOOSTED = "boosted"
"""The rule of something that editors want shown sooner; it would not be there for that alone."""
NEARLY = 0.6
"""An own resource with this part of the strongest one's share may be named beside it or in its place."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which of the true sentences to say."""

    point: str
    """A key of `POINTS`."""
    shape: int = 0
    """Which way of saying it."""
    own: int = 0
    """Which of the own resources it names."""
    extra: str = ""
    """A key of `EXTRAS`: a second, short sentence."""


def with_reasons(items: Sequence[Recommendation]) -> tuple[Recommendation, ...]:
    """Return a list's items with a reason each; "" where there is no evidence, or nothing in it to say."""
    plans = plan_list([item.evidence for item in items])
    return tuple(
        replace(item, reason=_lazily(_Writer(item.evidence, plan)), reason_source="template")
        if item.evidence is not None and plan is not None
        else item
        for item, plan in zip(items, plans, strict=True)
    )


def plan_list(evidence: Sequence[Evidence | None]) -> list[Plan | None]:
    """Choose what to say about each resource of a list; the same for the same list, whatever the language."""
    said: Counter[tuple[str, Any]] = Counter()
    return [None if one is None else _plan(one, said) for one in evidence]


def write(evidence: Evidence, plan: Plan) -> str:
    """Write a reason in the active language: plain text, not HTML."""
    own = evidence.own[plan.own] if evidence.own else None
    shapes = POINTS[plan.point]
    sentence = str(shapes[plan.shape % len(shapes)](evidence, own))
    if not plan.extra:
        return sentence
    return pgettext("two sentences", "%(first)s %(second)s") % {
        "first": sentence,
        "second": EXTRAS[plan.extra](evidence),
    }


@dataclass(eq=False)
class _Writer:
    """Writes a reason when it is read, once in each language: what is stored is mostly shown too."""

    evidence: Evidence
    plan: Plan
    written: dict[str | None, str] = field(default_factory=dict)

    def in_active_language(self) -> str:
        language = get_language()
        if language not in self.written:
            self.written[language] = write(self.evidence, self.plan)
        return self.written[language]


def _say(writer: _Writer) -> str:
    return writer.in_active_language()


_lazily: Any = lazy(_say, str)


def _plan(evidence: Evidence, said: Counter[tuple[str, Any]]) -> Plan | None:
    usable = _usable(evidence)
    if not usable and evidence.rule:
        usable = ["rule"]
    if not usable:
        return None
    start = evidence.resource.id
    point = min(usable, key=lambda name: said["point", name])
    own = 0
    if point == "own" and evidence.own:
        near = [place for place, one in enumerate(evidence.own) if one.share >= NEARLY * evidence.own[0].share]
        own = min(near, key=lambda place: said["own", evidence.own[place].id])
    n_shapes = len(POINTS[point])
    shape = min(range(n_shapes), key=lambda n: (said[point, n], (n - start) % n_shapes))
    extras = [name for name in EXTRAS if _has_extra(evidence, name)]
    # What the editors say is always told.
    extra = min(extras, key=lambda name: (name != "boosted", said["extra", name])) if extras else ""
    if point == "rule" and extra == "boosted":
        extra = ""
    said["point", point] += 1
    said[point, shape] += 1
    if extra:
        said["extra", extra] += 1
    if evidence.own:
        said["own", evidence.own[own].id] += 1
    return Plan(point, shape, own, extra)


def _usable(evidence: Evidence) -> list[str]:
    """Return the points that state the cause of the place, the fullest first."""
    if evidence.rule and evidence.rule != BOOSTED:
        return ["rule"]
    if evidence.source == "newest":
        return ["new" if evidence.new_days else "new_today"] if evidence.new_days is not None else ["newest"]
    by_goal = [
        name
        for name, there in (
            ("interests", evidence.interests),
            ("goal_words", evidence.goal_words),
        )
        if there
    ] or (["words"] if evidence.source == "words" else ["goal"])
    if evidence.source == "words":
        return by_goal
    if evidence.source == "popular" or (evidence.popular and not evidence.own and not evidence.goal_share):
        return ["popular"] if evidence.popular else ["most_chosen"]
    wanted = evidence.goal_share > 0 and (not evidence.own or evidence.goal_share > evidence.own[0].share)
    if wanted:
        return by_goal
    points = []
    if evidence.unlocked_by:
        points.append("unlocked")
    if evidence.own:
        two = len(evidence.own) > 1 and evidence.own[1].share >= NEARLY * evidence.own[0].share
        points += ["own", *(["own_two"] if two else [])]
        points += ["learners"] if evidence.own[0].learners else []
        points += ["competencies"] if evidence.competencies else ["keywords"] if evidence.keywords else []
    elif not points and (evidence.interests or evidence.goal_words):
        points = by_goal
    if not points and (evidence.together or evidence.source == "content"):
        points = [*(["among"] if evidence.among else []), "together"]
    return points


def _has_extra(evidence: Evidence, name: str) -> bool:
    return evidence.rule == BOOSTED if name == "boosted" else bool(getattr(evidence, name))


# What can be said, and how. Each takes the evidence and the own resource it is about.


def _title(resource: EvidenceResource | None) -> dict[str, str]:
    return {"title": short_title(resource.local_title(get_language()) if resource is not None else "")}


def short_title(title: str) -> str:
    """Return a title as a sentence can hold it: on one line, cut where it is long, its directions closed."""
    line = " ".join(title.split())
    if len(line) > LONGEST_TITLE:
        end = LONGEST_TITLE - 1
        while end and (continues_letter(line[end]) or line[end - 1] in JOINERS):
            end -= 1
        line = f"{line[:end].rstrip()}…"
    return line + _unclosed(line) if _TURNS.search(line) else line


def _unclosed(line: str) -> str:
    """Return what closes the directions that a text opens: else the rest of the sentence would be turned around."""
    closers = []
    for char in line:
        if char in _OPENERS:
            closers.append(_OPENERS[char])
        elif char in closers[-1:]:
            closers.pop()
    return "".join(reversed(closers))


def _topics(names: Sequence[str]) -> dict[str, str]:
    """Join topics, those in the script of the active language where there are any."""
    is_chinese = (get_language() or "").startswith("zh")
    readable = [name for name in names if bool(_HAN.search(name)) == is_chinese] or names
    return {"topics": ("、" if is_chinese else ", ").join(short_title(name) for name in readable)}


DEEDS = {
    "viewed": gettext_noop("Because you looked at “%(title)s”."),
    "clicked": gettext_noop("Because you looked at “%(title)s”."),
    "bookmarked": gettext_noop("Because you bookmarked “%(title)s”."),
    "rated": gettext_noop("Because you liked “%(title)s”."),
    "enrolled": gettext_noop("Because you enrolled in “%(title)s”."),
    "progressed": gettext_noop("Because you worked on “%(title)s”."),
    "completed": gettext_noop("Because you completed “%(title)s”."),
    "passed": gettext_noop("Because you passed “%(title)s”."),
    "borrowed": gettext_noop("Because you borrowed “%(title)s”."),
    "purchased": gettext_noop("Because you bought “%(title)s”."),
    "": gettext_noop("Because of “%(title)s” in your history."),
}
"""Verb → what the learner did with a resource."""


def _because(evidence: Evidence, own: EvidenceResource | None) -> str:
    sentence = DEEDS.get(own.verb) if own is not None else None
    return gettext(sentence or DEEDS[""]) % _title(own)


def _suggested(evidence: Evidence, own: EvidenceResource | None) -> str:
    return gettext("Suggested by “%(title)s” in your history.") % _title(own)


def _led(evidence: Evidence, own: EvidenceResource | None) -> str:
    return gettext("“%(title)s” in your history led to this.") % _title(own)


def _both(evidence: Evidence) -> dict[str, str]:
    first, second = (_title(own)["title"] for own in evidence.own[:2])
    return {"first": first, "second": second}


def _learners(evidence: Evidence, own: EvidenceResource | None) -> str:
    n = evidence.own[0].learners
    return ngettext(
        "At least %(n)d other learner who chose “%(title)s” chose this too.",
        "At least %(n)d other learners who chose “%(title)s” chose this too.",
        n,
    ) % {"n": n, **_title(evidence.own[0])}


def _learners_both(evidence: Evidence, own: EvidenceResource | None) -> str:
    n = evidence.own[0].learners
    return ngettext(
        "At least %(n)d other learner chose both this and “%(title)s”.",
        "At least %(n)d other learners chose both this and “%(title)s”.",
        n,
    ) % {"n": n, **_title(evidence.own[0])}


def _popular(evidence: Evidence, own: EvidenceResource | None) -> str:
    n, days = evidence.popular, evidence.popular_days
    return ngettext(
        "At least %(n)d learner chose it in the last %(days)d days.",
        "At least %(n)d learners chose it in the last %(days)d days.",
        n,
    ) % {"n": n, "days": days}


def _popular_with(evidence: Evidence, own: EvidenceResource | None) -> str:
    n, days = evidence.popular, evidence.popular_days
    return ngettext(
        "Chosen by at least %(n)d learner within %(days)d days.",
        "Chosen by at least %(n)d learners within %(days)d days.",
        n,
    ) % {"n": n, "days": days}


def _new(evidence: Evidence, own: EvidenceResource | None) -> str:
    n = evidence.new_days or 0
    return ngettext("New here: added %(n)d day ago.", "New here: added %(n)d days ago.", n) % {"n": n}


def _new_since(evidence: Evidence, own: EvidenceResource | None) -> str:
    n = evidence.new_days or 0
    return ngettext("It came here %(n)d day ago.", "It came here %(n)d days ago.", n) % {"n": n}


def _shared(evidence: Evidence, names: Sequence[str]) -> dict[str, str]:
    return {**_title(evidence.own[0]), **_topics(names)}


POINTS: dict[str, tuple[Any, ...]] = {
    "own": (_because, _suggested, _led),
    "own_two": (
        lambda e, _: gettext("Because of “%(first)s” and “%(second)s” in your history.") % _both(e),
        lambda e, _: gettext("Suggested by “%(first)s” and “%(second)s” in your history.") % _both(e),
    ),
    "learners": (_learners, _learners_both),
    "competencies": (
        lambda e, _: gettext("Like “%(title)s”, it covers %(topics)s.") % _shared(e, e.competencies),
        lambda e, _: gettext("Both this and “%(title)s” cover %(topics)s.") % _shared(e, e.competencies),
    ),
    "keywords": (
        lambda e, _: gettext("Like “%(title)s”, it is about %(topics)s.") % _shared(e, e.keywords),
        lambda e, _: gettext("It shares a subject with “%(title)s”: %(topics)s.") % _shared(e, e.keywords),
    ),
    "unlocked": (
        lambda e, _: gettext("It builds on “%(title)s”, which you have done.") % _title(e.unlocked_by[0]),
        lambda e, _: gettext("You have done “%(title)s”, which it asks for.") % _title(e.unlocked_by[0]),
    ),
    "interests": (
        lambda e, _: gettext("About one of your interests: %(topics)s.") % _topics(e.interests),
        lambda e, _: gettext("You are interested in %(topics)s.") % _topics(e.interests),
    ),
    "goal_words": (
        lambda e, _: gettext("Your goals name it: %(topics)s.") % _topics(e.goal_words),
        lambda e, _: gettext("Fits your goals: %(topics)s.") % _topics(e.goal_words),
    ),
    "goal": (
        lambda e, _: gettext("Close to what you want to learn."),
        lambda e, _: gettext("Chosen by your goals and interests."),
        lambda e, _: gettext("Near to your goals and interests."),
    ),
    "words": (
        lambda e, _: gettext("It holds words of your goals and interests."),
        lambda e, _: gettext("Your goals and interests have words in common with it."),
        lambda e, _: gettext("Found by the words of your goals and interests."),
    ),
    "popular": (_popular, _popular_with),
    "most_chosen": (
        lambda e, _: gettext("Among what learners here choose most."),
        lambda e, _: gettext("Learners here choose it more often than most."),
        lambda e, _: gettext("One of the most chosen here."),
    ),
    "new": (_new, _new_since),
    "new_today": (
        lambda e, _: gettext("New here: added today."),
        lambda e, _: gettext("It came here today."),
    ),
    "newest": (
        lambda e, _: gettext("Among the newest here."),
        lambda e, _: gettext("One of the latest additions here."),
    ),
    "among": (
        lambda e, _: gettext("“%(title)s” and much else in your history lead to this.") % _title(e.among),
        lambda e, _: gettext("It fits your history as a whole, “%(title)s” among it.") % _title(e.among),
    ),
    "together": (
        lambda e, _: gettext("Close to all you did here, taken together."),
        lambda e, _: gettext("It fits all you did here, rather than one thing."),
    ),
    "rule": (lambda e, _: _by_editors(e),),
}


def _by_editors(evidence: Evidence) -> str:
    said = _editors_words(evidence)
    if not said:
        return gettext("Picked by the people who run this site.")
    return gettext("Chosen by the editors: %(reason)s") % {"reason": said}


def _boosted(evidence: Evidence) -> str:
    said = _editors_words(evidence)
    return (
        gettext("The editors recommend it: %(reason)s") % {"reason": said}
        if said
        else gettext("The editors recommend it.")
    )


def _editors_words(evidence: Evidence) -> str:
    """Return what the editors say, in the active language where they said it there."""
    tag = (get_language() or "").lower()
    told = evidence.rule_reasons
    return " ".join((told.get(tag) or told.get(tag.split("-")[0]) or told.get("") or "").split())


def _level(evidence: Evidence) -> str:
    label = dict(Resource.Level.choices).get(evidence.level, evidence.level)
    return gettext("Its level suits you: %(level)s.") % {"level": label}


def _minutes(evidence: Evidence) -> str:
    n = evidence.minutes
    return ngettext(
        "It takes %(n)d minute; you have %(week)d a week.",
        "It takes %(n)d minutes; you have %(week)d a week.",
        n,
    ) % {"n": n, "week": evidence.minutes_per_week}


EXTRAS: dict[str, Callable[[Evidence], str]] = {"level": _level, "minutes": _minutes, "boosted": _boosted}
