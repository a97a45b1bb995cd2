"""Whether a text that a language model wrote may be shown. What does not pass is thrown away, and the template stays.

A model is not believed: every title, name and number in its text must be in the facts, what it says the learner did
must be what the learner did, and nothing in it may be markup, an address, hidden, unsafe, or about its own task.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmrec_django.engine.safety.hidden import is_invisible
from llmrec_django.engine.safety.screen import screen_text
from llmrec_django.services.writing.languages import han_pairs, is_in
from llmrec_django.services.writing.polarity import turns_around
from llmrec_django.services.writing.truth import FIRST_OWN, RECOMMENDED, untrue_deeds, untrue_turns, wrong_counts
from llmrec_django.services.writing.vocabulary import is_plain, unknown_words
from llmrec_django.services.writing.wording import (
    CHATTER,
    CLAIMS,
    NUMBER_WORDS,
    PROMISES,
    STARTS,
    TOLD_TIMES,
    UNSAFE,
    chinese_counts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmrec_django.services.writing.languages import Language

LENGTHS: Mapping[Language, tuple[int, int]] = {"en": (25, 260), "zh": (10, 110)}
"""Fewest and most characters."""
MOST_SENTENCES = 2

_QUOTES = (
    ("“", "”"),
    ("«", "»"),
    ("《", "》"),
    ("〈", "〉"),
    ("「", "」"),
    ("『", "』"),
    ('"', '"'),
    ("‘", "’"),
    ("＂", "＂"),
)
_MASK = "\ufffc"
"""Stands for what was taken out because the facts hold it."""
_TITLE_MARK = re.compile("[\ue000-\ue0ff]")
_MARKUP = re.compile(r"[<>{}`*_#|\\^~=\[\]$@/]")
_ADDRESS = re.compile(
    r"https?:|www\.|\b[\w-]+\.(?:com|org|net|edu|cn|io|ai|info|dev|me|co|xyz|top|ru)\b|\bhttp\b", re.I
)
_NUMBER = re.compile(r"\d[\d,.]*\d|\d")
_CAPITALISED = re.compile(r"[A-Z][\w'’-]*")
_LATIN = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？]")
_LABEL = re.compile(
    r"\A(?:reason|sentence|answer|summary|output|推荐理由|理由|摘要|概述|总结)\s*[:：]\s*", re.IGNORECASE
)
_CLAUSES = re.compile("[,;.!?，；。！？]")
_MISSING_END = {"》": "。", "」": "。", "』": "。", "”": ".", '"': "."}
_SPEAKER = re.compile(r"\A[\w ]{1,20}[:：]")
_ADDRESSED: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(r"\byou(?:r|rs|’?'?ve)?\b", re.I),
    "zh": re.compile("[你您]"),
}
_ECHO: Mapping[Language, int] = {"en": 7, "zh": 14}
"""So many words, or characters, in a row that stand in the instructions too are an echo."""
_TOKEN: Mapping[Language, re.Pattern[str]] = {"en": re.compile(r"\w+"), "zh": re.compile(r"\w")}


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a text may say."""

    titles: tuple[str, ...] = ()
    """May be quoted, and stand in the text with whatever is in them."""
    words: tuple[str, ...] = ()
    """Keywords, competencies, kinds and levels: the same."""
    numbers: frozenset[int] = frozenset()
    recommended: str = ""
    """The one of the titles that is recommended; "" where nothing is."""
    own: tuple[tuple[str, frozenset[str]], ...] = ()
    """Titles of the learner's own resources, each with the verbs of what the learner did with it."""
    counts: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """What is counted (a key of `wording.UNITS`) → the numbers that are right."""
    claims: frozenset[str] = frozenset()
    """Keys of `wording.CLAIMS` that are true."""
    grounds: tuple[str, ...] | None = None
    """The text must name one of these (or a number, or make a claim that is true); None: it need not."""
    source: str = ""
    """Text whose words, names and numbers count as facts too: what is summarised."""
    other_titles: tuple[str, ...] = ()
    """Titles that are in the text and not in the facts."""
    must_address: bool = True
    """The text speaks to the learner."""
    instructions: str = ""
    """What the model was told, which it must not repeat."""
    phrases: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        unique = {_folded(phrase): phrase for phrase in (*self.titles, *self.words) if phrase.strip()}
        object.__setattr__(self, "phrases", tuple(sorted(unique.values(), key=len, reverse=True)))


def tidy(answer: str) -> str:
    """Return the text of an answer: its first line without label and quotation marks around all of it."""
    lines = [" ".join(line.split()) for line in answer.strip().splitlines()]
    text = next((line for line in lines if line), "")
    for _ in range(2):
        text = _LABEL.sub("", text).strip()
        for opening, closing in _QUOTES:
            inner = text[len(opening) : -len(closing)]
            if (
                len(text) > 2
                and text.startswith(opening)
                and text.endswith(closing)
                and not {opening, closing} & set(inner)
            ):
                text = inner.strip()
    text = unicodedata.normalize("NFC", text)
    # Small models forget the mark after a title at the end.
    return text + _MISSING_END.get(text[-1:], "")


def problems(text: str, allowed: Allowed, language: Language) -> list[str]:
    """Return what speaks against showing `text`, in words for the log; empty for a text that may be shown.

    Args:
        text: As `tidy` gives it.
    """
    return list(dict.fromkeys(_problems(text, allowed, language)))


def _problems(text: str, allowed: Allowed, language: Language) -> Iterator[str]:
    fewest, most = LENGTHS[language]
    if not fewest <= len(text) <= most:
        yield f"{len(text)} characters, not {fewest} to {most}"
        if len(text) > 4 * most:
            return
    if any(is_invisible(char) for char in text) or "\n" in text:
        yield "characters that cannot be seen"
    text = "".join(char for char in text if not is_invisible(char))  # none may pass for a mark below
    for quoted in _quoted(text):
        if not _is_known(quoted, allowed):
            yield "quotes what is not in the facts"
    if allowed.other_titles:
        yield "names a resource that is not in the facts"
    # What the facts hold is taken out: a title may have markup, numbers and capitals of its own.
    bare = _TITLE_MARK.sub(_MASK, _masked(text, allowed))
    yield from _forbidden(bare, allowed)
    yield from _numbers(bare, allowed, language)
    yield from _names(bare, allowed, language)
    yield from _untrue(bare, allowed, language)
    if allowed.recommended:
        marked = _masked(text, allowed)
        yield from untrue_deeds(marked, [deeds for _, deeds in allowed.own], language)
        yield from untrue_turns(marked, language)
        yield from wrong_counts(marked, allowed.counts, language)
        plain = TOLD_TIMES[language].sub(" ", _TITLE_MARK.sub(" ", marked))
        if unknown_words(plain, allowed.phrases, language):
            yield "says more than the facts"
        if any(
            _TITLE_MARK.search(clause) and not re.search(r"[^\W\ue000-\ue0ff]", clause)
            for clause in _CLAUSES.split(marked)
        ):
            yield "a title that nothing is said of"
    if not is_in(bare.replace(_MASK, " "), language, allowed.source):
        yield "not in the language asked for"
    if not text.endswith((".", "!", "?", "。", "！", "？", "”", '"', "》", "」")) or not _SENTENCE_END.search(
        text[-2:]
    ):
        yield "no end of a sentence"
    if len(_SENTENCE_END.findall(bare)) > MOST_SENTENCES:
        yield "too many sentences"
    if allowed.source and turns_around(text, allowed.source, language):
        yield "denies what its source says, or says what it denies"
    if allowed.must_address and not _ADDRESSED[language].search(bare):
        yield "does not speak to the learner"
    if allowed.grounds is not None and not _is_grounded(text, bare, allowed, language):
        yield "says nothing of the facts"
    if _echoes(bare, allowed.instructions, language):
        yield "repeats its instructions"


def _quoted(text: str) -> Iterator[str]:
    for opening, closing in _QUOTES:
        if opening == closing:
            parts = text.split(opening)
            yield from parts[1::2]
            continue
        for part in text.split(opening)[1:]:
            # An apostrophe looks like the end of a quotation; a beginning without an end is none.
            inner, end, _ = part.partition(closing)
            if end:
                yield inner


def _is_known(quoted: str, allowed: Allowed) -> bool:
    wanted = _folded(quoted.rstrip(".,;:!?。，；：！？ "))
    return any(_folded(phrase.rstrip(".,;:!?。，；：！？ ")) == wanted for phrase in allowed.phrases)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _masked(text: str, allowed: Allowed) -> str:
    """Replace what the facts hold, longest first: titles each by a mark of its own, words by one mark."""
    marks = {_folded(title): chr(FIRST_OWN + place) for place, (title, _) in enumerate(allowed.own)}
    marks[_folded(allowed.recommended)] = RECOMMENDED
    for phrase in allowed.phrases:
        # A short word inside another one is not it: "art" in "start".
        before = "(?<![A-Za-z0-9])" if re.match("[A-Za-z0-9]", phrase) else ""
        after = "(?![A-Za-z0-9])" if re.search("[A-Za-z0-9]$", phrase) else ""
        pattern = before + r"\s+".join(map(re.escape, phrase.split())) + after
        text = re.sub(pattern, marks.get(_folded(phrase), _MASK), text, flags=re.IGNORECASE)
    return text


def _forbidden(bare: str, allowed: Allowed) -> Iterator[str]:
    if _MARKUP.search(bare):
        yield "markup"
    if _ADDRESS.search(bare):
        yield "an address"
    if any(unicodedata.category(char) in ("So", "Sk", "Sc", "Sm") for char in bare if char != _MASK):
        yield "symbols"
    if screen_text(bare.replace(_MASK, "x")):
        yield "speaks to a machine"
    # Of both languages: an insult is one in either. What is summarised may be about weapons, or about instructions.
    source = allowed.source.casefold()
    for found, patterns in (("unsafe words", UNSAFE), ("speaks of its task", CHATTER)):
        for match in (match for pattern in patterns.values() for match in pattern.finditer(bare)):
            if match[0].casefold() not in source:
                yield found
    if _SPEAKER.match(bare):
        yield "speaks of its task"


def _numbers(bare: str, allowed: Allowed, language: Language) -> Iterator[str]:
    in_source = set(_NUMBER.findall(unicodedata.normalize("NFKC", allowed.source)))
    for number in _NUMBER.findall(unicodedata.normalize("NFKC", bare)):
        plain = number.replace(",", "")
        if number not in in_source and not (plain.isdigit() and int(plain) in allowed.numbers):
            yield "a number that is not in the facts"
    counts = _numerals(bare, language)
    known = {*allowed.numbers, *_numerals(allowed.source, language)}
    if any(n not in known for n in counts):
        yield "a number that is not in the facts"


def _numerals(text: str, language: Language) -> list[int]:
    if language == "zh":
        return chinese_counts(text)
    return [NUMBER_WORDS[word] for word in map(str.lower, _LATIN.findall(text)) if word in NUMBER_WORDS]


def _names(bare: str, allowed: Allowed, language: Language) -> Iterator[str]:
    """Any word with a capital letter that does not just begin a sentence is a name; so is any Latin word in Chinese."""
    known = {_plain(word) for phrase in (*allowed.phrases, allowed.source) for word in _LATIN.findall(phrase)}
    if language == "zh":
        if any(_plain(word) not in known for word in _LATIN.findall(bare)):
            yield "a name that is not in the facts"
        return
    for match in _CAPITALISED.finditer(bare):
        word = _plain(match[0])
        before = bare[: match.start()].rstrip(" \"'“”‘’(")
        begins = not before or before.endswith((".", "!", "?"))
        if word not in known and not (begins and word in STARTS):
            yield "a name that is not in the facts"


def _plain(word: str) -> str:
    """Return a word in lower case, without what follows an apostrophe."""
    return word.casefold().replace("’", "'").partition("'")[0]


def _untrue(bare: str, allowed: Allowed, language: Language) -> Iterator[str]:
    source = allowed.source
    for claim, pattern in CLAIMS[language].items():
        if claim not in allowed.claims and pattern.search(bare) and not pattern.search(source):
            yield f"claims what the facts do not say ({claim})"
    for match in PROMISES[language].finditer(bare):
        if match[0].casefold() not in source.casefold():
            yield "promises"


def _is_grounded(text: str, bare: str, allowed: Allowed, language: Language) -> bool:
    folded = _folded(text)
    if any(_folded(ground) in folded for ground in allowed.grounds or () if ground.strip()):
        return True
    if any(int(number.replace(",", "")) in allowed.numbers for number in _NUMBER.findall(bare) if "." not in number):
        return True
    return any(CLAIMS[language][claim].search(bare) for claim in allowed.claims & set(CLAIMS[language]))


def _echoes(bare: str, instructions: str, language: Language) -> bool:
    n = _ECHO[language]
    told = [token.casefold() for token in _TOKEN[language].findall(instructions)]
    said = [token.casefold() for token in _TOKEN[language].findall(bare)]
    known = {tuple(told[at : at + n]) for at in range(len(told) - n + 1)}
    return any(tuple(said[at : at + n]) in known for at in range(len(said) - n + 1))


def overlap(text: str, source: str, language: Language) -> float:
    """Return which share of what a summary says stands in its source, in [0, 1].

    English: words of four letters and more that are no plain ones, by their first five; Chinese: pairs of characters.
    """
    said, known = _content(text, language), _content(source, language)
    return sum(part in known for part in said) / len(said) if said else 0.0


def _content(text: str, language: Language) -> set[str]:
    if language == "zh":
        return han_pairs(text)
    return {word.casefold()[:5] for word in _LATIN.findall(text) if len(word) > 3 and not is_plain(word)}
