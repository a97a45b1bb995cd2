import numpy as np
import pytest

from llmrec_django.engine.relevance.item_features import Whitening
from llmrec_django.exceptions import DimensionMismatch


def vectors(n=300, width=12, seed=0):
    """Sentence-like vectors: a common direction, and spread that falls from dimension to dimension."""
    rng = np.random.default_rng(seed)
    return (3 + rng.normal(size=(n, width)) * np.geomspace(1, 0.01, width)).astype(np.float32)


def test_whitened_rows_have_unit_length_and_no_common_direction():
    features = Whitening.fit(vectors(), 6)(vectors())
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(features.mean(axis=0)) < 0.15


@pytest.mark.parametrize(("strength", "expected"), [(0, 1), (0.5, 0.5), (1, 0)])
def test_strength_levels_the_spread(strength, expected):
    whitening = Whitening.fit(vectors(), 6, strength)
    projected = (vectors() - whitening.mean) @ whitening.matrix
    plain = (vectors() - whitening.mean) @ Whitening.fit(vectors(), 6, 0).matrix
    ratio = np.log(projected.std(axis=0)[0] / projected.std(axis=0)[-1])
    assert ratio == pytest.approx(expected * np.log(plain.std(axis=0)[0] / plain.std(axis=0)[-1]), abs=0.01)


def test_no_text_stays_no_text():
    texts = vectors()
    texts[3] = 0
    features = Whitening.fit(texts, 6)(texts)
    assert not features[3].any()
    assert features[4].any()


def test_a_phrase_shared_by_many_counts_once():
    texts = vectors()
    flooded = np.concatenate([texts, np.repeat(texts[:1], 5000, axis=0), np.zeros((50, 12), np.float32)])
    np.testing.assert_allclose(Whitening.fit(flooded, 6)(texts), Whitening.fit(texts, 6)(texts), atol=1e-3)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_a_tiny_catalogue_gives_as_many_columns_as_a_large_one(n):
    features = Whitening.fit(vectors(n), 8)(vectors(4, seed=1))
    assert features.shape == (4, 8)
    assert np.isfinite(features).all()


def test_more_columns_than_the_encoder_has_are_filled_with_zeros():
    assert Whitening.fit(vectors(), 20)(vectors(4)).shape == (4, 20)


def test_equal_catalogues_give_equal_maps():
    np.testing.assert_array_equal(Whitening.fit(vectors(), 6).matrix, Whitening.fit(vectors(), 6).matrix)


def test_vectors_of_another_encoder_are_refused():
    with pytest.raises(DimensionMismatch, match="12 dimensions"):
        Whitening.fit(vectors(), 6)(np.ones((2, 7), np.float32))
