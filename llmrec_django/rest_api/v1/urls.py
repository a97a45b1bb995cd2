from __future__ import annotations

from django.urls import path, register_converter

from llmrec_django.rest_api.v1 import feedback_views, goal_views, views


class ResourceKeyConverter:
    """Any key but the empty one, slashes included: servers decode %2F before we see the path.

    Not greedy, so that what follows the key in the pattern ("similar/") is not taken for a part of it.
    """

    regex = r"[^\x00]+?"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return str(value)


register_converter(ResourceKeyConverter, "llmrec_key")

urlpatterns = [
    path("resources/", views.ResourceListView.as_view(), name="resource-list"),
    path("resources/<llmrec_key:key>/similar/", views.SimilarView.as_view(), name="resource-similar"),
    path("resources/<llmrec_key:key>/", views.ResourceView.as_view(), name="resource"),
    path("search/", views.SearchView.as_view(), name="search"),
    path("recommendations/", views.RecommendationsView.as_view(), name="recommendations"),
    path("recommendations/<uuid:list_id>/", feedback_views.StoredListView.as_view(), name="stored-list"),
    path("feedback/", feedback_views.FeedbackView.as_view(), name="feedback"),
    path("interactions/", views.InteractionsView.as_view(), name="interactions"),
    path("interactions/batch/", views.InteractionBatchView.as_view(), name="interactions-batch"),
    path("profile/", views.ProfileView.as_view(), name="profile"),
    path("profile/insight/", feedback_views.InsightView.as_view(), name="profile-insight"),
    path("profile/restore/", feedback_views.RestoreView.as_view(), name="profile-restore"),
    path("profile/forget/", feedback_views.ForgetView.as_view(), name="profile-forget"),
    path("profile/reset/", feedback_views.ResetView.as_view(), name="profile-reset"),
    path("profile/goals/", goal_views.GoalsView.as_view(), name="profile-goals"),
    path("profile/goals/confirm/", goal_views.GoalsConfirmView.as_view(), name="profile-goals-confirm"),
    path("profile/export/", views.ProfileExportView.as_view(), name="profile-export"),
]
