"""What a version learned, opened once in a process, and what came since it was trained."""

from __future__ import annotations

import functools
import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.evaluation.segments import history_segments
from llmrec_django.engine.rows import ByteRows, RowFile
from llmrec_django.exceptions import ArtifactError
from llmrec_django.retrieval.candidates import resource_vectors
from llmrec_django.retrieval.late import late_hashes
from llmrec_django.services import artifacts
from llmrec_django.services.training.borrowed import BASE, BorrowedSource, rebuild_borrowed, score_each
from llmrec_django.services.training.dataset import rows_in
from llmrec_django.services.training.mix import OF_TEXT, Mix
from llmrec_django.services.training.relevance import NAME as RELEVANCE
from llmrec_django.services.training.relevance import RelevanceSource
from llmrec_django.services.training.sources import (
    Asked,
    ContentSource,
    FactorSource,
    HistorySource,
    Longest,
    NeighbourSource,
    PopularitySource,
    rebuild,
    rows_of,
)
from llmrec_django.services.training.storing import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.models import ModelVersion, VectorSpace
    from llmrec_django.services.training.sources import Source
    from llmrec_django.types import Float32Matrix, Float32Vector

logger = logging.getLogger(__name__)

InSpace = ContentSource | RelevanceSource
"""Sources whose score is an inner product with a vector of a space: what is nearest there is best."""
WHOLE_CATALOGUE = 20_000
"""Up to so many resources all are scored for each list; in a larger catalogue candidates are chosen first.
`python -m benchmarks.serving` measures both."""
LATE_S = 5.0
"""Seconds until a process looks again for resources whose text came after training."""
MAX_LATE = 5000
"""So many of them are scored, the newest; the next training takes in all."""
LONGEST = 20_000
"""Resources that factorisation may name where the catalogue is large: those with the longest vectors, which give the
largest inner products."""
MAX_NEW = 5000
"""So many new resources compete for the places kept for them, the newest."""
RETRY_S = 30.0
"""Seconds until files that could not be read are tried again: checking an archive takes long."""
KEPT = 16
"""Versions that a process keeps open: those of several tenants, and the one before. To open one takes far longer than
a list."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """What a version learned, in this process."""

    resource_ids: NDArray[np.int64]
    """Resource of each row, increasing; those that came after training follow at the end."""
    sources: tuple[Source, ...]
    mix: Mix
    known: NDArray[np.bool_]
    """Resources that somebody had chosen when the version was trained; [N]."""
    verbs: tuple[str, ...]
    textless: NDArray[np.int64]
    """Ids of the resources that had no text when the version was trained, increasing."""
    n_trained: int
    """How many of the resources were there when the version was trained."""
    new_ids: NDArray[np.int64]
    """Ids of the resources with a text that were young and that nobody had chosen, and of all that came since."""

    @functools.cached_property
    def for_goals(self) -> Scorer:
        """The same for learners who said what they want."""
        return replace(self, mix=self.mix.for_goals())

    @functools.cached_property
    def reads_goals(self) -> bool:
        """Some source that has a say compares what learners said they want."""
        return any(source.name in ("content", RELEVANCE) for source in self.used_sources())

    @functools.cached_property
    def reads_history(self) -> bool:
        """Some source that has a say looks at what learners did."""
        return not all(isinstance(source, PopularitySource) for source in self.used_sources())

    @functools.cached_property
    def new_rows(self) -> NDArray[np.int64]:
        """Rows of `new_ids`, without those that are not in this version's catalogue; increasing.

        None where nothing that serves can tell them apart, as popularity cannot: no place is worth giving to any one.
        """
        if not self.judges_new:
            return np.zeros(0, dtype=np.int64)
        rows = rows_in(self.resource_ids, np.unique(self.new_ids))
        return rows[rows >= 0]

    @functools.cached_property
    def new_vectors(self) -> dict[str, Float32Matrix]:
        """Vectors of `new_rows` by source, where it compares vectors: every list asks for them; float32 [n, D]."""
        return {
            source.name: rows_of(source.vectors, source.added, self.new_rows)
            for source in self.sources
            if isinstance(source, InSpace)
        }

    @functools.cached_property
    def new_set(self) -> frozenset[int]:
        """The resources of `new_rows`, to look one up in."""
        return frozenset(self.resource_ids[self.new_rows].tolist())

    @property
    def judges_new(self) -> bool:
        """Some source that has a say reads texts."""
        return any(source.name in (*OF_TEXT, RELEVANCE) for source in self.used_sources())

    @property
    def last_id(self) -> int:
        """The highest id in training; 0 when there was none."""
        return int(self.resource_ids[self.n_trained - 1]) if self.n_trained else 0

    @property
    def scores_all(self) -> bool:
        """The catalogue is small enough to be scored as a whole."""
        return self.n_trained <= WHOLE_CATALOGUE

    def used_sources(self) -> tuple[Source, ...]:
        """Return the sources that the blend gives any weight."""
        blends = (self.mix.blend, self.mix.by_text)
        used = {n for blend in blends for n, w in zip(blend.sources, blend.weights.T, strict=True) if w.any()}
        return tuple(source for source in self.sources if source.name in used) or self.sources[:1]

    def heard(self, lengths: NDArray[np.integer], *, of_new: bool = False) -> list[Source]:
        """Return the sources that have a weight for learners with histories of these lengths, or for a new resource.

        Args:
            lengths: int [B].
            of_new: Those that have one for new resources alone.
        """
        # Mostly of one learner, several times for each list.
        key = (int(lengths[0]) if len(lengths) == 1 else tuple(np.unique(history_segments(lengths)).tolist()), of_new)
        if key not in self._heard:
            rows = np.unique(history_segments(lengths)).tolist()
            named: set[str] = set()
            by_text = self.mix.by_text if self.mix.by_text.weights.any() else self.mix.blend
            for blend in (by_text,) if of_new else (self.mix.blend, by_text):
                named.update(
                    name for name, weights in zip(blend.sources, blend.weights[rows].T, strict=True) if weights.any()
                )
            used = self.used_sources()
            self._heard[key] = [source for source in used if source.name in named] or list(used[:1])
        return self._heard[key]

    @functools.cached_property
    def _heard(self) -> dict[tuple[int | tuple[int, ...], bool], list[Source]]:
        """What `heard` has found: each list asks several times."""
        return {}

    def score(self, asked: Asked) -> Float32Matrix:
        """Blend the sources over the whole catalogue; float32 [B, N]."""
        raw = score_each(self.used_sources(), asked)
        return self.mix.combine(raw, asked.log.lengths, self.known)

    def was_chosen(self, resource_id: int) -> bool:
        """Say whether somebody had chosen the resource when the version was trained."""
        row = int(rows_in(self.resource_ids, np.array([resource_id]))[0])
        return row >= 0 and bool(self.known[row])

    def trained_vectors(self, text_vectors: Float32Matrix) -> Float32Matrix | None:
        """R(i) of resources that were not in training, from their texts; float32 [n, D]; None without such a model."""
        for source in self.sources:
            if isinstance(source, RelevanceSource):
                added = source.extended(text_vectors).added
                return added
        return None

    def extended(self, ids: Sequence[int], texts: Float32Matrix, trained: Float32Matrix | None) -> Scorer:
        """Take in resources whose text came after training: new ones, and old ones that had none.

        Args:
            ids: Increasing.
            texts: Their vectors in the space of texts; float32 [A, V].
            trained: R(i) of each, zeros where it is not known yet; float32 [A, D]. None: the version has none.
        """
        if not len(ids):
            return self
        late = np.asarray(ids, dtype=np.int64)
        is_new = late > self.last_id
        old_rows = rows_in(self.resource_ids, late[~is_new])
        is_old = ~is_new
        is_old[is_old] = old_rows >= 0  # one that moved to this tenant is in neither
        old_rows = old_rows[old_rows >= 0]
        return replace(
            self,
            resource_ids=np.concatenate([self.resource_ids, late[is_new]]),
            known=np.concatenate([self.known, np.zeros(int(is_new.sum()), dtype=bool)]),
            new_ids=np.union1d(self.new_ids, late[is_new])[-MAX_NEW:],
            sources=tuple(
                _with_texts(source, texts, trained, is_new, is_old, old_rows, len(self.resource_ids))
                for source in self.sources
            ),
        )


def _with_texts(
    source: Any,
    texts: Float32Matrix,
    trained: Float32Matrix | None,
    is_new: NDArray[np.bool_],
    is_old: NDArray[np.bool_],
    old_rows: NDArray[np.int64],
    n_resources: int,
) -> Any:
    if isinstance(source, BorrowedSource):
        rows = np.concatenate([old_rows, n_resources + np.arange(int(is_new.sum()))])
        return source.with_texts(rows, np.concatenate([texts[is_old], texts[is_new]]))
    if not hasattr(source, "extended"):
        return source
    if isinstance(source, RelevanceSource):
        if trained is None:
            return source.extended(texts[is_new])
        added, late = trained[is_new], trained[is_old]
        kept = late.any(axis=1)  # without its new row yet: what was trained goes on
        old_rows, late = old_rows[kept], late[kept]
    else:
        added, late = source.extended(texts[is_new]).added, source.extended(texts[is_old]).added
    vectors = source.vectors
    if len(old_rows):
        if isinstance(vectors, ByteRows | RowFile):
            vectors = vectors.overlaid(old_rows, late)
        else:
            vectors = np.array(vectors)
            vectors[old_rows] = late
    return replace(source, vectors=vectors, added=added)


def scorer_of(version: ModelVersion) -> Scorer:
    """Return the scorer of a version as it was trained, opened once in this process.

    What this machine unpacked is unpacked again if it cannot be read.

    Raises:
        ArtifactError: its files are missing, damaged or of another format. For `RETRY_S` it is not tried again.
    """
    failed_at, cause = _failed.get(version.run_id, (0.0, None))
    if cause is not None and time.monotonic() - failed_at < RETRY_S:
        raise ArtifactError(str(cause))
    key = (version.run_id, version.digest, str(artifacts.root()))
    try:
        if key not in _folders:
            _folders[key] = str(artifacts.fetch(version))
        try:
            scorer = _open(_folders[key])
        except ArtifactError:
            del _folders[key]
            artifacts.discard_unpacked(version)
            _folders[key] = str(artifacts.fetch(version))
            scorer = _open(_folders[key])
    except ArtifactError as exc:
        logger.error("a version cannot be read version=%s cause=%s", version.pk, exc)
        _failed[version.run_id] = (time.monotonic(), exc)
        raise
    _failed.pop(version.run_id, None)
    return scorer


_failed: dict[str, tuple[float, ArtifactError]] = {}
_folders: dict[tuple[str, str, str], str] = {}
"""Where the files of a version are unpacked: to look for them takes time, and every list would."""


def present_scorer_of(version: ModelVersion) -> Scorer:
    """Return the scorer of a version with what came since, as this process found it some seconds ago.

    Raises:
        ArtifactError: its files are missing, damaged or of another format.
    """
    scorer = scorer_of(version)
    space = version.source_space
    if space is None:
        return scorer
    held = _late.get(version.run_id)
    now = time.monotonic()
    # Not the version's number alone: after a test, or a restored backup, it may be another one's.
    if held is not None and held.trained is scorer and now - held.looked_at < LATE_S:
        return held.scorer
    hashes = late_hashes(space, version.tenant, scorer.last_id, scorer.textless, MAX_LATE)
    if held is None or held.trained is not scorer or held.hashes != hashes or not held.is_complete:
        held = _look(version, scorer, space, hashes, now)
    else:
        held = replace(held, looked_at=now)
    while len(_late) >= KEPT and version.run_id not in _late:
        _late.pop(next(iter(_late)), None)
    _late[version.run_id] = held
    return held.scorer


@dataclass(frozen=True, slots=True, eq=False)
class _Late:
    """What one look found."""

    looked_at: float
    hashes: Mapping[int, str]
    trained: Scorer
    scorer: Scorer
    is_complete: bool
    """Each of them has its R(i) already."""


_late: dict[str, _Late] = {}


def forget() -> None:
    """Close every version in this process; for tests, and after files were replaced."""
    _open.cache_clear()
    _folders.clear()
    _late.clear()
    _failed.clear()


def _look(version: ModelVersion, scorer: Scorer, space: VectorSpace, hashes: Mapping[int, str], now: float) -> _Late:
    ids = sorted(hashes)
    texts = _stacked(resource_vectors(space, ids), ids, space.dimension)
    trained, is_complete = None, True
    if version.relevance_space is not None:
        found = resource_vectors(version.relevance_space, ids)
        trained = _stacked(found, ids, version.relevance_space.dimension)
        is_complete = len(found) == len(ids)
    return _Late(now, hashes, scorer, scorer.extended(ids, texts, trained), is_complete)


def _stacked(vectors: Mapping[int, Float32Vector], ids: Sequence[int], dimension: int) -> Float32Matrix:
    matrix = np.zeros((len(ids), dimension), dtype=np.float32)
    for row, pk in enumerate(ids):
        if pk in vectors:
            matrix[row] = vectors[pk]
    return matrix


@functools.lru_cache(maxsize=KEPT)
def _open(folder: str) -> Scorer:
    path = Path(folder)
    try:
        resource_ids = np.load(path / "resource_ids.npy")
        large = len(resource_ids) > WHOLE_CATALOGUE

        def array(name: str, *, by_rows: bool = large) -> Any:
            mapped: Any = np.load(path / f"{name}.npy", mmap_mode="r")
            if by_rows and mapped.ndim == 2 and len(mapped) == len(resource_ids):
                return RowFile(path / f"{name}.npy")
            # As a plain array: it stays a mapped one, and each look at it costs less.
            return np.array(mapped) if large else np.asarray(mapped)

        new_ids = np.load(path / "new_ids.npy")[-MAX_NEW:]
        manifest = json.loads((path / "version.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']!r}, this release reads {FORMAT}")
        sources: list[Source] = []
        for name, kind in manifest["sources"].items():
            if name == RELEVANCE:
                sources.append(_relevance(path / RELEVANCE, _compared(array(f"{RELEVANCE}.vectors"))))
                continue
            files = {file.name.split(".")[1]: file for file in path.glob(f"{name}.*.npy")}
            if kind == BorrowedSource.__name__:
                base = next(source for source in sources if source.name == BASE)
                sources.append(rebuild_borrowed(name, base, _mapped(files)))
            elif kind == HistorySource.__name__:
                sources.append(rebuild(name, kind, _mapped(files)))
            else:
                # Of neighbours a list needs the rows of a few resources, however small the catalogue.
                by_rows = large or kind == NeighbourSource.__name__
                arrays = {part: array(f"{name}.{part}", by_rows=by_rows) for part in files}
                if kind == ContentSource.__name__:
                    arrays["vectors"] = _compared(arrays["vectors"])
                sources.append(rebuild(name, kind, arrays))
        return Scorer(
            resource_ids=resource_ids,
            sources=tuple(_searchable(source) for source in sources),
            mix=Mix.from_dict(manifest["mix"]),
            known=np.load(path / "known.npy"),
            verbs=tuple(manifest["verbs"]),
            textless=np.load(path / "textless.npy"),
            n_trained=len(resource_ids),
            new_ids=new_ids,
        )
    except (OSError, EOFError, AttributeError, LookupError, StopIteration, TypeError, ValueError) as exc:
        raise ArtifactError(
            f"Cannot open the trained version in {folder!r}. {type(exc).__name__}: {exc}. Train again or go back."
        ) from exc


def _mapped(files: Mapping[str, Path]) -> dict[str, NDArray[Any]]:
    return {part: np.asarray(np.load(file, mmap_mode="r")) for part, file in files.items()}


def _compared(vectors: Any) -> Any:
    """Keep vectors in memory of which every list compares hundreds; of a large catalogue rounded."""
    return ByteRows(vectors) if isinstance(vectors, RowFile) else vectors


def _searchable(source: Any) -> Any:
    """Keep the vectors of a large factorisation in memory, and those where it looks for its best."""
    if not isinstance(source, FactorSource):
        return source
    factors: Any = source.model.item_factors
    if not isinstance(factors, RowFile):
        return source
    return replace(
        source,
        model=replace(source.model, item_factors=_compared(factors)),
        longest=Longest.of(factors, LONGEST),
    )


def _relevance(folder: Path, vectors: Any) -> RelevanceSource:
    # With its vectors from a file of their own: from the model's they would be copied into memory.
    from llmrec_django.engine.relevance.serve import open_scorer

    return RelevanceSource(RELEVANCE, open_scorer(folder), vectors)
