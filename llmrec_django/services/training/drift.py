"""Measuring the version that serves on what learners did since its training, and noticing when it has fallen."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from django.core.mail import mail_admins
from django.utils.translation import gettext

from llmrec_django.conf import conf
from llmrec_django.engine.evaluation.report import HEADLINE, report
from llmrec_django.engine.evaluation.splits import Split, leave_one_out
from llmrec_django.exceptions import LLMRecError
from llmrec_django.models import EvaluationRecord
from llmrec_django.services import versions
from llmrec_django.services.training.dataset import load_dataset, profile_matrix, text_matrix
from llmrec_django.services.training.evaluate import BLEND, MAX_LEARNERS, numbers
from llmrec_django.services.training.rival import came_after, rank_active, relevant_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrec_django.engine.evaluation.report import EvaluationReport
    from llmrec_django.models import ModelVersion

logger = logging.getLogger(__name__)

MIN_LEARNERS = 50
"""With fewer learners who went on since training nothing is measured: the interval would say nothing."""
Z = 1.96
"""Standard errors in half of a 95 % interval."""


def check_active(tenant: str, *, seed: int = 0) -> EvaluationRecord:
    """Measure the version that serves a tenant on what came after its training, keep the result, warn if it has fallen.

    Of each learner who met a resource for the first time since, the last such resource is held out, and the version
    ranks the whole catalogue by the scores that lists are made from, and from all that the learner did before. As in
    training, that is before a placement's rules, diversity and the places kept for new resources. Nothing is fitted.
    It has fallen when the whole 95 % interval of the difference lies more than LLMREC["DRIFT_MARGIN"] below what
    learners with histories as long reached when the version was trained. Measuring twice what is the same gives the
    first record again.

    Args:
        tenant: Whose version.
        seed: Of the draw of learners.

    Raises:
        LLMRecError: no version serves, or too little came after its training.
        ArtifactError: its files cannot be read.
    """
    active = versions.active_version(tenant)
    if active is None:
        raise LLMRecError(f"Cannot measure what serves tenant {tenant!r}. No trained version does. Train one first.")
    dataset = load_dataset(tenant)
    before: EvaluationRecord | None = active.evaluations.order_by("-created_at").first()
    if before is not None and before.metrics.get("last_interaction") == dataset.last_id:
        return before
    whole = leave_one_out(dataset.log)
    learners = whole.learners[came_after(active, dataset, whole, whole.learners)]
    if len(learners) < MIN_LEARNERS:
        raise LLMRecError(
            f"Cannot measure version {active.pk}. Only {len(learners)} learners met something new since it was "
            f"trained; {MIN_LEARNERS} are needed. Wait for more activity."
        )
    split = Split("after training", whole.train, learners, tuple(relevant_of(whole, learners)))
    split = split.sample(MAX_LEARNERS, seed=seed)
    space = active.source_space
    profiles = None if space is None else profile_matrix(space, dataset.learner_ids)
    texts = None if space is None else text_matrix(space, dataset.resource_ids)
    ranked = rank_active(active, dataset, split, split.learners, profiles, with_sources=True)
    found = report(split, ranked, reference=BLEND, ks=(10,), vectors=texts, seed=seed)
    expected, has_fallen = compare_with_training(active.metrics, found, float(conf.DRIFT_MARGIN))
    record = EvaluationRecord.objects.create(
        version=active,
        ndcg=found.method(BLEND).accuracy[HEADLINE].mean,
        expected=expected,
        has_fallen=has_fallen,
        metrics={**numbers(found), "last_interaction": dataset.last_id},
    )
    if has_fallen:
        _warn(active, record)
    return record


def compare_with_training(
    metrics: Mapping[str, Any], found: EvaluationReport, margin: float
) -> tuple[float | None, bool]:
    """Compare what is found now with what the version reached when it was trained.

    Args:
        metrics: Of the version.
        found: Of it, now.
        margin: Share of the former value that it may fall by.

    Returns:
        What learners with histories as long reached then (None if that was not measured), and whether the present value
        is surely lower by more than the margin.
    """
    name = metrics.get("serves", BLEND)
    row = next((row for row in metrics.get("table") or () if row["source"] == name), None)
    if row is None or row.get(HEADLINE) is None:
        return None, False
    now = found.method(BLEND)
    then = metrics.get("segments") or {}
    total, learners = 0.0, 0
    for label, (_, count) in now.segments.items():
        value = (then.get(label) or {}).get(name)
        total += count * (row[HEADLINE] if value is None else value)
        learners += count
    if not learners:
        return None, False
    expected = total / learners
    low, high = (row.get("intervals") or {}).get(HEADLINE) or (row[HEADLINE], row[HEADLINE])
    estimate = now.accuracy[HEADLINE]
    # Other learners than then: the two errors are independent.
    error = math.hypot((high - low) / 2, (estimate.high - estimate.low) / 2) / Z
    return expected, estimate.mean - expected + Z * error < -margin * expected


def outcome_of(record: EvaluationRecord) -> str:
    """Say what a measurement found, in the active language."""
    if record.expected is None:
        return gettext("NDCG@10 %(ndcg).4f on %(learners)d interactions since training.") % _values(record)
    if record.has_fallen:
        text = gettext(
            "NDCG@10 %(ndcg).4f on %(learners)d interactions since training is surely below the %(expected).4f that "
            "learners with histories as long reached when version %(version)d was trained. Train again."
        )
    else:
        text = gettext(
            "NDCG@10 %(ndcg).4f on %(learners)d interactions since training; learners with histories as long reached "
            "%(expected).4f when version %(version)d was trained."
        )
    return text % _values(record)


def _values(record: EvaluationRecord) -> dict[str, Any]:
    return {
        "ndcg": record.ndcg,
        "learners": record.metrics.get("learners", 0),
        "expected": record.expected,
        "version": record.version_id,
    }


def _warn(active: ModelVersion, record: EvaluationRecord) -> None:
    logger.warning(
        "lists have become worse tenant=%s version=%s ndcg=%.4f expected=%.4f",
        active.tenant,
        active.pk,
        record.ndcg,
        record.expected,
    )
    if conf.DRIFT_MAIL:
        subject = gettext("Recommendations have become worse (%(tenant)s)") % {"tenant": active.tenant}
        mail_admins(subject, outcome_of(record), fail_silently=True)
