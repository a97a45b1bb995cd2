"""Stored lists, what callers do about them, and what is thought of callers: see it, change it, take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.response import Response

from llmrec_django.exceptions import InvalidInteraction, UnknownList, UnknownResource
from llmrec_django.models import LearnerProfile
from llmrec_django.rest_api.v1 import serializers
from llmrec_django.rest_api.v1.base import IsLearner, LLMRecView, validated
from llmrec_django.rest_api.v1.describe import described
from llmrec_django.rest_api.v1.views import code_of, list_response, place_of
from llmrec_django.services.insight import insight, reset
from llmrec_django.services.lists import find_list, read_list
from llmrec_django.types import RecommendationResult
from llmrec_django.web.events import forget_own, give_own_feedback, restore_own
from llmrec_django.web.guard import shown
from llmrec_django.web.identity import find_learner

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request

UNKNOWN_LIST = "You were given no list with this id."


class StoredListView(LLMRecView):
    permission_classes = [IsLearner]

    @described(
        "get_list",
        "A list that was recommended",
        answers={200: serializers.RecommendationsSerializer},
        errors=[401, 403, 404],
    )
    def get(self, request: Request, list_id: UUID) -> Response:
        """Return one of the caller's own lists as it was, without what they may not see any more."""
        stored = find_list(list_id, find_learner(self.caller))
        if stored is None:
            raise NotFound(UNKNOWN_LIST, code="unknown_list")

        def compute() -> RecommendationResult:
            return read_list(stored, user=self.caller.user)

        return list_response(serializers.RecommendationsSerializer, shown(compute, what="api list"))


class FeedbackView(LLMRecView):
    permission_classes = [IsLearner]

    @described(
        "give_feedback",
        "Report what became of recommended resources",
        request=serializers.FeedbackBatchSerializer,
        answers={200: serializers.FeedbackTakenSerializer},
        errors=[400, 401, 403, 404],
    )
    def post(self, request: Request) -> Response:
        """Take in up to 100 things the caller did, all or nothing. Sent again, or in another order, nothing changes."""
        batch = validated(serializers.FeedbackBatchSerializer(data=request.data))
        try:
            changed = give_own_feedback(self.caller, batch["feedback"], source="api")
        except UnknownList as exc:
            raise NotFound(UNKNOWN_LIST, code="unknown_list") from exc
        except (InvalidInteraction, UnknownResource) as exc:
            index, field = place_of(exc)
            mistake: Any = {"feedback": {index: {field: [str(exc)]}}}
            raise ValidationError(mistake, code=code_of(exc)) from exc
        return Response({"changed": changed})


class InsightView(LLMRecView):
    permission_classes = [IsLearner]

    @described(
        "get_insight", "What is thought of the caller", answers={200: serializers.InsightSerializer}, errors=[401, 403]
    )
    def get(self, request: Request) -> Response:
        """Return what the caller's lists are made from. `PATCH profile/` changes what they say about themselves."""
        return Response(serializers.InsightSerializer(insight(_learner(self), user=self.caller.user)).data)


class RestoreView(LLMRecView):
    permission_classes = [IsLearner]

    @described(
        "restore",
        "Take a dismissal back",
        request=serializers.ResourceKeySerializer,
        answers={200: serializers.InsightSerializer},
        errors=[400, 401, 403],
    )
    def post(self, request: Request) -> Response:
        """Let a resource that the caller turned down be recommended again; return what is thought of them now."""
        restore_own(self.caller, validated(serializers.ResourceKeySerializer(data=request.data))["resource_key"])
        return Response(serializers.InsightSerializer(insight(_learner(self), user=self.caller.user)).data)


class ForgetView(LLMRecView):
    permission_classes = [IsLearner]

    @described(
        "forget_deed",
        "Forget one deed",
        request=serializers.ResourceKeySerializer,
        answers={200: serializers.InsightSerializer},
        errors=[400, 401, 403],
    )
    def post(self, request: Request) -> Response:
        """Delete what the caller did with a resource, so that it shapes no list; return what is thought of them now."""
        forget_own(self.caller, validated(serializers.ResourceKeySerializer(data=request.data))["resource_key"])
        return Response(serializers.InsightSerializer(insight(_learner(self), user=self.caller.user)).data)


class ResetView(LLMRecView):
    permission_classes = [IsLearner]

    @described("reset", "Start anew", request=None, answers={204: None}, errors=[401, 403])
    def post(self, request: Request) -> Response:
        """Forget what the caller did and was recommended; what they say about themselves in their profile stays."""
        reset(_learner(self))
        return Response(status=204)


def _learner(view: LLMRecView) -> LearnerProfile:
    return find_learner(view.caller) or LearnerProfile(tenant=view.caller.tenant)
