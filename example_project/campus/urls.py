from django.urls import path

from example_project.campus import actions, views

app_name = "campus"
urlpatterns = [
    path("", views.home, name="home"),
    path("catalogue/", views.catalogue, name="catalogue"),
    path("courses/<slug:key>/", views.material, {"kind": "course"}, name="course"),
    path("books/<slug:key>/", views.material, {"kind": "book"}, name="book"),
    path("papers/<slug:key>/", views.material, {"kind": "paper"}, name="paper"),
    path("me/", views.my_learning, name="me"),
    path("people/", views.people, name="people"),
    path("people/leave/", actions.leave, name="leave"),
    path("people/<slug:key>/enter/", actions.enter, name="enter"),
    path("courses/<slug:key>/enrol/", actions.enrol, name="enrol"),
    path("courses/<slug:key>/lessons/<int:position>/", actions.finish_lesson, name="finish-lesson"),
    path("books/<slug:key>/borrow/", actions.borrow, name="borrow"),
    path("papers/<slug:key>/bookmark/", actions.bookmark, name="bookmark"),
    path("<slug:kind>/<slug:key>/rate/", actions.rate, name="rate"),
]
