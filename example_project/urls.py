from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

urlpatterns = [
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("api/llmrec/", include("llmrec_django.rest_api.urls")),
    path("llmrec/", include("llmrec_django.urls")),
    path("", include("example_project.campus.urls")),
]
