from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("llmrec/", include("llmrec_django.urls")),
    path("", include("tests.hosts.school.urls")),
]
