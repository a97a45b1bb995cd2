import os
import subprocess
import sys

import pytest
from django.core.checks import run_checks
from django.db import router
from django.test import override_settings

from llmrec_django.checks import EXPECTED
from llmrec_django.conf import DEFAULTS
from llmrec_django.routers import LLMRecRouter
from llmrec_django.testing import HashingEncoder

HASHING = {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder"}}


class FarEncoder(HashingEncoder):
    """Sends texts to another machine."""

    is_remote = True


class NearEncoder(FarEncoder):
    """A service on this machine."""

    is_local = True


class FussyEncoder(HashingEncoder):
    def check(self):
        return ["The dimension is odd."]


def ids(**options):
    return [message.id.removeprefix("llmrec_django.") for message in found(**options)]


def found(**options):
    with override_settings(LLMREC={"ENCODERS": HASHING, **options}):
        return run_checks(tags=["llmrec_django"])


def encoder(name, **options):
    return {"default": {"BACKEND": f"{__name__}.{name}", "OPTIONS": options}}


def test_sound_settings_have_no_message():
    assert ids() == []


def test_every_setting_has_an_expectation_that_its_default_meets():
    assert set(EXPECTED) == set(DEFAULTS)
    assert [key for key, (fits, _) in EXPECTED.items() if not fits(DEFAULTS[key])] == []


def test_settings_that_are_no_dict():
    with override_settings(LLMREC=["ENABLED"]):
        [message] = run_checks(tags=["llmrec_django"])
    assert message.id == "llmrec_django.E001"


def test_an_unknown_key_is_named_with_the_nearest_one():
    [message] = found(ENABLE=True)
    assert message.id == "llmrec_django.E002"
    assert "'ENABLED'" in message.hint


def test_a_removed_key_says_what_to_write(monkeypatch):
    monkeypatch.setitem(sys.modules["llmrec_django.checks"].REMOVED, "OLD", "Use NEW.")
    [message] = found(OLD=1)
    assert (message.id, message.hint) == ("llmrec_django.E003", "Use NEW.")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ENABLED", "yes"),
        ("ENCODERS", {}),
        ("ENCODERS", {"default": "x"}),
        ("EMBED_BATCH", 0),
        ("EMBED_BATCH", True),
        ("EMBED_LEASE_S", 0),
        ("INDEX_EF_SEARCH", 5000),
        ("QUEUES", {"embed": ""}),
        ("RATING_SCALE", (5, 1)),
        ("RATING_SCALE", 5),
        ("RETENTION_DAYS", {"interaction": 3}),
        ("RETENTION_DAYS", {"interactions": -3}),
        ("HISTORY_DECAY", 0),
        ("LANGUAGES", "en"),
        ("API_AUTHENTICATION", "x.Y"),
        ("API_THROTTLES", {"read": 5}),
        ("CELERY", "off"),
        ("STATEMENT_TIMEOUT_MS", None),
    ],
)
def test_values_of_the_wrong_type_or_range(key, value):
    [message] = found(**{key: value})
    assert message.id == "llmrec_django.E004"
    assert f"LLMREC[{key!r}]" in message.msg
    assert message.hint.startswith("Make it ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TENANT", "no.such.function"),
        ("API_AUTHENTICATION", ["no.such.Class"]),
        ("VERBS", {"read": {"wight": 1}}),
        ("VERBS", {"read": {"weight": 7}}),
    ],
)
def test_values_that_cannot_be_used(key, value):
    assert "E005" in ids(**{key: value})


def test_a_condition_on_accounts_that_the_user_model_cannot_meet():
    assert ids(IGNORED_ACCOUNTS=[{"is_staf": True}, {"email__startswith": "test-"}, {"pk__in": [1]}]) == ["W007"]
    assert ids(IGNORED_ACCOUNTS=["is_staff"]) == ["E004"]


def test_an_alias_of_no_verb():
    assert ids(VERB_ALIASES={"borrowd": "borowed"}) == ["E006"]


def test_aliases_of_a_verb_the_site_took_out_are_fine():
    assert "E006" not in ids(VERBS={"purchased": None})


def test_an_encoder_that_is_not_there():
    assert ids(ENCODER="other") == ["E007"]


@pytest.mark.parametrize("entry", [{"BACKEND": "no.such.Encoder"}, {"BACKEND": "os.path.join"}, {"OPTIONS": {}}])
def test_an_encoder_that_cannot_be_built(entry):
    assert ids(ENCODERS={"default": entry}) == ["E008"]


def test_an_option_that_the_encoder_does_not_know():
    [message] = found(ENCODERS=encoder("FarEncoder", dimensions=3), ALLOW_REMOTE_TEXT=True)
    assert "Did you mean 'dimension'?" in message.msg


def test_another_encoder_that_cannot_be_built_is_a_warning():
    assert ids(ENCODERS={**HASHING, "spare": {"BACKEND": "no.such.Encoder"}}) == ["W005"]


def test_what_the_encoder_says_itself():
    [message] = found(ENCODERS=encoder("FussyEncoder"))
    assert message.id == "llmrec_django.W004"
    assert "The dimension is odd." in message.msg


def test_texts_leave_the_machine_only_when_allowed():
    assert ids(ENCODERS=encoder("FarEncoder")) == ["E009"]
    assert ids(ENCODERS=encoder("FarEncoder"), ALLOW_REMOTE_TEXT=True) == []
    assert ids(ENCODERS=encoder("NearEncoder")) == []


def test_a_queue_for_nothing():
    assert ids(QUEUES={"nothing": "gpu"}) == ["E010"]


def test_a_database_that_is_not_there():
    assert ids(DATABASE="vectors") == ["E011"]


def test_a_database_without_the_router(monkeypatch):
    assert ids(DATABASE="default") == ["E012"]
    monkeypatch.setattr(router, "routers", [LLMRecRouter()])
    assert ids(DATABASE="default") == []


def test_eager_tasks_are_a_warning():
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
        assert ids() == ["W002"]
        assert ids(CELERY=False) == []


def test_wrong_settings_and_a_wrong_database_are_both_told():
    assert set(ids(ENABLE=1, EMBED_BATCH=0, DATABASE="vectors")) == {"E002", "E004", "E011"}


@pytest.mark.hosts
def test_check_on_sqlite_warns_and_loads_nothing_heavy(tmp_path):
    (tmp_path / "plain_settings.py").write_text(
        "from tests.settings import *\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n"
    )
    code = (
        "import sys, django; django.setup()\n"
        "from django.core.checks import run_checks\n"
        "print([m.id for m in run_checks(tags=['llmrec_django'])])\n"
        "print(sorted({'torch', 'transformers', 'onnxruntime', 'tokenizers'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "plain_settings"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['llmrec_django.W001']", "[]"]


CHAT = "llmrec_django.engine.writers.chat.ChatWriter"
NEAR = {"base_url": "http://127.0.0.1:1/v1", "model": "x"}


@pytest.mark.parametrize(
    ("writer", "expected"),
    [
        ({}, []),
        ({"BACKEND": CHAT, "OPTIONS": NEAR}, []),
        ({"BACKEND": CHAT, "OPTIONS": {**NEAR, "base_url": "https://llm.example/v1"}}, ["E014"]),
        ({"BACKEND": CHAT, "OPTIONS": {**NEAR, "api_key_env": "NO_SUCH_KEY"}}, ["W006"]),
        ({"BACKEND": CHAT, "OPTIONS": {"model": "x"}}, ["E013"]),
        ({"BACKEND": "nowhere.Writer"}, ["E013"]),
        ({"BACKEND": f"{__name__}.HashingEncoder"}, ["E013"]),
        ({"WRITES": ["poems"]}, ["E004"]),
        ({"CALLS_PER_DAY": -1}, ["E004"]),
        ({"ATTEMPTS": 0}, ["E004"]),
        ({"MODEL": "x"}, ["E004"]),
    ],
)
def test_the_writer(writer, expected):
    assert ids(WRITER=writer) == expected


@pytest.mark.parametrize(
    ("screen", "expected"),
    [
        ({"UNSCREENED": "hold", "IGNORE": ["pushes-itself"], "CLASSIFIER": f"{__name__}.ids"}, []),
        ({"CLASSIFIER": "nowhere.classify"}, ["E015"]),
        ({"CLASSIFIER": f"{__name__}.HASHING"}, ["E015"]),
        ({"UNSCREENED": "maybe"}, ["E004"]),
        ({"IGNORE": "pushes-itself"}, ["E004"]),
        ({"RULES": ()}, ["E004"]),
    ],
)
def test_the_screen(screen, expected):
    assert ids(SCREEN=screen) == expected
