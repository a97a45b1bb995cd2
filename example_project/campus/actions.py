"""What students do: each view changes the campus's own tables, and llmrec_django notices by itself."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.decorators import login_required
from django.contrib.contenttypes.models import ContentType
from django.http import Http404, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from example_project.campus.catalogue import MATERIALS, get_material
from example_project.campus.models import (
    Bookmark,
    Certificate,
    Enrolment,
    LessonProgress,
    Loan,
    Rating,
    Student,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse


def student_action(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Take POST from a signed-in student; pass the student on."""

    @wraps(view)
    def wrapped(request: HttpRequest, **arguments: Any) -> HttpResponse:
        student = getattr(request.user, "student", None)
        if student is None:
            messages.info(request, _("Choose who you are first: only students can do that."))
            return redirect("campus:people")
        return view(request, student=student, **arguments)

    return require_POST(login_required(wrapped))


@student_action
def enrol(request: HttpRequest, student: Student, key: str) -> HttpResponse:
    course = get_material("course", key)
    run = course.runs.first()
    if run is None:
        raise Http404("no run")
    Enrolment.objects.get_or_create(run=run, student=student)
    messages.success(request, _("You are enrolled in %(title)s.") % {"title": course.title})
    return redirect(course)


@student_action
def finish_lesson(request: HttpRequest, student: Student, key: str, position: int) -> HttpResponse:
    course = get_material("course", key)
    lesson = get_object_or_404(course.lessons, position=position)
    enrolment = get_object_or_404(Enrolment, run__course=course, student=student)
    LessonProgress.objects.get_or_create(enrolment=enrolment, lesson=lesson)
    if enrolment.progress.count() == course.lessons.count():
        Certificate.objects.get_or_create(enrolment=enrolment)
        messages.success(request, _("You completed %(title)s.") % {"title": course.title})
    return redirect(course)


@student_action
def borrow(request: HttpRequest, student: Student, key: str) -> HttpResponse:
    """Borrow a book, or give it back."""
    book = get_material("book", key)
    if Loan.objects.filter(book=book, borrower=student, returned_on=None).update(returned_on=timezone.localdate()):
        messages.success(request, _("You returned %(title)s.") % {"title": book.title})
    else:
        Loan.objects.create(book=book, borrower=student)
        messages.success(request, _("You borrowed %(title)s.") % {"title": book.title})
    return redirect(book)


@student_action
def bookmark(request: HttpRequest, student: Student, key: str) -> HttpResponse:
    """Put a paper on the reading list, or take it off."""
    paper = get_material("paper", key)
    deleted, _rows = Bookmark.objects.filter(paper=paper, student=student).delete()
    if deleted:
        messages.success(request, _("%(title)s is off your reading list.") % {"title": paper.title})
    else:
        Bookmark.objects.create(paper=paper, student=student)
        messages.success(request, _("%(title)s is on your reading list.") % {"title": paper.title})
    return redirect(paper)


@student_action
def rate(request: HttpRequest, student: Student, kind: str, key: str) -> HttpResponse:
    if kind not in MATERIALS:
        raise Http404(kind)
    material = get_material(kind, key)
    stars = request.POST.get("stars", "")
    if stars not in ("1", "2", "3", "4", "5"):
        return HttpResponseBadRequest(_("Stars go from 1 to 5."))
    Rating.objects.update_or_create(
        student=student,
        content_type=ContentType.objects.get_for_model(material),
        object_id=str(material.pk),
        defaults={"stars": int(stars), "rated_at": timezone.now()},
    )
    messages.success(request, _("Thank you for rating %(title)s.") % {"title": material.title})
    return redirect(material)


@require_POST
def enter(request: HttpRequest, key: str) -> HttpResponse:
    """Sign in as a demo persona without a password. On a campus with DEBUG only."""
    if not settings.DEBUG:
        raise Http404("not a demo")
    student = get_object_or_404(Student, key=key, is_persona=True)
    login(request, get_user_model().objects.get(pk=student.user_id), "django.contrib.auth.backends.ModelBackend")
    response = redirect("campus:home")
    translation.activate(student.language)
    response.set_cookie(settings.LANGUAGE_COOKIE_NAME, student.language, samesite="Lax")
    return response


@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("campus:home")
