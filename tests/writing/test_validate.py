"""What a language model may say, and what not."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec_django.services.writing.prompt import reason_allowed, summary_allowed
from llmrec_django.services.writing.validate import overlap, problems, tidy
from tests.engine.safety.texts import HOSTILE
from tests.writing.facts import BARE, EVIDENCE, GRAPHS

LANGUAGES = {"en": "en", "zh-hans": "zh"}


def found(text, locale="en", evidence=EVIDENCE, other_titles=()):
    return problems(tidy(text), reason_allowed(evidence, locale, other_titles), LANGUAGES[locale])


GOOD = {
    "en": [
        'Because you completed "Linear Algebra", "Spectral Graph Theory" goes on with eigenvalues.',
        "You completed Linear Algebra, and Spectral Graph Theory shares eigenvalues with it.",
        'You viewed "C# & Sets: 101 Ideas"; this advanced course is related to it.',
        'Having completed "Linear Algebra", you can continue with "Spectral Graph Theory".',
        'Because you have already completed "Linear Algebra", "Spectral Graph Theory" is a suitable next step.',
        '"Spectral Graph Theory" is recommended to you because it shares eigenvalues with "Linear Algebra".',
        'Like "Linear Algebra", which you completed, it is about eigenvalues.',
        '12 other learners chose both "Linear Algebra" and this, so it may fit you.',
        "It takes 90 minutes, and you have 120 minutes a week.",
        "It’s about eigenvalues, as in “Linear Algebra”, which you have finished.",
    ],
    "zh-hans": [
        "您完成了《线性代数》，《谱图理论》接着讲特征值。",
        "您完成了《线性代数》，所以向您推荐《谱图理论》。",
        "您看过《集合论101讲》，这门课程与它相关。",
        "至少有12名其他学习者同时选择了《线性代数》和这门课程，也许适合您。",
        "《谱图理论》需要90分钟，您每周有120分钟。",
        "因为您已经完成了《线性代数》，所以推荐您学习《谱图理论》，两者都涉及特征值。",
        "向您推荐《谱图理论》，因为它与您完成的《线性代数》都涉及特征值。",
        "在完成《线性代数》之后，您可以学习《谱图理论》。",
    ],
}


@pytest.mark.parametrize(("locale", "text"), [(locale, text) for locale, texts in GOOD.items() for text in texts])
def test_true_sentences_pass(locale, text):
    assert found(text, locale) == []


BAD = {
    "quotes what is not in the facts": [
        ("en", 'Because you completed "Linear Algebra", try "Deep Learning".'),
        ("en", "Because you completed “Linear Algebra”, read «War and Peace»."),
        ("zh-hans", "您完成了《线性代数》，推荐《深度学习》。"),
        ("zh-hans", "您完成了《线性代数》，推荐「深度学习」。"),
    ],
    "a name that is not in the facts": [
        ("en", 'Because you completed "Linear Algebra", Deep Learning is next.'),
        ("en", 'Alice, you completed "Linear Algebra", so this is next.'),
        ("en", 'You completed "Linear Algebra" at Stanford, so this is next.'),
        ("en", 'You completed "Linear Algebra"; NASA uses eigenvalues too.'),
        ("zh-hans", "您完成了《线性代数》，Stanford的课程与它相关。"),
    ],
    "a number that is not in the facts": [
        ("en", 'Because you completed "Linear Algebra", 5000 learners like it and you may too.'),
        ("en", 'You completed "Linear Algebra" and it takes only two minutes.'),
        ("en", 'You completed "Linear Algebra" like hundreds of other learners.'),
        ("zh-hans", "您完成了《线性代数》，有99名其他学习者选择了它。"),
        ("zh-hans", "您完成了《线性代数》，有九名其他学习者选择了它。"),
        ("zh-hans", "您完成了《线性代数》，有９９名其他学习者选择了它。"),
    ],
    "says the learner did what they did not": [
        ("en", 'Because you bought "Linear Algebra", eigenvalues may be next for you.'),
        ("en", 'Because you loved "Linear Algebra", eigenvalues may be next for you.'),
        ("zh-hans", "您购买了《线性代数》，这门课程接着讲特征值。"),
    ],
    "says the learner did what they did not ": [
        # What is recommended is not what the learner did, however it is listed.
        ("en", 'Because you completed "Linear Algebra" and "Spectral Graph Theory".'),
        ("en", 'Because you viewed "C# & Sets: 101 Ideas" and recommended "Spectral Graph Theory".'),
        ("en", 'Because you enrolled in a course about eigenvalues, "Spectral Graph Theory" is next.'),
        ("en", 'Because you completed "Linear Algebra", "Spectral Graph Theory" is recommended to learners.'),
        # Each deed belongs to the resource it was done with.
        ("en", 'Because you completed "C# & Sets: 101 Ideas", this is next for you.'),
        ("en", "You finished C# & Sets: 101 Ideas; eigenvalues come next."),
        ("zh-hans", "您学习过《线性代数》和《谱图理论》。"),
        ("zh-hans", "您完成了《集合论101讲》，这门课程与它相关。"),
        ("zh-hans", "您要求推荐《谱图理论》，它涉及特征值。"),
    ],
    "denies": [
        ("en", 'You have not completed "Linear Algebra", so start with "Spectral Graph Theory".'),
        ("en", 'You haven’t completed "Linear Algebra", so start with "Spectral Graph Theory".'),
        ("en", 'Because you completed "Linear Algebra", "Spectral Graph Theory" is not recommended to you.'),
        ("en", 'Because you completed "Linear Algebra", "Spectral Graph Theory" is not for you.'),
        ("en", 'You did not do well in "Linear Algebra", so "Spectral Graph Theory" is recommended to you.'),
        ("en", 'At least 12 other learners did not choose "Spectral Graph Theory", and you should not.'),
        ("en", 'You completed "Linear Algebra" without eigenvalues, so this is next for you.'),
        ("zh-hans", "您没有完成《线性代数》，所以向您推荐《谱图理论》。"),
        ("zh-hans", "您完成了《线性代数》，所以不推荐《谱图理论》。"),
        ("zh-hans", "您完成了《线性代数》，其他学习者都没有选择《谱图理论》。"),
        ("zh-hans", "您尚未完成《线性代数》，所以向您推荐《谱图理论》。"),
    ],
    "says when": [
        ("en", 'Because you completed "Linear Algebra" last year, "Spectral Graph Theory" is next.'),
        ("en", 'You recently completed "Linear Algebra", so this is next for you.'),
        # The facts hold 90 minutes, and not that this took them.
        ("en", 'Because you completed "Linear Algebra" in 90 minutes, this fits you.'),
        ("zh-hans", "您前天完成了《线性代数》，所以向您推荐《谱图理论》。"),
        ("zh-hans", "您上周完成了《线性代数》，所以向您推荐《谱图理论》。"),
        ("zh-hans", "您用90分钟完成了《线性代数》，所以向您推荐《谱图理论》。"),
    ],
    "tells a wrong order": [
        ("en", '"Linear Algebra" builds on "Spectral Graph Theory", which you should start again.'),
        ("en", '"Linear Algebra" goes on with "Spectral Graph Theory", which is for you.'),
        ("en", 'After "Spectral Graph Theory", you can take "Linear Algebra".'),
        ("zh-hans", "《线性代数》接着讲《谱图理论》，适合您。"),
    ],
    "puts one resource into another": [
        ("en", '"Linear Algebra" includes "Spectral Graph Theory", which may suit you.'),
        ("zh-hans", "《谱图理论》包含您完成的《线性代数》。"),
    ],
    "asks": [
        ("en", 'Have you completed "Linear Algebra"? Then "Spectral Graph Theory" is for you.'),
        ("zh-hans", "您完成了《线性代数》吗？向您推荐《谱图理论》。"),
    ],
    "says the learner did what they did not  ": [
        # Not done, or not by this learner.
        ("en", 'You should complete "Linear Algebra", so this is next for you.'),
        ("en", 'You have yet to complete "Linear Algebra", so this is next for you.'),
        ("en", 'You nearly completed "Linear Algebra", so this is next for you.'),
        ("en", '12 other learners completed "Linear Algebra", so this is next for you.'),
        ("zh-hans", "您应该完成《线性代数》，所以向您推荐《谱图理论》。"),
        ("zh-hans", "其他学习者完成了《线性代数》，所以向您推荐《谱图理论》。"),
    ],
    "recommends what is not recommended": [
        ("en", 'You completed "Linear Algebra", so start with "C# & Sets: 101 Ideas".'),
        ("en", 'You completed "Linear Algebra", so I recommend "C# & Sets: 101 Ideas".'),
        ("en", 'Try "Linear Algebra" next, as it is about eigenvalues like your course.'),
        ("zh-hans", "推荐您学习《谱图理论》和《线性代数》，它们都涉及特征值。"),
    ],
    "says more than the facts": [
        ("en", 'You completed "Linear Algebra", and this goes on with birds.'),
        ("en", 'You completed "Linear Algebra", and this gives a gentle overview of eigenvalues.'),
        ("en", 'You completed "Linear Algebra", and quantum physics is next.'),
        ("en", 'You viewed "C# & Sets: 101 Ideas"; this advanced course builds on it.'),
        ("en", 'If you completed "Linear Algebra", this is next for you.'),
        ("en", '"Spectral Graph Theory" is different from "Linear Algebra", which you completed.'),
        ("zh-hans", "您完成了《线性代数》，这门课程接着讲鸟类。"),
        ("zh-hans", "您完成了《线性代数》，它是特征值的基础。"),
        ("zh-hans", "您完成了《线性代数》，这门课程生动有趣。"),
    ],
    "a number that is not in the facts ": [
        ("en", '90 other learners chose both "Linear Algebra" and this, so it may fit you.'),
        ("en", "It takes 12 minutes, and you have 120 minutes a week."),
        ("zh-hans", "至少有120名其他学习者同时选择了《线性代数》和这门课程，也许适合您。"),
    ],
    "promises": [
        ("en", 'You completed "Linear Algebra"; this gives a clear and concise introduction.'),
        ("en", 'You completed "Linear Algebra"; this is the best course for you.'),
        ("en", 'You completed "Linear Algebra"; get a job with eigenvalues.'),
        ("zh-hans", "您完成了《线性代数》，这门课程保证您就业。"),
    ],
    "markup": [
        ("en", 'Because you completed <b>"Linear Algebra"</b>, this is next for you.'),
        ("en", 'Because you completed **"Linear Algebra"**, this is next for you.'),
        ("en", 'You completed "Linear Algebra", see [this](x) next.'),
        ("zh-hans", "您完成了《线性代数》，<i>谱图理论</i>接着讲特征值。"),
    ],
    "an address": [
        ("en", 'Because you completed "Linear Algebra", go to evil.com next.'),
        ("en", 'Because you completed "Linear Algebra", go to www.evil.example for more.'),
        ("zh-hans", "您完成了《线性代数》，请访问 evil.cn 了解更多。"),
    ],
    "characters that cannot be seen": [
        ("en", 'Because you completed "Linear Algebra", \u202ethis is next for you.'),
        ("en", 'Because you completed "Linear Algebra", this\u200b is next for you.'),
        ("en", 'Because you completed "Linear Algebra", this\x07 is next for you.'),
    ],
    "symbols": [("en", 'Because you completed "Linear Algebra", this is next for you 🎉.')],
    "not in the language asked for": [
        ("en", "您完成了《线性代数》，《谱图理论》接着讲特征值。"),
        ("zh-hans", 'Because you completed "线性代数", "谱图理论" goes on with eigenvalues.'),
        ("en", 'Parce que tu as suivi "Linear Algebra", ce cours parle aussi de eigenvalues.'),
        ("en", 'Weil du "Linear Algebra" beendet hast, geht es hier weiter mit eigenvalues.'),
        ("zh-hans", "您完成了《线性代数》，這門課程繼續講這個問題。"),
        ("zh-hans", "あなたは《线性代数》を修了しました。次はこれです。"),
    ],
    "unsafe words": [
        ("en", 'Because you completed "Linear Algebra", you stupid human, this is next.'),
        ("zh-hans", "您完成了《线性代数》，笨蛋也能看懂这门课程。"),
    ],
    "speaks of its task": [
        ("en", 'Sure! Because you completed "Linear Algebra", this is next for you.'),
        ("en", 'As an AI language model, you completed "Linear Algebra" and this is next.'),
        ("en", 'Based on the facts, you completed "Linear Algebra", so this is next.'),
        ("en", 'Dear learner, you completed "Linear Algebra", so this is next.'),
        ("zh-hans", "好的，您完成了《线性代数》，这门课程接着讲特征值。"),
        ("zh-hans", "亲爱的同学，您完成了《线性代数》，这门课程接着讲特征值。"),
    ],
    "no end of a sentence": [
        ("en", 'Because you completed "Linear Algebra", this is next for you and it'),
        ("zh-hans", "您完成了《线性代数》，这门课程接着讲特征值和"),
    ],
    "a title that nothing is said of": [
        ("en", 'Because you completed "Linear Algebra", "Spectral Graph Theory".'),
        ("zh-hans", "您完成了《线性代数》，《谱图理论》。"),
    ],
    "too many sentences": [
        ("en", 'You completed "Linear Algebra". It is good. It is next. It is about eigenvalues.'),
    ],
    "does not speak to the learner": [
        ("en", '"Spectral Graph Theory" is about eigenvalues, as in "Linear Algebra".'),
        ("zh-hans", "《谱图理论》接着讲《线性代数》中的特征值。"),
    ],
    "says nothing of the facts": [
        ("en", 'You may like "Spectral Graph Theory" and learn more with it.'),
        ("zh-hans", "《谱图理论》也许适合您继续学习。"),
    ],
    "repeats its instructions": [
        ("en", 'You completed "Linear Algebra" and rewrite notes as one plain English sentence to a learner.'),
        ("zh-hans", "您完成了《线性代数》，把笔记改写成一句简体中文，告诉学习者为什么推荐。"),
    ],
    "claims what the facts do not say (popular)": [
        ("en", 'You completed "Linear Algebra", and this popular course is next.'),
        ("zh-hans", "您完成了《线性代数》，这是一门热门课程。"),
    ],
    "claims what the facts do not say (goals)": [
        ("en", 'You completed "Linear Algebra", and this fits your goals.'),
        ("en", 'You are interested in eigenvalues, so "Spectral Graph Theory" is next for you.'),
        ("en", 'You like eigenvalues, so "Spectral Graph Theory" may suit you.'),
        ("en", 'Curious about eigenvalues? You may study "Spectral Graph Theory".'),
        ("zh-hans", "您对特征值感兴趣，所以向您推荐《谱图理论》。"),
    ],
    " promises": [
        ("en", '"Spectral Graph Theory" may be too much for you after "Linear Algebra", which you completed.'),
        ("en", 'You completed "Linear Algebra", and "Spectral Graph Theory" is more of the same.'),
        ("en", 'At least 12 other learners chose "Linear Algebra" because of you.'),
        ("zh-hans", "您完成了《线性代数》，《谱图理论》对您太难。"),
    ],
    "claims what the facts do not say (unlocked)": [
        ("en", 'You completed "Linear Algebra", which it requires.'),
        ("zh-hans", "您完成了先修课程《线性代数》，可以学习这门课程了。"),
    ],
}
CASES = [(problem, *case) for problem, cases in BAD.items() for case in cases]


@pytest.mark.parametrize(("problem", "locale", "text"), CASES)
def test_what_is_not_so_does_not_pass(problem, locale, text):
    assert problem.strip() in found(text, locale)


def test_claims_are_bound_to_the_evidence():
    """What passes for one learner does not for another, whose evidence holds less."""
    for text in GOOD["en"]:
        assert found(text, evidence=BARE), text
    assert found("You viewed C# & Sets: 101 Ideas, and this is like it.", evidence=BARE) == []


def test_a_word_of_a_title_lets_nobody_deny_anything():
    titled = replace(EVIDENCE, resource=replace(GRAPHS, title="Why Not Last Year", titles={"zh-hans": "没有昨天"}))
    assert found('Because you completed "Linear Algebra", "Why Not Last Year" is next.', evidence=titled) == []
    assert "denies" in found('You have not completed "Linear Algebra", so this is next.', evidence=titled)
    assert "says when" in found('You completed "Linear Algebra" last year, so this is next.', evidence=titled)
    assert "denies" in found("您没有完成《线性代数》，所以向您推荐它。", "zh-hans", titled)


def test_days_are_said_of_what_they_count():
    told = replace(BARE, popular=20, popular_days=30, new_days=3)
    for text in ("20 learners chose it in the last 30 days, as may you.", "This was added 3 days ago and may fit you."):
        assert found(text, evidence=told) == []
    for text in ("最近30天至少有20名学习者选择了它，适合您。", "向您推荐它，因为它是3天前加入的。"):
        assert found(text, "zh-hans", told) == []
    assert found("This was added 30 days ago and may fit you.", evidence=told)
    assert found("You viewed C# & Sets: 101 Ideas 3 days ago, so this may fit you.", evidence=told)
    assert found("向您推荐它，因为它是30天前加入的。", "zh-hans", told)


def test_a_title_of_another_resource_does_not_pass():
    assert found("You viewed C# & Sets: 101 Ideas, so organic chemistry is next.", other_titles=["Organic chemistry"])


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('  "You completed it."\n\nThis sentence explains …', "You completed it."),
        ("Reason: You completed it.", "You completed it."),
        ('推荐理由："您完成了它。"', "您完成了它。"),
        ('"A" and "B"', '"A" and "B".'),
        ("您完成了《甲》，所以向您推荐《乙》", "您完成了《甲》，所以向您推荐《乙》。"),
        ("", ""),
    ],
)
def test_an_answer_is_tidied(answer, text):
    assert tidy(answer) == text


@pytest.mark.parametrize("text", [text for texts in HOSTILE.values() for text in texts])
def test_an_injected_text_never_passes_alone_or_in_a_true_sentence(text):
    assert found(text)
    assert found(text, "zh-hans")
    assert found(f'Because you completed "Linear Algebra", {text} is next for you.')
    assert found(f"您完成了《线性代数》，{text}，接着讲特征值。", "zh-hans")


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_answer_can_be_checked(answer):
    for locale in LANGUAGES:
        found(answer, locale)


def test_endless_text_is_checked_quickly_and_refused():
    assert found("you completed Linear Algebra " * 40_000)


class TestSummaries:
    TEXT = "In 12 lessons Ada Lovelace's notes are read and the Bernoulli numbers computed by hand, without prior work."

    def check(self, text):
        return problems(tidy(text), summary_allowed("Notes on engines", self.TEXT, "en"), "en")

    def test_say_what_the_text_says(self):
        assert self.check("The notes of Ada Lovelace are read and the Bernoulli numbers computed in 12 lessons.") == []

    def test_say_nothing_else(self):
        assert "a number that is not in the facts" in self.check(
            "The notes are read and computed by hand in 20 lessons."
        )
        assert "a name that is not in the facts" in self.check(
            "The notes of Alan Turing are read and computed by hand."
        )
        assert "promises" in self.check("The notes are read by hand, and you get a certificate with it.")

    NO = (
        "An introduction to databases for programming beginners. No prior programming is needed. It covers SQL and "
        "indexes in depth. It does not cover distributed databases."
    )
    NO_ZH = "本课程介绍数据库的设计与查询语言。学习者不需要编程经验，也不涉及分布式数据库。课程讲解索引与事务。"
    TURNED = "denies what its source says, or says what it denies"

    @pytest.mark.parametrize(
        "text",
        [
            "Prior programming is needed for this introduction to databases.",
            "Programming is needed for SQL and indexes in depth.",
            "It covers distributed databases, SQL and indexes in depth.",
            "An introduction to databases that does not cover SQL and indexes.",
            "学习者需要编程经验，课程介绍数据库的设计。",
            "课程涉及分布式数据库与索引和事务。",
            "本课程不介绍数据库的设计与查询语言。",
        ],
    )
    def test_do_not_turn_their_source_around(self, text):
        source, language = (self.NO, "en") if text.isascii() else (self.NO_ZH, "zh")
        assert self.TURNED in problems(tidy(text), summary_allowed("SQL", source, language), language)

    @pytest.mark.parametrize(
        "text",
        [
            "An introduction to databases for beginners that covers SQL and indexes in depth.",
            "It covers SQL and indexes in depth. No prior programming is needed.",
            "It covers SQL and indexes in depth, but not distributed databases.",
            "An introduction to databases and SQL without prior programming.",
            "本课程介绍数据库的设计与查询语言，讲解索引与事务。",
            "课程讲解索引与事务，不涉及分布式数据库。",
        ],
    )
    def test_may_deny_what_their_source_denies(self, text):
        source, language = (self.NO, "en") if text.isascii() else (self.NO_ZH, "zh")
        assert problems(tidy(text), summary_allowed("SQL", source, language), language) == []

    def test_overlap_with_the_source_is_measured(self):
        assert overlap("Bernoulli numbers in lessons", self.TEXT, "en") == 1.0
        assert overlap("Cooking with garlic", self.TEXT, "en") == 0.0
        assert overlap("", self.TEXT, "en") == 0.0
        assert overlap("线性代数入门", "线性代数课程", "zh") == 0.6
