from django.urls import include, path

urlpatterns = [
    path("api/", include("llmrec_django.rest_api.urls")),
    path("llmrec/", include("llmrec_django.urls")),
    path("", include("tests.hosts.school.urls")),
]
