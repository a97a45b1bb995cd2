"""The words a reason is made of beside the facts. Every other word would be a claim that nobody made.

"It explains vectors clearly" says two things that the facts do not: a reason with "explains" may be true, one with
"clearly" is praise. So a reason may use these words and those of its facts, and no others. What is missing here costs a
text, and its template stays; what is here too much costs the truth.

So there is no word here that denies ("not", "没有"), sets a time ("last", "前") or an order ("builds on", "基础"), or
praises what somebody did ("well", "好"): with one of them a sentence of true words says what is not so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmrec_django.services.writing.languages import HAN, han_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrec_django.services.writing.languages import Language


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ENGLISH = _set(
    """
    a about above add added additional after alike all along already also although among an and another are area
    areas around article articles as ask asks at available based be because been beside besides between book
    bookmarked bookmarking books borrowed borrowing both bought bring brings but by can carries carry chapter
    choice choose chose chosen class close closely come comes common complement complements completed completing
    completion concept concepts connect connected connects content continue continued continues continuing course
    courses cover covered covering covers deal deals direct directly draws due during each either enrol enrolled
    enrolling enrollment enrolment examine examines example exercise exercises expand expands explore explored
    explores exploring extend extends extra familiar field fields find finish finished finishing first fit fits
    focus focuses focusing follow followed following follows for form forms found from further get gets give gives
    go goes has have having here hour hours however idea ideas in include included includes including instance
    interest interested interests into introduce introduces introduction involve involves is it item items its
    itself keep knowledge learn learned learner learners learning learnt least lesson lessons let level levels like
    likely link linked links listed lists look looked looking looks make makes many match matched matches matching
    material materials may maybe might mind minute minutes module more move much natural naturally need needed new
    next note notes now of offer offers often on one ones onto open opened or other others own paper papers
    particular passed passing people perhaps picks point practice practise presented progressed provide provides
    purchase purchased question questions rated reach read reading reads recommend recommendation recommended
    recommending recommends related relates relating relation relevant requires resource resources right same saved
    saw second section see seems seen shall share shared shares sharing should show shows side similar similarly
    since skill skills so specific spend start started starting starts step steps studied study studying subject
    subjects such suggest suggested suggests suit suitable suited suits take taken takes taking teach teaches
    teaching term terms that the their them theory there these they thing things this those through thus time to
    together too took topic topics toward towards two type under understand understanding unit up upon use uses
    using very video viewed viewing was watched way ways week what when where which while who whole will with
    within work worked working works you your yours yourself
    """
)
_CHINESE_WORDS = tuple(
    sorted(
        _set(
            """
            您 你 因为 所以 由于 因此 既然 之后 然后 接着 接下来 继续 同时 同样 也 还
            又 都 均 已 已经 曾 曾经 可以 可能 也许 或许 应该 能够 适合 适用 符合 相符
            匹配 契合 合适 推荐 建议 推荐给您 学习 学过 学习过 学 学完 学会 修读 选修
            选了 报名 注册 完成 完成了 修完 看过 看了 浏览 浏览过 浏览了 查看 阅读 阅读过
            读过 读完 看完 收藏 收藏了 收藏过 购买 购买了 买了 借阅 借阅了 借过 借了 评分
            打分 喜欢 通过 通过了 考过 参加 参加过 选择 选择了 选 至少 其他 另外 另 以及
            和 与 及 跟 同 或 并 并且 而 而且 且 但 但是 在 于 从 自 到 对 对于
            关于 有关 相关 关联 涉及 涵盖 包含 包括 介绍 讲解 讲述 讲 讲到 谈到 讨论
            探讨 提到 教授 教 都教 属于 主题 内容 话题 领域 方面 方向 知识 概念 知识点
            课程 课 图书 书 书籍 论文 文章 视频 教材 资源 材料 学习资源 练习 章节
            系列 一门 一本 一篇 一个 一些 这门 这本 这篇 这个 该 此 这 那 它 它们 两者
            二者 两个 两门 这些 其 其中 下一步 后续 延伸 拓展 扩展 补充 衔接 承接 相似
            类似 相近 相同 共同 一样 了解 认识 理解 掌握 应用 运用 使用 用 用于 需要 需
            时间 分钟 每周 每 小时 共 共有 拥有 有 是 为 成为 作为 名 位 人 学习者
            学员 学生 多人 感兴趣 兴趣 目标 您的 你的 先修 先修内容 前置 级别 难度 水平
            入门 初级 中级 高级 进阶 之一 一起 里 中 内 的 了 过 着 地 被 把 将 给
            向 以 所 则 就 等 等等 时 如 像 正 请 让 使 能 会 来 进 做 加入 添加
            基于 根据 依据 按照 结合 联系 帮助 有助于 由 之 其实 也是 都是
            还是 就是 正是 而言 来说 一步 步 开始 更多
            """
        ),
        key=len,
        reverse=True,
    )
)
# From the left, the longest word at each place.
_CHINESE = re.compile("|".join(_CHINESE_WORDS))
_HAN_RUN = re.compile(f"[{HAN}]+")
_LATIN = re.compile(r"[A-Za-z]+")


def is_plain(word: str) -> bool:
    """Return whether an English word says nothing of its own."""
    return word.casefold() in _ENGLISH


def without_plain_words(text: str) -> str:
    """Return a Chinese text with a space in place of each word that says nothing of its own."""
    return _CHINESE.sub(" ", text)


def unknown_words(text: str, facts: Iterable[str], language: Language) -> list[str]:
    """Return what stands in `text` and is neither a plain word nor one of the facts, in lower case.

    Args:
        text: With the titles and words of the facts taken out already.
        facts: Titles and words; parts of them may be said too, and other forms of an English word.
    """
    if language == "zh":
        return _unknown_han(text, facts)
    known = {word for fact in facts for word in map(str.casefold, _LATIN.findall(fact))}
    stems = {word[:5] for word in known if len(word) >= 5}
    said = (word.casefold() for word in _LATIN.findall(text))
    return [
        word
        for word in said
        if len(word) > 1 and word not in _ENGLISH | known and not (len(word) > 4 and word[:5] in stems)
    ]


def _unknown_han(text: str, facts: Iterable[str]) -> list[str]:
    # Pieces of a title may be said, where it is not said whole.
    pairs = {pair for fact in facts for pair in han_pairs(fact)}
    found = []
    for run in _HAN_RUN.findall(without_plain_words(text)):
        left = run
        for at in range(len(run) - 1):
            if run[at : at + 2] in pairs:
                left = left.replace(run[at : at + 2], " ")
        found += left.split()
    return found
