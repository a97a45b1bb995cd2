"""Errors this app raises. Only the standard library is needed to import them."""


class LLMRecError(Exception):
    """Base of every error raised on purpose by this app."""


class EncoderError(LLMRecError):
    """An encoder could not turn the given texts into vectors; trying again will not help."""


class EncoderUnavailable(EncoderError):
    """An encoder cannot be reached or loaded right now; trying again later may help."""


class WriterError(LLMRecError):
    """A language model gave no usable answer to this prompt; asking the same again will hardly help."""


class WriterUnavailable(WriterError):
    """A language model cannot be reached or loaded right now; trying again later may help."""


class DimensionMismatch(EncoderError):
    """Vectors do not have the number of dimensions their space declares."""


class MissingDependency(LLMRecError):
    """An optional package is needed; the message holds the pip command that installs it."""


class UnknownResource(LLMRecError):
    """No resource has the given key in this tenant; `field` names where the key was given."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class UnknownList(LLMRecError):
    """This learner was never given a list with this id; `field` names where the id was given."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidInteraction(LLMRecError):
    """An interaction cannot be recorded; the message names the field and what was found."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ArtifactError(LLMRecError):
    """A stored file (export, trained model) is missing, damaged or of another version."""
