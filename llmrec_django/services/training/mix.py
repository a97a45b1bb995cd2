"""The blend, and a second one for resources that nobody has chosen yet.

Where activity says enough, a blend gives texts little weight, and rightly. But of a new resource only its text is
known: judged by those weights it would never be shown. So new resources are judged by a blend of sources that read
texts, fitted on scores that every resource would have if nobody had chosen it. In both a score of 0 is that of an
average candidate, so the two can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec_django.engine.evaluation.segments import SEGMENT_STARTS
from llmrec_django.engine.ranking.blend import Blend, fit_blend, fit_folds
from llmrec_django.engine.ranking.calibrate import Calibration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.engine.ranking.examples import BlendExamples
    from llmrec_django.types import Float32Matrix

OF_TEXT = ("content", "borrowed")
"""Sources that say of every resource what they would say if nobody had chosen it. The relevance model is none of them:
its adaptor has learned from the texts of what was chosen, so on those it looks better than it is on new ones."""
ONLY_NEW = ("borrowed",)
"""Of these, the ones that are asked about new resources alone."""
GOALS_SAY = (0.8, 0.5, 0.25, 0.0)
"""Least say of texts in what somebody with goals is recommended, for each segment of history lengths. The weights are
fitted on what learners did: where that made texts worth little, a newcomer's goals would be worth little too, and they
are all that is known of them (docs/decisions/0015)."""
FOLDS = 3
"""Each part of the held-out learners is measured with a mix fitted on the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """What turns the sources' scores into one."""

    blend: Blend
    by_text: Blend
    """Of the sources that read texts alone."""

    def combine(
        self, scores: Mapping[str, Float32Matrix], lengths: NDArray[np.integer], known: NDArray[np.bool_]
    ) -> Float32Matrix:
        """Blend raw scores.

        Args:
            scores: Source → float32 [B, N], NaN where it cannot say.
            lengths: Interactions of each learner; int [B].
            known: Resources that somebody chose; bool [N].

        Returns:
            float32 [B, N].
        """
        if not known.any() and self.by_text.weights.any():
            texts = {name: raw for name, raw in scores.items() if name in self.by_text.sources}
            return self.by_text.combine(texts, lengths)
        total = self.blend.combine({name: raw for name, raw in scores.items() if name in self.blend.sources}, lengths)
        if not known.all():
            new = ~known
            texts = {name: raw[:, new] for name, raw in scores.items() if name in self.by_text.sources}
            if self.by_text.weights.any():
                total[:, new] = self.by_text.combine(texts, lengths)
        return total

    @property
    def is_of_one(self) -> bool:
        """Whether it is one source as it is; see `of_one`."""
        return len(self.blend.sources) == 1 and not self.by_text.sources

    def for_goals(self) -> Self:
        """Return the mix for learners who said what they want; see `GOALS_SAY`."""
        return replace(self, blend=self.blend.with_least_say("content", GOALS_SAY))

    def scaled(self, factors: Mapping[str, float]) -> Self:
        """Multiply the weights of sources by factors; see `Blend.scaled`."""
        return replace(self, blend=self.blend.scaled(factors), by_text=self.by_text.scaled(factors))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {"blend": self.blend.to_dict(), "by_text": self.by_text.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict`."""
        return cls(Blend.from_dict(values["blend"]), Blend.from_dict(values["by_text"]))

    @classmethod
    def of_one(cls, source: str) -> Self:
        """Return the mix that is one source as it is."""
        blend = Blend((source,), (Calibration(),), np.ones((len(SEGMENT_STARTS), 1)))
        return cls(blend, Blend((), (), np.zeros((len(SEGMENT_STARTS), 0))))


def fit_mix(examples: BlendExamples) -> Mix:
    """Fit both blends on held-out interactions; see `fit_blend`."""
    return Mix(fit_blend(_of_activity(examples)), fit_blend(_of_texts(examples)))


def fit_mix_folds(examples: BlendExamples) -> tuple[Mix, ...]:
    """Fit one mix for each fold, on the learners outside it; see `fit_folds`."""
    blends = fit_folds(_of_activity(examples), n_folds=FOLDS)
    by_text = fit_folds(_of_texts(examples), n_folds=FOLDS)
    return tuple(Mix(blend, text) for blend, text in zip(blends, by_text, strict=True))


def _of_activity(examples: BlendExamples) -> BlendExamples:
    return _only(examples, [name for name in examples.sources if name not in ONLY_NEW])


def _of_texts(examples: BlendExamples) -> BlendExamples:
    return _only(examples, [name for name in examples.sources if name in OF_TEXT])


def _only(examples: BlendExamples, names: Sequence[str]) -> BlendExamples:
    places = [examples.sources.index(name) for name in names]
    return replace(examples, sources=tuple(names), scores=examples.scores[places])
