"""Asks a campus for lists, in its own settings; prints JSON. Run by `test_personas.py`."""

from __future__ import annotations

import json
import sys
from typing import Any

DEPTH = 60
"""Places that are looked at where it is asked what moved."""


def listed(learner: Any, language: str, k: int = 10) -> list[dict[str, Any]]:
    from django.utils import translation

    from llmrec_django import api

    with translation.override(language):
        return [
            {
                "key": item.resource.key,
                "title": item.resource.local_title,
                "subjects": item.resource.extra["subjects"],
                "language": item.resource.language,
                "reason": str(item.reason),
                "own": [resource.key for resource in item.evidence.own],
                "goal_words": list(item.evidence.goal_words),
                "unlocked_by": [resource.key for resource in item.evidence.unlocked_by],
            }
            for item in api.recommend(learner, placement="home", k=k)
        ]


def everything() -> dict[str, Any]:
    """Ask for each persona, then with two histories swapped, then after turning down and clicking."""
    from django.contrib.auth import get_user_model

    from example_project.campus.models import Student
    from llmrec_django import api
    from llmrec_django.models import Interaction, LearnerProfile
    from llmrec_django.services.embedding import embed_pending
    from llmrec_django.types import FeedbackInput

    said: dict[str, Any] = {"before": {}, "histories": {}, "goals": {}}
    people: dict[str, LearnerProfile] = {}
    for student in Student.objects.filter(is_persona=True).select_related("user"):
        learner = people[student.key] = api.get_learner(student.user)
        said["before"][student.key] = listed(learner, student.language)
        said["goals"][student.key] = learner.goals
        said["histories"][student.key] = sorted(
            set(Interaction.objects.filter(learner=learner).values_list("resource__key", flat=True))
        )

    wanted = api.get_learner(get_user_model().objects.create_user("newcomer"))
    wanted.goals = "我想了解气候变化和可再生能源。"
    wanted.save()
    embed_pending()
    said["typed"] = listed(LearnerProfile.objects.get(pk=wanted.pk), "zh-hans")

    daniel, eleanor = people["daniel-reyes"], people["eleanor-whitfield"]
    first, second = (
        list(Interaction.objects.filter(learner=one).values_list("pk", flat=True)) for one in (daniel, eleanor)
    )
    Interaction.objects.filter(pk__in=first).update(learner=eleanor)
    Interaction.objects.filter(pk__in=second).update(learner=daniel)

    def now() -> dict[str, Any]:
        names = ("daniel-reyes", "eleanor-whitfield")
        return {name: listed(LearnerProfile.objects.get(pk=people[name].pk), "en") for name in names}

    said["histories_swapped"] = now()
    goals = daniel.goals, eleanor.goals
    daniel.goals, eleanor.goals = goals[1], goals[0]
    daniel.save()
    eleanor.save()
    embed_pending()
    said["swapped"] = now()
    Interaction.objects.filter(pk__in=first).update(learner=daniel)
    Interaction.objects.filter(pk__in=second).update(learner=eleanor)
    daniel.goals, eleanor.goals = goals
    daniel.save()
    eleanor.save()
    embed_pending()

    sofia = people["sofia-rossi"]
    result = api.recommend(sofia, placement="home", k=10)
    turned_down, clicked = result.items[0].resource, result.items[4].resource
    api.give_feedback(sofia, [FeedbackInput("dismissed", turned_down.key, result.recommendation_id)])
    said["turned_down"], said["after_dismissing"] = turned_down.key, listed(sofia, "en", k=DEPTH)
    api.give_feedback(sofia, [FeedbackInput("clicked", clicked.key, result.recommendation_id)])
    said["clicked"], said["after_clicking"] = clicked.key, listed(sofia, "en", k=DEPTH)
    said["like_clicked"] = [item.resource.key for item in api.similar(clicked, k=10)]
    return said


if __name__ == "__main__":
    import django

    django.setup()
    json.dump(everything(), sys.stdout)
