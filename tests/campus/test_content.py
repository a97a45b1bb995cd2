"""The campus's texts and its made-up learners: complete, consistent, bilingual and reproducible."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from example_project.campus.generate import CONTENT, LEVELS, PERSONAS, generate_activity
from example_project.campus.personas import HISTORIES

HAN = re.compile(r"[\u3400-\u9fff]")
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
FIELDS = {
    "courses": {
        "key", "title_en", "title_zh", "summary_en", "summary_zh", "level", "language", "subjects", "keywords",
        "hours", "instructor", "prerequisites", "lessons",
    },
    "books": {
        "key", "title_en", "title_zh", "summary_en", "summary_zh", "level", "language", "subjects", "keywords",
        "authors", "year", "pages",
    },
    "papers": {
        "key", "title_en", "title_zh", "abstract_en", "abstract_zh", "level", "language", "subjects", "keywords",
        "authors", "year", "venue",
    },
}  # fmt: skip
VERBS = {
    "course": {"viewed", "enrolled", "progressed", "completed", "rated"},
    "book": {"viewed", "borrowed", "rated"},
    "paper": {"viewed", "bookmarked", "rated"},
}


def read(name: str) -> list[dict[str, Any]]:
    return json.loads((CONTENT / f"{name}.json").read_text(encoding="utf-8"))


SUBJECTS = read("subjects")
CATALOGUE = {name: read(name) for name in FIELDS}
ENTRIES = [entry for entries in CATALOGUE.values() for entry in entries]
COURSES = {course["key"]: course for course in CATALOGUE["courses"]}
BY_KEY = {entry["key"]: entry for entry in ENTRIES}
KIND = {entry["key"]: name[:-1] for name, entries in CATALOGUE.items() for entry in entries}
EVENTS = list(generate_activity())


def texts_of(entry: dict[str, Any], language: str) -> list[str]:
    lessons = [lesson[f"title_{language}"] for lesson in entry.get("lessons", [])]
    return [value for name, value in entry.items() if name.endswith(f"_{language}")] + lessons


def histories(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    by_learner = defaultdict(list)
    for event in events:
        by_learner[event["learner"]].append(event)
    return by_learner


def test_there_is_enough_of_each_kind() -> None:
    assert len(CATALOGUE["courses"]) >= 80
    assert len(CATALOGUE["books"]) >= 40
    assert len(CATALOGUE["papers"]) >= 35
    assert 12 <= len(SUBJECTS) <= 14


def test_every_subject_has_courses_books_and_papers_and_every_level() -> None:
    for subject in SUBJECTS:
        inside = [entry for entry in ENTRIES if subject["key"] in entry["subjects"]]
        assert {KIND[entry["key"]] for entry in inside} == {"course", "book", "paper"}, subject
        assert {entry["level"] for entry in inside} == set(LEVELS), subject


@pytest.mark.parametrize("name", FIELDS)
def test_entries_have_exactly_the_agreed_fields(name: str) -> None:
    for entry in CATALOGUE[name]:
        assert set(entry) == FIELDS[name], entry["key"]
        assert entry["level"] in LEVELS
        assert entry["language"] in {"en", "zh-hans"}
        assert entry["subjects"]
        assert 3 <= len(entry.get("lessons", "123")) <= 6


def test_keys_are_unique_slugs() -> None:
    assert len(BY_KEY) == len(ENTRIES)
    for key in [*BY_KEY, *(subject["key"] for subject in SUBJECTS)]:
        assert SLUG.fullmatch(key), key


def test_no_title_or_description_is_used_twice() -> None:
    for prefix in ("title", "summary", "abstract"):
        for language in ("en", "zh"):
            texts = Counter(entry.get(f"{prefix}_{language}") for entry in ENTRIES)
            texts.pop(None, None)
            assert max(texts.values()) == 1, texts.most_common(1)


def test_descriptions_do_not_follow_one_template() -> None:
    openings = Counter(" ".join((entry.get("summary_en") or entry.get("abstract_en")).split()[:3]) for entry in ENTRIES)
    assert openings.most_common(1)[0][1] <= 2, openings.most_common(3)


def test_english_texts_are_english_and_chinese_texts_are_chinese() -> None:
    for entry in [*ENTRIES, *({f"name_{k}": v for k, v in s.items() if k != "key"} for s in SUBJECTS)]:
        for text in texts_of(entry, "en"):
            assert text.strip() == text != ""
            assert not HAN.search(text), text
        for text in texts_of(entry, "zh"):
            assert text.strip() == text != ""
            assert HAN.search(text), text


def test_descriptions_say_something() -> None:
    for entry in ENTRIES:
        english, chinese = (entry.get(f"summary_{la}") or entry.get(f"abstract_{la}") for la in ("en", "zh"))
        assert 80 <= len(english) <= 400, entry["key"]
        assert 25 <= len(chinese) <= 200, entry["key"]


def test_keywords_are_in_both_languages_and_not_repeated() -> None:
    for entry in ENTRIES:
        keywords = entry["keywords"]
        assert len(keywords) == len(set(keywords)), entry["key"]
        assert any(HAN.search(word) for word in keywords), entry["key"]
        assert any(not HAN.search(word) for word in keywords), entry["key"]


def test_about_two_in_five_are_taught_in_chinese() -> None:
    share = sum(entry["language"] == "zh-hans" for entry in ENTRIES) / len(ENTRIES)
    assert 0.35 <= share <= 0.45


def test_subjects_and_prerequisites_exist() -> None:
    subjects = {subject["key"] for subject in SUBJECTS}
    for entry in ENTRIES:
        assert set(entry["subjects"]) <= subjects, entry["key"]
        assert len(entry["subjects"]) == len(set(entry["subjects"]))
        assert set(entry.get("prerequisites", [])) <= set(COURSES) - {entry["key"]}, entry["key"]


def test_prerequisites_are_never_harder_and_never_circular() -> None:
    def chain(key: str, above: tuple[str, ...] = ()) -> int:
        assert key not in above, (*above, key)
        return 1 + max((chain(need, (*above, key)) for need in COURSES[key]["prerequisites"]), default=0)

    for course in COURSES.values():
        for need in course["prerequisites"]:
            assert LEVELS[COURSES[need]["level"]] <= LEVELS[course["level"]], (course["key"], need)
    assert max(chain(key) for key in COURSES) >= 4


def test_a_course_taught_in_english_needs_no_course_taught_in_chinese() -> None:
    for course in COURSES.values():
        if course["language"] == "en":
            assert all(COURSES[need]["language"] == "en" for need in course["prerequisites"]), course["key"]


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    assert list(generate_activity(seed=7)) == EVENTS
    assert list(generate_activity(seed=8)) != EVENTS


def test_there_are_as_many_learners_as_asked_for_besides_the_personas() -> None:
    crowd = set(histories(EVENTS)) - {persona["key"] for persona in PERSONAS}
    assert crowd == {f"l{number:03}" for number in range(1, 61)}
    assert {event["learner"] for event in generate_activity(n_learners=0)} == set(HISTORIES)


def test_a_learner_is_one_person() -> None:
    for key, events in histories(EVENTS).items():
        assert len({(event["name"], event["language"]) for event in events}) == 1, key
    names = {event["name"] for event in EVENTS}
    assert len(names) == len(histories(EVENTS))


@pytest.mark.parametrize("seed", range(20))
def test_events_fit_their_resource_and_the_200_days(seed: int) -> None:
    for key, events in histories(list(generate_activity(seed=seed))).items():
        assert 1 <= len(events) <= 40, key
        times = [event["at"] for event in events]
        assert all(later < earlier for earlier, later in itertools.pairwise(times)), key
        assert times[0] <= 200, key
        assert times[-1] > 0, key
        for event in events:
            assert event["kind"] == KIND[event["key"]]
            assert event["verb"] in VERBS[event["kind"]], event
            if event["verb"] == "rated":
                assert event["value"] in {1.0, 2.0, 3.0, 4.0, 5.0}
            elif event["verb"] == "progressed":
                assert 0 < event["value"] < 1
            else:
                assert event["value"] is None


@pytest.mark.parametrize("seed", range(20))
def test_steps_come_in_order_and_after_their_prerequisites(seed: int) -> None:
    for learner, events in histories(list(generate_activity(seed=seed))).items():
        done: dict[str, set[str]] = defaultdict(set)
        for event in events:
            key, verb = event["key"], event["verb"]
            assert verb == "progressed" or verb not in done[key], (learner, event)
            if verb == "enrolled":
                for need in COURSES[key]["prerequisites"]:
                    assert "completed" in done[need], (learner, key, need)
            if verb in {"progressed", "completed"}:
                assert "enrolled" in done[key], (learner, event)
            if verb == "rated":
                assert done[key] & {"completed", "borrowed", "bookmarked"}, (learner, event)
            assert not done[key] & {"completed", "rated"} or verb == "rated", (learner, event)
            done[key].add(verb)


def test_history_lengths_range_from_a_few_to_many() -> None:
    lengths = [len(events) for key, events in histories(EVENTS).items() if key.startswith("l0")]
    assert min(lengths) <= 4
    assert max(lengths) >= 33
    assert max(event["at"] for event in EVENTS) > 180
    assert min(event["at"] for event in EVENTS) < 5


def test_learners_keep_to_few_subjects_and_mostly_to_their_language() -> None:
    in_two_subjects, own_language, total = 0, Counter(), Counter()
    for events in histories(EVENTS).values():
        subjects = Counter(BY_KEY[event["key"]]["subjects"][0] for event in events)
        in_two_subjects += sum(count for _, count in subjects.most_common(2))
        for event in events:
            own_language[event["language"]] += BY_KEY[event["key"]]["language"] == event["language"]
            total[event["language"]] += 1
    assert in_two_subjects / total.total() > 0.6
    assert own_language["en"] / total["en"] > 0.75
    # Prerequisites taught in English take Chinese learners there too.
    assert own_language["zh-hans"] / total["zh-hans"] > 0.5


def test_what_learners_take_becomes_harder() -> None:
    early, late = [], []
    for events in histories(EVENTS).values():
        courses = [LEVELS[BY_KEY[e["key"]]["level"]] for e in events if e["verb"] == "enrolled"]
        half = len(courses) // 2
        early += courses[:half]
        late += courses[len(courses) - half :]
    assert sum(late) / len(late) > sum(early) / len(early) + 0.3


def test_personas_have_every_text_and_two_of_them_start_with_nothing() -> None:
    assert len({persona["key"] for persona in PERSONAS}) == len(PERSONAS) >= 5
    for persona in PERSONAS:
        assert SLUG.fullmatch(persona["key"])
        assert HAN.search(persona["name_zh"])
        assert HAN.search(persona["about_zh"])
        assert not HAN.search(persona["name_en"] + persona["about_en"])
        assert persona["goals"]
        assert bool(HAN.search(persona["goals"])) == (persona["language"] == "zh-hans")
    assert len({persona["key"] for persona in PERSONAS} - set(HISTORIES)) == 2
    assert set(HISTORIES) <= {persona["key"] for persona in PERSONAS}
    for kind, key, *_ in itertools.chain.from_iterable(HISTORIES.values()):
        assert KIND[key] == kind


def test_each_persona_did_what_its_description_says() -> None:
    def share(key: str, test: Any) -> float:
        entries = [BY_KEY[event[1]] for event in HISTORIES[key]]
        return sum(map(test, entries)) / len(entries)

    assert share("lin-xiaoyu", lambda e: e["language"] == "zh-hans" and e["level"] == "beginner") == 1
    assert share("daniel-reyes", lambda e: e["language"] == "en") == 1
    assert share("daniel-reyes", lambda e: "data-science" in e["subjects"]) > 0.5
    assert share("eleanor-whitfield", lambda e: {"history", "literature"} & set(e["subjects"]) != set()) == 1
    assert share("eleanor-whitfield", lambda e: KIND[e["key"]] == "book") > 0.6
    assert share("amina-yusuf", lambda e: e["subjects"][0] == "biology-medicine") == 1
    assert share("amina-yusuf", lambda e: KIND[e["key"]] == "paper") >= 0.5


def test_content_files_are_written_in_one_way() -> None:
    for path in sorted(Path(CONTENT).glob("*.json")):
        text = path.read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n", path.name
