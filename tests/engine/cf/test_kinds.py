import numpy as np
import pytest

from llmrec_django.engine.cf import kinds
from llmrec_django.engine.evaluation.splits import leave_one_out
from llmrec_django.engine.interactions import InteractionLog

ALL = [value for value in vars(kinds).values() if isinstance(value, kinds.ModelKind)]


def log(*, with_clock: bool = True) -> InteractionLog:
    rng = np.random.default_rng(0)
    times = np.arange(400.0) if with_clock else None
    return InteractionLog.from_arrays(rng.integers(0, 40, 400), rng.integers(0, 30, 400), times=times)


def names(*args, **options) -> list[str]:
    return [kind.name for kind in kinds.kinds_for(*args, **options)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_every_kind_is_chosen_fitted_stored_and_loaded_the_same_way(kind):
    split = leave_one_out(log())
    choice = kind.choose(split, max_learners=10, time_limit_s=0.2)
    model = kind.fit(split.train, choice.config)
    histories = split.histories()[:3]
    again = kind.model.from_arrays(model.to_arrays())
    np.testing.assert_array_equal(again.score(histories), model.score(histories))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_every_field_of_a_search_space_is_one_of_the_config(kind):
    for field, values in kind.search_space.items():
        assert hasattr(kind.start, field)
        assert len(set(values)) == len(values)
    assert all(hasattr(kind.start, field) for field in kind.scoring_fields)


def test_what_needs_a_dense_matrix_is_left_out_above_its_bound():
    assert {"EASE", "linear next"} <= set(names(log()))
    large = names(log(), max_dense_resources=10)
    assert not {"EASE", "linear next"} & set(large)
    assert {"transitions", "item-kNN", "iALS"} <= set(large)


def test_without_a_clock_there_is_no_lately():
    assert "popular lately" in names(log())
    assert "popular lately" not in names(log(with_clock=False))


def test_names_are_distinct():
    assert len({kind.name for kind in ALL}) == len(ALL) == 8
