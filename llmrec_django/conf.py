"""The one place that reads `settings.LLMREC`.

Every key, its default and its meaning stand in `DEFAULTS`. Values are read when first used and read again when a
test overrides the setting, never at import.
"""

from __future__ import annotations

import difflib
import functools
import math
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from llmrec_django.exceptions import LLMRecError
from llmrec_django.types import EncoderSpec, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS: dict[str, Any] = {
    # True: recommend. False: tags and API return nothing, nothing is computed, activity is still recorded.
    # "shadow": compute and log, show nothing. Changing it needs no change of templates.
    "ENABLED": True,
    # Dotted path of a callable `(request | None) -> str` that names the tenant; None: one tenant, "default".
    "TENANT": None,
    # Alias of the database that holds this app's tables, when it is not the host's own; add
    # "llmrec_django.routers.LLMRecRouter" to DATABASE_ROUTERS with it. None: the host's database.
    "DATABASE": None,
    # Named encoders, in the shape of Django's CACHES. "default" embeds the catalogue.
    "ENCODERS": {
        "default": {
            "BACKEND": "llmrec_django.engine.encoders.transformers.TransformersEncoder",
            "OPTIONS": {
                "model": "intfloat/multilingual-e5-small",
                "pooling": "mean",
                "query_prefix": "query: ",
                "document_prefix": "passage: ",
            },
        },
    },
    # Which entry of ENCODERS embeds the catalogue. Changing it builds a new vector space beside the old one.
    "ENCODER": "default",
    # Opt-in: texts may be sent to encoders whose `is_remote` is true and whose host is not this machine.
    "ALLOW_REMOTE_TEXT": False,
    # Folder for encoder exports that web processes read; None: BASE_DIR / "llmrec_artifacts".
    "ARTIFACT_DIR": None,
    # Resources a worker claims at once, and for how long (seconds) before another may take them over.
    "EMBED_BATCH": 512,
    "EMBED_LEASE_S": 30,
    # A resource whose embedding failed is tried again so often, then left for a person to look at.
    "EMBED_MAX_ATTEMPTS": 4,
    # Spaces with fewer vectors than this are scanned exactly: faster to keep, and no recall is lost.
    # `python -m benchmarks.vector_search --crossover` measures where the index begins to pay.
    "INDEX_MIN_VECTORS": 5_000,
    # pgvector's candidate list size per index scan; higher finds more and takes longer.
    "INDEX_EF_SEARCH": 100,
    # The index is read so many times further than asked: behind filters it finds the last few less surely.
    "INDEX_OVERSCAN": 2,
    # Days a replaced vector space is kept for a way back before its rows are deleted.
    "RETIRED_SPACE_DAYS": 7,
    # Milliseconds one candidate query may run before the fallback list is served; 0: no limit.
    "STATEMENT_TIMEOUT_MS": 2000,
    # Celery queues by purpose. Start a worker with `-Q` and these names, or name queues you already have.
    "QUEUES": {"embed": "llmrec.embed", "train": "llmrec.train", "default": "llmrec.default"},
    # Nudge the workers through Celery after a save. False: run `llmrec_embed` from cron instead.
    "CELERY": True,
    # Meaning of each verb; entries given here are merged over the defaults, None removes one.
    # weight in [0, 1]; effect; whether a learner's own client is believed; days until it may be shown again.
    "VERBS": {
        "viewed": Verb(0.3, learner_may_send=True, seen_days=14),
        "clicked": Verb(0.2, learner_may_send=True, seen_days=1),
        "bookmarked": Verb(0.7, learner_may_send=True, seen_days=14),
        "rated": Verb(0.8, learner_may_send=True, seen_days=math.inf),
        "enrolled": Verb(0.8, seen_days=math.inf),
        "progressed": Verb(0.6, seen_days=math.inf),
        "completed": Verb(1.0, seen_days=math.inf),
        "passed": Verb(1.0, seen_days=math.inf),
        "failed": Verb(0.3, effect="neutral", seen_days=14),
        "borrowed": Verb(0.8, seen_days=math.inf),
        "purchased": Verb(0.9, seen_days=math.inf),
        "dismissed": Verb(1.0, effect="negative", learner_may_send=True, seen_days=math.inf),
        # Ways to turn a resource down that say nothing against its topic.
        "known": Verb(0.0, effect="neutral", learner_may_send=True, seen_days=math.inf),
        "too_hard": Verb(0.0, effect="neutral", learner_may_send=True, seen_days=math.inf),
        "too_easy": Verb(0.0, effect="neutral", learner_may_send=True, seen_days=math.inf),
        "restored": Verb(0.0, effect="neutral"),
        "searched": Verb(0.0, effect="neutral", learner_may_send=True),
    },
    # Names that imports and clients use for the verbs above.
    "VERB_ALIASES": {
        "view": "viewed",
        "visit": "viewed",
        "read": "viewed",
        "watched": "viewed",
        "watch": "viewed",
        "experienced": "viewed",
        "launched": "viewed",
        "click": "clicked",
        "bookmark": "bookmarked",
        "rate": "rated",
        "rating": "rated",
        "enroll": "enrolled",
        "enrol": "enrolled",
        "registered": "enrolled",
        "enrolment": "enrolled",
        "enrollment": "enrolled",
        "progress": "progressed",
        "attempted": "progressed",
        "complete": "completed",
        "finish": "completed",
        "finished": "completed",
        "pass": "passed",
        "fail": "failed",
        "borrow": "borrowed",
        "loan": "borrowed",
        "buy": "purchased",
        "purchase": "purchased",
        "dismiss": "dismissed",
        "search": "searched",
    },  # fmt: skip
    # Ratings at or above this (after scaling to 0..1) speak for a resource, below it against it.
    "RATING_LIKED_FROM": 0.5,
    # The host's rating scale, lowest and highest.
    "RATING_SCALE": (1, 5),
    # Store the words learners search for. Off: a search leaves no trace.
    "RECORD_SEARCHES": False,
    # Days that learner data is kept; `llmrec_prune` deletes what is older. None: for ever.
    "RETENTION_DAYS": {
        "interactions": None,
        "searches": 30,
        "visitors": 180,
        "lists": 180,
        "goal_drafts": 7,
        "written_texts": 180,
    },
    # Keep the lists that were computed, and what became of them. "learners": of those who have personal
    # recommendations on; "all": also of everybody else, without saying whose; None: keep none.
    "STORE_LISTS": "learners",
    # What a learner does with a resource within so many days after it was recommended counts for that list.
    "ATTRIBUTION_DAYS": 30,
    # Deeds that recommendations are meant to lead to; reports count each of them.
    "TARGET_VERBS": ("enrolled", "completed", "passed", "borrowed", "purchased", "bookmarked"),
    # What is as similar as this to something a learner dismissed (cosine of their texts) is hidden with it.
    # None: only the resource itself.
    "DISMISS_SIMILAR_FROM": 0.95,
    # How strongly lists lean to a learner's level, where it is known: at 1 a resource one level off gives up the
    # distance from the first place to the last; 0: not at all.
    "LEVEL_WEIGHT": 1.0,
    # Say of each recommended resource why it is there.
    "EXPLAIN": True,
    # Reasons mention what other learners did when at least so many of them did it.
    "EXPLAIN_MIN_LEARNERS": 10,
    # Interactions of one learner that shape their list, newest first.
    "HISTORY_LENGTH": 50,
    # Each step back in a learner's history counts this much less, in (0, 1].
    "HISTORY_DECAY": 0.9,
    # What a training run blends; every baseline is measured beside it. See services/training/sources.py.
    "TRAIN_SOURCES": (
        "relevance",
        "transitions",
        "borrowed",
        "linear_next",
        "ease",
        "item_knn",
        "ials",
        "user_knn",
        "content",
        "popularity",
        "popular_lately",
    ),
    # Of the places behind the tenth this share is kept for resources that nobody has chosen yet, and the last one of a
    # short list; only resources added in the last so many days count as new. 0: none.
    "NEW_SHARE": 0.8,
    "NEW_DAYS": 90,
    # Places of a list that editorial rules may pin, at most.
    "MOST_PINNED": 2,
    # Values of the relevance model's configuration over its defaults (engine/relevance/config.py).
    "RELEVANCE": {},
    # Project of Weights & Biases that the relevance model's loss and scores are sent to while it trains; "": none.
    "WANDB_PROJECT": "",
    # Seconds that the choice of each source's hyper-parameters may take; 0 keeps the defaults.
    "TUNE_S": 120,
    # Accounts that teach nothing: conditions on the user model, which all hold; or a list of such dicts, one of which
    # holds. A field that the model does not have is no condition.
    "IGNORED_ACCOUNTS": {"is_staff": True},
    # One learner's interactions weigh at most so much together, in training.
    "LEARNER_WEIGHT_LIMIT": 200,
    # Replaced versions whose files are kept for a way back.
    "KEEP_VERSIONS": 3,
    # `llmrec_evaluate --active` warns when NDCG@10 is surely lower by more than this share than it was in training.
    "DRIFT_MARGIN": 0.2,
    # Send that warning to ADMINS too.
    "DRIFT_MAIL": False,
    # Alias in STORAGES for the files of trained versions, private to the site; None: ARTIFACT_DIR.
    "ARTIFACT_STORAGE": None,
    # Days of activity behind "popular", and seconds the tenant's popular list is cached.
    "POPULAR_DAYS": 90,
    "POPULAR_CACHE_S": 300,
    # Languages of resources a learner is offered when their profile names none; None: all.
    "LANGUAGES": None,
    # Safety screen of resource texts. ENABLED: look at what is new or changed. UNSCREENED: "allow" shows a resource
    # until it was looked at, "hold" only afterwards. IGNORE: names of rules that do not count here. CLASSIFIER: dotted
    # path of a callable that looks at what the rules let pass; change CLASSIFIER_VERSION to look at everything again.
    "SCREEN": {
        "ENABLED": True,
        "UNSCREENED": "allow",
        "IGNORE": (),
        "CLASSIFIER": None,
        "CLASSIFIER_VERSION": "1",
    },
    # Language model that words reasons and summaries and reads goals; BACKEND None: templates and rules do it alone.
    # WRITES: for what it is asked. CALLS_PER_HOUR, CALLS_PER_DAY: of each tenant. ATTEMPTS: for one text. PAUSE_S: how
    # long nobody asks a service that is down, doubled up to an hour.
    "WRITER": {
        "BACKEND": None,
        "OPTIONS": {},
        "WRITES": ("reason", "summary", "goal"),
        "CALLS_PER_HOUR": 500,
        "CALLS_PER_DAY": 5000,
        "ATTEMPTS": 2,
        "PAUSE_S": 60,
    },
    # Cookie that names an anonymous visitor; None: anonymous visitors are not remembered.
    "VISITOR_COOKIE": None,
    # Authentication classes of the REST API, dotted paths; None: the host's DRF defaults. Everything else
    # (permissions, pagination, renderers, throttles) is always ours.
    "API_AUTHENTICATION": None,
    # Who sends it as "Authorization: Bearer …" is told by the health check what is wrong; None: only staff is.
    "HEALTH_TOKEN": None,
    # Rates of the REST API by scope, DRF syntax; None: no limit.
    "API_THROTTLES": {"read": "120/min", "write": "240/min", "search": "60/min"},
}

IMPORT_STRINGS = ("TENANT", "API_AUTHENTICATION")


class LLMRecConfigurationError(LLMRecError, ImproperlyConfigured):
    """A value in `settings.LLMREC` cannot be used; the message names the key."""


class LLMRecSettings:
    """Attribute access to `settings.LLMREC` over `DEFAULTS`, each value computed once."""

    def __init__(self) -> None:
        self._cache: dict[str, Any] = {}

    @property
    def user_settings(self) -> Mapping[str, Any]:
        value = getattr(django_settings, "LLMREC", None) or {}
        if not isinstance(value, dict):
            raise LLMRecConfigurationError(
                f"Cannot read settings.LLMREC: it is {type(value).__name__}, not a dict. Make it a dict of options."
            )
        return value

    def __getattr__(self, name: str) -> Any:
        if name not in DEFAULTS:
            near = difflib.get_close_matches(name, DEFAULTS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"Unknown LLMREC setting {name!r}.{hint}")
        if name not in self._cache:
            self._cache[name] = self._resolve(name, self.user_settings.get(name, DEFAULTS[name]))
        return self._cache[name]

    def _resolve(self, name: str, value: Any) -> Any:
        if name in IMPORT_STRINGS and value is not None:
            return _import(name, value)
        if name == "VERBS":
            return _verbs(value)
        if name in ("VERB_ALIASES", "QUEUES", "RETENTION_DAYS", "API_THROTTLES", "SCREEN", "WRITER"):
            return {**DEFAULTS[name], **(value or {})}
        return value

    def reload(self) -> None:
        """Forget every value read so far."""
        self._cache.clear()
        verb_named.cache_clear()

    def encoder_spec(self, name: str | None = None) -> EncoderSpec:
        """Return the named encoder entry (None: the one that embeds the catalogue).

        Raises:
            LLMRecConfigurationError: there is no such entry, or it has no BACKEND.
        """
        name = name or self.ENCODER
        encoders = self.ENCODERS
        if name not in encoders:
            raise LLMRecConfigurationError(
                f"Unknown encoder {name!r} in LLMREC['ENCODERS'], must be one of: {', '.join(sorted(encoders))}."
            )
        entry = encoders[name]
        if "BACKEND" not in entry:
            raise LLMRecConfigurationError(f"LLMREC['ENCODERS'][{name!r}] has no 'BACKEND'. Add a dotted class path.")
        return EncoderSpec(name, entry["BACKEND"], dict(entry.get("OPTIONS") or {}))


def _import(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_import(name, item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except ImportError as exc:
        raise LLMRecConfigurationError(
            f"Cannot import {value!r} for LLMREC[{name!r}]: {exc}. Give the dotted path of an importable object."
        ) from exc


def _verbs(value: Any) -> dict[str, Verb]:
    verbs: dict[str, Verb] = {**DEFAULTS["VERBS"]}
    for key, entry in (value or {}).items():
        if entry is None:
            verbs.pop(key, None)
            continue
        try:
            verb = entry if isinstance(entry, Verb) else Verb(**entry)
        except TypeError as exc:
            raise LLMRecConfigurationError(
                f"Cannot read LLMREC['VERBS'][{key!r}]: {exc}. "
                "Allowed keys: weight, effect, learner_may_send, seen_days."
            ) from exc
        if not 0 <= verb.weight <= 1 or verb.effect not in ("positive", "negative", "neutral"):
            raise LLMRecConfigurationError(
                f"Cannot use LLMREC['VERBS'][{key!r}] = {verb!r}: weight must be in [0, 1] and effect one of "
                "positive, negative, neutral."
            )
        verbs[key] = verb
    return verbs


conf = LLMRecSettings()


@functools.lru_cache(maxsize=512)
def verb_named(name: str) -> str | None:
    """Return the verb that `name` means (itself or an alias, any case), or None."""
    key = name.strip().lower()
    key = conf.VERB_ALIASES.get(key, key)
    return key if key in conf.VERBS else None


def ignored_accounts() -> list[dict[str, Any]]:
    """Return LLMREC["IGNORED_ACCOUNTS"] as a list of filters, of which any may match."""
    given = conf.IGNORED_ACCOUNTS or []
    return [given] if isinstance(given, dict) else list(given)


def is_user_field(lookup: str) -> bool:
    """Say whether a lookup, as in a filter, begins with a field of the site's user model."""
    name = lookup.split("__")[0]
    try:
        return name == "pk" or bool(get_user_model()._meta.get_field(name))
    except FieldDoesNotExist:
        return False


def resolve_tenant(request: Any = None) -> str:
    """Return the tenant key of a request (None: of work outside a request)."""
    return str(conf.TENANT(request)) if conf.TENANT else "default"


def _reload(*, setting: str, **_: Any) -> None:
    if setting == "LLMREC":
        conf.reload()


setting_changed.connect(_reload, dispatch_uid="llmrec_django.conf")
