"""From a file to a file of lists by the commands alone, on sites unlike the one this was built for.

Each site holds its learners' last resource back. What the lists say of it must never be surely worse than what
popularity says, whatever the texts, the clock and the number of learners are like.
"""

import csv

import numpy as np
import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command

from llmrec_django.engine.evaluation.bootstrap import paired_difference
from llmrec_django.engine.evaluation.metrics import ndcg, relevance_hits
from llmrec_django.models import ModelVersion

pytestmark = [pytest.mark.django_db, pytest.mark.model]
TOPICS = {
    "english": ("Botany", "Rome", "Algebra", "Welding"),
    "arabic": ("علم النبات", "تاريخ روما", "الجبر الخطي", "أساسيات اللحام"),
    "hebrew": ("בוטניקה", "רומא העתיקה", "אלגברה לינארית", "ריתוך מתכות"),
    "chinese": ("植物学", "罗马史", "线性代数", "焊接基础"),
    "thai": ("พฤกษศาสตร์", "ประวัติศาสตร์โรมัน", "พีชคณิต", "การเชื่อมโลหะ"),
    "none": ("", "", "", ""),
}
N = 40
"""Resources: ten of each topic."""


@pytest.fixture(autouse=True)
def _site(settings, tmp_path):
    cache.clear()
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": tmp_path / "artifacts",
        "ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder", "OPTIONS": {"dimension": 64}}},
        "RELEVANCE": {"max_epochs": 2, "embedding_size": 16, "feature_size": 16, "hidden_size": 16, "layers": 1},
        "TUNE_S": 0,
    }


def walks(n_learners, length, seed=0):
    """Everybody keeps to one topic, and mostly to the order of its resources."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_learners):
        topic, place = rng.integers(4), rng.integers(10)
        walk = [topic * 10 + place]
        while len(walk) < length:
            place = (place + (1 if rng.random() < 0.7 else rng.integers(1, 10))) % 10
            if topic * 10 + place not in walk:
                walk.append(topic * 10 + place)
        found.append([f"r{row}" for row in walk])
    return found


def write(path, columns, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return str(path)


def run_site(folder, histories, titles, clock):
    """Import, embed, train and recommend; return the lists and what was held back, by user."""
    resources = [(f"r{row}", f"{titles[row // 10]} {row % 10 + 1}" if titles[0] else "", "") for row in range(N)]
    call_command("llmrec_import", "resources", write(folder / "r.csv", ("item_id", "title", "language"), resources))
    events = [
        (f"u{user}", item, clock(step), "completed")
        for user, history in enumerate(histories)
        for step, item in enumerate(history[:-1])
    ]
    columns = ("user_id", "item_id", "timestamp", "event")
    call_command("llmrec_import", "interactions", write(folder / "i.csv", columns, events), "--visitors")
    call_command("llmrec_embed", verbosity=0)
    call_command("llmrec_train", verbosity=0)
    output = folder / "run.csv"
    call_command("llmrec_recommend", "--users", "all", "-k", "10", "--output", str(output))
    lists = {}
    with output.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            lists.setdefault(row["user_id"].removeprefix("import:"), []).append(row["item_id"])
    return lists, events


def popular_scores(events, users, histories, n_orders=50):
    """Score what is most popular among the events, without what each user had.

    Of equally popular items any may come first: an order by name would know more here than the events say, because
    the names were numbered by how much they are liked. So it is the mean over random orders.
    """
    items = sorted({item for _, item, _, _ in events})
    counts = np.array([sum(chosen == item for _, chosen, _, _ in events) for item in items])
    had = {user: {item for who, item, _, _ in events if who == user} for user in users}
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n_orders):
        order = [items[place] for place in np.lexsort((rng.random(len(items)), -counts))]
        found.append(
            scores({user: [item for item in order if item not in had[user]][:10] for user in users}, histories)
        )
    return np.mean(found, axis=0)


def scores(lists, histories):
    ranked = np.full((len(histories), 10), -1)
    for user in range(len(histories)):
        found = [int(item[1:]) for item in lists[f"u{user}"]]
        ranked[user, : len(found)] = found
    return ndcg(*relevance_hits(ranked, [np.array([int(history[-1][1:])]) for history in histories]), 10)


def days(step):
    return f"2025-01-{step + 1:02}T10:00:00Z"


@pytest.mark.parametrize(
    ("titles", "n_learners", "length", "clock"),
    [
        pytest.param("english", 150, 3, days, id="two in each history"),
        pytest.param("none", 150, 6, days, id="no text at all"),
        pytest.param("english", 150, 6, lambda step: "2025-01-01T10:00:00Z", id="no clock"),
        pytest.param("english", 24, 6, days, id="two dozen learners"),
        pytest.param("arabic", 100, 5, days, id="Arabic"),
        pytest.param("hebrew", 100, 5, days, id="Hebrew"),
        pytest.param("chinese", 100, 5, days, id="Chinese"),
        pytest.param("thai", 100, 5, days, id="Thai"),
    ],
)
def test_lists_are_sensible_and_not_worse_than_popularity(tmp_path, titles, n_learners, length, clock):
    histories = walks(n_learners, length)
    lists, events = run_site(tmp_path, histories, TOPICS[titles], clock)
    assert len(lists) == n_learners
    for user, history in enumerate(histories):
        ranked = lists[f"u{user}"]
        assert len(ranked) == len(set(ranked)) == 10
        assert not set(ranked) & set(history[:-1])
    ours = scores(lists, histories)
    theirs = popular_scores(events, lists, histories)
    assert paired_difference(ours, theirs).high >= 0
    # Here there is something to learn: whoever learns nothing fails.
    assert ours.mean() > 1.5 * theirs.mean()
    assert ModelVersion.objects.filter(status="active").count() == 1


@pytest.mark.parametrize("n_learners", [30, 200])
def test_where_only_popularity_counts_lists_are_not_worse_than_it(tmp_path, n_learners):
    rng = np.random.default_rng(1)
    shares = 1 / np.arange(1, N + 1)
    histories = [
        [f"r{row}" for row in rng.choice(N, size=5, replace=False, p=shares / shares.sum())] for _ in range(n_learners)
    ]
    lists, events = run_site(tmp_path, histories, TOPICS["english"], days)
    ours, theirs = scores(lists, histories), popular_scores(events, lists, histories)
    # Ties fall otherwise in every run: an interval that chance leaves once in a thousand.
    assert paired_difference(ours, theirs, confidence=0.998).high >= 0
    if n_learners > 100:  # as many can tell: lists turned around are worse for sure
        reversed_lists = {user: ranked[::-1] for user, ranked in lists.items()}
        assert paired_difference(scores(reversed_lists, histories), theirs, confidence=0.998).high < 0
    assert theirs.mean() > 0.2  # so there was something to lose


def test_where_nobody_has_two_resources_popularity_goes_on(tmp_path):
    histories = [[f"r{user % 7}", "r39"] for user in range(30)]
    with pytest.raises(CommandError, match="nothing can be held out"):
        run_site(tmp_path, histories, TOPICS["english"], days)
    call_command("llmrec_recommend", "--users", "all", "-k", "3", "--output", str(tmp_path / "run.csv"))
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 1 + 30 * 3
