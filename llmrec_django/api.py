"""The in-process API: what hosts and this app's own surfaces call.

Everything here is stable between minor versions; what is not here may move.
"""

from __future__ import annotations

from llmrec_django.services.feedback import give_feedback, restore
from llmrec_django.services.insight import forget_deed, insight, reset
from llmrec_django.services.learners import find_learner, get_learner
from llmrec_django.services.recommend import recommend
from llmrec_django.services.record import record, record_many
from llmrec_django.services.search import search
from llmrec_django.services.similar import similar
from llmrec_django.services.writing.goals import confirm_goals, propose_goals

__all__ = [
    "confirm_goals",
    "find_learner",
    "forget_deed",
    "get_learner",
    "give_feedback",
    "insight",
    "propose_goals",
    "recommend",
    "record",
    "record_many",
    "reset",
    "restore",
    "search",
    "similar",
]
