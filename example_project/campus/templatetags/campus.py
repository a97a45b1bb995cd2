"""Words for things that templates know by a short name only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from example_project.campus.catalogue import MATERIALS, materials_of

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable

    from llmrec_django.types import Recommendation

register = template.Library()


@register.filter
def kind_label(kind: str) -> str:
    model = MATERIALS.get(kind)
    return model.kind_name() if model else kind


@register.filter
def with_materials(items: Iterable[Recommendation]) -> list[tuple[Recommendation, Any]]:
    """Return the recommendations whose row the campus still has, each with that row."""
    materials = {(material.kind, str(material.pk)): material for material in materials_of(i.resource for i in items)}
    pairs = [(item, materials.get((item.resource.kind, item.resource.object_id))) for item in items]
    return [(item, material) for item, material in pairs if material is not None]


@register.filter
def verb_label(verb: str) -> str:
    labels = {
        "viewed": pgettext("you did", "viewed"),
        "clicked": pgettext("you did", "opened"),
        "enrolled": pgettext("you did", "enrolled in"),
        "progressed": pgettext("you did", "worked on"),
        "completed": pgettext("you did", "completed"),
        "rated": pgettext("you did", "rated"),
        "borrowed": pgettext("you did", "borrowed"),
        "bookmarked": pgettext("you did", "bookmarked"),
    }
    return labels.get(verb, verb)


@register.filter
def timesince_short(moment: datetime.datetime) -> str:
    """Return how long ago something was, in its largest unit."""
    if (timezone.now() - moment).total_seconds() < 60:
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(moment, depth=1)}
