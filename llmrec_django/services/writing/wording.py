"""Words that a written text may hold only where the facts carry them, and words it may never hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrec_django.services.writing.languages import Language


def _words(text: str) -> re.Pattern[str]:
    """Compile English words; "_" is a space, a trailing "*" any ending."""
    parts = (re.escape(word).replace(r"\*", r"\w*").replace("_", r"\s+") for word in text.split())
    return re.compile(rf"\b(?:{'|'.join(parts)})\b", re.IGNORECASE)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _characters(text: str) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, text.split())))


_DONE = {"completed", "passed"}
_TAKEN = {"enrolled", "progressed", "completed", "passed", "failed"}
_ANY = {*_TAKEN, "viewed", "clicked", "bookmarked", "rated", "borrowed", "purchased"}

DEEDS: Mapping[Language, tuple[tuple[re.Pattern[str], frozenset[str]], ...]] = {
    "en": (
        (_words("complet* finish* master*"), frozenset(_DONE)),
        (_words("passed passing aced"), frozenset({"passed"})),
        (_words("failed failing"), frozenset({"failed"})),
        (
            _words("enrol* signed_up registered took taken studied studying learned learnt worked working"),
            frozenset(_TAKEN),
        ),
        (
            _words("viewed viewing looked_at read watched saw seen opened explored visited"),
            frozenset(_ANY),
        ),
        (_words("bought purchased"), frozenset({"purchased"})),
        (_words("borrow*"), frozenset({"borrowed"})),
        (_words("bookmark* saved"), frozenset({"bookmarked"})),
        (_words("rated liked loved enjoyed"), frozenset({"rated"})),
    ),
    "zh": (
        (_characters("完成 学完 修完 读完 看完 学会 掌握了 结业"), frozenset(_DONE)),
        (_characters("通过了 考过"), frozenset({"passed"})),
        (_characters("报名 注册 选修 修读 选了 参加 学过 学习过 学习了"), frozenset(_TAKEN)),
        (_characters("看过 看了 浏览 查看 阅读 读过"), frozenset(_ANY)),
        (_characters("购买 买了"), frozenset({"purchased"})),
        (_characters("借阅 借过 借了"), frozenset({"borrowed"})),
        (_characters("收藏"), frozenset({"bookmarked"})),
        (_characters("评分 打分 评价 喜欢"), frozenset({"rated"})),
    ),
}
"""What a text says the learner did → verbs of which the facts must hold one."""

DOERS: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"(?:\A|(?<!like )\byou(?:['’]?ve)?\b|\A\s*you\b.*\b(?:and|or))"
        r"\s*(?:\b(?:have|also|already|both|or|and)\s+)*\Z",
        re.IGNORECASE | re.DOTALL,
    ),
    "zh": re.compile(
        r"(?:\A在?|[您你]|\A\s*[您你].*[和与及并或且、])\s*(?:已经|已|曾经|曾|也|还|都|同时|所)*\s*\Z", re.DOTALL
    ),
}
"""What stands before a deed in its clause where the learner did it: "you have also", "您已经", or nothing at all.

What one should, could or nearly did, and what others did, begins otherwise."""

OTHER_DEEDS: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:you|you(?: have|['’]ve)|and)\s+(?:also |have |already |both |just |recently )*"
        r"(?:recommend(?:ed)?|suggested|created|written|wrote|taught|asked|requested|searched|shared|reviewed|tried|chose|"
        r"chosen|wanted|mentioned|expressed|showed|shown)\b|"
        r"\byou (?:should|can|could|may|might|must|will|would) (?:also |now )?(?:recommend|suggest|say)\b|"
        # To this learner, and to nobody else.
        r"\brecommended (?:to|for) (?!you\b)\w+",
        re.IGNORECASE,
    ),
    "zh": re.compile("(?<![向给为])[您你](?:也|还|已|已经|曾)?(?:推荐|要求|创建|分享|搜索|提到|表示|选择了|想要|请求)"),
}
"""Deeds that no facts of ours tell of."""

RECOMMENDING: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(r"\b(?:recommend\w*|suggest\w*|next is|try|consider|start\w*)\b", re.IGNORECASE),
    "zh": re.compile("推荐|建议"),
}
"""What follows in the clause is what is recommended, and nothing else."""

NEGATIONS: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:not|no|non|none|nobody|nothing|nowhere|never|neither|nor|without|cannot|unable|hardly|barely|scarcely|"
        r"seldom|rarely|except|unless|instead|lacks?|lacking|omits?|omitted|excludes?|excluded|excluding)\b|n['’]t\b",
        re.IGNORECASE,
    ),
    # "不同", "不仅", "无论", "未来", "非常" and "级别" deny nothing.
    "zh": re.compile(
        "不(?![同仅但只断少管论])|没|沒|未(?!来)|[无無](?!论)|非(?!常)|(?<![级特分类区个性鉴识差])别|"
        "[勿莫否毋]|除外|缺乏|拒绝"
    ),
}
"""What turns a sentence into its opposite."""

TOLD_TIMES: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(r"\b(?:in|within|over|during) the (?:last|past) \d+ days\b|\b\d+ days ago\b", re.IGNORECASE),
    "zh": re.compile(r"(?:最近|近|过去)\s*\d+\s*天(?:以?来|之?内|里|中)?|\d+\s*天之?前"),
}
"""The ways to say days that the facts count."""

TIMES: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:ago|(?:last|past|previous|this) (?:time|days?|week|weekend|month|year|term|semester)s?|years?|months?|"
        r"days?|weeks|yesterday|today|tomorrow|tonight|earlier|lately|recent|recently|just|soon|newly|new)\b",
        re.IGNORECASE,
    ),
    "zh": re.compile(
        r"[昨今明前后去][天日年晚]|[上这本下]个?[周月年]|[上下]个?学期|半年|星期|个月|最近|近[来日年]|刚|新加入|"
        r"[\d一二两三四五六七八九十几数每]\s*[天日年月]|(?:[以之此先从目日]|[天日周月年]之?)前"
    ),
}
"""Every other time: no facts of ours tell when somebody did something."""

SPANS: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(r"\b(?:weeks?|hours?|minutes?|days?)\b", re.IGNORECASE),
    "zh": re.compile("小时|分钟|周|天"),
}
"""How long or when, which is never said of a deed."""

GOES_ON: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:continu\w*|go(?:es)? on|follow\w*|extend\w*|expand\w*|next|build\w*|deepen\w*|requires?|complements?)\b",
        re.IGNORECASE,
    ),
    "zh": re.compile("接着|继续|接下来|下一步|后续|延伸|拓展|扩展|补充|衔接|承接|进一步|基础|深入"),
}
"""What comes after something else; that is never one of the learner's own resources, and never before what is
recommended."""

HOLDS: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:includ\w*|cover\w*|teach\w*|involv\w*|(?:section|chapter|unit|module) of)\b", re.IGNORECASE
    ),
    "zh": re.compile("包含|包括|涵盖|属于|都?教"),
}
"""What a resource is about; that is never another resource."""

UNITS: Mapping[Language, Mapping[str, re.Pattern[str]]] = {
    "en": {
        "learners": re.compile(
            r"(\d[\d,]*)\s+(?:\w+\s+){0,2}?(?:learners?|people|others|students?|users?)\b", re.IGNORECASE
        ),
        "minutes": re.compile(r"(\d[\d,]*)[\s-]+(?:\w+\s+)?minutes?\b", re.IGNORECASE),
        "days": re.compile(r"(\d[\d,]*)[\s-]+(?:\w+\s+)?days?\b(?! ago)", re.IGNORECASE),
        "days ago": re.compile(r"(\d[\d,]*)\s+days? ago\b", re.IGNORECASE),
        "other": re.compile(
            r"(\d[\d,]*)[\s-]+(?:hours?|weeks?|months?|years?|courses?|lessons?|books?|times)\b", re.IGNORECASE
        ),
    },
    "zh": {
        "learners": re.compile(r"(\d+)\s*多?(?:名|位|个人|人|个学习者)"),
        "minutes": re.compile(r"(\d+)\s*分钟"),
        "days": re.compile(r"(\d+)\s*天(?!之?前)"),
        "days ago": re.compile(r"(\d+)\s*天之?前"),
        "other": re.compile(r"(\d+)\s*(?:个?小时|个?月|年|门|本|次|节|章|周)"),
    },
}
"""What a number counts → how that is said, the number as the first group. Of "other" there are none."""

CLAIMS: Mapping[Language, Mapping[str, re.Pattern[str]]] = {
    "en": {
        "others": _words("others classmates peers people many_learners many_students other_learners other_students"),
        "popular": _words("popular* trending bestsell* best-sell*"),
        "level": _words("beginner* intermediate advanced novice* expert*"),
        "unlocked": _words("prerequisite* unlock* require* need*"),
        "goals": _words(
            "goal* aim aims objective* ambition* interest* passion* keen curious curiosity fond favo* hobb* enthusias* "
            "you_like you_love you_enjoy you_prefer you_care your_love your_liking"
        ),
        "time": _words("week weekly hour hours minute minutes"),
    },
    "zh": {
        "others": _characters("其他学习者 其他学员 其他同学 其他人 许多人 很多人 大家 不少人"),
        "popular": _characters("热门 受欢迎 畅销 流行"),
        "level": _characters("入门 初级 中级 高级 进阶 初学者 零基础 专家"),
        "unlocked": _characters("先修 前置 解锁"),
        "goals": _characters("目标 志向 兴趣 爱好 热爱 好奇 偏爱 钟爱 热衷"),
        "time": _characters("每周 小时 分钟"),
    },
}
"""Name of a claim → how a text makes it. The facts say which of them are true."""

PROMISES: Mapping[Language, re.Pattern[str]] = {
    "en": _words(
        "certificat* guarante* promise* job jobs career* salary salaries hire* hiring free discount* price* cheap* "
        "clear clearly concise easy easily accessible comprehensive great ideal valuable essential engaging fun "
        "powerful best perfect amazing excellent outstanding top-rated award* world-class must-have only_way success* "
        "too_much too_hard too_difficult too_easy too_advanced too_basic overwhelm* struggl* more_of_the_same "
        "because_of_you thanks_to_you succeed* ensur* definitely certainly always never everyone rich money pay paid "
        "refund* exam exams diploma*"
    ),
    "zh": _characters(
        "证书 文凭 就业 工作机会 求职 薪 升职 保证 承诺 免费 优惠 打折 价格 最好 最佳 最棒 完美 顶级 第一名 一定能 "
        "太难 太多 太简单 吃力 千篇一律 因您而 必定 肯定能 成功 赚钱 考试必过 名师 独家 震撼"
    ),
}
"""What no facts of ours can carry."""

CHATTER: Mapping[Language, re.Pattern[str]] = {
    "en": _words(
        "instruction* prompt* evidence facts fact language_model as_an_ai ai_assistant chatbot assistant sorry cannot "
        "here_is here_are sure certainly json output i my me we our dear hello hi "
        "the_text this_text the_summary this_summary asks_you asked_to asks_for hey thank* welcome please regards "
        "quotation_marks double_quotes quoted sentence words"
    ),
    "zh": _characters(
        "这段文字 该文字 笔记 指令 提示词 证据 事实 语言模型 作为一个AI 作为AI 人工智能助手 抱歉 对不起 无法 以下是 "
        "好的 当然 理由： 理由: 推荐理由 输出 回答 亲爱的 你好 您好 "
        "同学 老师 先生 女士 教授 谢谢 欢迎 我们 我的 本助手 字以内 一句话 引号"
    ),
}
"""A model that talks about its task, about itself, or to somebody by name."""

UNSAFE: Mapping[Language, re.Pattern[str]] = {
    "en": _words(
        "fuck* shit* bitch* bastard* asshole* cunt* dick dicks porn* sex sexy sexual* nude* naked escort* slut* whore* "
        "rape* kill* murder* suicid* self-harm terror* bomb* weapon* gun guns drug drugs cocaine heroin casino* gambl* "
        "nigg* faggot* retard* nazi* hitler idiot* stupid dumb loser* hate hates moron* password* credit_card whatsapp "
        "telegram bitcoin crypto"
    ),
    "zh": _characters(
        "傻逼 妈的 他妈 操你 混蛋 白痴 蠢货 笨蛋 废物 垃圾 色情 裸 性爱 约炮 嫖 强奸 杀人 自杀 自残 恐怖袭击 炸弹 枪支 "
        "毒品 赌博 博彩 赌场 密码 银行卡 微信 转账 扫码 比特币 纳粹"
    ),
}
"""Never in a reason or a summary of our own words; a title that holds one is masked before."""

NUMBER_WORDS: Mapping[str, int] = {
    **dict(zip(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), range(2, 11), strict=True)),
    **dict.fromkeys(_set("eleven twelve dozen dozens hundred hundreds thousand thousands million millions"), -1),
}
"""-1: never right; our numbers are written as digits."""

_CHINESE_DIGITS = {char: n for n, char in enumerate("二三四五六七八九十", start=2)} | {"两": 2}
_CHINESE_COUNT = re.compile(
    "([一二两三四五六七八九十百千万]+)(?:多|余|几)?(?:名|位|人|门课|个小时|小时|分钟|天|周|个月|次|章|节|讲)"
)

STARTS = _set(
    "a after also an and as at based because before both building by continue continuing deepen expand explore extend "
    "following for from further given go have having if in it its just learn learners like many more move next now on "
    "other others read shares sharing since so study take takes that the these they this though to together try using "
    "when while with work you your other learn dive build get see start find practice practise apply strengthen "
    "improve discover enhance"
)
"""Words that begin a sentence of ours; any other capital letter begins a name."""


def chinese_counts(text: str) -> list[int]:
    """Return the numbers that stand as Chinese numerals before a measure word; -1 for what is not plain up to ten."""
    found = _CHINESE_COUNT.findall(text)
    # "一门课程" is "a course".
    return [_CHINESE_DIGITS.get(numeral, -1) for numeral in found if numeral != "一"]
