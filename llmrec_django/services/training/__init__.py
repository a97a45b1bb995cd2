"""Training: from the tables to a version that serves, or to the reason why it does not."""

from llmrec_django.services.training.drift import check_active, outcome_of
from llmrec_django.services.training.evaluate import BLEND, Evaluation
from llmrec_django.services.training.helpers import help_to_train, is_helper
from llmrec_django.services.training.lock import TrainingBusyError
from llmrec_django.services.training.run import evaluate_now, train

__all__ = [
    "BLEND",
    "Evaluation",
    "TrainingBusyError",
    "check_active",
    "evaluate_now",
    "help_to_train",
    "is_helper",
    "outcome_of",
    "train",
]
