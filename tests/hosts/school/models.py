"""A site of everyday models: integer keys, a foreign key to the account."""

from django.conf import settings
from django.db import models


class Course(models.Model):
    title = models.CharField(max_length=200)
    summary = models.TextField(blank=True)
    members_only = models.BooleanField(default=False)

    def __str__(self):
        return self.title

    def get_absolute_url(self):
        return f"/courses/{self.pk}/"


class Enrolment(models.Model):
    course = models.ForeignKey(Course, models.CASCADE)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    created_at = models.DateTimeField(auto_now_add=True)
