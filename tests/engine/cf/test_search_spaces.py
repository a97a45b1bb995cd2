"""What is chosen for each model that learns from interactions alone."""

import numpy as np
import pytest

from llmrec_django.engine.cf.choose import choose
from llmrec_django.engine.evaluation.splits import leave_one_out
from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.services.training.sources import RECIPES

CHOSEN = {name: recipe for name, recipe in RECIPES.items() if recipe.module is not None}


@pytest.mark.parametrize("name", CHOSEN)
def test_every_value_that_is_tried_is_one_of_the_config(name):
    recipe = CHOSEN[name]
    for field, values in recipe.module.SEARCH_SPACE.items():
        assert hasattr(recipe.start, field)
        assert len(set(values)) == len(values)
    assert all(hasattr(recipe.start, field) for field in recipe.module.SCORING_FIELDS)


@pytest.mark.parametrize("name", CHOSEN)
def test_numbers_are_chosen_on_what_is_held_out(name):
    rng = np.random.default_rng(0)
    split = leave_one_out(InteractionLog.from_arrays(rng.integers(0, 40, 400), rng.integers(0, 30, 400)))
    module, start = CHOSEN[name].module, CHOSEN[name].start
    choice = choose(
        module.fit,
        start,
        module.SEARCH_SPACE,
        split,
        scoring_fields=module.SCORING_FIELDS,
        max_learners=10,
        time_limit_s=0.2,
    )
    assert choice.score >= choice.trials[0].score
    assert type(choice.config) is type(start)
