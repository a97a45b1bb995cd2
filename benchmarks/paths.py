"""Are lists made one by one those of a nightly run? The first ten of both, for the same learners.

    DJANGO_SETTINGS_MODULE=… python -m benchmarks.paths [--tenant default] [--learners 500] [--placement NAME]

Runs on the site's own database, with whatever serves there, and keeps nothing. A placement that is not stored has the
defaults.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from benchmarks import project

K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenant", default="default")
    parser.add_argument("--learners", type=int, default=500)
    parser.add_argument("--placement", default="not stored")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    project.set_up()
    compare(options.tenant, options.learners, options.placement, options.seed)


def compare(tenant: str, n_learners: int, placement: str, seed: int) -> None:
    from llmrec_django.models import LearnerProfile
    from llmrec_django.services.recommend import make_list, recommend_batch

    ids = np.array(LearnerProfile.objects.filter(tenant=tenant).values_list("pk", flat=True))
    drawn = np.random.default_rng(seed).permutation(ids)[:n_learners].tolist()
    by_id = LearnerProfile.objects.in_bulk(drawn)
    shares, same_order, sources = [], [], Counter[str]()
    for learner, rows in recommend_batch([by_id[pk] for pk in drawn], k=K, placement=placement, tenant=tenant):
        made = make_list(learner, k=K, placement=placement, tenant=tenant)
        items = made.items if made is not None else ()
        one = [item.resource.pk for item in items]
        sources.update(item.source for item in items)
        batch = [pk for pk, _ in rows]
        shares.append(len(set(one) & set(batch)) / max(1, len(one), len(batch)))
        same_order.append(one == batch)
    print(f"{len(shares)} learners, lists of {K}; brought in by {dict(sources)}")
    print(f"in both: {np.mean(shares):.4f}; the same list in the same order: {np.mean(same_order):.4f}")


if __name__ == "__main__":
    main()
