"""Training: from the tables to a version that serves, or to the reason why it does not."""

from llmrec_django.services.training.evaluate import BLEND, Evaluation
from llmrec_django.services.training.run import TrainingBusyError, evaluate_now, train

__all__ = ["BLEND", "Evaluation", "TrainingBusyError", "evaluate_now", "train"]
