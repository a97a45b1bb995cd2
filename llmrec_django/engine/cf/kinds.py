"""Every model that learns from interactions alone, and which of them suit a log."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from llmrec_django.engine.cf import ease, ials, item_knn, linear_next, popularity, transitions, user_knn
from llmrec_django.engine.cf.choose import Choice, choose
from llmrec_django.engine.cf.item_to_item import ItemToItemModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmrec_django.engine.evaluation.splits import Split
    from llmrec_django.engine.interactions import InteractionLog

MAX_LEARNERS_FOR_USER_KNN = 200_000
"""Above so many learners each question would meet too many neighbours."""


@dataclass(frozen=True, slots=True)
class ModelKind:
    """One way to learn from interactions: how it is fitted, chosen and stored."""

    name: str
    start: Any
    """Its config with the values that the search begins at."""
    fit: Callable[..., Any]
    """(log, config) → a scorer with `to_arrays`."""
    model: Any
    """Class of the scorer; its `from_arrays` loads what `to_arrays` gave."""
    search_space: Mapping[str, tuple[Any, ...]]
    scoring_fields: tuple[str, ...]

    def choose(self, split: Split, **options: Any) -> Choice[Any]:
        """Choose the config on a split; options as in `choose`."""
        return choose(self.fit, self.start, self.search_space, split, scoring_fields=self.scoring_fields, **options)


def _kind(name: str, module: Any, start: Any, model: Any) -> ModelKind:
    return ModelKind(name, start, module.fit, model, module.SEARCH_SPACE, module.SCORING_FIELDS)


POPULARITY = ModelKind("popularity", popularity.PopularityConfig(), popularity.fit, popularity.PopularityModel, {}, ())
POPULAR_LATELY = _kind(
    "popular lately", popularity, popularity.PopularityConfig(half_life_days=30.0), popularity.PopularityModel
)
ITEM_KNN = _kind("item-kNN", item_knn, item_knn.ItemKnnConfig(), ItemToItemModel)
USER_KNN = _kind("user-kNN", user_knn, user_knn.UserKnnConfig(), user_knn.UserKnnModel)
TRANSITIONS = _kind("transitions", transitions, transitions.TransitionsConfig(), ItemToItemModel)
LINEAR_NEXT = _kind("linear next", linear_next, linear_next.LinearNextConfig(), ItemToItemModel)
EASE = _kind("EASE", ease, ease.EaseConfig(), ItemToItemModel)
IALS = _kind("iALS", ials, ials.IalsConfig(), ials.IalsModel)


def kinds_for(log: InteractionLog, *, max_dense_resources: int = ease.MAX_RESOURCES) -> tuple[ModelKind, ...]:
    """Name the models worth fitting on a log, cheapest first.

    EASE and the linear next-step model up to `max_dense_resources`, factorisation above it where `implicit` is
    installed; popular lately where there is a clock.
    """
    kinds = [POPULARITY]
    if log.has_clock:
        kinds.append(POPULAR_LATELY)
    kinds += [TRANSITIONS, ITEM_KNN]
    if log.n_learners <= MAX_LEARNERS_FOR_USER_KNN:
        kinds.append(USER_KNN)
    if log.n_resources <= max_dense_resources:
        kinds += [EASE, LINEAR_NEXT]
    elif find_spec("implicit") is not None:
        kinds.append(IALS)
    return tuple(kinds)
