"""Why a learner is recommended what they are, in full: for the people who run the site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrec_django.models import RecommendationItem, RecommendationList, Resource
from llmrec_django.retrieval.candidates import words
from llmrec_django.retrieval.eligibility import everything
from llmrec_django.retrieval.exclusion import excluded_by
from llmrec_django.services.ranking import OVERFETCH
from llmrec_django.services.recommend import make_list
from llmrec_django.services.results import HIDDEN_COLUMNS
from llmrec_django.services.standing import Standing, standings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.models import LearnerProfile
    from llmrec_django.services.recommend import MadeList
    from llmrec_django.types import Recommendation

LISTS = 100
"""So many of the lists that the learner was given last are searched for a resource."""
LEFT_OUT = 10
"""So many that would stand high and may not be shown are named, at most."""
FOUND = 5
"""So many resources are offered for words that are typed."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One resource: where it stands for the learner, and why it is in the list or is not."""

    resource: Resource
    standing: Standing
    item: Recommendation | None = None
    """As it is in the list; None: it is not."""
    by_score: int | None = None
    """Its place among what may be shown by score alone, before level, diversity and places for new resources."""
    excluded: tuple[str, ...] = ()
    """Rules that keep it from the learner; see `retrieval.exclusion`."""
    served: RecommendationItem | None = None
    """The last time it was in a list of the learner's that was kept, among the latest of those."""


@dataclass(frozen=True, slots=True)
class Why:
    """The list that a learner would get now, and everything behind it."""

    made: MadeList
    listed: tuple[Explained, ...]
    """The list itself, in its order."""
    left_out: tuple[Explained, ...]
    """What stands as high by score but may not be shown, best first."""
    asked: tuple[Explained, ...]
    """What was asked about besides, in the order asked."""
    is_blended: bool
    """A trained version made it."""


def why(learner: LearnerProfile, *, placement: str = "", resource_ids: Sequence[int] = ()) -> Why | None:
    """Make the list that `recommend` would give a learner now and explain it; nothing is stored.

    The list is made by the code that serves it. Places that are drawn by lot are shown before the draw.

    Args:
        placement: Where the list would be shown; "" for no named place.
        resource_ids: Resources to be explained too, whether or not they are in the list.

    Returns:
        None where the learner gets no list: while recommendations or the placement are switched off.
    """
    made = make_list(learner, placement=placement)
    if made is None:
        return None
    listed = [item.resource.pk for item in made.items]
    wanted = list(dict.fromkeys([*listed, *resource_ids]))
    found = standings(made.basis, made.audience.tenant, wanted, made.size + LEFT_OUT)
    excluded = excluded_by(made.audience, [*wanted, *found.best])
    left_out = [pk for pk in found.best if excluded[pk] and pk not in resource_ids][:LEFT_OUT]
    eligibility, scored = made.basis.eligibility, made.basis.scored
    by_score: dict[int, int] = {}
    if scored is not None and eligibility is not None and not eligibility.is_empty:
        best = scored.best(eligibility, made.size * OVERFETCH)
        by_score = {pk: place for place, (pk, _) in enumerate(best, start=1)}
    others = [pk for pk in (*resource_ids, *left_out) if pk not in listed]
    rows = Resource.objects.defer(*HIDDEN_COLUMNS).in_bulk(others)
    rows |= {item.resource.pk: item.resource for item in made.items}
    items = {item.resource.pk: item for item in made.items}
    served = _served(learner, list(rows))

    def explained(ids: Sequence[int]) -> tuple[Explained, ...]:
        return tuple(
            Explained(rows[pk], found.by_resource[pk], items.get(pk), by_score.get(pk), excluded[pk], served.get(pk))
            for pk in ids
            if pk in rows
        )

    return Why(
        made=made,
        listed=explained(listed),
        left_out=explained(left_out),
        asked=explained(list(dict.fromkeys(resource_ids))),
        is_blended=found.is_blended,
    )


def _served(learner: LearnerProfile, resource_ids: Sequence[int]) -> dict[int, RecommendationItem]:
    """Return the last item of each resource in the learner's latest lists, with its list, version and experiment."""
    lists = RecommendationList.objects.filter(learner=learner).order_by("-created_at").values("pk")[:LISTS]
    rows = (
        RecommendationItem.objects.filter(list__in=lists, resource__in=resource_ids)
        .select_related("list__version", "list__experiment")
        .defer("evidence", "components", "list__version__metrics", "list__version__config")
        .order_by("list__created_at")
    )
    return {row.resource_id: row for row in rows}


def find_resources(tenant: str, text: str) -> list[Resource]:
    """Return the resources that somebody means: by key, else by number, else those whose words fit best.

    Raises:
        DatabaseError: so many resources hold the words that looking took too long.
    """
    text = text.strip()
    if not text:
        return []
    own = Resource.objects.in_tenant(tenant).defer(*HIDDEN_COLUMNS)
    exact = list(own.filter(key=text))
    if not exact and text.isascii() and text.isdigit() and len(text) < 19:
        exact = list(own.filter(pk=int(text)))
    if exact:
        return exact
    ids = [pk for pk, _ in words(text, everything(tenant), FOUND)]
    rows = own.in_bulk(ids)
    return [rows[pk] for pk in ids if pk in rows]
