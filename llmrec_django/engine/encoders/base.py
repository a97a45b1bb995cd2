"""The seam between texts and vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.types import Float32Matrix


class Encoder(ABC):
    """Turns texts into unit vectors.

    Subclasses take their options as keyword arguments, refuse unknown ones, and load nothing heavy before the
    first call that needs it: `encoder_id` must answer without importing torch.
    """

    is_remote: bool = False
    """Texts leave this process for a service."""
    is_deterministic: bool = True
    """The same text always gives the same vector, bit for bit, in batches of any composition."""
    can_export_onnx: bool = False
    """`export_onnx()` writes a folder that `OnnxEncoder` can embed queries with, without torch."""

    @property
    def is_local(self) -> bool:
        """What reads the texts is on this machine, as far as the options tell."""
        return not self.is_remote

    @property
    @abstractmethod
    def encoder_id(self) -> str:
        """Model, revision and every option that changes its vectors, at most 255 characters."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length of each vector. May load the model or ask the service."""

    @abstractmethod
    def encode_documents(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts of resources.

        Args:
            texts: Any length each; longer than the encoder's window is chunked and averaged by length.

        Returns:
            float32 [n, d], rows of unit length in the order of `texts`; [0, d] for no texts.

        Raises:
            EncoderUnavailable: the model cannot be loaded or the service cannot be reached right now.
            EncoderError: a text cannot be encoded. The caller finds out which by halving the batch.
        """

    def encode_queries(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed search queries or a learner's goals; [n, d]. Like documents unless the model differs."""
        return self.encode_documents(texts)

    def unhurried(self) -> Encoder:
        """Return this encoder for queries that nobody waits for, such as learners' goals in a worker."""
        return self

    def known_share(self, text: str) -> float:
        """Return which share of a text's tokens the model has a token for, in [0, 1]; 1 where nobody can tell.

        A model that was taught no Chinese reads a Chinese query as a row of unknown tokens: its vector says nothing.
        """
        return 1.0

    def export_onnx(self, folder: Any) -> None:
        """Write model, tokenizer and options to `folder` (a Path) for `OnnxEncoder`."""
        raise NotImplementedError(f"{type(self).__name__} has no ONNX export")

    def check(self) -> list[str]:
        """Return what is wrong with the options, in words; no model is loaded and no service asked."""
        return []
