"""The campus's pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.contenttypes.models import ContentType
from django.core.paginator import Paginator
from django.shortcuts import redirect, render

from example_project.campus import catalogue as finding
from example_project.campus.models import (
    Bookmark,
    Course,
    Enrolment,
    Language,
    Level,
    Loan,
    Rating,
    Student,
    Subject,
)
from llmrec_django import api
from llmrec_django.models import Resource

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

PAGE_SIZE = 24


def home(request: HttpRequest) -> HttpResponse:
    student = student_of(request)
    going_on = (
        Enrolment.objects.filter(student=student, certificate=None)
        .select_related("run__course")
        .order_by("-enrolled_at")[:3]
        if student
        else []
    )
    return render(
        request,
        "campus/home.html",
        {
            "subjects": Subject.objects.all(),
            "going_on": [progress_of(enrolment) for enrolment in going_on],
            "personas": Student.objects.filter(is_persona=True) if settings.DEBUG and not student else [],
            "counts": {kind: model.objects.count() for kind, model in finding.MATERIALS.items()},
        },
    )


def catalogue(request: HttpRequest) -> HttpResponse:
    filters = finding.filters_of(request.GET)
    words = request.GET.get("q", "").strip()[:200]
    materials = finding.search(words, filters, request.user, limit=PAGE_SIZE) if words else finding.browse(filters)
    page = Paginator(materials, PAGE_SIZE).get_page(request.GET.get("page"))
    kept = request.GET.copy()
    kept.pop("page", None)
    return render(
        request,
        "campus/catalogue.html",
        {
            "page": page,
            "words": words,
            "filters": filters,
            "address": kept.urlencode(),
            "kinds": finding.MATERIALS,
            "subjects": Subject.objects.all(),
            "levels": Level.choices,
            "languages": Language.choices,
        },
    )


def material(request: HttpRequest, kind: str, key: str) -> HttpResponse:
    found = finding.get_material(kind, key)
    student = student_of(request)
    content_type = ContentType.objects.get_for_model(found)
    context: dict[str, Any] = {
        "item": found,
        "resource": Resource.objects.filter(content_type=content_type, object_id=str(found.pk)).first(),
        "stars": range(1, 6),
    }
    if isinstance(found, Course):
        context["lessons"] = found.lessons.all()
        context["prerequisites"] = found.prerequisites.filter(published=True)
        context["leads_to"] = found.leads_to.filter(published=True)
    if student:
        context |= standing(student, found)
        rating = Rating.objects.filter(student=student, content_type=content_type, object_id=str(found.pk)).first()
        context["rating"] = rating.stars if rating else None
    return render(request, f"campus/{kind}.html", context)


@login_required
def my_learning(request: HttpRequest) -> HttpResponse:
    student = student_of(request)
    if student is None:
        return redirect("campus:people")
    enrolments = Enrolment.objects.filter(student=student).select_related("run__course", "certificate")
    return render(
        request,
        "campus/me.html",
        {
            "enrolments": [progress_of(enrolment) for enrolment in enrolments.order_by("-enrolled_at")],
            "loans": Loan.objects.filter(borrower=student).select_related("book"),
            "bookmarks": Bookmark.objects.filter(student=student).select_related("paper").order_by("-saved_at"),
            "thought": api.insight(api.get_learner(request.user)),
        },
    )


def people(request: HttpRequest) -> HttpResponse:
    return render(
        request,
        "campus/people.html",
        {
            "personas": Student.objects.filter(is_persona=True) if settings.DEBUG else [],
            "admin": settings.DEMO_ADMIN if settings.DEBUG else None,
        },
    )


def student_of(request: HttpRequest) -> Student | None:
    return getattr(request.user, "student", None) if request.user.is_authenticated else None


def progress_of(enrolment: Enrolment) -> dict[str, Any]:
    """Return an enrolment with how many of its lessons are done."""
    course = enrolment.run.course
    done, total = enrolment.progress.count(), course.lessons.count()
    return {
        "course": course,
        "done": done,
        "total": total,
        "completed": hasattr(enrolment, "certificate"),
        "next": course.lessons.exclude(progress__enrolment=enrolment).first(),
    }


def standing(student: Student, found: Any) -> dict[str, Any]:
    """Return what a student has to do with a material: enrolled, borrowed or bookmarked."""
    if found.kind == "course":
        enrolment = Enrolment.objects.filter(run__course=found, student=student).select_related("certificate").first()
        done = set(enrolment.progress.values_list("lesson__position", flat=True)) if enrolment else set()
        return {"enrolment": enrolment, "done": done}
    if found.kind == "book":
        return {"loan": Loan.objects.filter(book=found, borrower=student, returned_on=None).first()}
    return {"bookmark": Bookmark.objects.filter(paper=found, student=student).first()}
