from django.urls import path

from tests.hosts.school import views

urlpatterns = [
    path("", views.home),
    path("courses/<int:pk>/", views.course),
]
