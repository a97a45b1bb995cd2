"""The relevance model as one more source: trained here with torch, scored everywhere without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.conf import conf
from llmrec_django.engine.relevance.config import RelevanceConfig
from llmrec_django.engine.relevance.item_features import Whitening
from llmrec_django.services.training.sources import products, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from llmrec_django.engine.evaluation.splits import Split
    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.engine.relevance.serve import RelevanceScorer
    from llmrec_django.services.training.sources import Asked
    from llmrec_django.types import Float32Matrix

NAME = "relevance"
MOST_LEFT_OUT = 20
"""Resources that S(u) is found without, the latest: what lies further back is hardly ever what it rests on most."""
NO_TEXT_SIZE = 8
"""Width of the text vectors of a site that has none: the model then learns from interactions alone."""


@dataclass(frozen=True, slots=True, eq=False)
class RelevanceSource:
    """A resource is good when R(i) points where S(u) does."""

    name: str
    scorer: RelevanceScorer
    vectors: Float32Matrix
    """R of the catalogue; float32 [N, D]."""
    added: Float32Matrix | None = None
    """R of resources that came after training, from their text; float32 [A, D]; their rows follow."""

    def score(self, asked: Asked) -> Float32Matrix:
        return products(self.directions(asked), self.vectors, self.added)

    def directions(self, asked: Asked) -> Float32Matrix:
        """Return S(u), what the inner product of each R(i) is taken with; float32 [B, D]."""
        if asked.explains and asked.log.n_learners == 1:
            return self.without_each(asked)[1][:1]
        log, _, read = self._read(asked)
        learners = np.arange(asked.log.n_learners)
        return self.scorer.learner_vectors(log, learners, read, profiles=self._profiles(asked))

    def without_each(self, asked: Asked) -> tuple[NDArray[np.int64], Float32Matrix]:
        """Find out what S(u) of one learner would be without what they liked; once for each `Asked`.

        Returns:
            Resources that the learner liked, the latest first, int64 [m]; and S(u) as it is, without each of them, and
            without all that the learner met, float32 [m + 2, D]. See `RelevanceScorer.without_each`.
        """
        if self.name not in asked.states:
            log, touched, read = self._read(asked)
            liked = asked.latest_liked(MOST_LEFT_OUT)
            places = np.searchsorted(touched, liked)
            states = self.scorer.without_each(log, places, read, profile=self._profiles(asked))
            asked.states[self.name] = liked, states
        return asked.states[self.name]

    def without_goals(self, asked: Asked) -> Float32Matrix:
        """Return S(u) of one learner as if they had stated no goals, which takes a reading of its own; [1, D]."""
        if self._profiles(asked) is None:
            return self.without_each(asked)[1][:1]
        log, _, read = self._read(asked)
        return self.scorer.learner_vectors(log, np.zeros(1, dtype=np.int64), read)

    def _read(self, asked: Asked) -> tuple[InteractionLog, NDArray[np.int32], Float32Matrix]:
        """Return the log with its own numbers for the resources in it, these resources, and R of each."""
        # Only the rows that are asked for are read: the matrix may be a file.
        touched, places = np.unique(asked.log.resources, return_inverse=True)
        log = replace(asked.log, resources=places.astype(np.int32), n_resources=len(touched))
        return log, touched, rows_of(self.vectors, self.added, touched)

    def _profiles(self, asked: Asked) -> Float32Matrix | None:
        """Return the text vectors of the goals, where they are of the model's own encoder."""
        profiles = asked.profiles
        return profiles if profiles is None or profiles.shape[1] == len(self.scorer.whitening.mean) else None

    def extended(self, text_vectors: Float32Matrix) -> RelevanceSource:
        """Take in resources that came after training, by their text; float32 [A, V]."""
        if text_vectors.shape[1] != len(self.scorer.whitening.mean):
            return replace(self, added=np.zeros((len(text_vectors), self.vectors.shape[1]), dtype=np.float32))
        return replace(self, added=self.scorer.resource_vectors(text_vectors))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Nothing: its files are written when it is trained."""
        return {}


def train_relevance(
    folder: Path,
    log: InteractionLog,
    texts: Float32Matrix | None,
    verbs: tuple[str, ...],
    *,
    options: Mapping[str, Any] | None = None,
    profiles: Float32Matrix | None,
    seed: int,
    split: Split | None = None,
    epochs: int | None = None,
    checkpoint: Path | None = None,
    run_folder: Path | None = None,
    progress: bool = False,
) -> tuple[RelevanceSource, int]:
    """Train, export and open again what was exported.

    Args:
        folder: Where the export goes.
        log: What to learn from, weights as they are: what a learner's come to in the loss is capped there.
        texts: Text vectors of the catalogue; float32 [N, V]; None: there are none.
        verbs: Verb of each code.
        options: Of `RelevanceConfig`; None: LLMREC["RELEVANCE"].
        profiles: Text vectors of the log's learners; float32 [U, V].
        seed: Of everything random.
        split: Train until its held-out interactions are predicted no better.
        epochs: Train for so many passes instead.
        checkpoint: See `engine.relevance.train.fit`.
        run_folder: For TensorBoard and JSON lines; None: nothing is logged, to W&B neither.
        progress: Show a bar.

    Returns:
        The source, and after how many passes it was best.
    """
    from llmrec_django.engine.relevance.distributed import own_device, share_job
    from llmrec_django.engine.relevance.export import export_model
    from llmrec_django.engine.relevance.run_log import open_run_log
    from llmrec_django.engine.relevance.serve import open_scorer
    from llmrec_django.engine.relevance.train import Validation, fit

    config = replace(RelevanceConfig.from_dict(dict(conf.RELEVANCE if options is None else options)), seed=seed)
    if texts is None:
        texts = np.zeros((log.n_resources, NO_TEXT_SIZE), dtype=np.float32)
        profiles = None
    whitening = Whitening.fit(texts, config.feature_size, config.whitening)
    validation = None
    if split is not None:
        targets = np.array([relevant[0] for relevant in split.relevant], dtype=np.int64)
        validation = Validation(split.learners.astype(np.int64), targets)
    job: dict[str, Any] = {
        "config": config,
        "log": log,
        "features": whitening(texts),
        "n_verbs": len(verbs),
        "profiles": None if profiles is None else whitening(profiles),
        "failure_verbs": [code for code, name in enumerate(verbs) if name == "failed"],
        "learner_weight_limit": float(conf.LEARNER_WEIGHT_LIMIT),
        "validation": validation,
        "epochs": epochs,
        "checkpoint": checkpoint,
    }
    run_log = None
    if run_folder is not None:
        run_log = open_run_log(run_folder, config=config.to_dict(), wandb_project=conf.WANDB_PROJECT)
    try:
        share_job(job)
        result = fit(**job, device=own_device(), run_log=run_log, progress=progress)
    finally:
        if run_log is not None:
            run_log.close()
    export_model(result.model.to("cpu"), whitening, folder, description={"verbs": list(verbs)})
    scorer = open_scorer(folder, threads=2)
    return RelevanceSource(NAME, scorer, scorer.resource_matrix()), result.epochs


def open_relevance(folder: Path) -> RelevanceSource:
    """Open what `train_relevance` exported.

    Raises:
        ArtifactError: it is damaged or of another version.
        MissingDependency: onnxruntime or safetensors is not installed.
    """
    from llmrec_django.engine.relevance.serve import open_scorer

    scorer = open_scorer(folder)
    return RelevanceSource(NAME, scorer, scorer.resource_matrix())
