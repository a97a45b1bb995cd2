"""Files of other sites through the commands: other scripts, no text, no clock, few learners, and all of it at once.

The files are written here, as a stranger would by the documentation. Of each learner the last resource is held back
before the import, and asked for in the lists that `llmrec_recommend` writes.
"""

import csv
import gzip
import io
import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.utils.translation import override

from llmrec_django import api
from llmrec_django.engine.evaluation.bootstrap import paired_difference
from llmrec_django.engine.phrases import holds
from llmrec_django.models import LearnerProfile, ModelVersion, Resource
from llmrec_django.services import scorer

pytestmark = [pytest.mark.django_db, pytest.mark.model]
K = 10
SIZE = 20
"""Resources of a topic: five subjects in four forms."""

# Language → (topics of a name and five subjects, four forms). Some are spelt with marks of vowels or stress, with
# marks of direction, with composed and with decomposed letters: whatever comes in must come out.
WORDS = {
    "en": (
        [
            ("Botany", "roots", "leaves", "seeds", "mosses", "orchids"),
            ("Rome", "senate", "aqueducts", "legions", "emperors", "Pompeii"),
            ("Algebra", "groups", "rings", "fields", "matrices", "equations"),
            ("Welding", "safety", "torches", "seams", "steel", "repairs"),
        ],
        ("introduction", "exercises", "seminar", "project"),
    ),
    "ru": (
        [
            ("Ботаника", "корни", "листья", "семена", "мхи", "лишайники"),
            ("Древний Рим", "сенат", "акведуки", "легионы", "и\u0306мператоры", "Помпеи"),
            ("Алгебра", "группы", "кольца", "поля́", "матрицы", "уравнения"),
            ("Сварка", "безопасность", "горелки", "швы", "сталь", "ремонт"),
        ],
        ("введение", "упражнения", "семинар", "проект"),
    ),
    "ar": (
        [
            ("علم النبات", "الجذور", "الأوراق", "البذور", "الطحالب", "الأزهار"),
            ("تاريخ روما", "مجلس الشيوخ", "القنوات", "الجيوش", "الأباطرة", "بومبي\u200f (79)"),
            ("الجَبْر", "الزُّمَر", "الحَلَقات", "الحقول", "المصفوفات", "المعادلات"),
            ("اللحام", "السلامة", "المشاعل", "الوصلات", "الفولاذ", "الإصلاح \u2067MIG\u2069"),
        ],
        ("مقدمة", "تمارين", "ندوة", "مشروع"),
    ),
    "he": (
        [
            ("בּוֹטָנִיקָה", "שׁוֹרָשִׁים", "עלים", "זרעים", "טחבים", "סחלבים"),
            ("רומא העתיקה", "הסנאט", "אמות מים", "לגיונות", "קיסרים", "פומפיי"),
            ("אלגברה", "חבורות", "חוגים", "שדות", "מטריצות", "משוואות"),
            ("ריתוך", "בטיחות", "מבערים", "תפרים", "פלדה", "תיקונים \u202bMIG\u202c"),
        ],
        ("מבוא", "תרגילים", "סמינר", "פרויקט"),
    ),
    "zh": (
        [
            ("植物学", "根系", "叶片", "种子", "苔藓", "兰花"),
            ("古罗马史", "元老院", "引水渠", "军团", "皇帝", "庞贝古城"),
            ("抽象代数", "群论", "环论", "域论", "矩阵", "方程"),
            ("焊接工艺", "安全", "焊枪", "焊缝", "钢材", "维修"),
        ],
        ("入门", "习题", "研讨", "项目"),
    ),
    "th": (
        [
            ("พฤกษศาสตร์", "ราก", "ใบ", "เมล็ด", "มอส", "กล้วยไม้"),
            ("ประวัติศาสตร์โรมัน", "วุฒิสภา", "สะพานส่งน้ำ", "กองทหาร", "จักรพรรดิ", "ปอมเปอี"),
            ("พีชคณิต", "กรุป", "ริง", "ฟีลด์", "เมทริกซ์", "สมการ"),
            ("การเชื่อมโลหะ", "ความปลอดภัย", "หัวเชื่อม", "รอยเชื่อม", "เหล็กกล้า", "การซ่อม"),
        ],
        ("เบื้องต้น", "แบบฝึกหัด", "สัมมนา", "โครงงาน"),
    ),
}
GOALS = {
    "ar": "أريد أن أتعلم الجَبْر والمصفوفات، ثلاث ساعات في الأسبوع",
    "he": "אני רוצה ללמוד אלגברה, שעתיים בשבוע",
    "ru": "Хочу изучать: Алгебра, матрицы и уравнения",
    "zh": "我是初学者，想学习抽象代数，每周三小时",
}
"""As learners would say that they want the third topic."""
ALGEBRA = 2
QUOTED = re.compile("“([^”]*)”|《([^》]*)》")


@dataclass(frozen=True)
class Site:
    """What a site has: resources by key, and what each learner took up, in order, the last one held back."""

    resources: dict[str, dict[str, str]]
    histories: dict[str, list[str]]
    withdrawn: frozenset[str]
    """In the files and in histories, but not to be recommended any more."""
    has_clock: bool = True

    @property
    def asked(self):
        """The learners of whom something is held back that may be recommended."""
        return [user for user, history in self.histories.items() if history[-1] not in self.withdrawn]

    def known(self, user):
        return self.histories[user][:-1]

    def allowed(self, user):
        return self.resources.keys() - {*self.known(user), *self.withdrawn}

    def chosen(self):
        """Return how many learners took up each resource, as far as the site knows."""
        known = [set(self.known(user)) for user in self.histories]
        return {key: sum(key in keys for keys in known) for key in self.resources}


def make_site(*languages, learners, lengths, seed=0, has_clock=True, follow=0.75, titled=1.0, names=("item-{}", "u{}")):
    """Make a site of four topics, in turns in the given languages.

    Topics and resources are chosen by Zipf's law. A learner stays in a topic until it is used up, and goes on to its
    next resource with the chance `follow`, else to another one of the topic.

    Args:
        lengths: How many resources learners take up, the one that is held back among them; drawn for each.
        follow: None: everybody takes what is popular, and there is nothing else to learn.
        titled: Share of the resources that have a title and keywords; the others have nothing but a key.
        names: Patterns of the keys of resources and of the names of learners.
    """
    rng = np.random.default_rng(seed)
    resources = {}
    for place in range(4 * SIZE):
        topic, n = divmod(place, SIZE)
        language = languages[topic % len(languages)]
        topics, forms = WORDS[language]
        name, subject, form = topics[topic][0], topics[topic][1 + n % 5], forms[n // 5]
        key = names[0].format(place)
        resources[key] = {"item_id": key}
        if rng.random() < titled:
            title = f"{name}：{subject}（{form}）" if language == "zh" else f"{name}: {subject}, {form}"
            resources[key] |= {"title": title, "keywords": f"{name};{subject}", "language": language}
    keys = list(resources)
    resources[keys[3]]["published"] = "no"
    resources[keys[SIZE]]["available_until"] = "2024-12-31"
    topic_likes, likes = 1 / np.arange(1, 5), 1 / np.arange(1, SIZE + 1)
    anything = rng.permutation(np.outer(topic_likes, likes).ravel())
    histories = {}
    for user in range(learners):
        length = int(rng.choice(lengths))
        if follow is None:
            places = rng.choice(4 * SIZE, size=length, replace=False, p=anything / anything.sum())
        else:
            places = walk(rng, int(rng.choice(4, p=topic_likes / topic_likes.sum())), length, follow, likes)
        histories[names[1].format(user)] = [keys[place] for place in places]
    return Site(resources, histories, frozenset({keys[3], keys[SIZE]}), has_clock)


def walk(rng, topic, length, follow, likes):
    """Return the places that one learner takes up."""
    taken = []
    while len(taken) < length:
        left = [n for n in range(SIZE) if topic * SIZE + n not in taken]
        if not left:
            topic = (topic + 1) % 4
            continue
        after = taken[-1] % SIZE + 1 if taken else SIZE
        if after not in left or rng.random() >= follow:
            after = int(rng.choice(left, p=likes[left] / likes[left].sum()))
        taken.append(topic * SIZE + after)
    return taken


def write_file(path, rows):
    """Write rows as CSV or as JSON lines, gzipped where the name ends so."""
    text = io.StringIO(newline="")
    if ".jsonl" in path.name:
        text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        writer = csv.DictWriter(text, list(dict.fromkeys(column for row in rows for column in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def events_of(site):
    """Return the rows of what is known; without a clock learners come in any order, each with their own order."""
    rows = {
        user: [{"user_id": user, "item_id": key, "event": "enroll"} for key in site.known(user)]
        for user in site.histories
    }
    if site.has_clock:
        for theirs in rows.values():
            for step, row in enumerate(theirs):
                row["timestamp"] = f"2025-03-{step + 1:02}T10:00:00Z"
        return [row for theirs in rows.values() for row in theirs]
    turns = np.random.default_rng(0).permutation(np.repeat(list(rows), [len(theirs) for theirs in rows.values()]))
    left = {user: iter(theirs) for user, theirs in rows.items()}
    return [next(left[user]) for user in turns]


def run_site(site, folder, ending="csv", identity="--visitors"):
    """Import, embed, train and recommend; return the list of each learner and what the training printed."""
    call_command("llmrec_import", "resources", write_file(folder / f"items.{ending}", site.resources.values()))
    call_command("llmrec_import", "interactions", write_file(folder / f"events.{ending}", events_of(site)), identity)
    call_command("llmrec_embed", verbosity=0)
    said = io.StringIO()
    call_command("llmrec_train", stdout=said)
    users = write_file(folder / "users.csv", [{"user_id": user} for user in site.histories])
    call_command("llmrec_recommend", "--users", users, "-k", str(K), "--output", str(folder / "run.csv"))
    lists = {}
    with (folder / "run.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            lists.setdefault(row["user_id"], []).append(row["item_id"])
    return lists, said.getvalue()


def check_lists(site, lists):
    """Everybody has as many resources as there are, none twice, none that they had, none that is withdrawn."""
    assert list(lists) == list(site.histories)
    for user, found in lists.items():
        assert len(found) == len(set(found)) == min(K, len(site.allowed(user)))
        assert set(found) <= site.allowed(user)


def check_titles(site):
    """What was imported stands in the database byte for byte."""
    stored = {key: title.encode() for key, title in Resource.objects.values_list("key", "title")}
    assert stored == {key: resource.get("title", "").encode() for key, resource in site.resources.items()}


def check_training(said):
    """What the command prints says what serves, and why nothing better does."""
    serving = ModelVersion.objects.get(status="active")
    assert f"{serving} serves now." in said or f"serves as {serving}." in said
    if "serves" in serving.metrics:
        rejected = ModelVersion.objects.get(status="rejected")
        assert f"The baseline {serving.metrics['serves']} serves" in said
        assert said.endswith(f"{rejected}: {rejected.why}\n")
        assert rejected.why.startswith("NDCG@10 ")
        assert " does not surely beat " in rejected.why


def measure(site, lists):
    """Return recall and NDCG of the lists, and of what is most popular, for each learner that is asked; [2, U] each.

    Nobody is shown what they had, by either. Of equally popular resources any may come first: popularity gets the
    mean over all their orders.
    """
    gains = np.array([np.ones(K), 1 / np.log2(np.arange(2, K + 2))])
    chosen = site.chosen()
    ours, theirs = np.zeros((2, len(site.asked))), np.zeros((2, len(site.asked)))
    for column, user in enumerate(site.asked):
        wanted = site.histories[user][-1]
        if wanted in lists[user]:
            ours[:, column] = gains[:, lists[user].index(wanted)]
        rivals = [chosen[key] for key in site.allowed(user)]
        before, alike = sum(n > chosen[wanted] for n in rivals), rivals.count(chosen[wanted])
        theirs[:, column] = gains[:, before : before + alike].sum(axis=1) / alike
    return ours, theirs


def check_better(site, lists):
    """Lists are surely better than popularity, by both measures."""
    for ours, theirs in zip(*measure(site, lists), strict=True):
        assert paired_difference(ours, theirs).low > 0


def most_chosen(site, user):
    """Return how often the most popular resources that a learner may be shown were chosen, in order."""
    chosen = site.chosen()
    return sorted((chosen[key] for key in site.allowed(user)), reverse=True)[:K]


def check_reasons(site, user, language):
    """Return the reasons of a learner's list; what they quote is what the learner had, letter for letter."""
    learner = LearnerProfile.objects.get(visitor_key=f"import:{user}")
    titles = {site.resources[key].get("title", key) for key in site.known(user)}
    result = api.recommend(learner, k=K)
    assert len(result.items) == K
    with override(language):
        reasons = [str(item.reason) for item in result.items]
    for item, reason in zip(result.items, reasons, strict=True):
        assert {first or second for first, second in QUOTED.findall(reason)} <= titles
        assert not re.search("[%&<>“”\ufffd]|None", QUOTED.sub("", reason))
        assert reason.endswith((".", "。")) or not item.evidence.own
    return reasons


def check_goals(site, language):
    """Who only says what they want, in their language, gets that: at once by its words, and by its meaning later."""
    learner = api.get_learner(visitor_key="somebody who is new here")
    api.propose_goals(learner, GOALS[language])
    learner = api.confirm_goals(learner)
    assert learner.goals == GOALS[language]
    wanted = list(site.resources)[ALGEBRA * SIZE : (ALGEBRA + 1) * SIZE]
    at_once = api.recommend(learner, k=5).items
    assert {item.resource.key for item in at_once} <= set(wanted)
    assert all(item.evidence.goal_words or item.evidence.interests for item in at_once)
    call_command("llmrec_embed", verbosity=0)
    later = api.recommend(learner, k=5).items
    assert later[0].resource.key in wanted
    for item in (*at_once, *later):
        words = (*item.evidence.goal_words, *item.evidence.interests)
        assert all(holds(GOALS[language], word) for word in words)
        assert not words or any(word in str(item.reason) for word in words)


@pytest.fixture(autouse=True)
def _settings(settings, tmp_path):
    cache.clear()
    scorer.forget()
    settings.LLMREC = {
        "CELERY": False,
        "ARTIFACT_DIR": tmp_path / "artifacts",
        "ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder", "OPTIONS": {"dimension": 64}}},
        "RELEVANCE": {"max_epochs": 2, "embedding_size": 16, "feature_size": 16, "hidden_size": 16, "layers": 1},
        "TUNE_S": 0,
    }
    yield
    scorer.forget()


@pytest.mark.parametrize(("language", "ending"), [("ar", "csv.gz"), ("he", "jsonl.gz"), ("ru", "csv"), ("zh", "jsonl")])
def test_languages_of_other_scripts(tmp_path, language, ending):
    site = make_site(language, learners=100, lengths=(4, 5, 6))
    lists, said = run_site(site, tmp_path, ending)
    check_titles(site)
    check_lists(site, lists)
    check_training(said)
    check_better(site, lists)
    for user in ("u0", "u1", "u2"):
        for of_reader in ("en", "zh-hans"):
            reasons = check_reasons(site, user, of_reader)
            assert any(QUOTED.search(reason) for reason in reasons)
    check_goals(site, language)


@pytest.mark.parametrize(
    ("changes", "identity"),
    [
        pytest.param({"learners": 150, "lengths": (2, 3, 4)}, "--visitors", id="one to three in each history"),
        pytest.param({"learners": 120, "lengths": (4, 5, 6), "titled": 0}, "--create-users", id="keys only"),
        pytest.param({"learners": 120, "lengths": (4, 5, 6), "has_clock": False}, "--visitors", id="no clock"),
        pytest.param({"learners": 30, "lengths": (16,)}, "--create-users", id="30 learners with 15 each"),
    ],
)
def test_sites_that_know_little(tmp_path, changes, identity):
    site = make_site("en", **changes)
    lists, said = run_site(site, tmp_path, identity=identity)
    check_titles(site)
    check_lists(site, lists)
    check_training(said)
    check_better(site, lists)


def test_everything_at_once(tmp_path):
    """Five scripts, keys and names that are no ASCII, titles for some, no clock, few learners, newcomers among them."""
    site = make_site(
        "ar", "zh", "he", "ru", learners=40, lengths=(1, 2, 3, 4, 15), has_clock=False, titled=0.6,
        names=("课程/מס {}?&", "Студент №{}"),
    )  # fmt: skip
    lists, said = run_site(site, tmp_path, "jsonl.gz")
    check_titles(site)
    check_lists(site, lists)
    check_training(said)
    check_better(site, lists)
    chosen = site.chosen()
    newcomers = [user for user in site.histories if not site.known(user)]
    assert newcomers
    for user in newcomers:
        assert [chosen[key] for key in lists[user]] == most_chosen(site, user)
    for user in [user for user in site.histories if site.known(user)][:6]:
        check_reasons(site, user, "en")


@pytest.mark.parametrize("share", [0, 0.8])
def test_where_only_popularity_counts_it_serves(tmp_path, settings, share):
    settings.LLMREC = {**settings.LLMREC, "NEW_SHARE": share}
    site = make_site("en", learners=30, lengths=(15,), follow=None)
    lists, said = run_site(site, tmp_path)
    check_lists(site, lists)
    check_training(said)
    assert "The baseline popularity serves" in said
    chosen = site.chosen()
    for user, found in lists.items():
        # Popularity cannot tell new resources apart, so none of them gets a place that is kept for one.
        assert [chosen[key] for key in found] == most_chosen(site, user)


def test_thai_titles(tmp_path):
    site = make_site("th", learners=100, lengths=(4, 5, 6))
    lists, said = run_site(site, tmp_path)
    check_titles(site)
    check_lists(site, lists)
    check_training(said)
    check_better(site, lists)


def test_where_nobody_has_two_resources_popularity_goes_on(tmp_path):
    site = make_site("en", learners=30, lengths=(2,))
    with pytest.raises(CommandError, match="nothing can be held out"):
        run_site(site, tmp_path)
    output = tmp_path / "run.csv"
    call_command("llmrec_recommend", "--users", "all", "-k", "3", "--output", str(output))
    assert len(output.read_text().splitlines()) == 1 + 30 * 3


def test_a_handful_of_learners_is_told_so(tmp_path):
    site = make_site("ar", learners=6, lengths=(4,))
    lists, said = run_site(site, tmp_path)
    check_lists(site, lists)
    assert "Only 6 learners have an interaction to hold out; 10 are needed to tell anything apart." in said
    assert f"serves as {ModelVersion.objects.get(status='active')}." in said


def test_where_a_baseline_has_nothing_to_say_the_list_goes_on_by_texts(tmp_path, settings):
    """A source of transitions names a few resources; the order of all others would be that of their ids."""
    settings.LLMREC = {**settings.LLMREC, "TRAIN_SOURCES": ("transitions",)}
    site = make_site("zh", learners=100, lengths=(4, 5, 6))
    _, said = run_site(site, tmp_path)
    assert "The baseline transitions serves" in said
    topic = {key: place // SIZE for place, key in enumerate(site.resources)}
    seen, fits = set(), []
    for user in list(site.histories)[:20]:
        items = api.recommend(LearnerProfile.objects.get(visitor_key=f"import:{user}"), k=K).items
        sources = [item.source for item in items]
        assert sources == sorted(sources, reverse=True)  # what is trained, then content
        fits += [topic[item.resource.key] in {topic[key] for key in site.known(user)} for item in items]
        seen |= set(sources)
    assert seen == {"trained", "content"}
    assert np.mean(fits) > 0.9  # by ids it would be a quarter of what comes after
