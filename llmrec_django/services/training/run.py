"""One training run of one tenant: fit, choose, compare, refit, store, let serve."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.engine.evaluation.splits import Split, global_time, leave_one_out, time_of_share
from llmrec_django.exceptions import LLMRecError
from llmrec_django.models import ModelVersion
from llmrec_django.services import versions
from llmrec_django.services.reasons import Reason, explain
from llmrec_django.services.spaces import active_space
from llmrec_django.services.training.borrowed import BASE
from llmrec_django.services.training.borrowed import NAME as BORROWED
from llmrec_django.services.training.dataset import load_dataset, profile_matrix, text_matrix
from llmrec_django.services.training.evaluate import BASELINES, Evaluation, K, evaluate
from llmrec_django.services.training.fitting import Run, choose_numbers, fit_sources
from llmrec_django.services.training.helpers import led
from llmrec_django.services.training.lock import (
    SCRATCH,
    clear_broken_off,
    fail,
    log_folder,
    only_run,
    prune_logs,
    run_folder,
)
from llmrec_django.services.training.mix import Mix
from llmrec_django.services.training.relevance import NAME as RELEVANCE
from llmrec_django.services.training.rival import MARGIN, compare
from llmrec_django.services.training.sources import RECIPES, Source
from llmrec_django.services.training.storing import store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


logger = logging.getLogger(__name__)


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
    with led(), only_run(tenant):
        clear_broken_off(tenant)
        version = ModelVersion.objects.create(tenant=tenant, seed=seed)
        try:
            run = prepare(tenant, seed, sources, tune_s, say, progress)
            run.logs = log_folder(version)
            _describe(version, run)
            _train(version, run)
            prune_logs(tenant)
        except BaseException as exc:
            error = str(exc) if isinstance(exc, LLMRecError) else f"{type(exc).__name__}: {exc}"[:2000]
            fail(version, Reason("failed", {"error": error}))
            clear_broken_off(tenant)  # a baseline that was to serve in its place
            raise
    version.refresh_from_db()
    return version


def evaluate_now(
    tenant: str,
    *,
    share: float | None = None,
    ks: Sequence[int] = (K,),
    seed: int = 0,
    sources: Sequence[str] = (),
    tune_s: float | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: bool = False,
) -> Evaluation:
    """Fit on one part and measure on the rest, as training does; nothing is stored, nothing starts to serve.

    Args:
        tenant: Whose interactions.
        share: Hold out everything in the last share of the interactions, in (0, 1), by the calendar; None: each
            learner's last resource, as the champion gate does.
        ks: Lengths of lists to score.
        seed: See `train`; so `sources`, `tune_s`, `say` and `progress`.

    Raises:
        LLMRecError: there is nothing to learn from or to ask for, or no clock to split by.
    """
    with led():
        return _measure(prepare(tenant, seed, sources, tune_s, say, progress), share, ks)


def _measure(run: Run, share: float | None, ks: Sequence[int]) -> Evaluation:
    split = held_out(run) if share is None else _later(run, share)
    with tempfile.TemporaryDirectory() as folder:
        return _evaluate(run, split, Path(folder), tuple(sorted({K, *ks})))[0]


def prepare(
    tenant: str, seed: int, sources: Sequence[str], tune_s: float | None, say: Callable[[str], None], progress: bool
) -> Run:
    """Read a tenant's data for a run; the arguments as for `train`."""
    names = tuple(sources or conf.TRAIN_SOURCES)
    unknown = [name for name in names if name not in RECIPES and name not in (RELEVANCE, BORROWED)]
    if unknown:
        raise LLMRecError(
            f"Cannot train {unknown[0]!r}. Known sources are {', '.join([RELEVANCE, *RECIPES, BORROWED])}. "
            "Correct the name."
        )
    dataset = load_dataset(tenant)
    if not len(dataset.log.positive()):
        raise LLMRecError(
            f"Cannot train tenant {tenant!r}. No interaction in it speaks for a resource. Import or record some first."
        )
    log = dataset.log
    say(f"{len(log):,} interactions of {log.n_learners:,} learners with {log.n_resources:,} resources.")
    space = active_space()
    return Run(
        dataset=dataset,
        space=space,
        texts=None if space is None else text_matrix(space, dataset.resource_ids),
        profiles=None if space is None else profile_matrix(space, dataset.learner_ids),
        names=names,
        seed=seed,
        say=say,
        progress=progress,
        tune_s=float(conf.TUNE_S if tune_s is None else tune_s),
        checkpoints=run_folder(tenant),
    )


def _describe(version: ModelVersion, run: Run) -> None:
    log = run.dataset.log
    version.n_interactions, version.n_learners, version.n_resources = len(log), log.n_learners, log.n_resources
    version.last_interaction_id, version.last_interaction_at = run.dataset.last_id, run.dataset.last_at
    version.source_space = run.space
    version.save()


def _train(version: ModelVersion, run: Run) -> None:
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    scratch = partial(tempfile.TemporaryDirectory, dir=run.checkpoints, prefix=SCRATCH)
    with scratch() as of_part, scratch() as final:
        split = held_out(run)
        evaluation, sources = _evaluate(run, split, Path(of_part))
        version.metrics, version.config = evaluation.to_dict(), run.describe()
        wins, why = evaluation.verdict()
        active = versions.active_version(version.tenant)
        if wins and active is not None:
            run, evaluation, wins, against = _against(active, run, split, evaluation, sources)
            version.metrics, version.config = evaluation.to_dict(), run.describe()
            why += against
        explain(version, why)
        run.say(version.why)
        if not wins:
            version.status, version.finished_at = ModelVersion.Status.REJECTED, timezone.now()
            version.save()
            _serve_baseline(version, run, evaluation, Path(final))
            return
        run.say("Learning once more, from everything.")
        sources.clear()  # they take as much memory as the next ones
        sources = fit_sources(run, run.dataset.log, Path(final))
        store(version, run.dataset, run.texts, sources, evaluation.mix, Path(final))
    versions.activate(version)
    run.say(f"{version} serves now.")


def _against(
    active: ModelVersion, run: Run, split: Split, evaluation: Evaluation, sources: Sequence[Source]
) -> tuple[Run, Evaluation, bool, list[Reason]]:
    """Compare with the active version.

    Returns:
        What to learn once more from everything, what was measured of it, whether it may serve, and why.
    """
    theirs = _like(active, run)
    profiles = run.profiles if run.space is not None and active.source_space_id == run.space.pk else None
    comparison = compare(
        active, run.dataset, split, evaluation, profiles, lambda: _evaluate_like(theirs, run, split, sources)
    )
    if comparison.holds:
        return run, evaluation, True, comparison.reasons
    values = {"version": active.pk, "margin": round(100 * MARGIN)}
    wins, why = comparison.keep.verdict() if comparison.keep is not None else (False, [])
    if comparison.keep is None or not wins:
        return run, evaluation, False, [*comparison.reasons, Reason("worse_than_active", values)]
    return theirs, comparison.keep, True, [*comparison.reasons, Reason("keeps_configuration", values), *why]


def _like(active: ModelVersion, run: Run) -> Run:
    """Return the run that fits what the active version is made of, as it was configured."""
    configs: dict[str, Any] = {}
    relevance: dict[str, Any] = {}
    stored = active.config.get("sources", {})
    names = tuple(name for name in (RELEVANCE, *RECIPES, BORROWED) if name in stored)  # JSON keeps no order
    for name in names:
        if name == RELEVANCE:
            relevance = {key: value for key, value in stored[name].items() if key != "epochs"}
        else:
            configs[name] = _configured(RECIPES[name].start, stored[name]) if name in RECIPES else None
    return replace(run, names=names, configs=configs, relevance=relevance, epochs=0)


def _configured(start: Any, values: dict[str, Any]) -> Any:
    """Rebuild a source's configuration from `Run.describe`; what another release called otherwise is as it starts."""
    if start is None:
        return None
    known = {field.name for field in fields(start)}
    return replace(
        start, **{name: float("inf") if value is None else value for name, value in values.items() if name in known}
    )


def _evaluate_like(theirs: Run, ours: Run, split: Split, sources: Sequence[Source]) -> Evaluation | None:
    """Measure what `theirs` fits on the same split; None where that is the same as what was fitted.

    A source that both configure alike is not fitted again: a relevance model takes long.
    """

    def alike(name: str) -> bool:
        if name == RELEVANCE:
            return RELEVANCE in ours.names and theirs.relevance == ours.relevance
        if name == BORROWED and not alike(BASE):
            return False
        return name in ours.configs and name in theirs.configs and ours.configs[name] == theirs.configs[name]

    same = [name for name in theirs.names if alike(name)]
    if set(same) == set(theirs.names) == set(ours.names):
        return None
    theirs.say("Training the configuration of the active version on the same part.")
    kept = [source for source in sources if source.name in same]
    if RELEVANCE in same:
        theirs.epochs = ours.epochs
    others = replace(theirs, names=tuple(name for name in theirs.names if name not in same))
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit_sources(others, split.train, Path(folder), split, part="rival", kept=kept)
        theirs.epochs = theirs.epochs or others.epochs
        rivals = [source for source in sources if source.name in BASELINES and source.name not in theirs.names]
        return evaluate(fitted, split, others=rivals, profiles=theirs.profiles, texts=theirs.texts, seed=theirs.seed)


def held_out(run: Run) -> Split:
    """Hold out each learner's last resource."""
    split = leave_one_out(run.dataset.log)
    if not len(split):
        raise LLMRecError(
            f"Cannot train tenant {run.dataset.tenant!r}. No learner has two resources, so nothing can be held out. "
            "Wait for more activity."
        )
    return split


def _later(run: Run, share: float) -> Split:
    """Hold out what happened in the last share of the interactions."""
    log = run.dataset.log
    try:
        split = global_time(log, time_of_share(log, share))
    except ValueError as exc:
        raise LLMRecError(f"Cannot evaluate tenant {run.dataset.tenant!r}. {exc}") from exc
    if not len(split) or not len(split.train.positive()):
        raise LLMRecError(
            f"Cannot evaluate tenant {run.dataset.tenant!r}. Nothing happened before, or nothing new in, the last "
            f"{share:.0%} of its interactions. Hold out another share, or each learner's last resource."
        )
    return split


def _evaluate(run: Run, split: Split, folder: Path, ks: Sequence[int] = (K,)) -> tuple[Evaluation, list[Source]]:
    """Fit and measure what the run names, and every baseline beside it; return the sources of both."""
    others = tuple(name for name in BASELINES if name not in run.names)
    if run.tune_s > 0:
        choose_numbers(run, split, others)
    sources = fit_sources(run, split.train, folder, split)
    if not sources:
        raise LLMRecError(
            f"Cannot train tenant {run.dataset.tenant!r}. There is nothing for any of {', '.join(run.names)}. Add "
            "sources to LLMREC['TRAIN_SOURCES']."
        )
    rivals = fit_sources(replace(run, names=others), split.train, folder, split)
    every = [*sources, *rivals]
    run.say(f"Measuring {len(every)} sources on what is held out of {len(split):,} learners.")
    measured = evaluate(sources, split, others=rivals, profiles=run.profiles, texts=run.texts, ks=ks, seed=run.seed)
    return measured, every


def _serve_baseline(rejected: ModelVersion, run: Run, evaluation: Evaluation, folder: Path) -> None:
    """Let a baseline serve where no blend does, learned from everything there is by now: it needs no more trust than
    it has earned."""
    active = versions.active_version(rejected.tenant)
    if (active is not None and "serves" not in active.metrics) or not evaluation.differences:
        return
    best = evaluation.plain_baseline
    run.names = (best,)
    sources = fit_sources(run, run.dataset.log, folder)
    version = ModelVersion.objects.create(tenant=rejected.tenant, seed=run.seed)
    _describe(version, run)
    ndcg = float(np.mean(evaluation.ndcg[best]))
    version.metrics = {**rejected.metrics, "ndcg": ndcg, "serves": best}
    version.config = {"sources": {best: run.describe()["sources"].get(best, {})}, "verbs": list(run.dataset.verbs)}
    code = "baseline_serves" if best == evaluation.best_baseline else "plain_baseline_serves"
    explain(version, [Reason(code, {"version": rejected.pk, "baseline": best})])
    store(version, run.dataset, run.texts, sources, Mix.of_one(best), folder)
    versions.activate(version)
    run.say(f"The baseline {best} serves as {version}.")
