"""The campus's own tables in the admin."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from example_project.campus import models

admin.site.site_header = _("Campus administration")
admin.site.site_title = _("Campus")


@admin.register(models.Subject)
class SubjectAdmin(admin.ModelAdmin):
    list_display = ["key", "name_en", "name_zh", "position"]


class LessonInline(admin.TabularInline):
    model = models.Lesson
    extra = 0


class MaterialAdmin(admin.ModelAdmin):
    list_display = ["title_en", "title_zh", "level", "language", "published"]
    list_filter = ["published", "level", "language", "subjects"]
    search_fields = ["key", "title_en", "title_zh"]
    filter_horizontal = ["subjects"]

    def get_queryset(self, request):
        return self.model.with_drafts.all()


@admin.register(models.Course)
class CourseAdmin(MaterialAdmin):
    inlines = [LessonInline]
    autocomplete_fields = ["prerequisites"]


admin.site.register([models.Book, models.Paper], MaterialAdmin)


@admin.register(models.Student)
class StudentAdmin(admin.ModelAdmin):
    list_display = ["key", "name_en", "language", "is_persona"]
    list_filter = ["is_persona", "language"]
    search_fields = ["key", "name_en", "name_zh"]


@admin.register(models.CourseRun)
class CourseRunAdmin(admin.ModelAdmin):
    list_display = ["course", "term", "starts_on"]
    list_select_related = ["course"]
    search_fields = ["course__title_en", "course__title_zh"]


@admin.register(models.Enrolment)
class EnrolmentAdmin(admin.ModelAdmin):
    list_display = ["student", "run", "enrolled_at"]
    list_select_related = ["student", "run__course"]
    autocomplete_fields = ["student", "run"]


@admin.register(models.Loan)
class LoanAdmin(admin.ModelAdmin):
    list_display = ["borrower", "book", "borrowed_on", "returned_on"]
    list_select_related = ["borrower", "book"]
    autocomplete_fields = ["borrower", "book"]


@admin.register(models.Bookmark)
class BookmarkAdmin(admin.ModelAdmin):
    list_display = ["student", "paper", "saved_at"]
    list_select_related = ["student", "paper"]
    autocomplete_fields = ["student", "paper"]


@admin.register(models.Rating)
class RatingAdmin(admin.ModelAdmin):
    list_display = ["student", "content_type", "object_id", "stars", "rated_at"]
    list_select_related = ["student", "content_type"]
    autocomplete_fields = ["student"]
