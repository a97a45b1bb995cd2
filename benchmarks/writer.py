"""How much of what a chat model writes passes the validator, and what it looks like.

    python -m benchmarks.writer FOLDER [--gguf-file model.gguf] [--n 40] [--attempts 2] [--kinds reason summary]

FOLDER holds a chat model that transformers can read; a GGUF file needs the packages gguf and accelerate. Nothing
is downloaded and no database is asked. Evidence is made from the campus' catalogue: pairs of resources that share a
subject, with deeds, shared keywords, counts, levels and times drawn by a fixed seed. Each prompt gets as many
attempts as a site would give it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import project

ROOT = Path(__file__).resolve().parent.parent
CONTENT = ROOT / "example_project" / "campus" / "content"
DEEDS = ("completed", "viewed", "enrolled", "bookmarked", "passed")
GOALS = (
    "I'm new to programming and want to learn Python and data analysis. I have 3 hours a week, courses in English.",
    "I would like to understand linear algebra and probability well enough for machine learning, 30 minutes every day.",
    "Advanced statistics and causal inference, please; I can read in English.",
    "I want to get better at academic writing in English.",
    "Understand climate change and how cities can run on solar and wind power.",
    "I'd like to read Tang poetry and learn some Chinese, two evenings a week, about four hours in all.",
    "Build and evaluate predictive models, and know when an effect is causal. I know Python and basic statistics.",
    "Music theory from scratch, an hour on Sundays.",
    "How do children learn and remember? I teach at a primary school and can spare 90 minutes a week.",
    "Keep up with research on vaccines and antibiotic resistance.",
    "我是零基础，想学习Python编程和数据分析，每周有5个小时。",
    "想了解中国古代史和艺术史，希望是中文课程，每天半小时。",
    "我有一定基础，想掌握机器学习和深度学习。",
    "对心理学感兴趣，周末有两个小时。",
    "学会写程序，做一个属于自己的网站。",
    "想了解孩子是怎样学习和记忆的，把课上得更有趣。",
    "学好英语，能写论文，每天一小时。",
    "我想了解气候变化和可再生能源，最好是中文课程。",
    "想学微积分和线性代数，为考研做准备，每周十个小时。",
    "零基础学画画和音乐，每周三小时。",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--gguf-file")
    parser.add_argument("--n", type=int, default=40, help="Prompts of each kind and language.")
    parser.add_argument("--attempts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=11, help="Which evidence and resources are drawn.")
    parser.add_argument(
        "--sampled", action="store_true", help="Begin with the attempt that samples, not the likeliest."
    )
    parser.add_argument("--kinds", nargs="+", default=["reason", "summary", "goal"])
    parser.add_argument("--output", type=Path, help="Write every answer to this file, as JSON lines.")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    project.set_up()
    from llmrec_django.engine.writers.transformers import TransformersWriter

    writer = TransformersWriter(options.folder, gguf_file=options.gguf_file, device="cpu")
    began = time.perf_counter()
    writer._load()
    print(f"{writer.model_id}: loaded in {time.perf_counter() - began:.0f} s", flush=True)
    rows: list[dict[str, Any]] = []
    for kind in options.kinds:
        for locale in ("en", "zh-hans"):
            rows += run(writer, kind, locale, options)
    if options.output:
        options.output.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def run(writer: Any, kind: str, locale: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    cases = {"reason": reasons, "summary": summaries, "goal": goals}[kind](locale, options.n, options.seed)
    rows = []
    for prompt, check in cases:
        for attempt in range(options.attempts):
            began = time.perf_counter()
            text = writer.generate(prompt, attempt=attempt + options.sampled)
            shown, found = check(text)
            row = {"kind": kind, "locale": locale, "attempt": attempt, "seconds": time.perf_counter() - began}
            rows.append({**row, "answer": text, "shown": shown, "problems": found})
            print(f"{kind} {locale} {'REFUSED ' + '; '.join(found) if found else 'passed'} | {shown!r}", flush=True)
            if not found:
                break
    passed = sum(not row["problems"] for row in rows)
    first = sum(not row["problems"] for row in rows if row["attempt"] == 0)
    causes = Counter(problem for row in rows for problem in row["problems"])
    seconds = sum(row["seconds"] for row in rows) / max(1, len(rows))
    print(f"== {kind} {locale}: {passed} of {len(cases)} pass, {first} at the first attempt; {seconds:.1f} s each")
    print(f"   refused for: {dict(causes.most_common())}", flush=True)
    return rows


def catalogue() -> list[dict[str, Any]]:
    found = []
    for name, kind in (("courses", "course"), ("books", "book"), ("papers", "paper")):
        for entry in json.loads((CONTENT / f"{name}.json").read_text(encoding="utf-8")):
            text = {tag: entry.get(f"summary_{tag}") or entry.get(f"abstract_{tag}") or "" for tag in ("en", "zh")}
            found.append({**entry, "kind": kind, "id": len(found) + 1, "text": text})
    return found


def evidence(n: int, seed: int = 11) -> list[Any]:
    """Make evidence as the ranking would: what is shared is really shared."""
    from llmrec_django.types import Evidence, EvidenceResource

    rng = random.Random(seed)
    entries = catalogue()

    def named(entry: dict[str, Any], **more: Any) -> EvidenceResource:
        titles = {"zh-hans": entry["title_zh"]}
        return EvidenceResource(entry["id"], entry["key"], entry["title_en"], titles, **more)

    made: list[Evidence] = []
    while len(made) < n:
        own, other, second = rng.sample(entries, 3)
        if not set(own["subjects"]) & set(other["subjects"]):
            continue
        shared = tuple(word for word in other["keywords"] if word in own["keywords"])
        learners = rng.choice((0, 0, 12, 35))
        mine = [named(own, verb=rng.choice(DEEDS), share=0.5, learners=learners)]
        if rng.random() < 0.2:  # a newcomer has done nothing, and has goals
            words = tuple(rng.sample(other["keywords"], 2))
            made.append(Evidence(resource=named(other), source="content", goal_share=1.0, goal_words=words))
            continue
        if rng.random() < 0.3:
            mine.append(named(second, verb=rng.choice(DEEDS), share=0.2))
        minutes = 60 * int(other.get("hours") or 0) if rng.random() < 0.3 else 0
        made.append(
            Evidence(
                resource=named(other),
                source="trained",
                own=tuple(mine),
                keywords=shared,
                goal_words=tuple(rng.sample(other["keywords"], 1)) if rng.random() < 0.25 else (),
                level=other["level"] if rng.random() < 0.3 else "",
                minutes=minutes,
                minutes_per_week=300 if minutes else 0,
            )
        )
    return made


def reasons(locale: str, n: int, seed: int = 11) -> list[Any]:
    from llmrec_django.services.writing.languages import language_of
    from llmrec_django.services.writing.prompt import reason_allowed, reason_prompt
    from llmrec_django.services.writing.titles import mentioned
    from llmrec_django.services.writing.validate import problems, tidy

    titles = [entry[name] for entry in catalogue() for name in ("title_en", "title_zh")]

    def case(item: Any) -> Any:
        def check(answer: str) -> tuple[str, list[str]]:
            text = tidy(answer)
            others = mentioned([t for t in titles if t.casefold() in text.casefold()], text, known.phrases)
            return text, problems(text, reason_allowed(item, locale, others), language_of(locale))

        known = reason_allowed(item, locale)
        return reason_prompt(item, locale, f"data {item.hash[:12]}"), check

    return [case(item) for item in evidence(n, seed)]


def summaries(locale: str, n: int, seed: int = 12) -> list[Any]:
    from llmrec_django.services.writing.languages import language_of
    from llmrec_django.services.writing.prompt import summary_allowed, summary_prompt
    from llmrec_django.services.writing.summaries import LEAST_OVERLAP
    from llmrec_django.services.writing.validate import overlap, problems, tidy

    tag, language = locale.split("-")[0], language_of(locale)

    def case(entry: dict[str, Any]) -> Any:
        title = entry[f"title_{tag}"]
        # As long as what sites have: a course with its lessons.
        lessons = [lesson.get(f"title_{tag}", "") for lesson in entry.get("lessons", [])]
        text = " ".join([entry["text"][tag], *lessons])

        def check(answer: str) -> tuple[str, list[str]]:
            said = tidy(answer)
            allowed = summary_allowed(title, text, language)
            found = problems(said, allowed, language)
            if overlap(said, allowed.source, language) < LEAST_OVERLAP:
                found.append("says what its source does not")
            return said, found

        return summary_prompt(title, text, language, f"data {entry['id']:08x}"), check

    return [case(entry) for entry in random.Random(seed).sample(catalogue(), n)]


def goals(locale: str, n: int, seed: int = 0) -> list[Any]:
    from llmrec_django.services.writing.goals import read_answer
    from llmrec_django.services.writing.languages import script_language
    from llmrec_django.services.writing.prompt import goal_prompt

    def case(text: str) -> Any:
        def check(answer: str) -> tuple[str, list[str]]:
            try:
                return json.dumps(read_answer(answer, text), ensure_ascii=False), []
            except ValueError as exc:
                return answer, [str(exc)]

        return goal_prompt(text, "data 5eed"), check

    return [case(text) for text in GOALS if script_language(text) == locale.split("-")[0]][:n]


if __name__ == "__main__":
    main()
