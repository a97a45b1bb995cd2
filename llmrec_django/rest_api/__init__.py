"""The REST API: `path("api/llmrec/", include("llmrec_django.rest_api.urls"))`. Needs Django REST framework."""
