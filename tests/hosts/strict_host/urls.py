from django.http import HttpResponse
from django.urls import include, path, re_path


def page(request, path):
    return HttpResponse("a page from the content system")


urlpatterns = [
    path("services/llmrec/", include("llmrec_django.rest_api.urls")),
    path("services/llmrec-web/", include("llmrec_django.urls")),
    path("school/", include("tests.hosts.school.urls")),
    # Last, because it takes whatever comes.
    re_path(r"^(?P<path>.*)$", page),
]
