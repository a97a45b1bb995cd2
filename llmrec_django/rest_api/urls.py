from __future__ import annotations

from django.urls import include, path

app_name = "llmrec"

urlpatterns = [path("v1/", include("llmrec_django.rest_api.v1.urls"))]
