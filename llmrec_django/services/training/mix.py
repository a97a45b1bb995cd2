"""The blend, and a second one for resources that nobody has chosen yet.

Where activity says enough, a blend gives texts little weight, and rightly. But of a new resource only its text is
known: judged by those weights it would never be shown. So new resources are judged by a blend that was fitted as if
there were no activity-based sources. In both a score of 0 is that of an average candidate, so the two can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec_django.engine.evaluation.segments import SEGMENT_STARTS
from llmrec_django.engine.ranking.blend import Blend, fit_blend, fit_folds
from llmrec_django.engine.ranking.calibrate import Calibration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from llmrec_django.engine.ranking.examples import BlendExamples
    from llmrec_django.types import Float32Matrix

OF_TEXT = ("content", "relevance")
"""Sources that can judge a resource by its text."""


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """What turns the sources' scores into one."""

    blend: Blend
    by_text: Blend
    """The same sources, with weights above 0 for those of text alone."""

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
        total = self.blend.combine(scores, lengths)
        if not known.all():
            new = ~known
            texts = {name: raw[:, new] for name, raw in scores.items() if name in OF_TEXT}
            if texts and self.by_text.weights.any():
                total[:, new] = self.by_text.combine(texts, lengths)
        return total

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
        return cls(blend, blend)


def fit_mix(examples: BlendExamples) -> Mix:
    """Fit both blends on held-out interactions; see `fit_blend`."""
    return Mix(fit_blend(examples), fit_blend(examples, without=_of_activity(examples)))


def fit_mix_folds(examples: BlendExamples) -> tuple[Mix, ...]:
    """Fit one mix for each fold, on the learners outside it; see `fit_folds`."""
    by_text = fit_folds(examples, without=_of_activity(examples))
    return tuple(Mix(blend, text) for blend, text in zip(fit_folds(examples), by_text, strict=True))


def _of_activity(examples: BlendExamples) -> tuple[str, ...]:
    return tuple(name for name in examples.sources if name not in OF_TEXT)
