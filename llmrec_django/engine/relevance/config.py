"""What can be chosen about the relevance model and its training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RelevanceConfig:
    """Every number that decides what a training run produces; the same values for all data sets.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    embedding_size: int = 128
    """Length D of S(u) and R(i)."""
    layers: int = 2
    """Transformer blocks."""
    heads: int = 2
    """Attention heads; D must be a multiple of it."""
    hidden_size: int = 256
    """Inner width of the SwiGLU part of a block."""
    max_length: int = 50
    """Interactions of a learner that S(u) reads, the latest ones."""

    feature_size: int = 128
    """Dimensions kept of the language model's vectors."""
    whitening: float = 0.5
    """How far the spread along those dimensions is levelled: 0 leaves it, 1 makes them all equal."""
    delta_bound: float = 1.0
    """Largest length of E(i), what training adds to a resource's text; the text's own part is about 1 at first."""
    neighbours: int = 10
    """Resources of like text from which one that training never met borrows its E(i)."""
    neighbour_temperature: float = 0.05
    """How much more the nearest of them lends than the others: softmax(cosine / temperature)."""

    batch_positions: int = 768
    """Interactions in a batch."""
    learning_rate: float = 2e-3
    """AdamW's rate after warm-up."""
    warmup_frac: float = 0.5
    """Part of the first epoch over which the rate rises from 0."""
    weight_decay: float = 0.01
    """AdamW's decay of weight matrices; embeddings have `reg_learner` and `reg_resource` instead."""
    reg_learner: float = 1e-3
    """λ of ‖E(u)‖², per learner in the batch."""
    reg_resource: float = 1e-6
    """λ of ‖E(i)‖², summed over the catalogue, beside a loss averaged over interactions."""
    learner_embeddings: bool = False
    """Train an E(u) for every learner of the training data, held down by λ and `learner_dropout`. It takes up what is
    peculiar to one learner while S(u) and R(i) are learned, and is then thrown away: lists are made by S(u) alone,
    early stopping judges that, and no version's files hold E(u). Costs memory for each learner."""
    dropout: float = 0.2
    """Share of activations silenced in training."""
    delta_dropout: float = 0.1
    """Share of resources that must borrow E(i) in a step, as those that training never met will have to."""
    learner_dropout: float = 0.5
    """Share of learners that must do without E(u) in a step, so that S(u) works for strangers."""
    reversed_share: float = 0.33
    """Share of learners, others in each pass, whose sequence is told from its end: to say what came before teaches what
    belongs together as well as to say what comes next does, and passes can go on for longer before they tire (cf. Liu
    et al. 2021, arXiv 2105.00522). What is told so is marked, and lists are made without the mark."""
    profile_dropout: float = 0.3
    """Share of learners whose profile is hidden in a step."""
    clip_norm: float = 1.0
    """Longest gradient; longer ones are shortened to it."""

    full_softmax_limit: int = 20_000
    """Catalogues up to this size are compared in full; larger ones by sampled softmax."""
    sampled_negatives: int = 2048
    """Resources drawn for each step of sampled softmax."""
    seen_in_softmax: bool = False
    """Whether what a learner had before competes with the target. False where repeats are not recommended."""
    negative_weight: float = 0.2
    """Weight of pushing away what a learner dismissed, beside 1 for drawing a completed resource near."""

    max_epochs: int = 60
    """Passes over the data at most."""
    patience: int = 5
    """Epochs without a better validation score after which training stops."""
    average_epochs: float = 3.0
    """The weights kept are a running average over about so many epochs; 0 keeps the last ones."""
    validation_learners: int = 10_000
    """Learners that are scored after each epoch at most, drawn at random."""
    seed: int = 0
    """Decides initial weights, order and dropout."""

    def __post_init__(self) -> None:
        def need(holds: bool, name: str, expected: str) -> None:
            if not holds:
                raise ValueError(f"Cannot use {name}={getattr(self, name)!r}. Expected {expected}.")

        for name in ("embedding_size", "layers", "heads", "hidden_size", "max_length", "feature_size", "neighbours"):
            need(getattr(self, name) >= 1, name, "1 or more")
        for name in ("batch_positions", "sampled_negatives", "max_epochs", "patience", "validation_learners"):
            need(getattr(self, name) >= 1, name, "1 or more")
        for name in ("dropout", "delta_dropout", "learner_dropout", "profile_dropout", "reversed_share"):
            need(0 <= getattr(self, name) < 1, name, "a fraction from 0 up to, but not including, 1")
        for name in ("weight_decay", "reg_learner", "reg_resource", "negative_weight", "average_epochs", "warmup_frac"):
            need(getattr(self, name) >= 0, name, "0 or more")
        for name in ("learning_rate", "clip_norm", "delta_bound", "neighbour_temperature"):
            need(getattr(self, name) > 0, name, "more than 0")
        need(0 <= self.whitening <= 1, "whitening", "a fraction in [0, 1]")
        need(self.embedding_size % self.heads == 0, "heads", f"a divisor of embedding_size={self.embedding_size}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RelevanceConfig:
        """Build from a dict.

        Raises:
            ValueError: it has a key that is no field, or a value out of range.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(
                f"Unknown relevance option {unknown[0]!r}, must be one of: "
                f"{', '.join(field.name for field in fields(cls))}."
            )
        return cls(**values)
