"""Scoring with the version that serves: the same code for one request and for a nightly run."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.conf import conf
from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.ranking.topk import rank_top_k, tie_keys
from llmrec_django.exceptions import ArtifactError
from llmrec_django.retrieval.candidates import in_order, latest_interactions, profile_vectors, vectors_after
from llmrec_django.services import artifacts
from llmrec_django.services.training.dataset import interaction_weights, rows_in
from llmrec_django.services.training.mix import Mix
from llmrec_django.services.training.relevance import NAME as RELEVANCE
from llmrec_django.services.training.relevance import open_relevance
from llmrec_django.services.training.sources import Asked, rebuild

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from llmrec_django.models import LearnerProfile, ModelVersion
    from llmrec_django.retrieval.eligibility import Eligibility
    from llmrec_django.services.training.sources import Source
    from llmrec_django.types import Float32Matrix, Float32Vector

FIRST_LOOK = 200
"""So many of the best are asked for eligibility first; more when too few of them may be shown."""
MAX_ADDED = 5000
"""Resources that came after training and are scored by their text, at most, oldest first."""


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """What a version learned, in this process. The arrays are mapped from files: processes share the memory."""

    resource_ids: NDArray[np.int64]
    """Resource of each row, increasing."""
    sources: tuple[Source, ...]
    mix: Mix
    known: NDArray[np.bool_]
    """Resources that somebody had chosen when the version was trained; [N]."""
    verbs: tuple[str, ...]

    def extended(self, ids: Sequence[int], text_vectors: Float32Matrix) -> Scorer:
        """Take in resources that came after training; their ids are above all others and increase."""
        if not len(ids):
            return self
        sources = tuple(
            source.extended(text_vectors) if hasattr(source, "extended") else source for source in self.sources
        )
        return replace(
            self,
            resource_ids=np.concatenate([self.resource_ids, ids]),
            sources=sources,
            known=np.concatenate([self.known, np.zeros(len(ids), dtype=bool)]),
        )

    def score(self, asked: Asked) -> Float32Matrix:
        """Blend the sources; float32 [B, N]."""
        raw = {source.name: source.score(asked) for source in self.sources}
        return self.mix.combine(raw, asked.log.lengths, self.known)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The scores of one learner."""

    resource_ids: NDArray[np.int64]
    scores: Float32Vector
    """float32 [N]"""

    def best(self, eligibility: Eligibility, n: int, among_ids: Sequence[int] | None = None) -> list[tuple[int, float]]:
        """Return the `n` best eligible resources as (id, score).

        The best few are asked for eligibility first. That is the same as filtering before: where too few of them
        pass, more are asked, to the last one.
        """
        ids, scores = self.resource_ids, self.scores
        if among_ids is not None:
            rows = rows_in(ids, np.unique(np.asarray(among_ids, dtype=np.int64)))
            ids, scores = ids[rows[rows >= 0]], scores[rows[rows >= 0]]
        look = max(FIRST_LOOK, 4 * n)
        while True:
            ranked, values = rank_top_k(scores[None, :], min(look, len(ids)), keys=tie_keys(ids))
            order = ranked[0][ranked[0] >= 0]
            found = in_order(ids[order].tolist(), values[0][: len(order)].tolist(), eligibility, n)
            if len(found) >= n or look >= len(ids):
                return found
            look *= 8


def score_learners(version: ModelVersion, learners: Sequence[LearnerProfile]) -> dict[int, Scored]:
    """Score the catalogue for learners, by what they did until now.

    Returns:
        By learner id. Left out: who opted out, and of whom nothing is known but that they are there.

    Raises:
        ArtifactError: the version's files are missing or damaged.

    Note:
        Three queries, whatever the number of learners: their interactions, their goals, resources that came since.
    """
    asking = [learner for learner in learners if learner.pk and learner.personalise]
    if not asking:
        return {}
    scorer = scorer_of(version)
    space = version.source_space
    if space is not None:
        last = int(scorer.resource_ids[-1]) if len(scorer.resource_ids) else 0
        scorer = scorer.extended(*vectors_after(space, last, version.tenant, MAX_ADDED))
    ids = [learner.pk for learner in asking]
    log = _log(scorer, ids)
    profiles, has_profile = None, np.zeros(len(ids), dtype=bool)
    if space is not None:
        found = profile_vectors(space, [learner.pk for learner in asking if learner.text])
        if found:
            profiles = np.zeros((len(ids), space.dimension), dtype=np.float32)
            for row, pk in enumerate(ids):
                if pk in found:
                    profiles[row], has_profile[row] = found[pk], True
    asked = Asked(log, profiles)
    is_known = has_profile | np.array([len(history) > 0 for history in asked.histories])
    scores = scorer.score(asked)
    return {pk: Scored(scorer.resource_ids, scores[row]) for row, pk in enumerate(ids) if is_known[row]}


def _log(scorer: Scorer, learner_ids: Sequence[int]) -> InteractionLog:
    # Twice the history: what a learner turned down is part of it too.
    found = latest_interactions(learner_ids, scorer.verbs, 2 * int(conf.HISTORY_LENGTH))
    place = {pk: row for row, pk in enumerate(learner_ids)}
    learners = np.array([place[row[0]] for row in found], dtype=np.int64)
    resources = rows_in(scorer.resource_ids, np.array([row[1] for row in found], dtype=np.int64))
    codes = np.array([row[2] for row in found], dtype=np.int16)
    values = np.array([np.nan if row[3] is None else row[3] for row in found], dtype=np.float32)
    times = np.array([row[4] for row in found], dtype=np.float64)
    known = resources >= 0
    return InteractionLog.from_arrays(
        learners[known],
        resources[known],
        weights=interaction_weights(codes[known], values[known], scorer.verbs),
        times=times[known],
        verbs=codes[known],
        values=values[known],
        n_learners=len(learner_ids),
        n_resources=len(scorer.resource_ids),
    )


def scorer_of(version: ModelVersion) -> Scorer:
    """Return the scorer of a version, opened once in this process.

    Raises:
        ArtifactError: its files are missing, damaged or of another format.
    """
    return _open(str(artifacts.fetch(version)))


@functools.lru_cache(maxsize=4)
def _open(folder: str) -> Scorer:
    path = Path(folder)

    def array(name: str) -> NDArray[Any]:
        mapped: NDArray[Any] = np.load(path / f"{name}.npy", mmap_mode="r")
        return mapped

    try:
        manifest = json.loads((path / "version.json").read_text(encoding="utf-8"))
        sources: list[Source] = []
        for name, kind in manifest["sources"].items():
            if name == RELEVANCE:
                sources.append(open_relevance(path / RELEVANCE))
                continue
            arrays = {
                file.name.split(".")[1]: array(file.name.removesuffix(".npy")) for file in path.glob(f"{name}.*.npy")
            }
            sources.append(rebuild(name, kind, arrays))
        mix = Mix.from_dict(manifest["mix"])
        return Scorer(
            np.array(array("resource_ids")), tuple(sources), mix, np.array(array("known")), tuple(manifest["verbs"])
        )
    except (OSError, KeyError, TypeError, ValueError) as exc:
        raise ArtifactError(
            f"Cannot open the trained version in {folder!r}. {type(exc).__name__}: {exc}. Train again or go back."
        ) from exc
