from dataclasses import dataclass

import numpy as np

from llmrec_django.engine.cf.choose import choose
from llmrec_django.engine.cf.item_to_item import ItemToItemModel
from llmrec_django.engine.evaluation.splits import leave_one_out
from llmrec_django.engine.interactions import InteractionLog


@dataclass(frozen=True, slots=True)
class Config:
    shift: int = 1
    decay: float = 1.0
    max_history: int = 5


def split(n_learners: int = 60, n_resources: int = 12):
    """Everybody takes steps of three."""
    learners = np.repeat(np.arange(n_learners), 3)
    resources = (np.arange(n_learners)[:, None] + 3 * np.arange(3)).ravel() % n_resources
    return leave_one_out(InteractionLog.from_arrays(learners, resources))


class Fit:
    """Predicts a step of `shift`; counts how often it was fitted."""

    def __init__(self, failing: tuple[int, ...] = ()) -> None:
        self.fits: list[int] = []
        self.failing = failing

    def __call__(self, log: InteractionLog, config: Config) -> ItemToItemModel:
        self.fits.append(config.shift)
        if config.shift in self.failing:
            raise np.linalg.LinAlgError("no")
        near = np.abs(np.arange(log.n_resources) - config.shift) + 1.0
        matrix = np.stack([np.roll(1 / near, row) for row in range(log.n_resources)]).astype(np.float32)
        return ItemToItemModel(matrix, decay=config.decay, max_history=config.max_history)


def test_it_climbs_to_the_best_value_and_keeps_every_trial():
    choice = choose(Fit(), Config(), {"shift": (0, 1, 2, 3, 4, 5)}, split())
    assert choice.config.shift == 3
    assert choice.score == max(trial.score for trial in choice.trials)
    assert choice.trials[0].config == Config()
    assert choice.is_complete


def test_fields_that_only_change_scores_need_no_other_fit():
    fit = Fit()
    choose(fit, Config(3), {"decay": (0.25, 0.5, 1.0)}, split(), scoring_fields=("decay", "max_history"))
    assert fit.fits == [3]


def test_a_start_outside_the_space_can_win():
    choice = choose(Fit(), Config(3), {"shift": (0, 1, 5)}, split())
    assert choice.config.shift == 3


def test_a_fit_that_fails_is_a_bad_trial():
    choice = choose(Fit(failing=(2,)), Config(3), {"shift": (2, 3, 4)}, split())
    assert choice.config.shift == 3
    assert -np.inf in [trial.score for trial in choice.trials]


def test_out_of_time_the_best_so_far_is_returned():
    choice = choose(Fit(), Config(), {"shift": (0, 1, 2, 3)}, split(), time_limit_s=-1)
    assert choice.config == Config()
    assert len(choice.trials) == 1
    assert not choice.is_complete


def test_the_same_seed_draws_the_same_learners():
    first, second = (choose(Fit(), Config(), {"shift": (1, 2)}, split(), max_learners=7, seed=3) for _ in range(2))
    assert [trial.score for trial in first.trials] == [trial.score for trial in second.trials]
