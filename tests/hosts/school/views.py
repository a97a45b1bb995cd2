from django.shortcuts import get_object_or_404, render

from tests.hosts.school.models import Course


def home(request):
    return render(request, "school/home.html")


def course(request, pk):
    return render(request, "school/course.html", {"course": get_object_or_404(Course, pk=pk)})
