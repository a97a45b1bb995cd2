"""Lists for many learners at once, written to a file: digest mails, measuring."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from llmrec_django.exceptions import LLMRecError
from llmrec_django.models import LearnerProfile, Placement, Resource
from llmrec_django.services.importing import ImportFileError, RowError, open_rows
from llmrec_django.services.importing.accounts import VISITOR_PREFIX, LearnerFinder, learner_id_of, load_accounts
from llmrec_django.services.recommend import recommend_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = 200
"""Learners whose accounts and resource keys are looked up together."""
COLUMNS = ("user_id", "item_id", "rank", "score")

Named = tuple[str, LearnerProfile | None]
"""The learner's id in the file, and the profile; None for somebody unknown."""


@dataclass
class RunReport:
    """What was written."""

    learners: int = 0
    newcomers: int = 0
    """Learners without a profile: their list is what anybody new gets."""
    rows: int = 0


def write_run(
    output: str,
    *,
    k: int,
    tenant: str = "default",
    users: str = "all",
    among: str | None = None,
    placement: str = "",
    on_progress: Callable[[int], None] | None = None,
) -> RunReport:
    """Write the lists of learners as CSV: user_id, item_id, rank (from 1), score (falling along a list).

    Args:
        output: Path, gzipped if it ends in ".gz"; "-" is standard output. The file appears when it is complete.
        users: "all" profiles of the tenant, or a file with a column user_id.
        among: A file with a column item_id: only these resources are candidates.
        placement: Name of a placement whose rules apply. "": for measuring, most relevant first with no diversity,
            and nothing that the learner ever touched.

    Raises:
        ImportFileError: `users` or `among` cannot be read.
        LLMRecError: an unknown placement, or none of the resources of `among` exists.
    """
    if placement and not Placement.objects.filter(tenant=tenant, name=placement).exists():
        known = ", ".join(Placement.objects.filter(tenant=tenant).order_by("name").values_list("name", flat=True))
        raise LLMRecError(
            f"Cannot use placement {placement!r}. There is none of this name in tenant {tenant!r}; "
            f"known: {known or 'none'}. Add it in the admin or leave it out."
        )
    among_ids = _among_ids(among, tenant) if among else None
    named = _all_learners(tenant) if users == "all" else _learners_of_file(users, tenant)
    report = RunReport()
    with _complete_or_absent(output) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        while page := list(islice(named, PAGE)):
            for row in _lists(page, k=k, among_ids=among_ids, placement=placement, tenant=tenant):
                writer.writerow(row)
                report.rows += 1
            report.learners += len(page)
            report.newcomers += sum(learner is None for _, learner in page)
            if on_progress is not None:
                on_progress(report.learners)
    return report


def _lists(
    page: list[Named], *, k: int, among_ids: list[int] | None, placement: str, tenant: str
) -> Iterator[tuple[str, str, int, str]]:
    answers = recommend_batch(
        [learner for _, learner in page], k=k, among_ids=among_ids, placement=placement, tenant=tenant
    )
    lists = [(name, ranked) for (name, _), (_, ranked) in zip(page, answers, strict=True)]
    ids = {pk for _, ranked in lists for pk, _ in ranked}
    keys = dict(Resource.objects.filter(pk__in=ids).values_list("pk", "key"))
    for name, ranked in lists:
        # A resource deleted a moment ago leaves no gap in the ranks.
        kept = [(pk, score) for pk, score in ranked if pk in keys]
        for rank, (pk, score) in enumerate(kept, start=1):
            yield name, keys[pk], rank, repr(float(score))


def _all_learners(tenant: str) -> Iterator[Named]:
    last = 0
    while True:
        page = list(LearnerProfile.objects.filter(tenant=tenant, pk__gt=last).order_by("pk")[:PAGE])
        if not page:
            return
        last = page[-1].pk
        load_accounts(page)
        for learner in page:
            yield _name(learner), learner


def _learners_of_file(path: str, tenant: str) -> Iterator[Named]:
    """Yield each learner id of a file once, in the order of the file."""
    names = iter(dict.fromkeys(_column(path, "user_id")))
    finder = LearnerFinder(tenant=tenant)
    while page := list(islice(names, PAGE)):
        accounts = finder.find_accounts(set(page))
        profiles = LearnerProfile.objects.filter(tenant=tenant)
        by_account = {learner.user_id: learner for learner in profiles.filter(user_id__in=accounts.values())}
        keys = [VISITOR_PREFIX + name for name in page] + page
        by_visitor = {learner.visitor_key: learner for learner in profiles.filter(visitor_key__in=keys)}
        load_accounts(list(by_account.values()))
        for name in page:
            learner = by_account.get(accounts.get(name)) if name in accounts else None
            yield name, learner or by_visitor.get(VISITOR_PREFIX + name) or by_visitor.get(name)


def _name(learner: LearnerProfile) -> str:
    if learner.user_id is None:
        return str(learner.visitor_key).removeprefix(VISITOR_PREFIX)
    user = learner.user
    return learner_id_of(str(user.get_username())) if user is not None else str(learner.user_id)


def _among_ids(path: str, tenant: str) -> list[int]:
    keys = list(dict.fromkeys(_column(path, "item_id")))
    ids = list(Resource.objects.filter(tenant=tenant, key__in=keys).values_list("pk", flat=True))
    if not ids:
        raise LLMRecError(
            f"Cannot recommend among the resources of {path!r}. None of its {len(keys):,} item ids is the key of a "
            f"resource in tenant {tenant!r}. Check the column item_id and --tenant."
        )
    return ids


def _column(path: str, column: str) -> Iterator[str]:
    with open_rows(path) as file:
        file.require(column, known=frozenset({column}))
        for row in file.rows:
            if isinstance(row, RowError):
                raise ImportFileError(f"Cannot read {path!r}: {row}. Correct the row.")
            value = str(row.cells.get(column) or "").strip()
            if value:
                yield value


@contextmanager
def _complete_or_absent(output: str) -> Iterator[IO[str]]:
    """Write beside the target and move it there at the end: nobody reads half a file."""
    if output == "-":
        yield sys.stdout
        return
    target = Path(output)
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as exc:
        raise LLMRecError(f"Cannot write {output!r}: {exc.strerror}. Check the folder.") from exc
    try:
        with os.fdopen(handle, "wb") as raw:
            packed: Any = gzip.GzipFile(fileobj=raw, mode="wb", filename="") if target.suffix == ".gz" else raw
            with io.TextIOWrapper(packed, encoding="utf-8", newline="") as stream:
                yield stream
        # mkstemp makes files for their owner alone; a new file has the rights the umask leaves.
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def count_learners(tenant: str) -> int:
    """Return how many learners "all" means."""
    return LearnerProfile.objects.filter(tenant=tenant).count()
