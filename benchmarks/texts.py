"""Distinct made-up texts about real subjects, of a chosen length; the same seed gives the same texts."""

from __future__ import annotations

import random

SUBJECTS = """
algebra|calculus|topology|number theory|probability|statistics|game theory|optics|thermodynamics|quantum
mechanics|relativity|astronomy|cosmology|geology|oceanography|meteorology|climate
policy|ecology|botany|zoology|genetics|neuroscience|immunology|virology|epidemiology|nutrition|anatomy|surgery|nursing|pharmacology|psychiatry|organic
chemistry|electrochemistry|materials science|polymers|metallurgy|robotics|control engineering|signal
processing|circuit design|computer networks|operating systems|compilers|databases|cryptography|web
development|mobile apps|game design|computer graphics|machine learning|reinforcement learning|natural language
processing|computer vision|data visualisation|accounting|auditing|corporate
finance|microeconomics|macroeconomics|development economics|marketing|supply chains|project
management|entrepreneurship|negotiation|contract law|criminal law|human rights|constitutional law|international
relations|diplomacy|political theory|public administration|urban planning|architecture|landscape design|interior
design|typography|photography|film editing|screenwriting|poetry|the
novel|translation|linguistics|phonetics|Latin|Ancient Greek|Mandarin Chinese|Arabic
calligraphy|Spanish|Swahili|Roman history|the Silk Road|the Renaissance|the French Revolution|colonial Africa|Meiji
Japan|the Cold War|archaeology|museum studies|philosophy of mind|ethics|logic|Buddhism|comparative religion|music
theory|counterpoint|jazz improvisation|opera|sound
engineering|dance|theatre|sculpture|ceramics|weaving|baking|viticulture|beekeeping|forestry|soil
science|aquaculture|veterinary care|early childhood education|special education|curriculum design|educational
assessment|sports coaching|sailing|aviation|railway engineering|bridge building|water treatment|solar power|wind
turbines|battery storage|nuclear safety|fire safety|disaster relief|refugee studies|gender
studies|demography|anthropology|social work|journalism|public speaking|chess|cartography|remote sensing
"""
ANGLES = """
the history of|practical exercises in|the mathematics of|case studies from|common mistakes in|open problems in|field
work in|laboratory methods for|the vocabulary of|measurement in|ethical questions in|famous people of|tools
for|software for|a first look at|an advanced seminar on|a revision guide to|interviews about|the economics
of|teaching|the future of|safety rules in|classic experiments in|a critical reading of|regional differences in
"""
DETAILS = """
with worked examples|for evening classes|using data from three countries|with a small project every week|and how
experts disagree about it|from first principles|through primary sources|with peer review|in the open air|and its
link to public health|on a small budget|for teachers in rural schools|with simulations|through letters and
diaries|using open data|with weekly quizzes|for people who change careers|in small groups|and its effect on
cities|with guest lectures|through maps|with hand drawn diagrams|for hobbyists|under changing laws|and the role of
chance|with recordings|through debates|in the age of automation|and what it costs|with a final exhibition
"""
GROUPS = """
nurses|farmers|engineers|first year students|parents|pilots|librarians|lawyers|retired
people|designers|sailors|teachers|biologists|musicians|managers|translators|volunteers|refugees|programmers|chefs|athletes|historians
"""


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", " ").split("|") if part.strip()]


def texts(n: int, *, seed: int, words: tuple[int, int] = (14, 24)) -> list[str]:
    """Return `n` distinct texts of between `words` words, both included."""
    rng = random.Random(seed)
    subjects, angles, details, groups = map(_parts, (SUBJECTS, ANGLES, DETAILS, GROUPS))
    found: dict[str, None] = {}
    while len(found) < n:
        length = rng.randint(*words)
        sentences = []
        while sum(len(sentence.split()) for sentence in sentences) < length:
            sentences.append(
                f"{rng.choice(angles).capitalize()} {rng.choice(subjects)} and {rng.choice(subjects)} for "
                f"{rng.choice(groups)}, {rng.choice(details)}."
            )
        found.setdefault(" ".join(" ".join(sentences).split()[:length]))
    return list(found)
