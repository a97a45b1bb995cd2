import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open

from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.relevance.artifact import GRAPH, MANIFEST, TENSORS
from llmrec_django.engine.relevance.export import export_model
from llmrec_django.engine.relevance.item_features import Whitening
from llmrec_django.engine.relevance.scoring import learner_vectors
from llmrec_django.engine.relevance.serve import open_scorer
from llmrec_django.engine.relevance.train import fit
from llmrec_django.exceptions import ArtifactError, DimensionMismatch


@pytest.fixture(scope="module")
def text_vectors():
    vectors = np.random.default_rng(0).normal(size=(24, 16)).astype(np.float32)
    vectors[5] = 0
    return vectors


@pytest.fixture
def trained(checkerboard, small, text_vectors, tmp_path):
    whitening = Whitening.fit(text_vectors, 8)
    profiles = np.random.default_rng(1).normal(size=(200, 16)).astype(np.float32)
    profiles[::3] = 0
    model = fit(small, checkerboard, whitening(text_vectors), profiles=whitening(profiles), epochs=1).model
    digest = export_model(
        model, whitening, tmp_path / "v1", description={"verbs": ["met"]}, arrays={"ids": np.arange(24) + 100}
    )
    return model, whitening, profiles, tmp_path / "v1", digest


def walk(length, n_learners=3):
    """Learners with 0 .. length interactions: batches of several lengths."""
    rng = np.random.default_rng(2)
    lengths = [length] + [rng.integers(0, length + 1) for _ in range(n_learners - 1)]
    learners = np.repeat(np.arange(n_learners), lengths)
    return InteractionLog.from_arrays(
        learners,
        np.arange(len(learners)) % 24,
        times=np.cumsum(rng.integers(10, 10**6, len(learners))).astype(float),
        values=np.where(rng.random(len(learners)) < 0.5, np.nan, 0.5),
        n_learners=n_learners,
        n_resources=24,
    )


@pytest.mark.parametrize("length", [0, 1, 7, 8, 30])
@pytest.mark.parametrize("n_learners", [1, 3])
def test_serves_what_was_trained(trained, length, n_learners):
    model, whitening, profiles, folder, digest = trained
    scorer = open_scorer(folder, digest)
    log, rows = walk(length, n_learners), np.arange(n_learners)
    expected = learner_vectors(model, log, rows, profiles=whitening(profiles))
    found = scorer.learner_vectors(log, rows, scorer.resource_matrix(), profiles=profiles)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(scorer.resource_matrix(), model.resource_vectors().detach().numpy(), atol=1e-6)


def test_a_batch_gives_what_each_learner_alone_gives(trained):
    *_, folder, _ = trained
    scorer = open_scorer(folder)
    log = walk(12, n_learners=9)
    together = scorer.learner_vectors(log, np.arange(9), scorer.resource_matrix())
    for learner in range(9):
        alone = scorer.learner_vectors(log, np.array([learner]), scorer.resource_matrix())
        np.testing.assert_allclose(alone[0], together[learner], atol=1e-5)


def history(*resources):
    times = np.arange(len(resources)) * 9e4
    return InteractionLog.from_arrays(
        np.zeros(len(resources), dtype=int), resources, times=times, n_learners=1, n_resources=24
    )


@pytest.mark.parametrize("resources", [(), (3,), (3, 4, 5, 6), (1, 7, 7, 7), range(20)])
def test_a_learner_without_the_latest_and_without_all_is_one_with_a_shorter_history(trained, resources):
    *_, profiles, folder, _ = trained
    scorer = open_scorer(folder)
    log = history(*resources)
    # From what is read: without the latest there would be room for one that is older.
    read = log.without_pings().take_last(scorer.config.max_length)

    def state(some):
        return scorer.learner_vectors(some, np.array([0]), scorer.resource_matrix(), profiles=profiles[1:2])[0]

    states = scorer.without_each(log, log.resources[-1:], scorer.resource_matrix(), profile=profiles[1:2])
    assert states.shape == (2 + min(1, len(resources)), 32)
    np.testing.assert_allclose(states[0], state(log), atol=1e-5)
    for without_latest in states[1:-1]:
        np.testing.assert_allclose(without_latest, state(read.drop_last(1)), atol=1e-5)
    np.testing.assert_allclose(states[-1], state(log.take(np.zeros(0, dtype=np.int64))), atol=1e-5)


def test_a_resource_is_left_out_wherever_it_was_met(trained):
    *_, folder, _ = trained
    scorer = open_scorer(folder)
    matrix = scorer.resource_matrix()
    found = scorer.without_each(history(1, 2, 4, 5, 4), np.array([4, 5]), matrix)
    without_last = scorer.learner_vectors(history(1, 2, 4, 5), np.array([0]), matrix)[0]
    assert np.abs(found[1] - without_last).max() > 1e-4, "the first 4 is left out too"
    # Without both the history ends with 5, which is read as it is read with one 4 before.
    np.testing.assert_allclose(found[1], scorer.without_each(history(1, 2, 4, 5), np.array([4]), matrix)[1], atol=1e-5)
    assert np.abs(found[2] - found[0]).max() > 1e-4


def test_a_new_resource_has_a_vector_from_its_text(trained, text_vectors):
    import torch

    model, _, _, folder, _ = trained
    scorer = open_scorer(folder)
    with torch.no_grad():
        expected = model.resource_vectors(own=torch.zeros(24, dtype=torch.bool)).numpy()
    # The same text as one in training borrows from that one; in training it may not borrow from itself.
    new = scorer.resource_vectors(text_vectors + 0.05 * text_vectors[::-1])
    likeness = (new * expected).sum(axis=1) / np.linalg.norm(new, axis=1) / np.linalg.norm(expected, axis=1)
    # Far above chance, which is 0; how far differs between processors.
    assert np.median(likeness) > 0.5
    with pytest.raises(DimensionMismatch, match="16 dimensions"):
        scorer.resource_vectors(np.ones((1, 5), np.float32))


def test_keeps_what_the_caller_put_beside_it(trained):
    *_, folder, digest = trained
    scorer = open_scorer(folder, digest)
    assert scorer.description == {"verbs": ["met"]}
    assert scorer.arrays("ids").tolist() == list(range(100, 124))


@pytest.mark.parametrize("name", [MANIFEST, GRAPH, TENSORS])
@pytest.mark.parametrize("harm", ["missing", "changed", "empty"])
def test_a_damaged_folder_is_refused(trained, name, harm):
    *_, folder, digest = trained
    path = folder / name
    if harm == "missing":
        path.unlink()
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="Cannot load relevance model"):
        open_scorer(folder, digest)


def test_a_folder_of_another_run_is_refused(trained):
    *_, folder, _ = trained
    with pytest.raises(ArtifactError, match="not what was written"):
        open_scorer(folder, "0" * 64)


def test_exporting_again_replaces_the_whole(trained, checkerboard, small, text_vectors):
    model, whitening, _, folder, digest = trained
    (folder / "stray").write_text("left by somebody")
    again = export_model(model, whitening, folder, description={"run": 2})
    assert again != digest
    assert sorted(path.name for path in folder.iterdir()) == sorted([MANIFEST, GRAPH, TENSORS])
    assert [path.name for path in folder.parent.iterdir()] == ["v1"]
    assert open_scorer(folder, again).description == {"run": 2}


def test_serving_needs_no_torch(trained):
    *_, folder, digest = trained
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from llmrec_django.engine.interactions import InteractionLog\n"
        "from llmrec_django.engine.relevance.serve import open_scorer\n"
        f"scorer = open_scorer(Path({str(folder)!r}), {digest!r})\n"
        "log = InteractionLog.from_arrays([0, 0], [3, 4], n_resources=24)\n"
        "assert scorer.learner_vectors(log, np.array([0]), scorer.resource_matrix()).shape == (1, 32)\n"
        "heavy = {'torch', 'django', 'scipy', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_learner_is_in_the_files(checkerboard, small, text_vectors, tmp_path):
    whitening = Whitening.fit(text_vectors, 8)
    config = dataclasses.replace(small, learner_embeddings=True)
    model = fit(config, checkerboard, whitening(text_vectors), epochs=1).model
    export_model(model, whitening, tmp_path / "v1")
    with safe_open(str(tmp_path / "v1" / TENSORS), framework="numpy") as tensors:
        names = list(tensors.keys())
    assert "weights.adaptor.weight" in names
    assert not [name for name in names if "learner." in name]
    log, rows = walk(7), np.arange(3)
    found = open_scorer(tmp_path / "v1").learner_vectors(log, rows, model.resource_vectors().detach().numpy())
    expected = learner_vectors(model, log, rows, with_learner_embedding=False)
    np.testing.assert_allclose(found, expected, atol=1e-4)
