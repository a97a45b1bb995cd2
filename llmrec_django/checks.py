"""System checks of the settings. No query is made, no model loaded, no service asked."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.db import connections, router
from django.utils.module_loading import import_string

from llmrec_django.conf import (
    DEFAULTS,
    IMPORT_STRINGS,
    LLMRecConfigurationError,
    conf,
    ignored_accounts,
    is_user_field,
)
from llmrec_django.engine.encoders import build_encoder
from llmrec_django.engine.writers import build_writer
from llmrec_django.exceptions import LLMRecError, MissingDependency
from llmrec_django.models import Resource
from llmrec_django.routers import LLMRecRouter
from llmrec_django.sources import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

REMOVED: dict[str, str] = {}
"""Key of LLMREC that an earlier version read → what to write instead."""
REFERENCE = "docs/settings.md lists every key with its default."


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_positive(value: Any) -> bool:
    return is_whole(value) and value >= 1


def is_count(value: Any) -> bool:
    return is_whole(value) and value >= 0


def is_scale(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(is_number, value)) and value[0] < value[1]


def is_list_of_text(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(map(is_text, value))


def is_map(value: Any, accepts: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(is_text(key) and accepts(entry) for key, entry in value.items())


def is_retention(value: Any) -> bool:
    known = DEFAULTS["RETENTION_DAYS"]
    return is_map(value, lambda days: days is None or (is_number(days) and days >= 0)) and set(value) <= set(known)


def is_screen(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) <= set(DEFAULTS["SCREEN"])
        and isinstance(value.get("ENABLED", True), bool)
        and value.get("UNSCREENED", "allow") in ("allow", "hold")
        and is_list_of_text(value.get("IGNORE", ()))
        and OPTIONAL_TEXT[0](value.get("CLASSIFIER"))
        and is_text(value.get("CLASSIFIER_VERSION", "1"))
    )


def is_writer(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) <= set(DEFAULTS["WRITER"])
        and OPTIONAL_TEXT[0](value.get("BACKEND"))
        and is_map(value.get("OPTIONS", {}), lambda entry: True)
        and is_list_of_text(value.get("WRITES", ()))
        and set(value.get("WRITES", ())) <= set(DEFAULTS["WRITER"]["WRITES"])
        and all(is_count(value.get(name, 0)) for name in ("CALLS_PER_HOUR", "CALLS_PER_DAY"))
        and is_positive(value.get("ATTEMPTS", 1))
        and is_number(value.get("PAUSE_S", 1))
        and value.get("PAUSE_S", 1) > 0
    )


FLAG = (lambda value: isinstance(value, bool), "True or False")
POSITIVE = (is_positive, "a whole number of at least 1")
COUNT = (is_count, "a whole number of at least 0")
OPTIONAL_TEXT = (lambda value: value is None or is_text(value), "a string or None")

EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ENABLED": (lambda value: isinstance(value, bool) or value == "shadow", 'True, False or "shadow"'),
    "TENANT": (lambda value: value is None or is_text(value) or callable(value), "a dotted path or None"),
    "DATABASE": OPTIONAL_TEXT,
    "ENCODERS": (lambda value: bool(value) and is_map(value, lambda entry: isinstance(entry, dict)), "a dict of dicts"),
    "ENCODER": (is_text, "the name of an entry of LLMREC['ENCODERS']"),
    "ALLOW_REMOTE_TEXT": FLAG,
    "ARTIFACT_DIR": (lambda value: value is None or isinstance(value, str | os.PathLike), "a path or None"),
    "EMBED_BATCH": POSITIVE,
    "EMBED_LEASE_S": (lambda value: is_number(value) and value > 0, "a number of seconds above 0"),
    "EMBED_MAX_ATTEMPTS": POSITIVE,
    "INDEX_MIN_VECTORS": COUNT,
    "INDEX_OVERSCAN": (lambda value: is_whole(value) and 1 <= value <= 20, "a whole number from 1 to 20"),
    "INDEX_EF_SEARCH": (lambda value: is_whole(value) and 1 <= value <= 1000, "a whole number from 1 to 1000"),
    "RETIRED_SPACE_DAYS": (lambda value: is_number(value) and value >= 0, "a number of days of at least 0"),
    "STATEMENT_TIMEOUT_MS": COUNT,
    "QUEUES": (lambda value: is_map(value, is_text), "a dict of queue names by purpose"),
    "CELERY": FLAG,
    "VERBS": (lambda value: isinstance(value, dict), "a dict of verbs"),
    "VERB_ALIASES": (lambda value: is_map(value, is_text), "a dict of verbs by other names"),
    "RATING_LIKED_FROM": (lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "RATING_SCALE": (is_scale, "two numbers, the lower one first"),
    "RECORD_SEARCHES": FLAG,
    "RETENTION_DAYS": (is_retention, f"days (or None) for any of {', '.join(DEFAULTS['RETENTION_DAYS'])}"),
    "STORE_LISTS": (lambda value: value in ("learners", "all", None), '"learners", "all" or None'),
    "ATTRIBUTION_DAYS": (lambda value: is_number(value) and value > 0, "a number of days above 0"),
    "TARGET_VERBS": (is_list_of_text, "a list of verbs"),
    "DISMISS_SIMILAR_FROM": (
        lambda value: value is None or (is_number(value) and 0 < value <= 1),
        "a number above 0, at most 1, or None",
    ),
    "LEVEL_WEIGHT": (lambda value: is_number(value) and value >= 0, "a number of at least 0"),
    "EXPLAIN": FLAG,
    "EXPLAIN_MIN_LEARNERS": POSITIVE,
    "HISTORY_LENGTH": POSITIVE,
    "HISTORY_DECAY": (lambda value: is_number(value) and 0 < value <= 1, "a number above 0, at most 1"),
    "TRAIN_SOURCES": (is_list_of_text, "a list of names of sources"),
    "RELEVANCE": (lambda value: is_map(value, lambda entry: True), "a dict of options of the relevance model"),
    "WANDB_PROJECT": (lambda value: isinstance(value, str), "a name, or an empty text"),
    "MOST_PINNED": (lambda value: is_whole(value) and value >= 0, "a whole number of at least 0"),
    "NEW_SHARE": (lambda value: is_number(value) and 0 <= value <= 1, "a share in [0, 1]"),
    "NEW_DAYS": (lambda value: is_number(value) and value >= 0, "a number of days of at least 0"),
    "TUNE_S": (lambda value: is_number(value) and value >= 0, "a number of seconds of at least 0"),
    "IGNORED_ACCOUNTS": (
        lambda value: (
            value is None
            or is_map(value, lambda entry: True)
            or (isinstance(value, list | tuple) and all(is_map(entry, lambda part: True) for entry in value))
        ),
        "a dict of conditions on the user model, a list of such dicts, or None",
    ),
    "LEARNER_WEIGHT_LIMIT": (lambda value: is_number(value) and value > 0, "a number above 0"),
    "KEEP_VERSIONS": COUNT,
    "DRIFT_MARGIN": (lambda value: is_number(value) and 0 <= value < 1, "a number of at least 0, below 1"),
    "DRIFT_MAIL": FLAG,
    "ARTIFACT_STORAGE": OPTIONAL_TEXT,
    "POPULAR_DAYS": POSITIVE,
    "POPULAR_CACHE_S": COUNT,
    "LANGUAGES": (lambda value: value is None or is_list_of_text(value), "a list of language tags or None"),
    "SCREEN": (is_screen, f"a dict of any of {', '.join(DEFAULTS['SCREEN'])}, as docs/safety.md says"),
    "WRITER": (is_writer, f"a dict of any of {', '.join(DEFAULTS['WRITER'])}, as docs/writer.md says"),
    "VISITOR_COOKIE": OPTIONAL_TEXT,
    "API_AUTHENTICATION": (
        lambda value: value is None or isinstance(value, list | tuple),
        "a list of dotted paths or None",
    ),
    "HEALTH_TOKEN": OPTIONAL_TEXT,
    "API_THROTTLES": (
        lambda value: is_map(value, lambda rate: rate is None or is_text(rate)),
        'a dict of rates such as "120/min" (or None) by scope',
    ),
}
"""Key → (does the value fit, what would fit)."""


@register("llmrec_django")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check LLMREC, the encoders, the database and what hosts registered."""
    given = getattr(settings, "LLMREC", None)
    if given is not None and not isinstance(given, dict):
        return [_error("E001", f"LLMREC is {type(given).__name__}, not a dict.", "Make it a dict of options.")]
    messages = [*_check_keys(given or {}), *_check_values(given or {})]
    if not messages:
        # What follows reads the settings as if they were sound.
        messages = [*_check_verbs(), *_check_encoders(), *_check_queues(), *_check_writer(), *_check_screen()]
        messages += _check_ignored_accounts(given or {})
    # A database named wrongly, or a source, is worth knowing in any case.
    return [*messages, *_check_database(given or {}), *_check_celery(given or {}), *_check_sources(messages)]


def _error(number: str, text: str, hint: str) -> Error:
    return Error(text, hint=hint, id=f"llmrec_django.{number}")


def _warning(number: str, text: str, hint: str) -> Warning:
    return Warning(text, hint=hint, id=f"llmrec_django.{number}")


def _check_keys(given: dict[Any, Any]) -> Iterator[CheckMessage]:
    for key in given:
        if key in REMOVED:
            yield _error("E003", f"LLMREC[{key!r}] is not read any more.", REMOVED[key])
        elif key not in DEFAULTS:
            near = difflib.get_close_matches(str(key), DEFAULTS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else REFERENCE
            yield _error("E002", f"LLMREC has the unknown key {key!r}.", hint)


def _check_values(given: dict[Any, Any]) -> Iterator[CheckMessage]:
    for key, value in given.items():
        if key in EXPECTED and not EXPECTED[key][0](value):
            yield _error("E004", f"LLMREC[{key!r}] is {_short(value)}.", f"Make it {EXPECTED[key][1]}.")
        elif key in IMPORT_STRINGS or key == "VERBS":
            try:
                getattr(conf, key)
            except LLMRecConfigurationError as exc:
                yield _error("E005", str(exc), f"Correct LLMREC[{key!r}].")


def _check_verbs() -> Iterator[CheckMessage]:
    for alias, verb in conf.VERB_ALIASES.items():
        # A verb that the site took out takes our own aliases of it along.
        if verb not in conf.VERBS and DEFAULTS["VERB_ALIASES"].get(alias) != verb:
            yield _error(
                "E006",
                f"LLMREC['VERB_ALIASES'][{alias!r}] names {verb!r}, which is no verb.",
                f"Use one of: {', '.join(sorted(conf.VERBS))}.",
            )


def _check_encoders() -> Iterator[CheckMessage]:
    if conf.ENCODER not in conf.ENCODERS:
        names = ", ".join(sorted(conf.ENCODERS))
        yield _error(
            "E007", f"LLMREC['ENCODER'] is {conf.ENCODER!r}, which LLMREC['ENCODERS'] has not.", f"It has {names}."
        )
    for name in conf.ENCODERS:
        yield from _check_encoder(name)


def _check_encoder(name: str) -> Iterator[CheckMessage]:
    where = f"LLMREC['ENCODERS'][{name!r}]"
    try:
        encoder = build_encoder(conf.encoder_spec(name))
        problems = encoder.check()
    except MissingDependency as exc:
        # The web tier may do without what only workers need.
        yield _warning("W003", str(exc), f"Needed on machines that use {where}.")
        return
    except LLMRecError as exc:
        if name == conf.ENCODER:
            yield _error("E008", str(exc), f"Correct {where}.")
        else:
            yield _warning("W005", str(exc), f"Correct {where}, or remove it.")
        return
    for problem in problems:
        yield _warning("W004", f"Encoder {name!r}: {problem}", f"Correct the OPTIONS of {where}.")
    stays_here = encoder.is_local
    if name == conf.ENCODER and not stays_here and not conf.ALLOW_REMOTE_TEXT:
        yield _error(
            "E009",
            f"Encoder {name!r} sends texts to another machine, which LLMREC['ALLOW_REMOTE_TEXT'] does not allow.",
            "Set it to True if resource texts and search queries may leave this machine, or use another encoder.",
        )


def _check_writer() -> Iterator[CheckMessage]:
    if not conf.WRITER["BACKEND"]:
        return
    try:
        writer = build_writer(conf.WRITER["BACKEND"], conf.WRITER["OPTIONS"])
        problems = writer.check()
    except MissingDependency as exc:
        yield _warning("W003", str(exc), "Needed on machines that use LLMREC['WRITER'].")
        return
    except LLMRecError as exc:
        yield _error("E013", str(exc), "Correct LLMREC['WRITER'].")
        return
    for problem in problems:
        yield _warning("W006", f"The writer: {problem}", "Correct the OPTIONS of LLMREC['WRITER'].")
    if not writer.is_local and not conf.ALLOW_REMOTE_TEXT:
        yield _error(
            "E014",
            "The writer sends texts to another machine, which LLMREC['ALLOW_REMOTE_TEXT'] does not allow.",
            "Set it to True if facts about lists and learners' goals may leave this machine, or use another writer.",
        )


def _check_screen() -> Iterator[CheckMessage]:
    path = conf.SCREEN["CLASSIFIER"]
    if not path:
        return
    try:
        classifier = import_string(path)
    except ImportError as exc:
        yield _error("E015", f"LLMREC['SCREEN']['CLASSIFIER'] is {path!r}: {exc}.", "Give a dotted path to a callable.")
        return
    if not callable(classifier):
        yield _error("E015", f"LLMREC['SCREEN']['CLASSIFIER'] is {path!r}, no callable.", "Give that of a function.")


def _check_queues() -> Iterator[CheckMessage]:
    for purpose in conf.QUEUES:
        if purpose not in DEFAULTS["QUEUES"]:
            known = ", ".join(DEFAULTS["QUEUES"])
            yield _error(
                "E010", f"LLMREC['QUEUES'] has the unknown purpose {purpose!r}.", f"It must be one of: {known}."
            )


def _check_ignored_accounts(given: dict[Any, Any]) -> Iterator[CheckMessage]:
    # Of the default nothing is said: not every user model knows staff.
    for conditions in ignored_accounts() if "IGNORED_ACCOUNTS" in given else ():
        for lookup in conditions:
            if not is_user_field(lookup):
                yield _warning(
                    "W007",
                    f"LLMREC['IGNORED_ACCOUNTS'] asks for {lookup!r}, which the user model has not: it is ignored.",
                    "Name a field of the user model.",
                )


def _check_database(given: dict[Any, Any]) -> Iterator[CheckMessage]:
    alias = given.get("DATABASE")
    if alias and alias not in settings.DATABASES:
        names = ", ".join(settings.DATABASES)
        yield _error("E011", f"LLMREC['DATABASE'] is {alias!r}, which DATABASES has not.", f"It has {names}.")
        return
    if alias and not any(isinstance(entry, LLMRecRouter) for entry in router.routers):
        yield _error(
            "E012",
            f"LLMREC['DATABASE'] is {alias!r}, but nothing sends this app's tables there.",
            'Add "llmrec_django.routers.LLMRecRouter" to DATABASE_ROUTERS.',
        )
    used = router.db_for_write(Resource)
    if connections[used].vendor != "postgresql":
        yield _warning(
            "W001",
            f"Database {used!r} is {connections[used].display_name}: nothing is stored or recommended there.",
            "Fine for a developer's machine; elsewhere use PostgreSQL with pgvector, or set LLMREC['DATABASE'].",
        )


def _check_celery(given: dict[Any, Any]) -> Iterator[CheckMessage]:
    # By the host's settings alone: asking Celery itself could load the host's whole configuration here.
    if given.get("CELERY", True) and getattr(settings, "CELERY_TASK_ALWAYS_EAGER", False):
        yield _warning(
            "W002",
            "Celery runs tasks eagerly: nothing is embedded after a save.",
            "Fine in tests; elsewhere unset CELERY_TASK_ALWAYS_EAGER, or set LLMREC['CELERY'] = False "
            "and run llmrec_embed.",
        )


def _check_sources(found: list[CheckMessage]) -> list[CheckMessage]:
    # They ask for verbs, which cannot be read while the settings are wrong.
    return [] if any(message.id == "llmrec_django.E005" for message in found) else registry.check()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
