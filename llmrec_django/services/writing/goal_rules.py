"""Reading a learner's goals without a language model: level, languages, time and topics by rules, in two languages.

What is not said plainly is left open; the learner sees and corrects the result before anything is kept.
"""

from __future__ import annotations

import re
from typing import Any

from llmrec_django.services.writing.languages import script_language

LEVELS = ("beginner", "intermediate", "advanced")
MOST_TOPICS = 8
LONGEST_TOPIC = 60
MOST_MINUTES = 7 * 24 * 60

_LEVEL_CUES = (
    (
        "intermediate",
        r"\bintermediate\b|\bknow the basics\b|\bsome (?:experience|knowledge)\b|中级|进阶|有(?:一定|些|一些)基础",
    ),
    ("advanced", r"\badvanced\b|\bexpert\b|\bexperienced\b|\bin[- ]depth\b|高级|深入|精通"),
    (
        "beginner",
        r"\bbeginners?\b|\bnew to\b|\bno (?:prior |previous )?(?:experience|knowledge)\b|\bfrom scratch\b|"
        r"\bnever (?:done|learnt|learned|studied|programmed)\b|\bbasics\b|零基础|初学|入门|新手|小白|没学过|没有基础",
    ),
)
TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}")
"""Of a language: en, zh-hans."""
LANGUAGE_NAMES = {
    "en": ("english", "英语", "英文"),
    "zh": ("chinese", "mandarin", "中文", "汉语", "普通话"),
    "fr": ("french", "法语", "法文"),
    "de": ("german", "德语", "德文"),
    "es": ("spanish", "西班牙语"),
    "pt": ("portuguese", "葡萄牙语"),
    "it": ("italian", "意大利语"),
    "ru": ("russian", "俄语", "俄文"),
    "ar": ("arabic", "阿拉伯语"),
    "ja": ("japanese", "日语", "日文"),
    "ko": ("korean", "韩语", "韩文"),
}
_NUMBERS = {
    **{
        word: n
        for n, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 1)
    },
    **{char: n for n, char in enumerate("一二三四五六七八九十", 1)},
    **{"a": 1, "an": 1, "half an": 0.5, "half a": 0.5, "两": 2, "半": 0.5, "半个": 0.5},
}
_WEEKLY = {
    **{
        "day": 7,
        "daily": 7,
        "evening": 7,
        "night": 7,
        "weekday": 5,
        "week": 1,
        "weekly": 1,
        "weekend": 1,
        "month": 0.25,
    },
    **{"天": 7, "日": 7, "晚": 7, "周": 1, "星期": 1, "礼拜": 1, "周末": 1, "月": 0.25},
}
_UNIT = r"(?P<unit>hours?|hrs?|h|minutes?|mins?|min)"
_AMOUNT = r"(?P<n>\d+(?:\.\d+)?|half an?|an?|one|two|three|four|five|six|seven|eight|nine|ten)"
_TIME = (
    re.compile(
        rf"\b{_AMOUNT}[ -]*{_UNIT}\b[^.;!?\n]{{0,25}}?\b(?:a|an|per|every|each|/)?\s*"
        r"(?P<per>day|daily|evening|night|weekday|weekend|weekly|week|month)\b",
        re.IGNORECASE,
    ),
    re.compile(
        r"\b(?:every|each|a|per)\s+(?P<per>day|evening|night|weekday|weekend|week|month)\b[^.;!?\n]{0,25}?"
        rf"\b{_AMOUNT}[ -]*{_UNIT}\b",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?:每|一)(?:个)?(?P<per>周末|天|日|晚|周|星期|礼拜|月)[^。；！？\n]{0,8}?"
        r"(?P<n>\d+(?:\.\d+)?|[一二三四五六七八九十两]|半个|半)(?:个)?(?P<unit>小时|钟头|分钟)"
    ),
)
_TOPIC_EN = re.compile(
    r"\b(?:learn(?:ing)?|study(?:ing)?|understand|master|practi[sc]e|improve|get into|get better at|interested in|"
    r"know about|read)\s+(?:more\s+)?(?:about\s+|how to\s+|the basics of\s+|some\s+)?(?P<topics>[^.;!?\n]{2,160})",
    re.IGNORECASE,
)
_TOPIC_ZH = re.compile("(?:想学习?|学习|学会|了解|掌握|研究|提高|学|对)(?P<topics>[^，,。；！？\n]{1,60})")
_TOPIC_ENDS_EN = re.compile(
    r"\b(?:so that|because|in order|for (?:my|work|school|the)|to (?:get|become|be|build|pass|work)|"
    r"in (?:english|chinese|my)|with|within|from scratch|as a|every|each|i (?:have|can|am|know)|but|"
    r"(?:an?|one|two|three|\d+)[ -](?:hours?|minutes?))\b",
    re.IGNORECASE,
)
_TOPIC_ENDS_ZH = re.compile("感兴趣|有兴趣|为了|因为|以便|每天|每周|每个|我|但是|，我|的课程|课程")
_SPLIT_EN = re.compile(r",\s*(?:and\s+)?|\s+and\s+|\s*&\s*|\s+or\s+|\s*/\s*")
_SPLIT_ZH = re.compile("、|以及|和|与|及|还有")


def read_goals(text: str) -> dict[str, Any]:
    """Return what `text` says: level ("" if nothing), languages, minutes_per_week (None if nothing), topics."""
    return {
        "level": next((level for level, cues in _LEVEL_CUES if re.search(cues, text, re.IGNORECASE)), ""),
        "languages": [tag for tag, names in LANGUAGE_NAMES.items() if any(_teaches_in(name, text) for name in names)],
        "minutes_per_week": _minutes(text),
        "topics": _topics(text),
    }


def language_tag(words: str) -> str:
    """Return the tag of a language given by its name or its tag, as "English", "中文", "zh_Hans"; "" for others."""
    found = words.strip().casefold().replace("_", "-")
    named = next((tag for tag, names in LANGUAGE_NAMES.items() if found in names), "")
    return named or (found if TAG.fullmatch(found) else "")


def possible_minutes(text: str) -> set[int]:
    """Return every number of minutes a week that the numbers in `text` could mean."""
    numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)}
    numbers |= {
        n for word, n in _NUMBERS.items() if re.search(rf"\b{word}\b" if word.isascii() else word, text.lower())
    }
    return {round(n * unit * times) for n in numbers for unit in (1, 60) for times in set(_WEEKLY.values())}


def _teaches_in(name: str, text: str) -> bool:
    """A language is one to learn in, not one to learn, only where that is said."""
    if name.isascii():
        pattern = (
            rf"\bin {name}\b|\b{name}(?:[- ]language)? (?:courses?|materials?|books?|videos?|lessons?|resources?)\b"
        )
    else:
        pattern = f"用{name}|{name}(?:的)?(?:课程|资料|教材|书|视频|授课|内容|资源)"
    return re.search(pattern, text, re.IGNORECASE) is not None


def _minutes(text: str) -> int | None:
    for pattern in _TIME:
        match = pattern.search(text)
        if match:
            amount = match["n"].lower()
            n = _NUMBERS[amount] if amount in _NUMBERS else float(amount)
            hours = match["unit"].lower().startswith(("h", "小", "钟"))
            minutes = round(n * (60 if hours else 1) * _WEEKLY[match["per"].lower()])
            return minutes if 0 < minutes <= MOST_MINUTES else None
    return None


def _topics(text: str) -> list[str]:
    english = script_language(text) != "zh"
    pattern, ends, split = (_TOPIC_EN, _TOPIC_ENDS_EN, _SPLIT_EN) if english else (_TOPIC_ZH, _TOPIC_ENDS_ZH, _SPLIT_ZH)
    found: dict[str, str] = {}
    for match in pattern.finditer(text):
        for part in split.split(ends.split(match["topics"])[0]):
            topic = part.strip(" \t,，.:：\"'“”")
            topic = (
                re.sub(r"^(?:the|a|an|some|more|about|习)\s*(?=\S)", "", topic, flags=re.IGNORECASE)
                if english
                else topic
            )
            if 1 < len(topic) <= LONGEST_TOPIC and len(topic.split()) <= 6:
                found.setdefault(topic.casefold(), topic)
    return list(found.values())[:MOST_TOPICS]
