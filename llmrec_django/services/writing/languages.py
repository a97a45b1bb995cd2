"""Which language a text is in, as far as that must be known: by its script and its commonest words."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Language = Literal["en", "zh"]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LATIN_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")
_HAN_CHAR = re.compile(f"[{HAN}]")
_HAN_RUN = re.compile(f"[{HAN}]+")
_FEWEST_WORDS = 4

_ENGLISH_WORDS = _set(
    "a about after and are as at because been both by can for from has have how if in into is it its like more next of "
    "on or so than that the their them these they this to was well when where which while who "
    "will with you your"
)
_TRADITIONAL = frozenset(
    "們個來時說國學對這過還進從開關經問間現發後會點實長動機種樣當與無數據應題業變處義員產論門電車東馬風飛書見話語課習讀"
    "寫練進階師資術圖傳統並結網頁體驗識設計運選擇讓給錄視聽導覽幫邊線總級單簡複"
)


def language_of(locale: str) -> Language | None:
    """Return the language of a locale that texts can be checked in; None for every other."""
    tag = locale.lower()
    if tag.split("-")[0] == "en":
        return "en"
    # The prompts and word lists are in simplified characters.
    if tag in ("zh", "zh-hans", "zh-cn", "zh-sg"):
        return "zh"
    return None


def script_language(text: str) -> Language | None:
    """Return the language whose script most letters of `text` are in; None for another script or no letters."""
    letters = [char for char in text if char.isalpha()]
    han = sum(1 for char in letters if _HAN_CHAR.match(char))
    latin = sum(1 for char in letters if char.isascii() or "LATIN" in unicodedata.name(char, ""))
    # A Han character says about as much as two Latin letters.
    if not letters or han + latin < 0.9 * len(letters):
        return None
    return "zh" if 2 * han >= latin else "en"


def is_in(text: str, language: Language, like: str = "") -> bool:
    """Return whether a text, names taken out, reads as one of `language`.

    Chinese: nearly all letters are Han characters, none of them used in traditional writing alone, none Kana.
    English: all letters are plain Latin ones, and at least a quarter of the words are among the commonest of English,
    which tells it from other languages of that script.

    Args:
        like: A longer text that is summed up. Where it is English its words are too: a sentence that names one thing
            after the other has few common ones.
    """
    letters = [char for char in text if char.isalpha()]
    if not letters:
        return False
    if language == "zh":
        han = [char for char in letters if _HAN_CHAR.match(char)]
        return len(han) >= 0.8 * len(letters) and sum(char in _TRADITIONAL for char in han) < 2
    if not all(char.isascii() for char in letters):
        return False
    words = [word.lower() for word in _LATIN_WORD.findall(text)]
    known = _ENGLISH_WORDS
    longer = [word.lower() for word in _LATIN_WORD.findall(like)]
    # A catalogue's text is a list of things itself; other languages of this script have next to none of these words.
    if longer and 10 * sum(word in _ENGLISH_WORDS for word in longer) >= len(longer):
        known |= set(longer)
    return len(words) >= _FEWEST_WORDS and 4 * sum(word in known for word in words) >= len(words)


def han_pairs(text: str) -> set[str]:
    """Return every two Han characters that stand side by side: about the words of a script without spaces."""
    return {run[at : at + 2] for run in _HAN_RUN.findall(text) for at in range(len(run) - 1)}
