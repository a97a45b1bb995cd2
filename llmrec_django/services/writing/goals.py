"""From what a learner types to a profile: a draft that rules make at once, a language model betters, a person confirms.

Nothing of a draft is used before the learner confirms it. A language model sees the text only where the site has one
(and, for one on another machine, has allowed that); its answer is JSON of one exact shape, and what the text does
not carry is dropped.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import router, transaction
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.engine.safety.screen import screen_text
from llmrec_django.exceptions import WriterError, WriterUnavailable
from llmrec_django.models import GoalDraft
from llmrec_django.models.texts import Written
from llmrec_django.services import nudge
from llmrec_django.services.writing.client import BudgetSpent, ask, model_for, storable
from llmrec_django.services.writing.goal_rules import (
    LANGUAGE_NAMES,
    LEVELS,
    LONGEST_TOPIC,
    MOST_MINUTES,
    MOST_TOPICS,
    TAG,
    possible_minutes,
    read_goals,
)
from llmrec_django.services.writing.prompt import goal_prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrec_django.models import LearnerProfile

logger = logging.getLogger(__name__)

LONGEST_TEXT = 2000
LEASE = timedelta(minutes=5)
KEYS = ("level", "languages", "minutes_per_week", "topics")
_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)


def propose_goals(learner: LearnerProfile, text: str, *, locale: str = "") -> GoalDraft:
    """Read a learner's goals and keep the draft until they confirm it; a draft from before is replaced.

    The draft holds what rules find. Where a language model reads goals it is asked later, in a worker: look at
    `GoalDraft.state` and `source` a few seconds on. The same text again returns the draft there is.

    Raises:
        ValueError: the text is empty or longer than `LONGEST_TEXT`.
    """
    text = " ".join(text.replace("\x00", " ").split())
    if not text or len(text) > LONGEST_TEXT:
        raise ValueError(f"Cannot read goals of {len(text)} characters. Give 1 to {LONGEST_TEXT}.")
    rows = GoalDraft.objects.using(router.db_for_write(GoalDraft))
    known = rows.filter(learner=learner).first()
    if known is not None and known.text == text:
        return known
    # Somebody who switched personal recommendations off is not talked about to a model.
    waits = model_for("goal") is not None and learner.personalise and not screen_text(text)
    draft, _ = rows.update_or_create(
        learner=learner,
        defaults={
            "text": text,
            "locale": locale[:35],
            "proposal": read_goals(text),
            "source": GoalDraft.Source.RULES,
            "state": Written.WAITING if waits else Written.WRITTEN,
            "error": "",
            "attempts": 0,
            "try_after": timezone.now(),
        },
    )
    if waits:
        nudge.nudge_writing()
    return draft


def confirm_goals(learner: LearnerProfile, proposal: Mapping[str, Any] | None = None) -> LearnerProfile:
    """Take a draft into the learner's profile, and delete it.

    Args:
        proposal: The draft as the learner corrected it, any of its keys; None takes it as it is. A value that says
            nothing leaves what the profile has.

    Raises:
        ValueError: there is no draft, or a value is not allowed; the message names it.
    """
    with transaction.atomic(using=router.db_for_write(GoalDraft)):
        draft = GoalDraft.objects.using(router.db_for_write(GoalDraft)).filter(learner=learner).first()
        if draft is None:
            raise ValueError("Cannot confirm goals. There is no draft of this learner. Propose goals first.")
        values = checked({**draft.proposal, **(proposal or {})})
        learner.goals = draft.text
        learner.interests = values["topics"] or learner.interests
        learner.level = values["level"] or learner.level
        learner.languages = values["languages"] or learner.languages
        if values["minutes_per_week"] is not None:
            learner.minutes_per_week = values["minutes_per_week"]
        learner.save(update_fields=["goals", "interests", "level", "languages", "minutes_per_week", "updated_at"])
        draft.delete()
    return learner


def checked(values: Any) -> dict[str, Any]:
    """Return a proposal with exactly the keys and kinds of values there may be.

    Raises:
        ValueError: a key too many or too few, or a value that is not allowed.
    """
    if not isinstance(values, dict) or set(values) != set(KEYS):
        raise ValueError(f"Cannot use this proposal. It must be an object with exactly {', '.join(KEYS)}.")
    level, languages, minutes, topics = (values[key] for key in KEYS)
    if level not in ("", *LEVELS):
        raise ValueError(f"Cannot use level {level!r}. It must be one of: {', '.join(LEVELS)}, or nothing.")
    if not isinstance(languages, list) or not all(isinstance(tag, str) and TAG.fullmatch(tag) for tag in languages):
        raise ValueError('Cannot use languages. It must be a list of tags such as "en" or "zh-hans".')
    if minutes is not None and not (type(minutes) is int and 0 <= minutes <= MOST_MINUTES):
        raise ValueError(f"Cannot use minutes_per_week. It must be a whole number from 0 to {MOST_MINUTES}, or null.")
    if (
        not isinstance(topics, list)
        or len(topics) > MOST_TOPICS
        or not all(isinstance(topic, str) and 0 < len(topic.strip()) <= LONGEST_TOPIC for topic in topics)
    ):
        raise ValueError(
            f"Cannot use topics. It must be a list of at most {MOST_TOPICS} texts of 1 to {LONGEST_TOPIC} characters."
        )
    return {
        "level": level,
        "languages": list(dict.fromkeys(tag.lower() for tag in languages)),
        "minutes_per_week": minutes,
        "topics": list(dict.fromkeys(" ".join(topic.split()) for topic in topics)),
    }


def read_answer(answer: str, text: str) -> dict[str, Any]:
    """Return the proposal in a model's answer, without what the learner's text does not carry.

    Raises:
        ValueError: the answer is not one JSON object of the shape that was asked for.
    """
    answer = answer.strip()
    fenced = _FENCE.match(answer)
    try:
        found = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError) as exc:
        raise ValueError("The answer is no JSON.") from exc
    values = checked(found)
    folded = text.casefold()
    values["topics"] = [topic for topic in values["topics"] if topic.casefold() in folded and not screen_text(topic)]
    values["languages"] = [
        tag for tag in values["languages"] if any(name in folded for name in LANGUAGE_NAMES.get(tag.split("-")[0], ()))
    ]
    if values["minutes_per_week"] not in possible_minutes(text):
        values["minutes_per_week"] = None
    return values


def read_waiting() -> tuple[int, str]:
    """Ask the language model about drafts that wait, the newest first.

    Returns:
        How many it read, and why that ended early: "", "unavailable" or "budget".
    """
    n = 0
    while model_for("goal") is not None:
        draft = _claim()
        if draft is None:
            break
        try:
            answer = ask(
                goal_prompt(draft.text, f"data {draft.pk:x}{draft.created_at:%f}"),
                tenant=draft.learner.tenant,
                attempt=draft.attempts - 1,
            )
            found = read_answer(answer, draft.text)
        except WriterUnavailable as exc:
            _settle(draft, state=Written.WAITING, attempts=draft.attempts - 1, error=storable(str(exc)))
            return n, "budget" if isinstance(exc, BudgetSpent) else "unavailable"
        except (WriterError, ValueError) as exc:
            again = draft.attempts < conf.WRITER["ATTEMPTS"]
            refused = Written.FAILED if isinstance(exc, WriterError) else Written.REFUSED
            _settle(
                draft,
                state=Written.WAITING if again else refused,
                try_after=timezone.now(),
                error=storable(str(exc))
                if isinstance(exc, WriterError)
                else "The answer was not of the shape asked for.",
            )
            continue
        # Where the model says nothing, what the rules found stays.
        proposal = {key: found[key] or draft.proposal.get(key) for key in KEYS}
        # Arithmetic is not what language models are good at: "3 hours" becomes 3 minutes.
        proposal["minutes_per_week"] = draft.proposal.get("minutes_per_week") or found["minutes_per_week"]
        _settle(draft, proposal=proposal, source=GoalDraft.Source.MODEL, state=Written.WRITTEN, error="")
        n += 1
    return n, ""


def is_waiting() -> bool:
    """Return whether a draft waits for a language model now."""
    return (
        model_for("goal") is not None
        and GoalDraft.objects.filter(state=Written.WAITING, try_after__lte=timezone.now()).exists()
    )


def _claim() -> GoalDraft | None:
    alias = router.db_for_write(GoalDraft)
    with transaction.atomic(using=alias):
        draft = (
            GoalDraft.objects.using(alias)
            .select_for_update(skip_locked=True, of=("self",))
            .select_related("learner")
            .filter(state=Written.WAITING, try_after__lte=timezone.now(), learner__personalise=True)
            .order_by("-created_at")
            .first()
        )
        if draft is not None:
            draft.attempts += 1
            draft.try_after = timezone.now() + LEASE
            draft.save(using=alias, update_fields=["attempts", "try_after"])
    return draft


def _settle(draft: GoalDraft, **values: Any) -> None:
    # Of the text that was read: the learner may have typed another one meanwhile.
    GoalDraft.objects.using(router.db_for_write(GoalDraft)).filter(pk=draft.pk, text=draft.text).update(**values)
