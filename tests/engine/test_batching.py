import numpy as np
import pytest

from llmrec_django.engine.encoders.batching import TokenWindows, embed_texts, join_pieces
from llmrec_django.exceptions import EncoderError

tokenizers = pytest.importorskip("tokenizers")
CLS, SEP, PAD = 1, 2, 0
WORDS = {"[PAD]": PAD, "[CLS]": CLS, "[SEP]": SEP, "[UNK]": 3, "query:": 4} | {f"w{n}": 10 + n for n in range(50)}


@pytest.fixture
def tokenizer():
    """One token a word, [CLS] before and [SEP] after."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    # What a folder's tokenizer.json may ask for; both would spoil the cutting.
    made.enable_truncation(5)
    made.enable_padding(length=9)
    return made


def words(first, last):
    return " ".join(f"w{n}" for n in range(first, last))


def ids(first, last):
    return [10 + n for n in range(first, last)]


def test_a_text_that_fits_is_one_piece(tokenizer):
    pieces = TokenWindows(tokenizer, max_tokens=8).cut([words(0, 6), words(0, 2)])
    assert pieces.tokens == [[CLS, *ids(0, 6), SEP], [CLS, *ids(0, 2), SEP]]
    assert pieces.owners.tolist() == [0, 1]
    assert pieces.weights.tolist() == [6, 2]


def test_a_longer_text_is_cut_by_tokens_with_special_tokens_in_each_piece(tokenizer):
    pieces = TokenWindows(tokenizer, max_tokens=8).cut([words(0, 13), "w1"])
    assert pieces.tokens == [
        [CLS, *ids(0, 6), SEP],
        [CLS, *ids(6, 12), SEP],
        [CLS, *ids(12, 13), SEP],
        [CLS, *ids(1, 2), SEP],
    ]
    assert pieces.owners.tolist() == [0, 0, 0, 1]
    assert pieces.weights.tolist() == [6, 6, 1, 1]


def test_the_prefix_is_in_each_piece_and_has_no_weight(tokenizer):
    pieces = TokenWindows(tokenizer, max_tokens=8).cut([words(0, 7)], "query: ")
    assert pieces.tokens == [[CLS, 4, *ids(0, 5), SEP], [CLS, 4, *ids(5, 7), SEP]]
    assert pieces.weights.tolist() == [5, 2]


def test_neighbouring_pieces_share_the_overlap_and_none_is_overlap_only(tokenizer):
    cut = TokenWindows(tokenizer, max_tokens=8, overlap=2).cut
    assert cut([words(0, 10)]).tokens == [[CLS, *ids(0, 6), SEP], [CLS, *ids(4, 10), SEP]]
    assert cut([words(0, 7)]).tokens == [[CLS, *ids(0, 6), SEP], [CLS, *ids(4, 7), SEP]]


def test_an_empty_text_is_its_special_tokens(tokenizer):
    pieces = TokenWindows(tokenizer, max_tokens=8).cut(["", " "])
    assert pieces.tokens == [[CLS, SEP], [CLS, SEP]]
    assert pieces.weights.tolist() == [1, 1]


def test_an_empty_text_is_something_even_without_special_tokens(tokenizer):
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="$A", special_tokens=[])
    assert TokenWindows(tokenizer, max_tokens=8).cut([""]).tokens == [[0]]


def test_a_window_without_room_is_refused(tokenizer):
    with pytest.raises(EncoderError, match="no room"):
        TokenWindows(tokenizer, max_tokens=4, overlap=2).cut(["w1"])


def test_texts_are_lower_cased_where_the_model_asks_for_it(tokenizer):
    assert TokenWindows(tokenizer, max_tokens=8, lowercase=True).cut(["W1"]).tokens == [[CLS, 11, SEP]]


class Recorder:
    """Stands in for a model: a piece's vector says how many tokens it has, and every batch is written down."""

    def __init__(self):
        self.shapes = []

    def __call__(self, ids, mask):
        self.shapes.append(ids.shape)
        assert (ids[mask == 0] == PAD).all()
        vectors = np.stack([mask.sum(1), np.ones(len(mask))], axis=1).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embed(tokenizer, texts, budget, **options):
    record = Recorder()
    vectors = embed_texts(
        texts,
        windows=TokenWindows(tokenizer, max_tokens=8, **options),
        prefix="",
        forward=record,
        batch_tokens=lambda: budget,
        dimension=2,
        pad_id=PAD,
    )
    return vectors, record.shapes


def test_batches_are_filled_by_tokens_longest_first_and_order_comes_back(tokenizer):
    vectors, shapes = embed(tokenizer, [words(0, n) for n in (1, 6, 2, 6, 1)], 16)
    assert shapes == [(2, 8), (3, 4)]
    assert np.allclose(vectors[:, 0] / vectors[:, 1], [3, 8, 4, 8, 3])


def test_a_piece_larger_than_the_budget_goes_alone(tokenizer):
    assert embed(tokenizer, [words(0, 6), words(0, 6)], 3)[1] == [(1, 8), (1, 8)]


def test_many_texts_are_embedded_in_groups(tokenizer, monkeypatch):
    monkeypatch.setattr("llmrec_django.engine.encoders.batching._GROUP", 3)
    vectors, shapes = embed(tokenizer, [words(0, n % 5 + 1) for n in range(8)], 1000)
    assert len(shapes) == 3
    assert np.allclose(vectors[:, 0] / vectors[:, 1], [n % 5 + 3 for n in range(8)])


def test_pieces_are_averaged_by_length_and_made_unit_length():
    joined = join_pieces(
        np.array([[1, 0], [0, 1], [0, 1]], dtype=np.float32), np.array([0, 0, 1]), np.array([3, 1, 5], np.float32)
    )
    assert np.allclose(joined, [[3 / 10**0.5, 1 / 10**0.5], [0, 1]])
    assert joined.dtype == np.float32


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_vectors_that_cannot_be_used_are_refused(bad):
    with pytest.raises(EncoderError, match="zero or holds numbers that are not finite"):
        join_pieces(np.array([[bad, 0]], dtype=np.float32), np.array([0]), np.ones(1, np.float32))
