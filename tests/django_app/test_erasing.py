"""Learners who are gone leave the files of trained versions too."""

import numpy as np
import pytest

from llmrec_django.models import LearnerProfile, ModelVersion
from llmrec_django.services import artifacts, training
from llmrec_django.services.erasing import erase_forgotten
from llmrec_django.services.insight import forget_deed, reset
from llmrec_django.services.privacy import forget_learner
from llmrec_django.services.recommend import recommend
from llmrec_django.services.scorer import scorer_of
from llmrec_django.services.training.dataset import load_dataset
from llmrec_django.services.training.sources import Asked
from tests.django_app.test_training import make_activity, make_resources, mixed_sequences

pytestmark = pytest.mark.django_db


@pytest.fixture
def learners(trains, topics):
    trains("user_knn", "content", "popularity")
    learners = make_activity(make_resources(topics), mixed_sequences(300))
    version = training.train("default")
    assert version.status == "active", version.why
    return learners


def held():
    """Learner → resources, as the files of the version that serves have them."""
    version = ModelVersion.objects.get(status="active")
    folder = artifacts.fetch(version)
    ids = np.load(folder / "learner_ids.npy")
    indices, indptr = np.load(folder / "user_knn.indices.npy"), np.load(folder / "user_knn.indptr.npy")
    return {int(pk): indices[indptr[row] : indptr[row + 1]].tolist() for row, pk in enumerate(ids)}


def test_who_is_forgotten_opts_out_or_starts_anew_is_in_no_file(learners):
    before = held()
    assert set(before) == {learner.pk for learner in learners}
    kept = {pk: before[pk] for pk in [learner.pk for learner in learners[3:]]}
    forget_learner(LearnerProfile.objects.get(pk=learners[0].pk))
    LearnerProfile.objects.filter(pk=learners[1].pk).update(personalise=False)
    reset(LearnerProfile.objects.get(pk=learners[2].pk))
    assert erase_forgotten(dry_run=True) == 3
    assert held() == before
    assert erase_forgotten() == 3
    after = held()
    assert after.pop(-1) == []
    assert after == kept
    assert erase_forgotten() == 0


def test_who_took_a_deed_back_since_is_in_no_file(learners):
    before = held()
    version = ModelVersion.objects.get(status="active")
    first, second = (LearnerProfile.objects.get(pk=learner.pk) for learner in learners[:2])
    for learner in (first, second):
        assert forget_deed(learner, learner.interactions.first().resource.key) > 0
    # This one did before the training: the version knows nothing of it.
    second.forgotten_deeds.update(forgotten_at=version.created_at)
    assert erase_forgotten() == 1
    assert held() == {pk: row for pk, row in before.items() if pk != first.pk} | {-1: []}
    assert erase_forgotten() == 0


def test_the_version_serves_on_without_them(learners):
    version = ModelVersion.objects.get(status="active")
    asked = Asked.of(load_dataset("default").log, np.arange(5))
    source = next(source for source in scorer_of(version).sources if source.name == "user_knn")
    before = source.score(asked)
    for learner in learners[100:]:
        learner.delete()
    erase_forgotten()
    version.refresh_from_db()
    source = next(source for source in scorer_of(version).sources if source.name == "user_knn")
    after = source.score(asked)
    assert np.nansum(after) < np.nansum(before)
    assert recommend(learners[0], k=5)


def test_the_old_archive_and_what_was_unpacked_of_it_are_gone(learners, tmp_path):
    version = ModelVersion.objects.get(status="active")
    old = artifacts.fetch(version)
    learners[0].delete()
    erase_forgotten()
    version.refresh_from_db()
    assert not old.exists()
    assert [path.name for path in tmp_path.glob("versions/*.zip")] == [version.artifact.removeprefix("versions/")]
    artifacts.verify(version)


def test_a_version_without_files_is_left_alone(learners):
    version = ModelVersion.objects.get(status="active")
    artifacts.delete(version)
    learners[0].delete()
    assert erase_forgotten() == 0
