"""The template writer: true, varied, in the reader's language."""

import json
import re
from dataclasses import replace

import pytest
from django.template import engines
from django.utils.html import escape
from django.utils.translation import override

from llmrec_django.services.reasons.templates import (
    EXTRAS,
    LONGEST_TITLE,
    POINTS,
    Plan,
    plan_list,
    short_title,
    with_reasons,
    write,
)
from llmrec_django.types import Evidence, EvidenceResource, Recommendation

NAMES = {"zh-hans": "统计推断"}
STATISTICS = EvidenceResource(7, "course:7", "Statistical Inference", NAMES, verb="completed", share=0.6, learners=25)
PANDAS = EvidenceResource(
    8, "book:8", "Data with pandas", {"zh-hans": "用 pandas 处理数据"}, verb="borrowed", share=0.4
)
LISTED = EvidenceResource(1, "course:1", "Causal Inference", {"zh-hans": "因果推断"})
FULL = Evidence(
    LISTED,
    source="trained",
    own=(STATISTICS, PANDAS),
    goal_words=("causes",),
    interests=("medicine",),
    competencies=("Regression",),
    keywords=("statistics", "统计学"),
    unlocked_by=(replace(STATISTICS, share=0.0, learners=0),),
    together=True,
    among=replace(PANDAS, share=0.0),
    popular=120,
    popular_days=90,
    level="beginner",
    minutes=40,
    minutes_per_week=120,
    new_days=3,
    rule="pinned",
)
QUOTED = re.compile("“([^”]*)”|《([^》]*)》")
NUMBER = re.compile(r"\d+")


def everything():
    """Every sentence that can be written."""
    for point, shapes in POINTS.items():
        for shape in range(len(shapes)):
            for extra in ("", *EXTRAS):
                yield Plan(point, shape, 0, extra)


def untrue(text, evidence, language):
    """Return titles and numbers in a reason that are not in its evidence, and titles of another language."""
    allowed = {resource.local_title(language) for resource in evidence.resources()}
    titles = {first or second for first, second in QUOTED.findall(text)}
    left = text
    for title in titles:
        left = left.replace(title, "")
    numbers = {int(number) for number in NUMBER.findall(left)}
    return (titles - allowed) | {number for number in numbers if number not in evidence.numbers()}


class TestTruth:
    @pytest.mark.parametrize("language", ["en", "zh-hans"])
    @pytest.mark.parametrize("plan", list(everything()), ids=lambda plan: f"{plan.point}{plan.shape}{plan.extra}")
    def test_every_title_and_number_is_in_the_evidence(self, plan, language):
        with override(language):
            text = write(FULL, plan)
        assert untrue(text, FULL, language) == set()
        assert text.endswith((".", "。"))
        assert "%" not in text

    def test_the_check_would_see_a_lie(self):
        assert untrue("Because you completed “Cooking”.", FULL, "en") == {"Cooking"}
        assert untrue("At least 26 learners chose it.", FULL, "en") == {26}

    @pytest.mark.parametrize("verb", ["viewed", "clicked", "rated", "enrolled", "passed", "purchased", "attended", ""])
    def test_it_says_what_the_learner_did(self, verb):
        own = replace(PANDAS, verb=verb)
        text = write(replace(FULL, own=(own,)), Plan("own"))
        expected = {
            "viewed": "Because you looked at “Data with pandas”.",
            "clicked": "Because you looked at “Data with pandas”.",
            "rated": "Because you liked “Data with pandas”.",
            "enrolled": "Because you enrolled in “Data with pandas”.",
            "passed": "Because you passed “Data with pandas”.",
            "purchased": "Because you bought “Data with pandas”.",
        }
        assert text == expected.get(verb, "Because of “Data with pandas” in your history.")


class TestChoice:
    """What is said states the cause of the place."""

    @pytest.mark.parametrize(
        ("changes", "points"),
        [
            ({"rule": "pinned"}, {"rule"}),
            ({"source": "newest", "own": (), "new_days": 3}, {"new"}),
            ({"source": "newest", "own": (), "new_days": 0}, {"new_today"}),
            ({"source": "popular", "own": ()}, {"popular"}),
            ({"source": "popular", "own": (), "popular": 0}, {"most_chosen"}),
            ({"source": "words", "own": (), "goal_words": (), "interests": ()}, {"words"}),
            ({"source": "words", "own": ()}, {"interests", "goal_words"}),
            ({"source": "trained", "own": ()}, {"popular"}),
            ({"own": (), "popular": 0, "goal_share": 0.9}, {"interests", "goal_words"}),
            ({"own": (), "popular": 0, "goal_share": 0.9, "goal_words": (), "interests": ()}, {"goal"}),
            ({"goal_share": 0.7, "goal_words": (), "interests": (), "popular": 0}, {"goal"}),
            ({"goal_share": 0.1, "popular": 0}, {"unlocked", "own", "own_two", "learners", "competencies"}),
        ],
    )
    def test_by_what_brought_it_in(self, changes, points):
        evidence = replace(FULL, **{"rule": "", "new_days": None, **changes})
        said = plan_list([evidence] * 12)
        assert {plan.point for plan in said} == points

    def test_nothing_is_said_where_nothing_is_known(self):
        bare = Evidence(LISTED, source="trained")
        items = [Recommendation(None, 1, 0.0, "trained", evidence=bare), Recommendation(None, 2, 0.0, "similar")]
        assert [str(item.reason) for item in with_reasons(items)] == ["", ""]

    def test_a_weaker_own_resource_does_not_stand_for_the_strongest(self):
        weak = replace(FULL, rule="", unlocked_by=(), own=(replace(STATISTICS, learners=0), replace(PANDAS, share=0.1)))
        named = {QUOTED.search(write(weak, plan)).group(1) for plan in plan_list([weak] * 9)}
        assert named == {"Statistical Inference"}


class TestVariety:
    def evidence(self, n):
        return [replace(FULL, rule="", resource=replace(LISTED, id=place, key=f"k{place}")) for place in range(n)]

    def test_a_list_does_not_repeat_itself(self):
        evidence = [replace(one, level="", minutes=0, minutes_per_week=0) for one in self.evidence(10)]
        texts = [write(one, plan) for one, plan in zip(evidence, plan_list(evidence), strict=True)]
        assert len(set(texts)) >= 8
        assert all(first != second for first, second in zip(texts, texts[1:], strict=False))

    @pytest.mark.parametrize(
        ("source", "facts"),
        [
            ("popular", {}),
            ("popular", {"popular": 20, "popular_days": 90}),
            ("words", {}),
            ("newest", {"new_days": 0}),
            ("newest", {"new_days": 3}),
            ("newest", {}),
            ("content", {"goal_share": 0.7}),
        ],
    )
    def test_nor_does_one_of_which_little_is_known(self, source, facts):
        evidence = [Evidence(replace(LISTED, id=place, key=f"k{place}"), source, **facts) for place in range(6)]
        texts = [write(one, plan) for one, plan in zip(evidence, plan_list(evidence), strict=True)]
        assert len(set(texts)) >= 2
        assert all(first != second for first, second in zip(texts, texts[1:], strict=False))

    def test_the_same_list_says_the_same_in_every_language(self):
        evidence = self.evidence(10)
        with override("zh-hans"):
            in_chinese = plan_list(evidence)
        assert plan_list(evidence) == in_chinese


class TestLanguage:
    def item(self, evidence=FULL):
        [item] = with_reasons([Recommendation(None, 1, 0.0, "trained", evidence=replace(evidence, rule=""))])
        return item

    def test_a_reason_is_in_the_language_of_who_reads_it(self):
        item = self.item(replace(FULL, unlocked_by=(), own=(STATISTICS,), competencies=(), level="", minutes=0))
        english = str(item.reason)
        with override("zh-hans"):
            chinese = str(item.reason)
        assert "“Statistical Inference”" in english
        assert "《统计推断》" in chinese
        assert not re.search("[A-Za-z]", chinese)
        assert str(item.reason) == english

    def test_numbers_are_plural_correct(self):
        def learners(n):
            return write(replace(FULL, own=(replace(STATISTICS, learners=n),)), Plan("learners"))

        assert learners(1) == "At least 1 other learner who chose “Statistical Inference” chose this too."
        assert learners(20) == "At least 20 other learners who chose “Statistical Inference” chose this too."
        assert write(replace(FULL, new_days=1), Plan("new")) == "New here: added 1 day ago."
        assert write(replace(FULL, new_days=2), Plan("new")) == "New here: added 2 days ago."

    def test_topics_are_those_that_the_reader_can_read(self):
        assert write(FULL, Plan("keywords")) == "Like “Statistical Inference”, it is about statistics."
        with override("zh-hans"):
            assert "统计学" in write(FULL, Plan("keywords"))
            assert "statistics" not in write(FULL, Plan("keywords"))
            only_english = replace(FULL, keywords=("statistics",))
            assert "statistics" in write(only_english, Plan("keywords"))

    def test_a_title_without_text_is_named_by_its_key(self):
        own = EvidenceResource(9, "book:9", "", verb="viewed", share=1.0)
        assert write(replace(FULL, own=(own,)), Plan("own")) == "Because you looked at “book:9”."

    def test_long_titles_and_line_breaks_do_not_break_a_sentence(self):
        own = replace(STATISTICS, title="A\n" + "very " * 40 + "long title")
        text = write(replace(FULL, own=(own,)), Plan("own"))
        assert "\n" not in text
        assert len(text) < 120
        assert "…”" in text

    def test_a_letter_is_not_cut_from_its_marks(self):
        for letter in ("e\u0301", "ก้", "ר\u05b4\u05bc"):
            for before in range(3):
                short = short_title("x" * before + letter * 100)
                assert short == f"{'x' * before}{letter * ((LONGEST_TITLE - 1 - before) // len(letter))}…"

    @pytest.mark.parametrize("title", ["\u2067שלום \u202bMIG" + " עולם" * 30, "\u202bשלום", "\u202bא\u202c ב\u2067ג"])
    def test_a_direction_does_not_run_on_into_the_sentence(self, title):
        short = short_title(title)
        for openers, closer in (("\u202a\u202b\u202d\u202e", "\u202c"), ("\u2066\u2067\u2068", "\u2069")):
            assert sum(char in openers for char in short) == short.count(closer)
        assert short.startswith(title[:8])

    def test_a_title_that_closes_what_it_opens_stays_as_it_is(self):
        title = "\u202bא\u2066b\u2069\u202c ג"
        assert short_title(title) == title


class TestMarkup:
    HOSTILE = '<script>alert("x")</script> & "more"'

    def test_a_reason_is_text_and_pages_escape_it(self):
        own = replace(STATISTICS, title=self.HOSTILE)
        [item] = with_reasons(
            [Recommendation(None, 1, 0.0, "trained", evidence=Evidence(LISTED, source="trained", own=(own,)))]
        )
        html = engines["django"].from_string("{{ item.reason }}").render({"item": item})
        assert "<script>" not in html
        assert escape(self.HOSTILE) in html
        assert self.HOSTILE in str(item.reason)


class TestEvidence:
    def test_it_survives_json(self):
        assert Evidence.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL
        bare = Evidence(LISTED)
        assert Evidence.from_dict(json.loads(json.dumps(bare.to_dict()))) == bare
        assert list(bare.to_dict()) == ["resource"], "what is not known takes no room"

    def test_names_of_other_releases_are_left_out(self):
        told = FULL.to_dict()
        told["mood"] = "good"
        told["own"][0]["colour"] = "blue"
        assert Evidence.from_dict(told) == FULL
        with pytest.raises(TypeError):
            Evidence.from_dict({"source": "trained"})

    def test_its_hash_names_what_can_be_said(self):
        nudged = replace(FULL, parts={"ease": 2.0}, goal_share=0.2, own=(replace(STATISTICS, share=0.5), PANDAS))
        assert nudged.hash == FULL.hash
        assert len(FULL.hash) == 32
        others = [replace(FULL, popular=130), replace(FULL, own=(PANDAS, STATISTICS)), replace(FULL, resource=PANDAS)]
        assert len({FULL.hash, *(other.hash for other in others)}) == 4

    def test_every_number_that_may_be_said_is_known(self):
        assert FULL.numbers() == {25, 120, 90, 40, 3}
        assert Evidence(LISTED).numbers() == frozenset()
        assert Evidence(LISTED, new_days=0).numbers() == {0}
