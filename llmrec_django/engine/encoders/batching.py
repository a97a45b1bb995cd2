"""From texts to padded batches of tokens and back to one vector a text; shared by the local encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.exceptions import EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix

_GROUP = 4096
"""Texts tokenised at once: enough to sort by length, few enough to bound memory."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Texts cut into pieces that fit the encoder's window."""

    tokens: list[list[int]]
    """Token ids of each piece, with special tokens and prefix."""
    owners: NDArray[np.intp]
    """int [pieces]: which text a piece belongs to; ascending."""
    weights: NDArray[np.float32]
    """float32 [pieces]: how many tokens of its text a piece holds, at least 1."""


class TokenWindows:
    """Cuts texts by tokens into pieces of at most `max_tokens`, special tokens and prefix included in each.

    Args:
        tokenizer: A `tokenizers.Tokenizer`. Its own truncation and padding are switched off.
        max_tokens: Longest piece.
        overlap: Tokens that neighbouring pieces of a long text share.
        lowercase: Lower-case the texts first.
    """

    def __init__(self, tokenizer: Any, *, max_tokens: int, overlap: int = 0, lowercase: bool = False) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        # Not computing offsets is a quarter faster; tokenizers before 0.20 cannot skip it.
        self._encode_batch = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
        self._max_tokens = max_tokens
        self._overlap = overlap
        self._lowercase = lowercase
        self._head, self._tail, self._filler = self._special_tokens()
        self._prefix_lengths: dict[str, int] = {"": 0}

    def known_share(self, text: str) -> float:
        """Return the share of a text's tokens that are not the unknown token; 1 for no tokens."""
        model = self._tokenizer.model
        unknown = getattr(model, "unk_id", None)
        if unknown is None and getattr(model, "unk_token", None):
            unknown = self._tokenizer.token_to_id(model.unk_token)
        ids = self._tokenizer.encode(self._prepare([text], "")[0], add_special_tokens=False).ids
        return 1.0 if unknown is None or not ids else 1 - ids.count(unknown) / len(ids)

    def cut(self, texts: Sequence[str], prefix: str = "") -> Pieces:
        """Tokenise `prefix` + text for each text and cut what is longer than the window.

        Raises:
            EncoderError: window, special tokens, prefix and overlap leave no room for a text.
        """
        n_prefix = self._prefix_length(prefix)
        room = self._max_tokens - len(self._head) - len(self._tail)
        step = room - n_prefix - self._overlap
        if step < 1:
            raise EncoderError(
                f"Cannot cut texts into pieces of {self._max_tokens} tokens. {len(self._head) + len(self._tail)} "
                f"special tokens, {n_prefix} of the prefix and an overlap of {self._overlap} leave no room. "
                "Raise max_tokens or lower chunk_overlap."
            )
        tokens: list[list[int]] = []
        owners: list[int] = []
        weights: list[int] = []
        for owner, encoding in enumerate(self._encode_batch(self._prepare(texts, prefix), add_special_tokens=False)):
            ids = encoding.ids
            if len(ids) <= room:
                tokens.append(self._head + ids + self._tail if ids else self._filler)
                owners.append(owner)
                weights.append(max(1, len(ids) - n_prefix))
                continue
            head, body = self._head + ids[:n_prefix], ids[n_prefix:]
            for start in range(0, len(body) - self._overlap, step):
                piece = body[start : start + room - n_prefix]
                tokens.append(head + piece + self._tail)
                owners.append(owner)
                weights.append(len(piece))
        return Pieces(tokens, np.asarray(owners, dtype=np.intp), np.asarray(weights, dtype=np.float32))

    def _prepare(self, texts: Sequence[str], prefix: str) -> list[str]:
        # Lone surrogates, which no tokenizer takes, can come out of JSON.
        prepared = [
            prefix + (text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")) for text in texts
        ]
        return [text.lower() for text in prepared] if self._lowercase else prepared

    def _special_tokens(self) -> tuple[list[int], list[int], list[int]]:
        """Return what the tokenizer puts before and after a text, and what stands for an empty text."""
        encoding = self._tokenizer.encode("a", add_special_tokens=True)
        ids, mask = list(encoding.ids), list(encoding.special_tokens_mask)
        first = mask.index(0) if 0 in mask else len(mask)
        last = len(mask) - mask[::-1].index(0) if 0 in mask else len(mask)
        head, tail = ids[:first], ids[last:]
        return head, tail, head + tail or self._tokenizer.encode(" ", add_special_tokens=False).ids or [0]

    def _prefix_length(self, prefix: str) -> int:
        """Count the tokens that hold nothing but the prefix."""
        if prefix not in self._prefix_lengths:
            encoding = self._tokenizer.encode(self._prepare(["a"], prefix)[0], add_special_tokens=False)
            self._prefix_lengths[prefix] = sum(end <= len(prefix) for _, end in encoding.offsets)
        return self._prefix_lengths[prefix]


def embed_texts(
    texts: Sequence[str],
    *,
    windows: TokenWindows,
    prefix: str,
    forward: Callable[[NDArray[np.int64], NDArray[np.int64]], Float32Matrix],
    batch_tokens: Callable[[], int],
    dimension: int,
    pad_id: int,
) -> Float32Matrix:
    """Embed texts of any length in batches of like length.

    Args:
        texts: Any number.
        windows: Cuts them.
        prefix: Stands before each piece.
        forward: Token ids and mask, both int64 [B, L] padded on the right, to unit vectors float32 [B, d].
        batch_tokens: Asked before each batch how many tokens, padding included, it may hold.
        dimension: d.
        pad_id: Fills up short rows; the mask is 0 there.

    Returns:
        float32 [n, d], rows of unit length: the mean of a text's pieces weighted by their length.
    """
    vectors = np.empty((len(texts), dimension), dtype=np.float32)
    for start in range(0, len(texts), _GROUP):
        pieces = windows.cut(texts[start : start + _GROUP], prefix)
        of_pieces = np.empty((len(pieces.tokens), dimension), dtype=np.float32)
        for batch in _batches(pieces.tokens, batch_tokens):
            of_pieces[batch] = forward(*_pad([pieces.tokens[index] for index in batch], pad_id))
        vectors[start : start + _GROUP] = join_pieces(of_pieces, pieces.owners, pieces.weights)
    return vectors


def join_pieces(vectors: Float32Matrix, owners: NDArray[np.intp], weights: NDArray[np.float32]) -> Float32Matrix:
    """Average the pieces of each text by weight, to unit length.

    Args:
        vectors: float32 [pieces, d].
        owners: int [pieces], 0 … n − 1 in ascending order, each at least once.
        weights: float32 [pieces].

    Returns:
        float32 [n, d].

    Raises:
        EncoderError: a vector is zero or not finite.
    """
    if not len(owners):
        return vectors
    if len(owners) > owners[-1] + 1:
        firsts = np.searchsorted(owners, np.arange(owners[-1] + 1))
        vectors = np.add.reduceat(vectors * weights[:, None], firsts, axis=0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise EncoderError(
            "Cannot use the encoder's vectors. At least one is zero or holds numbers that are not finite. "
            "If the model runs in float16, use bfloat16 or float32."
        )
    return np.asarray(vectors / lengths, dtype=np.float32)


def _batches(tokens: list[list[int]], batch_tokens: Callable[[], int]) -> Iterator[NDArray[np.intp]]:
    """Yield indices of pieces, longest first, so that memory is at its peak in the first batch."""
    lengths = np.fromiter(map(len, tokens), dtype=np.intp, count=len(tokens))
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens() // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _pad(rows: list[list[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask
