"""Addresses the template tags use, and the health check: `path("llmrec/", include("llmrec_django.urls"))`."""

from __future__ import annotations

from django.urls import path

from llmrec_django import views
from llmrec_django.web.health import health_check

app_name = "llmrec_web"

urlpatterns = [
    path("recommendations/", views.recommendation_fragment, name="recommendations"),
    path("events/", views.event, name="event"),
    path("reasons/", views.list_reasons, name="reasons"),
    path("you/", views.about_you, name="about-you"),
    path("token/", views.csrf_token, name="token"),
    path("health/", health_check, name="health"),
]
