"""Experiments: their arms, and what each led to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.admin.base import LLMRecModelAdmin, ReadOnlyModelAdmin
from llmrec_django.admin.charts import Scale, mark
from llmrec_django.models import Experiment, ExperimentArm
from llmrec_django.models.learner import verb_label
from llmrec_django.services.arms_report import ArmReport, ExperimentReport, report_arms
from llmrec_django.services.experiments import check_arm_settings

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse


class ArmForm(forms.ModelForm):
    class Meta:
        model = ExperimentArm
        fields = ("name", "weight", "version", "settings")
        widgets = {"settings": forms.Textarea(attrs={"rows": 2, "cols": 60})}

    def clean_settings(self) -> Any:
        settings = self.cleaned_data["settings"] or {}
        check_arm_settings(settings)
        return settings


class ArmFormSet(forms.BaseInlineFormSet):
    def clean(self) -> None:
        super().clean()
        for form in self.forms:
            version = form.cleaned_data.get("version") if hasattr(form, "cleaned_data") else None
            if version is not None and version.tenant != self.instance.tenant:
                form.add_error("version", _("The version is of another tenant."))


class ArmInline(admin.TabularInline):
    model = ExperimentArm
    form = ArmForm
    formset = ArmFormSet
    extra = 0
    min_num = 2
    raw_id_fields = ("version",)


@admin.register(Experiment)
class ExperimentAdmin(LLMRecModelAdmin):
    list_display = ("name", "tenant", "is_running", "starts_at", "ends_at", "report")
    list_filter = ("tenant",)
    search_fields = ("name", "description")
    ordering = ("-pk",)
    fields = ("tenant", "name", "description", "starts_at", "ends_at", "places")
    readonly_fields = ("places",)
    inlines = (ArmInline,)
    change_form_template = "admin/llmrec_django/experiment/change_form.html"

    @admin.display(description=pgettext_lazy("of an experiment", "running"), boolean=True)
    def is_running(self, obj: Experiment) -> bool:
        return obj.is_running(timezone.now())

    @admin.display(description=_("placements"))
    def places(self, obj: Experiment) -> str:
        names = list(obj.placements.order_by("name").values_list("name", flat=True)) if obj.pk else []
        return ", ".join(names) or gettext("None yet: choose the experiment in a placement.")

    @admin.display(description=_("report"))
    def report(self, obj: Experiment) -> Any:
        address = reverse(f"{self.admin_site.name}:llmrec_django_experiment_report", args=[obj.pk])
        return format_html('<a href="{}">{}</a>', address, _("Report"))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.report_view)
        return [
            path("<path:object_id>/report/", view, name="llmrec_django_experiment_report"),
            *super().get_urls(),
        ]

    def report_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what each arm led to."""
        experiment = self.get_object(request, object_id)
        if experiment is None:
            raise Http404(gettext("There is no such experiment."))
        if not self.has_view_permission(request, experiment):
            raise PermissionDenied
        report = report_arms(experiment)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Report"),
            "subtitle": str(experiment),
            "opts": self.model._meta,
            "experiment": experiment,
            "is_running": experiment.is_running(timezone.now()),
            "places": self.places(experiment),
            "report": report,
            "measures": measures(report),
        }
        return TemplateResponse(request, "admin/llmrec_django/experiment/report.html", context)


@admin.register(ExperimentArm)
class ExperimentArmAdmin(ReadOnlyModelAdmin):
    """Looked at on their own; changed inside their experiment, beside the other arms."""

    list_display = ("name", "experiment", "weight", "version")
    list_select_related = ("experiment", "version")
    search_fields = ("name", "experiment__name")
    fields = ("experiment", "name", "weight", "version", "settings")
    ordering = ("-pk",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("version__metrics", "version__config")


def measures(report: ExperimentReport) -> list[dict[str, Any]]:
    """Return one table for each thing that is counted, with a row an arm; left out what never happened."""
    labels = {"clicked": _("Clicked"), "dismissed": _("Dismissed")}
    tables = []
    # What nobody hopes for comes last.
    for what in sorted(report.arms[0].rates if report.arms else (), key=lambda name: name == "dismissed"):
        rates = [arm.rates[what] for arm in report.arms]
        if what != "clicked" and not any(found.hits for found in rates):
            continue
        scale = Scale.of([found.high for found in rates if found.value is not None])
        rows = [_row(arm, what, scale) for arm in report.arms]
        tables.append({"label": labels.get(what) or verb_label(what), "rows": rows})
    return tables


def _row(arm: ArmReport, what: str, scale: Scale) -> dict[str, Any]:
    found = arm.rates[what]
    against = arm.differences.get(what)
    return {
        "arm": arm,
        "rate": found,
        "percent": None if found.value is None else 100 * found.value,
        "interval": (100 * found.low, 100 * found.high) if found.low is not None and found.high is not None else None,
        "difference": against,
        "points": None
        if against is None
        else {"value": 100 * against.value, "low": 100 * against.low, "high": 100 * against.high},
        "mark": mark(scale, found.value, (found.low, found.high)),
    }
