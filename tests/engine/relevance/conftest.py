import numpy as np
import pytest

from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.relevance.config import RelevanceConfig


@pytest.fixture
def small():
    """A configuration that trains in a second."""
    return RelevanceConfig(
        embedding_size=32,
        layers=1,
        heads=2,
        hidden_size=48,
        max_length=8,
        feature_size=8,
        dropout=0.1,
        batch_positions=128,
        max_epochs=30,
        patience=5,
        learning_rate=5e-3,
    )


@pytest.fixture
def cycle():
    """200 learners walk around a ring of 12 resources, each from a place of its own: i is followed by i + 1.

    Every resource is met at most once by a learner (walks are shorter than the ring).
    """
    rng = np.random.default_rng(3)
    learners, resources, times = [], [], []
    for learner in range(200):
        start, length = rng.integers(12), rng.integers(4, 11)
        for step in range(length):
            learners.append(learner)
            resources.append((start + step) % 12)
            times.append(86400.0 * step)
    return InteractionLog.from_arrays(learners, resources, times=times, n_resources=12)


@pytest.fixture
def checkerboard():
    """200 learners of two tastes: even ones meet even resources, odd ones odd resources, in any order."""
    rng = np.random.default_rng(4)
    learners, resources = [], []
    for learner in range(200):
        chosen = rng.permutation(np.arange(learner % 2, 24, 2))[: rng.integers(4, 9)]
        learners += [learner] * len(chosen)
        resources += chosen.tolist()
    return InteractionLog.from_arrays(learners, resources, n_resources=24)
