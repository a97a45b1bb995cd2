"""Signals this app sends. Receivers that fail are logged and change nothing."""

from __future__ import annotations

from django.dispatch import Signal

#: After interactions of one learner were stored.
#: Arguments: `learner` (LearnerProfile), `interaction_ids` (list of int, the new rows), `source` (str).
interactions_recorded = Signal()

#: After everything about one learner was deleted.
#: Arguments: `learner` (the deleted LearnerProfile, without a primary key), `deleted` (rows by model label).
learner_forgotten = Signal()
