"""The seam between a prompt and the text that a language model makes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a language model is asked."""

    system: str
    """What it is to do. Ours, word for word; nothing of a resource or a learner is in it."""
    user: str
    """The facts, between marks that say where they begin and end."""
    max_tokens: int = 160
    """A longer answer is cut there."""


class TextGenerator(ABC):
    """Answers one prompt with one text. What it answers is never trusted: the caller validates it.

    Subclasses take their options as keyword arguments, refuse unknown ones, and load nothing heavy before the first
    call that needs it: `model_id` must answer without importing torch.
    """

    is_remote: bool = False
    """Prompts leave this process for a service."""

    @property
    def is_local(self) -> bool:
        """What reads the prompts is on this machine, as far as the options tell."""
        return not self.is_remote

    @property
    @abstractmethod
    def model_id(self) -> str:
        """Model, revision and every option that changes its texts, at most 255 characters."""

    @abstractmethod
    def generate(self, prompt: Prompt, *, attempt: int = 0) -> str:
        """Return the model's answer, as it came.

        Args:
            attempt: 0 asks for the likeliest text; a higher number for another one, after that did not do.

        Raises:
            WriterUnavailable: the model cannot be loaded or the service cannot be reached right now.
            WriterError: the model gives no answer to this prompt.
        """

    def check(self) -> list[str]:
        """Return what is wrong with the options, in words; no model is loaded and no service asked."""
        return []
