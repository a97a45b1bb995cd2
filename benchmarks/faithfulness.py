"""Are reasons the reasons? What a recommendation loses without what its reason names.

    DJANGO_SETTINGS_MODULE=… python -m benchmarks.faithfulness [--tenant default] [--learners 500]

Runs on the site's own database, with the version that serves. For resources in lists of learners
drawn at random it takes the named ones out of the history, ranks the whole catalogue again and notes how many places
the resource lost; then the same with as many resources of the history that are random, the latest, or the most
similar in title or in text. Weights may change with the shorter history, as they would if it had been so: this is
the rank that the learner would see, not the drop that attribution measures. Intervals are 95 % bootstrap intervals
over learners.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import project

if TYPE_CHECKING:
    from collections.abc import Sequence

K = 10
PER_LEARNER = 3
"""Listed resources of one learner that are looked at."""
RANDOM_DRAWS = 3
RIVALS = ("random", "latest", "similar title", "similar text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenant", default="default")
    parser.add_argument("--learners", type=int, default=500)
    parser.add_argument("--source", help="look at one source of the version alone, as if it were the whole blend")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    project.set_up()
    faithfulness(options.tenant, options.learners, options.source, options.seed)


def faithfulness(tenant: str, n_learners: int, source: str | None, seed: int) -> None:
    from llmrec_django.engine.evaluation.bootstrap import bootstrap_mean
    from llmrec_django.models import LearnerProfile
    from llmrec_django.services.scoring import score_learners
    from llmrec_django.services.versions import active_version

    version = active_version(tenant)
    if version is None:
        raise SystemExit(f"No trained version serves tenant {tenant!r}. Train one first.")
    rng = np.random.default_rng(seed)
    ids = np.array(LearnerProfile.objects.filter(tenant=tenant).values_list("pk", flat=True))
    lost: dict[str, list[float]] = defaultdict(list)
    left: dict[str, list[float]] = defaultdict(list)
    n_items = n_named = n_asked = 0
    for pk in rng.permutation(ids):
        if len(lost["named"]) >= n_learners:
            break
        learner = LearnerProfile.objects.get(pk=int(pk))
        scored = score_learners(version, [learner]).get(learner.pk)
        if scored is None:
            continue
        by = scored.basis()
        found = _of_learner(by.scorer, by.asked, version.source_space, source, rng)
        n_asked += found.pop("asked", 0)
        if not found.get("named"):
            continue
        n_items += len(found["named"])
        n_named += found.pop("n_named")
        for name, rows in found.items():
            lost[name].append(float(np.mean([places for places, _ in rows])) if rows else np.nan)
            left[name].append(float(np.mean([gone for _, gone in rows])) if rows else np.nan)
    print(
        f"{n_items} recommendations of {len(lost['named'])} learners; {n_named / max(1, n_items):.1f} resources named "
        f"in each; of {n_asked} looked at, {n_items / max(1, n_asked):.0%} name any of as many as can be compared."
    )
    print(f"{'taken out':16} {'places lost':>26} {'left the first ' + str(K):>26} {'named − this':>26}")
    for name in ("named", *RIVALS):
        if not lost[name]:
            continue
        places = bootstrap_mean(np.array(lost[name]))
        gone = bootstrap_mean(np.array(left[name]))
        line = f"{name:16} {_shown(places):>26} {_shown(gone):>26}"
        if name != "named":
            line += f" {_shown(bootstrap_mean(np.array(lost['named']) - np.array(lost[name]))):>26}"
        print(line)


def _shown(estimate: Any) -> str:
    return f"{estimate.mean:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _of_learner(scorer: Any, asked: Any, space: Any, source: str | None, rng: np.random.Generator) -> dict[str, Any]:
    """Return, by what was taken out, (places lost, left the first K) of some listed resources."""
    from dataclasses import replace

    from llmrec_django.services.influence import of_trained
    from llmrec_django.services.training.mix import Mix
    from llmrec_django.services.training.sources import Asked

    if source is not None:
        one = tuple(held for held in scorer.sources if held.name == source)
        scorer = replace(scorer, sources=one, mix=Mix.of_one(source))
    history = asked.liked[0]
    own = np.unique(history)
    if len(own) < 3:
        return {}
    met = np.unique(asked.log.resources)

    def ranks(log: Any) -> Any:
        scores = scorer.score(Asked(log, asked.profiles))[0]
        scores[met] = -np.inf
        return scores

    whole = ranks(asked.log)
    listed = np.argsort(-whole, kind="stable")[:K]
    influences = of_trained(scorer, asked, scorer.resource_ids[listed].tolist())
    latest_first = list(dict.fromkeys(history[::-1].tolist()))
    texts = _Texts(scorer.resource_ids, [*own.tolist(), *listed.tolist()], space)
    found: dict[str, Any] = {name: [] for name in ("named", *RIVALS)}
    found["n_named"] = found["asked"] = 0
    for place in rng.permutation(len(listed))[:PER_LEARNER]:
        row = int(listed[place])
        found["asked"] += 1
        named = [int(np.searchsorted(scorer.resource_ids, pk)) for pk, _ in _own(influences, scorer, row)]
        if not named or 2 * len(named) > len(own):  # there must be others to take out instead
            continue

        def lost(taken: Sequence[int], row: int = row, place: int = place) -> tuple[float, bool]:
            scores = ranks(asked.log.take(~np.isin(asked.log.resources, taken)))
            rank = 1 + int((scores > scores[row]).sum())
            return rank - (1 + place), rank > K

        n = len(named)
        found["n_named"] += n
        found["named"].append(lost(named))
        drawn = [lost(rng.choice(own, n, replace=False)) for _ in range(RANDOM_DRAWS)]
        found["random"].append((float(np.mean([a for a, _ in drawn])), float(np.mean([b for _, b in drawn]))))
        found["latest"].append(lost(latest_first[:n]))
        found["similar title"].append(lost(sorted(latest_first, key=lambda one: -texts.titles(one, row))[:n]))
        if texts.vectors:
            found["similar text"].append(lost(sorted(latest_first, key=lambda one: -texts.meaning(one, row))[:n]))
    return found


def _own(influences: Any, scorer: Any, row: int) -> Any:
    influence = influences.get(int(scorer.resource_ids[row]))
    return influence.own if influence is not None else ()


class _Texts:
    """How alike titles and texts of some resources are."""

    def __init__(self, ids: Any, rows: Sequence[int], space: Any) -> None:
        from llmrec_django.models import Resource
        from llmrec_django.retrieval.candidates import resource_vectors

        self.ids = ids
        wanted = [int(ids[row]) for row in rows]
        titles = Resource.objects.filter(pk__in=wanted).values_list("pk", "title")
        self.words = {pk: _words(title) for pk, title in titles}
        self.vectors = resource_vectors(space, wanted) if space is not None else {}

    def titles(self, first: int, second: int) -> float:
        one, other = (self.words.get(int(self.ids[row]), set()) for row in (first, second))
        return len(one & other) / max(1, len(one | other))

    def meaning(self, first: int, second: int) -> float:
        one, other = (self.vectors.get(int(self.ids[row])) for row in (first, second))
        return float(one @ other) if one is not None and other is not None else -1.0


def _words(title: str) -> set[str]:
    words = re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]+", title.lower())
    return {word[n : n + 2] if word > "\u4dff" else word for word in words for n in range(max(1, len(word) - 1))}


if __name__ == "__main__":
    main()
