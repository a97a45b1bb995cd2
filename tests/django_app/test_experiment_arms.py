"""Two arms on a trained version: other weights, another placement, and each stored list names its own."""

import numpy as np
import pytest

from llmrec_django import api
from llmrec_django.models import Experiment, LearnerProfile, Placement, RecommendationList
from llmrec_django.services import scorer as scorer_module
from llmrec_django.services import training
from llmrec_django.services.experiments import assign
from llmrec_django.services.recommend import make_list
from tests.django_app.test_training import make_activity, make_resources, mixed_sequences

pytestmark = [pytest.mark.django_db, pytest.mark.model]

TEXTS = {"transitions": 0, "popularity": 0}
STEPS = {"content": 0, "popularity": 0}


@pytest.fixture
def version(trains, topics):
    trains("transitions", "content", "popularity", NEW_SHARE=0)
    make_activity(make_resources(topics), mixed_sequences(300))
    return training.train("default")


@pytest.fixture
def experiment(version):
    experiment = Experiment.objects.create(name="weights")
    experiment.arms.create(name="steps", settings={"blend": STEPS, "size": 4, "diversity": 0.0})
    experiment.arms.create(name="texts", settings={"blend": TEXTS, "size": 7, "diversity": 0.0})
    Placement.objects.create(name="home", size=10, experiment=experiment)
    return experiment


def by_arm(experiment):
    place = Placement.objects.get()
    found = {}
    for learner in LearnerProfile.objects.order_by("pk"):
        found.setdefault(assign(place, learner).arm, learner)
    return found


def test_each_arm_makes_its_list_its_own_way_and_the_list_says_which(experiment, version):
    learners = by_arm(experiment)
    assert set(learners) == {"steps", "texts"}
    for arm, size in (("steps", 4), ("texts", 7)):
        result = api.recommend(learners[arm], placement="home")
        assert len(result) == size
        assert {item.source for item in result} == {"trained"}
        stored = RecommendationList.objects.get(pk=result.recommendation_id)
        assert (stored.arm, stored.experiment, stored.version, stored.k) == (arm, experiment, version, size)


def test_the_same_learner_gets_another_list_in_the_other_arm(experiment):
    learner = by_arm(experiment)["steps"]
    lists = {}
    for arm, other in (("steps", "texts"), ("texts", "steps")):
        experiment.arms.filter(name=arm).update(weight=1)
        experiment.arms.filter(name=other).update(weight=0)
        result = api.recommend(learner, placement="home", k=4)
        assert RecommendationList.objects.get(pk=result.recommendation_id).arm == arm
        lists[arm] = [item.resource.pk for item in result]
    assert lists["steps"] != lists["texts"]


@pytest.mark.parametrize(("arm", "silent"), [("steps", STEPS), ("texts", TEXTS)])
def test_the_weights_are_those_of_the_arm(experiment, version, arm, silent):
    learner = by_arm(experiment)[arm]
    served = scorer_module.scorer_of(version).mix.blend
    made = make_list(learner, placement="home")
    used = made.basis.scored.basis().scorer.mix.blend
    for place, name in enumerate(served.sources):
        before, after = (blend.weights[:, place] for blend in (served, used))
        if name in silent:
            assert not np.any(after), name
        else:
            assert np.array_equal(before, after), name
    # And so the reasons: what has no weight added nothing.
    for item in made.items:
        assert not silent.keys() & {name for name, value in item.evidence.parts.items() if value}
