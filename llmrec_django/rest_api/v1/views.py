"""The views of version 1: parse, ask a service, answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.response import Response

from llmrec_django import api
from llmrec_django.exceptions import InvalidInteraction, UnknownResource
from llmrec_django.models import LearnerProfile, Placement, Resource
from llmrec_django.rest_api.v1 import queries, serializers
from llmrec_django.rest_api.v1.base import IsLearner, LLMRecView, validated
from llmrec_django.rest_api.v1.describe import described
from llmrec_django.services.catalogue import get_resource, list_resources
from llmrec_django.services.privacy import export_learner, forget_learner
from llmrec_django.services.spaces import tables_exist
from llmrec_django.types import InteractionInput
from llmrec_django.web.events import record_own
from llmrec_django.web.guard import is_shown, shown
from llmrec_django.web.identity import find_learner, get_learner, learner_of_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rest_framework.request import Request

    from llmrec_django.types import RecommendationResult


class Unavailable(APIException):
    status_code = 503
    default_code = "unavailable"
    default_detail = "This site's database cannot hold learner data."


class ResourceListView(LLMRecView):
    @described(
        "list_resources",
        "The catalogue",
        parameters=[queries.ResourceListQuery],
        answers={200: serializers.ResourcePageSerializer},
        errors=[400],
    )
    def get(self, request: Request) -> Response:
        """Page through the resources the caller may see, last added first."""
        query = validated(queries.ResourceListQuery(data=request.query_params))
        size = query["page_size"]
        # One more than asked tells whether there is a next page.
        rows = list_resources(
            n=size + 1,
            before_id=query.get("cursor"),
            tenant=self.caller.tenant,
            user=self.caller.user,
            kinds=query.get("kind", ()),
            languages=query.get("language", ()),
            levels=query.get("level", ()),
        )
        page = {"items": rows[:size], "next": self.next_page(rows[size - 1].pk) if len(rows) > size else None}
        return Response(serializers.ResourcePageSerializer(page).data)

    def next_page(self, last_id: int) -> str:
        parameters = self.request.query_params.copy()
        parameters["cursor"] = _base36(last_id)
        return self.request.build_absolute_uri(f"{self.request.path}?{parameters.urlencode()}")


class ResourceView(LLMRecView):
    @described(
        "get_resource",
        "One resource",
        key=True,
        answers={200: serializers.ResourceSerializer},
        errors=[404],
    )
    def get(self, request: Request, key: str) -> Response:
        """Return one resource; 404 for a hidden one as for an unknown one."""
        return Response(serializers.ResourceSerializer(visible_resource(self, key)).data)


class SimilarView(LLMRecView):
    @described(
        "similar",
        "Similar resources",
        key=True,
        parameters=[queries.SimilarQuery],
        answers={200: serializers.RankedListSerializer},
        errors=[400, 404],
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the resources nearest in meaning, nearest first."""
        query = validated(queries.SimilarQuery(data=request.query_params))
        resource = visible_resource(self, key)
        result = shown(
            lambda: api.similar(
                resource,
                k=query["k"],
                user=self.caller.user,
                kinds=query.get("kind", ()),
                languages=query.get("language", ()),
            ),
            what="api similar",
        )
        return list_response(serializers.RankedListSerializer, result)


class SearchView(LLMRecView):
    read_scope = "search"

    @described(
        "search",
        "Search",
        parameters=[queries.SearchQuery],
        answers={200: serializers.RankedListSerializer},
        errors=[400],
    )
    def get(self, request: Request) -> Response:
        """Return the resources that match the words or the meaning of `q`, best first."""
        query = validated(queries.SearchQuery(data=request.query_params))
        result = shown(
            lambda: api.search(
                query["q"],
                k=query["k"],
                tenant=self.caller.tenant,
                user=self.caller.user,
                kinds=query.get("kind", ()),
                languages=query.get("language", ()),
            ),
            what="api search",
        )
        return list_response(serializers.RankedListSerializer, result)


class RecommendationsView(LLMRecView):
    @described(
        "recommend",
        "Recommendations",
        parameters=[queries.RecommendationsQuery],
        answers={200: serializers.RecommendationsSerializer},
        errors=[400],
    )
    def get(self, request: Request) -> Response:
        """Return what whoever asks may want next; for someone unknown, what is popular or new."""
        query = validated(queries.RecommendationsQuery(data=request.query_params))
        who, placement = self.caller, query["placement"]
        if placement and not placement_exists(who.tenant, placement):
            raise ValidationError({"placement": [f"No placement is named {placement!r}."]}, code="unknown_placement")
        result = shown(
            lambda: api.recommend(
                learner_of_lists(who),
                placement=placement,
                k=query.get("k"),
                tenant=who.tenant,
                user=who.user,
                kinds=query.get("kind", ()),
                languages=query.get("language") or None,
            ),
            what="api recommend",
        )
        return list_response(serializers.RecommendationsSerializer, result)


class InteractionsView(LLMRecView):
    permission_classes = [IsLearner]

    @described(
        "record",
        "Report one interaction",
        request=serializers.InteractionSerializer,
        answers={200: serializers.RecordedSerializer, 201: serializers.RecordedSerializer},
        errors=[400, 401, 403],
    )
    def post(self, request: Request) -> Response:
        """Record what the caller did: 201 when it is new, 200 when it was known or is not kept."""
        interaction = validated(serializers.InteractionSerializer(data=request.data))
        try:
            return recorded(record_own(self.caller, [interaction], source="api"))
        except (InvalidInteraction, UnknownResource) as exc:
            _, field = place_of(exc)
            raise ValidationError({field: [str(exc)]}, code=code_of(exc)) from exc


class InteractionBatchView(LLMRecView):
    permission_classes = [IsLearner]

    @described(
        "record_batch",
        "Report many interactions",
        request=serializers.InteractionBatchSerializer,
        answers={200: serializers.RecordedSerializer, 201: serializers.RecordedSerializer},
        errors=[400, 401, 403],
    )
    def post(self, request: Request) -> Response:
        """Record up to 100 things the caller did, all or nothing; errors carry the `index` of the entry."""
        batch = validated(serializers.InteractionBatchSerializer(data=request.data))
        interactions: Sequence[InteractionInput] = batch["interactions"]
        try:
            return recorded(record_own(self.caller, interactions, source="api"))
        except (InvalidInteraction, UnknownResource) as exc:
            index, field = place_of(exc)
            mistake: Any = {"interactions": {index: {field: [str(exc)]}}}
            raise ValidationError(mistake, code=code_of(exc)) from exc


class ProfileView(LLMRecView):
    permission_classes = [IsLearner]

    @described("get_profile", "Own profile", answers={200: serializers.ProfileSerializer}, errors=[401, 403])
    def get(self, request: Request) -> Response:
        """Return the caller's profile; the defaults while there is none."""
        learner = find_learner(self.caller) or LearnerProfile(tenant=self.caller.tenant)
        return Response(serializers.ProfileSerializer(learner).data)

    @described(
        "update_profile",
        "Change the own profile",
        request=serializers.ProfileSerializer,
        answers={200: serializers.ProfileSerializer},
        errors=[400, 401, 403],
    )
    def patch(self, request: Request) -> Response:
        """Change the given fields. `personalise` false ends recording and personal lists."""
        values = validated(serializers.ProfileSerializer(data=request.data, partial=True))
        learner = get_learner(self.caller)
        if learner.pk is None:
            raise Unavailable
        for name, value in values.items():
            setattr(learner, name, value)
        if values:
            learner.save(update_fields=[*values, "updated_at"])
        return Response(serializers.ProfileSerializer(learner).data)

    @described("erase_profile", "Erase own data", answers={204: None}, errors=[401, 403])
    def delete(self, request: Request) -> Response:
        """Erase the profile and everything recorded about the caller; that they opted out is remembered."""
        learner = find_learner(self.caller)
        if learner is not None:
            # Who switched recording off and then erases does not ask to be recorded anew.
            forget_learner(learner, keep_opt_out=not learner.personalise)
        return Response(status=204)


class ProfileExportView(LLMRecView):
    permission_classes = [IsLearner]

    @described("export_profile", "Export own data", answers={200: dict[str, Any]}, errors=[401, 403])
    def get(self, request: Request) -> Response:
        """Return everything that is kept about the caller; empty while there is nothing."""
        learner = find_learner(self.caller)
        if learner is None:
            return Response({})
        return Response(export_learner(learner))


def visible_resource(view: LLMRecView, key: str) -> Resource:
    """Return a resource the caller may see; a hidden one is as unknown as one that does not exist."""
    resource = get_resource(key, tenant=view.caller.tenant, user=view.caller.user)
    if resource is None:
        raise NotFound("No resource you may see has this key.", code="unknown_resource")
    return resource


def placement_exists(tenant: str, name: str) -> bool:
    # Where our tables cannot be, every list is empty and no name is wrong.
    return not tables_exist() or Placement.objects.filter(tenant=tenant, name=name).exists()


def list_response(serializer: type[serializers.RankedListSerializer], result: RecommendationResult) -> Response:
    return Response(serializer(result, context={"enabled": is_shown()}).data)


def recorded(n: int) -> Response:
    return Response({"recorded": n}, status=201 if n else 200)


def place_of(exc: InvalidInteraction | UnknownResource) -> tuple[int, str]:
    """Return the index and the field in an error's `field`, as "interactions[3].verb"."""
    found = re.fullmatch(r"\w+\[(\d+)\]\.(.*)", exc.field)
    return (int(found[1]), found[2]) if found else (0, exc.field)


def code_of(exc: Exception) -> str:
    return "unknown_resource" if isinstance(exc, UnknownResource) else "invalid"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"
