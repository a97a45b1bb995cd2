import json

import numpy as np
import pytest

from llmrec_django.engine.cf import popularity, transitions
from llmrec_django.engine.evaluation.ranking import ndcg_of, rank_split
from llmrec_django.engine.evaluation.report import EvaluationReport, report
from llmrec_django.engine.evaluation.splits import Split, leave_one_out
from llmrec_django.engine.interactions import InteractionLog


def walk(n_learners: int = 200, n_resources: int = 40):
    """Everybody walks on by one from a start of their own; three steps or twelve."""
    lengths = np.where(np.arange(n_learners) % 2, 4, 13)
    learners = np.repeat(np.arange(n_learners), lengths)
    starts = np.random.default_rng(0).integers(0, n_resources, n_learners)
    resources = np.concatenate([(start + np.arange(n)) % n_resources for start, n in zip(starts, lengths, strict=True)])
    return leave_one_out(InteractionLog.from_arrays(learners, resources, n_resources=n_resources))


@pytest.fixture(scope="module")
def split():
    return walk()


@pytest.fixture(scope="module")
def lists(split):
    return {
        "popularity": rank_split(popularity.fit(split.train, popularity.PopularityConfig()), split, 20),
        "transitions": rank_split(transitions.fit(split.train, transitions.TransitionsConfig()), split, 20),
    }


@pytest.fixture(scope="module")
def both(split, lists):
    vectors = np.eye(40, dtype=np.float32)
    return report(split, lists, reference="popularity", vectors=vectors)


def test_lists_are_of_unseen_resources_of_the_whole_catalogue(split, lists):
    for ranked in lists.values():
        for row, history in zip(ranked, split.histories(), strict=True):
            assert not np.isin(row, history).any()
            assert len(set(row.tolist())) == 20


def test_only_allowed_resources_are_ranked(split):
    allowed = np.arange(40) < 10
    model = popularity.fit(split.train, popularity.PopularityConfig())
    ranked = rank_split(model, split, 20, allowed=allowed)
    assert ranked.max() < 10


def test_reversing_the_lists_makes_them_worse(split, lists):
    upside_down = {"transitions": lists["transitions"], "reversed": lists["transitions"][:, ::-1]}
    result = report(split, upside_down, ks=(5, 10))
    assert result.method("reversed").accuracy["NDCG@5"].mean < result.method("transitions").accuracy["NDCG@5"].mean


def test_the_best_method_stands_first_with_its_difference(both):
    assert [method.name for method in both.methods] == ["transitions", "popularity"]
    assert both.methods[0].difference.is_above_zero
    assert both.methods[1].difference is None
    assert both.methods[0].accuracy["NDCG@10"].mean > 0.9


def test_the_report_agrees_with_the_quick_way(split, both):
    quick = ndcg_of(transitions.fit(split.train, transitions.TransitionsConfig()), split).mean()
    assert both.method("transitions").accuracy["NDCG@10"].mean == pytest.approx(quick)


def test_segments_add_up_to_all_learners(split, both):
    means = both.method("transitions").segments
    assert sum(n for _, n in means.values()) == len(split) == 200
    assert means["3-9"][1] == means["10+"][1] == 100
    weighted = sum(mean * n for mean, n in means.values() if n) / 200
    assert weighted == pytest.approx(both.method("transitions").accuracy["NDCG@10"].mean)


def test_new_resources_are_a_segment_of_their_own():
    """Learner 0 goes on to what nobody met, learner 1 to what one did, learner 2 to both at once."""
    train = InteractionLog.from_arrays([0, 1, 2, 0], [0, 0, 0, 1], n_resources=5)
    split = Split("x", train, np.arange(3, dtype=np.int32), (np.array([4]), np.array([1]), np.array([1, 4])))
    lists = np.array([[4, 1], [4, 1], [1, 4]])
    result = report(split, {"a": np.pad(lists, ((0, 0), (0, 8)), constant_values=-1)}, ks=(10,))
    assert {name: n for name, (_, n) in result.methods[0].resources.items()} == {"0": 2, "1-9": 2, "10+": 0}
    assert result.methods[0].resources["0"][0] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert result.methods[0].resources["1-9"][0] == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_popular_lists_cover_little_and_are_unequal(both):
    popular, personal = both.method("popularity").lists, both.method("transitions").lists
    assert popular["Gini@20"] > personal["Gini@20"]
    assert popular["novelty@20"] < personal["novelty@20"]
    assert personal["diversity@20"] == pytest.approx(1.0)


def test_it_is_rebuilt_from_json_also_where_nothing_is_known(split, lists, both):
    assert EvaluationReport.from_dict(json.loads(json.dumps(both.to_dict()))).to_markdown() == both.to_markdown()
    nobody = type(split)("x", split.train, split.learners[:0], ())
    empty = report(nobody, {name: ranked[:0] for name, ranked in lists.items()}, reference="popularity")
    again = EvaluationReport.from_dict(json.loads(json.dumps(empty.to_dict(), allow_nan=False)))
    assert again.to_markdown() == empty.to_markdown()
    assert "–" in empty.to_markdown()


def test_markdown_holds_every_method_and_interval(both):
    text = both.to_markdown()
    assert "| transitions | " in text
    assert "NDCG@10 against popularity" in text
    estimate = both.method("transitions").accuracy["NDCG@10"]
    assert f"{estimate.mean:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]" in text


def test_what_cannot_be_reported_is_refused(split, lists, both):
    with pytest.raises(ValueError, match="Add 10"):
        report(split, lists, ks=(5,))
    with pytest.raises(ValueError, match="fewer places"):
        report(split, lists, ks=(10, 30))
    with pytest.raises(KeyError, match="only"):
        both.method("nothing")
    with pytest.raises(KeyError):
        report(split, lists, reference="nothing")
