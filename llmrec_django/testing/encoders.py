"""Contract tests for a host's own encoder.

from llmrec_django.testing.encoders import EncoderContract

class TestOurEncoder(EncoderContract):
    backend = "ourapp.encoders.OurEncoder"
    options = {"model": "small"}
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmrec_django.engine.encoders import build_encoder
from llmrec_django.engine.encoders.base import Encoder
from llmrec_django.exceptions import EncoderError
from llmrec_django.types import EncoderSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

_PAIRS = (
    ("An introduction to statistics for biology students", "Statistics for students of biology, an introduction"),
    ("Cooking vegetable soup at home", "How to cook vegetable soup at home"),
    ("A history of railways in Europe", "The history of European railways"),
)
_HEAVY = "torch transformers onnxruntime onnx tokenizers sentence_transformers"


class EncoderContract:
    """What every encoder must hold; derive a test class from it and name the backend and its options."""

    backend: str = ""
    """Dotted path of the class, as in LLMREC["ENCODERS"]."""
    options: Mapping[str, Any] = {}
    tolerance: float = 1e-5
    """How far a vector may move when other texts share its batch (not asked of a deterministic encoder)."""

    _built: ClassVar[dict[tuple[str, str], Encoder]] = {}

    def get_options(self) -> Mapping[str, Any]:
        """Return the options; override it where they are known only at run time."""
        return self.options

    def make_encoder(self) -> Encoder:
        """Build the encoder as the app does."""
        return build_encoder(EncoderSpec("contract", self.backend, self.get_options()))

    @property
    def encoder(self) -> Encoder:
        """The encoder, built once: loading a model is slow."""
        key = (self.backend, repr(sorted(self.get_options().items())))
        if key not in self._built:
            self._built[key] = self.make_encoder()
        return self._built[key]

    def test_vectors_are_float32_rows_of_unit_length(self) -> None:
        for encode in (self.encoder.encode_documents, self.encoder.encode_queries):
            vectors = encode(["one", "two words", "and three words"])
            assert vectors.dtype == np.float32
            assert vectors.shape == (3, self.encoder.dimension)
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)

    def test_no_texts_give_no_rows(self) -> None:
        for encode in (self.encoder.encode_documents, self.encoder.encode_queries):
            assert encode([]).shape == (0, self.encoder.dimension)

    def test_the_order_of_texts_is_kept(self) -> None:
        # Of very different length, so that an encoder which sorts by length has something to sort.
        texts = [f"subject {number} " * (1 + (number * 7) % 13) for number in range(40)]
        together = self.encoder.encode_documents(texts)
        for number in (0, 1, 17, 39):
            alone = self.encoder.encode_documents([texts[number]])[0]
            assert np.argmax(together @ alone) == number

    def test_a_text_has_the_same_vector_in_any_company(self) -> None:
        text = "Linear algebra for engineers"
        alone = self.encoder.encode_documents([text])[0]
        among = self.encoder.encode_documents(["short", text, "a much longer text than the others " * 9])[1]
        if self.encoder.is_deterministic:
            assert np.array_equal(alone, among), "Set is_deterministic = False."
        else:
            assert float(np.abs(alone - among).max()) <= self.tolerance

    def test_texts_without_words_and_odd_characters_are_taken(self) -> None:
        texts = ["", " ", "\n\t", "!", "机器学习导论", "🎓", "e\u0301", "\ud800", "x" * 3000]
        vectors = self.encoder.encode_documents(texts)
        assert vectors.shape == (len(texts), self.encoder.dimension)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)

    def test_the_end_of_a_long_text_counts(self) -> None:
        beginning = "The history of railways in Europe. " * 80
        changed = beginning + "Cooking vegetable soup at home. " * 80
        long, other, end = self.encoder.encode_documents([beginning, changed, "Cooking vegetable soup at home."])
        assert other @ end > long @ end

    def test_like_texts_are_nearer_than_unlike_ones(self) -> None:
        first = self.encoder.encode_documents([one for one, _ in _PAIRS])
        second = self.encoder.encode_queries([other for _, other in _PAIRS])
        likeness = first @ second.T
        assert likeness.argmax(axis=1).tolist() == list(range(len(_PAIRS)))

    def test_the_id_is_stable_and_short(self) -> None:
        encoder_id = self.make_encoder().encoder_id
        assert 0 < len(encoder_id) <= 255
        assert encoder_id == self.make_encoder().encoder_id == self.encoder.encoder_id

    def test_an_unknown_option_is_refused(self) -> None:
        message = ""
        try:
            build_encoder(EncoderSpec("contract", self.backend, {**self.get_options(), "no_such_option": 1}))
        except EncoderError as exc:
            message = str(exc)
        assert "no_such_option" in message, "Unknown options must be refused, or a typing error goes unnoticed."

    def test_the_options_are_sound(self) -> None:
        assert self.encoder.check() == []

    def test_the_id_loads_no_model(self) -> None:
        code = (
            "import sys; from llmrec_django.engine.encoders import build_encoder; "
            "from llmrec_django.types import EncoderSpec; "
            f"build_encoder(EncoderSpec('contract', {self.backend!r}, {dict(self.get_options())!r})).encoder_id; "
            f"sys.exit(' '.join(name for name in {_HEAVY.split()!r} if name in sys.modules))"
        )
        run = subprocess.run(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert run.stderr.strip() == "", f"Asking for encoder_id imported or raised: {run.stderr}"
