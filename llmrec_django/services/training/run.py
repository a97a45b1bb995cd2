"""One training run of one tenant: fit, choose, compare, refit, store, let serve."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import connections, router
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.engine.cf.choose import choose
from llmrec_django.engine.evaluation.splits import Split, leave_one_out
from llmrec_django.exceptions import ArtifactError, LLMRecError
from llmrec_django.models import ModelVersion, ResourceNeighbours
from llmrec_django.services import artifacts, versions
from llmrec_django.services.spaces import active_space
from llmrec_django.services.training.dataset import Dataset, load_dataset, profile_matrix, text_matrix
from llmrec_django.services.training.evaluate import Evaluation, chosen_by_somebody, evaluate
from llmrec_django.services.training.mix import Mix
from llmrec_django.services.training.relevance import NAME as RELEVANCE
from llmrec_django.services.training.relevance import train_relevance
from llmrec_django.services.training.rival import compare
from llmrec_django.services.training.sources import RECIPES, Material, NeighbourSource, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmrec_django.models import VectorSpace
    from llmrec_django.types import Float32Matrix

logger = logging.getLogger(__name__)

TRAINING_LOCK = 1_818_063_220
"""First half of our advisory lock's key; the second is the tenant."""
TUNE_LEARNERS = 2000
NEIGHBOUR_ROWS = 50
"""Neighbours of each source stored in the table, for reasons and for people; scoring reads the files."""


class TrainingBusyError(LLMRecError):
    """Another process is training this tenant."""


@dataclass(slots=True, eq=False)
class _Run:
    """What the steps of a run hand on."""

    dataset: Dataset
    space: VectorSpace | None
    texts: Float32Matrix | None
    profiles: Float32Matrix | None
    names: tuple[str, ...]
    seed: int
    say: Callable[[str], None]
    progress: bool
    tune_s: float
    checkpoints: Path
    configs: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0

    def describe(self) -> dict[str, Any]:
        """Return the configuration as JSON can hold it."""
        found = {name: asdict(config) if config is not None else {} for name, config in self.configs.items()}
        for values in found.values():
            for key, value in values.items():
                if value == float("inf"):
                    values[key] = None
        if self.epochs:
            found[RELEVANCE] = {**dict(conf.RELEVANCE), "epochs": self.epochs}
        return {"sources": found, "verbs": list(self.dataset.verbs)}


def train(
    tenant: str,
    *,
    seed: int = 0,
    sources: Sequence[str] = (),
    tune_s: float | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: bool = False,
) -> ModelVersion:
    """Train a tenant's models and let them serve if they beat every baseline.

    A killed run leaves what serves as it is; the next one declares it failed, and goes on from the relevance model's
    last epoch if the data are the same.

    Args:
        tenant: Whose interactions.
        seed: Of everything random.
        sources: What to fit; empty: LLMREC["TRAIN_SOURCES"].
        tune_s: Seconds for each source's numbers; None: LLMREC["TUNE_S"].
        say: Told in words what is going on.
        progress: Show bars.

    Returns:
        The version: active, or rejected with the reason in `why`.

    Raises:
        TrainingBusyError: another process trains this tenant.
        LLMRecError: there is nothing to learn from.
    """
    with _only_run(tenant):
        ModelVersion.objects.filter(tenant=tenant, status=ModelVersion.Status.TRAINING).update(
            status=ModelVersion.Status.FAILED, why="The run was broken off.", finished_at=timezone.now()
        )
        version = ModelVersion.objects.create(tenant=tenant, seed=seed)
        try:
            run = _prepare(tenant, seed, sources, tune_s, say, progress)
            _describe(version, run)
            _train(version, run)
        except BaseException as exc:
            ModelVersion.objects.filter(pk=version.pk, status=ModelVersion.Status.TRAINING).update(
                status=ModelVersion.Status.FAILED,
                why=str(exc) if isinstance(exc, LLMRecError) else f"{type(exc).__name__}: {exc}"[:2000],
                finished_at=timezone.now(),
            )
            raise
    version.refresh_from_db()
    return version


def evaluate_now(
    tenant: str,
    *,
    seed: int = 0,
    sources: Sequence[str] = (),
    tune_s: float | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: bool = False,
) -> Evaluation:
    """Fit on all but each learner's last resource and measure; nothing is stored, nothing starts to serve.

    Args and errors as of `train`.
    """
    run = _prepare(tenant, seed, sources, tune_s, say, progress)
    with tempfile.TemporaryDirectory() as folder:
        return _evaluate(run, _held_out(run), Path(folder))


def _prepare(
    tenant: str, seed: int, sources: Sequence[str], tune_s: float | None, say: Callable[[str], None], progress: bool
) -> _Run:
    names = tuple(sources or conf.TRAIN_SOURCES)
    unknown = [name for name in names if name not in RECIPES and name != RELEVANCE]
    if unknown:
        raise LLMRecError(
            f"Cannot train {unknown[0]!r}. Known sources are {', '.join([RELEVANCE, *RECIPES])}. Correct the name."
        )
    dataset = load_dataset(tenant)
    if not len(dataset.log.positive()):
        raise LLMRecError(
            f"Cannot train tenant {tenant!r}. No interaction in it speaks for a resource. Import or record some first."
        )
    log = dataset.log
    say(f"{len(log):,} interactions of {log.n_learners:,} learners with {log.n_resources:,} resources.")
    space = active_space()
    key = hashlib.sha256(tenant.encode()).hexdigest()[:16]
    return _Run(
        dataset=dataset,
        space=space,
        texts=None if space is None else text_matrix(space, dataset.resource_ids),
        profiles=None if space is None else profile_matrix(space, dataset.learner_ids),
        names=names,
        seed=seed,
        say=say,
        progress=progress,
        tune_s=float(conf.TUNE_S if tune_s is None else tune_s),
        checkpoints=artifacts.root() / "checkpoints" / key,
    )


def _describe(version: ModelVersion, run: _Run) -> None:
    log = run.dataset.log
    version.n_interactions, version.n_learners, version.n_resources = len(log), log.n_learners, log.n_resources
    version.last_interaction_id, version.last_interaction_at = run.dataset.last_id, run.dataset.last_at
    version.source_space = run.space
    version.save()


def _train(version: ModelVersion, run: _Run) -> None:
    with tempfile.TemporaryDirectory() as held_out, tempfile.TemporaryDirectory() as final:
        split = _held_out(run)
        evaluation = _evaluate(run, split, Path(held_out))
        version.metrics, version.config = evaluation.to_dict(), run.describe()
        wins, why = evaluation.verdict()
        active = versions.active_version(version.tenant)
        if wins and active is not None:
            wins, rival = _against(active, run, split, evaluation)
            why = f"{why} {rival}".strip()
        run.say(why)
        version.why = why
        if not wins:
            version.status, version.finished_at = ModelVersion.Status.REJECTED, timezone.now()
            version.save()
            _serve_baseline(version, run, evaluation, Path(final))
            return
        run.say("Learning once more, from everything.")
        sources = _fit(run, run.dataset.log, Path(final))
        _store(version, run, sources, evaluation.mix, Path(final))
    versions.activate(version)
    run.say(f"{version} serves now.")


def _against(active: ModelVersion, run: _Run, split: Split, evaluation: Evaluation) -> tuple[bool, str]:
    """Return whether the new version may take the place of the active one, and why."""
    try:
        comparison = compare(active, run.dataset, split, evaluation, run.profiles)
    except ArtifactError as exc:
        return True, f"The active version cannot be compared with: {exc}"
    return comparison.holds, comparison.text


def _held_out(run: _Run) -> Split:
    split = leave_one_out(run.dataset.log)
    if not len(split):
        raise LLMRecError(
            f"Cannot train tenant {run.dataset.tenant!r}. No learner has two resources, so nothing can be held out. "
            "Wait for more activity."
        )
    return split


def _evaluate(run: _Run, split: Split, folder: Path) -> Evaluation:
    if run.tune_s > 0:
        _choose(run, split)
    sources = _fit(run, split.train, folder, split)
    run.say(f"Measuring {len(sources)} sources on {len(split):,} held-out interactions.")
    return evaluate(sources, split, profiles=run.profiles, seed=run.seed)


def _choose(run: _Run, split: Split) -> None:
    """Choose each source's numbers on what is held out."""
    material = Material(split.train.cap_learner_weight(conf.LEARNER_WEIGHT_LIMIT), None)
    inner = Split(split.scheme, material.chosen, split.learners, split.relevant)
    for name in run.names:
        recipe = RECIPES.get(name)
        if recipe is None or recipe.module is None:
            continue
        try:
            choice = choose(
                recipe.module.fit,
                recipe.start,
                recipe.module.SEARCH_SPACE,
                inner,
                scoring_fields=getattr(recipe.module, "SCORING_FIELDS", ()),
                max_learners=TUNE_LEARNERS,
                time_limit_s=run.tune_s,
                seed=run.seed,
            )
        except ValueError as exc:  # too large a catalogue for this source
            run.say(f"{name}: {exc}")
            continue
        run.configs[name] = choice.config
        run.say(f"{name}: {len(choice.trials)} configurations tried, NDCG@10 {choice.score:.4f}.")


def _fit(run: _Run, log: Any, folder: Path, split: Split | None = None) -> list[Source]:
    """Fit every source; with a split the relevance model finds how long to train, without it trains that long."""
    material = Material(log.cap_learner_weight(conf.LEARNER_WEIGHT_LIMIT), run.texts)
    fitted: list[Source] = []
    for name in run.names:
        if name == RELEVANCE:
            run.say("relevance: training.")
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            part = "choose" if split is not None else "refit"
            source, epochs = train_relevance(
                folder / RELEVANCE,
                log,
                run.texts,
                run.dataset.verbs,
                profiles=run.profiles,
                seed=run.seed,
                split=split,
                epochs=None if split is not None else max(1, run.epochs),
                checkpoint=run.checkpoints / f"{part}.pt",
                run_folder=run.checkpoints / "logs" / part,
                progress=run.progress,
            )
            run.epochs = epochs
            fitted.append(source)
            continue
        recipe = RECIPES[name]
        config = run.configs.setdefault(name, recipe.start)
        found = recipe.fit(name, material, config)
        if found is None:
            run.say(f"{name}: left out, there is nothing for it or the catalogue is too large.")
        else:
            fitted.append(found)
    return fitted


def _store(version: ModelVersion, run: _Run, sources: Sequence[Source], mix: Mix, folder: Path) -> None:
    """Write the files of a version, hand them to the storage, and keep the neighbours in the table."""
    np.save(folder / "resource_ids.npy", run.dataset.resource_ids)
    np.save(folder / "known.npy", chosen_by_somebody(run.dataset.log))
    for source in sources:
        for name, array in source.to_arrays().items():
            np.save(folder / f"{source.name}.{name}.npy", np.ascontiguousarray(array))
    manifest = {
        "format": 1,
        "mix": mix.to_dict(),
        "sources": {source.name: type(source).__name__ for source in sources},
        "verbs": list(run.dataset.verbs),
    }
    (folder / "version.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    version.artifact, version.digest = artifacts.store(version.run_id, folder)
    version.status, version.finished_at = ModelVersion.Status.CANDIDATE, timezone.now()
    version.save()
    for source in sources:
        if isinstance(source, NeighbourSource):
            _store_neighbours(version, run.dataset, source)


def _store_neighbours(version: ModelVersion, dataset: Dataset, source: NeighbourSource) -> None:
    ids, weights = source.ids[:, :NEIGHBOUR_ROWS], source.weights[:, :NEIGHBOUR_ROWS]
    held = ids >= 0
    rows = []
    for row in np.nonzero(held.any(axis=1))[0]:
        kept = held[row]
        neighbours = dataset.resource_ids[ids[row][kept]].astype("<i8").tobytes()
        rows.append((int(dataset.resource_ids[row]), neighbours, weights[row][kept].astype("<f4").tobytes()))
    table, resources = ResourceNeighbours._meta.db_table, "llmrec_django_resource"
    with connections[router.db_for_write(ResourceNeighbours)].cursor() as cursor:
        for begin in range(0, len(rows), 2000):
            page = rows[begin : begin + 2000]
            # The join skips resources deleted since the data were read.
            cursor.execute(
                f"INSERT INTO {table} (version_id, resource_id, source, neighbour_ids, weights) "
                f"SELECT {int(version.pk)}, r.id, %s, n.ids, n.weights "
                f"FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[]) AS n(id, ids, weights) "
                f"JOIN {resources} r ON r.id = n.id ON CONFLICT DO NOTHING",
                [source.name, [pk for pk, _, _ in page], [i for _, i, _ in page], [w for _, _, w in page]],
            )


def _serve_baseline(rejected: ModelVersion, run: _Run, evaluation: Evaluation, folder: Path) -> None:
    """Let the best baseline serve where nothing trained does: it needs no more trust than it has earned."""
    if versions.active_version(rejected.tenant) is not None or not evaluation.differences:
        return
    best = evaluation.best_baseline
    run.names = (best,)
    sources = _fit(run, run.dataset.log, folder)
    version = ModelVersion.objects.create(tenant=rejected.tenant, seed=run.seed)
    _describe(version, run)
    version.metrics = rejected.metrics
    version.config = {"sources": {best: run.describe()["sources"].get(best, {})}, "verbs": list(run.dataset.verbs)}
    version.why = f"Version {rejected.pk} was rejected; of the baselines {best} is the best on the same interactions."
    _store(version, run, sources, Mix.of_one(best), folder)
    versions.activate(version)
    run.say(f"The best baseline, {best}, serves as {version}.")


@contextmanager
def _only_run(tenant: str) -> Iterator[None]:
    """Hold the lock of a tenant's training; it goes with the connection, so a killed run leaves none behind.

    Raises:
        TrainingBusyError: somebody else holds it.
    """
    connection = connections[router.db_for_write(ModelVersion)]
    take, give = "pg_try_advisory_lock", "pg_advisory_unlock"
    if connection.in_atomic_block:
        take, give = "pg_try_advisory_xact_lock", ""
    key: list[Any] = [TRAINING_LOCK, tenant]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {take}(%s, hashtext(%s))", key)
        if not cursor.fetchone()[0]:
            raise TrainingBusyError(
                f"Cannot train tenant {tenant!r}. Another process is training it. Wait until it has ended."
            )
    try:
        yield
    finally:
        if give:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT {give}(%s, hashtext(%s))", key)
