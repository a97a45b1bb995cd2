"""What a learner types about their goals: understood, corrected, confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.response import Response

from llmrec_django import api
from llmrec_django.models import GoalDraft
from llmrec_django.rest_api.v1 import serializers
from llmrec_django.rest_api.v1.base import IsLearner, LLMRecView, validated
from llmrec_django.rest_api.v1.describe import described
from llmrec_django.rest_api.v1.views import Unavailable
from llmrec_django.web.identity import find_learner, get_learner

if TYPE_CHECKING:
    from rest_framework.request import Request


class GoalsView(LLMRecView):
    permission_classes = [IsLearner]

    @described(
        "propose_goals",
        "Have goals understood",
        request=serializers.GoalTextSerializer,
        answers={200: serializers.GoalDraftSerializer},
        errors=[400, 401, 403],
    )
    def post(self, request: Request) -> Response:
        """Return what is understood of a text, for the caller to correct. Nothing of it counts before they confirm it.

        While `wait` is true a language model still reads it: send the same text again a few seconds later.
        """
        text = validated(serializers.GoalTextSerializer(data=request.data))["text"]
        learner = get_learner(self.caller)
        if learner.pk is None:
            raise Unavailable
        try:
            draft = api.propose_goals(learner, text)
        except ValueError as exc:
            raise ValidationError({"text": [str(exc)]}) from exc
        return Response(serializers.GoalDraftSerializer(draft).data)

    @described("drop_goals", "Drop the draft of goals", answers={204: None}, errors=[401, 403])
    def delete(self, request: Request) -> Response:
        """Forget what was understood; the profile stays as it is."""
        learner = find_learner(self.caller)
        if learner is not None:
            GoalDraft.objects.filter(learner=learner).delete()
        return Response(status=204)


class GoalsConfirmView(LLMRecView):
    permission_classes = [IsLearner]

    @described(
        "confirm_goals",
        "Confirm goals",
        request=serializers.ProposalSerializer,
        answers={200: serializers.ProfileSerializer},
        errors=[400, 401, 403, 404],
    )
    def post(self, request: Request) -> Response:
        """Take the draft into the profile, with the corrections that are given; 404 without a draft."""
        values = validated(serializers.ProposalSerializer(data=request.data, partial=True))
        learner = find_learner(self.caller)
        if learner is None or not GoalDraft.objects.filter(learner=learner).exists():
            raise NotFound("There is no draft of your goals.", code="no_draft")
        try:
            learner = api.confirm_goals(learner, values)
        except ValueError as exc:
            raise ValidationError({"": [str(exc)]}) from exc
        return Response(serializers.ProfileSerializer(learner).data)
