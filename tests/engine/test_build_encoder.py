import sys

import pytest

from llmrec_django.engine.encoders import build_encoder
from llmrec_django.exceptions import EncoderError, MissingDependency
from llmrec_django.testing import HashingEncoder
from llmrec_django.types import EncoderSpec


def test_builds_the_backend_with_its_options():
    encoder = build_encoder(EncoderSpec("tiny", "llmrec_django.testing.HashingEncoder", {"dimension": 16}))
    assert isinstance(encoder, HashingEncoder)
    assert encoder.dimension == 16


def test_an_unknown_option_is_refused_by_name():
    with pytest.raises(EncoderError, match=r"'tiny'.*no option 'dimensions'.*'dimension'"):
        build_encoder(EncoderSpec("tiny", "llmrec_django.testing.HashingEncoder", {"dimensions": 16}))


def test_an_option_the_backend_refuses_is_named():
    with pytest.raises(EncoderError, match="dimension must be 2 or more"):
        build_encoder(EncoderSpec("tiny", "llmrec_django.testing.HashingEncoder", {"dimension": 0}))


@pytest.mark.parametrize("path", ["", "HashingEncoder", "no.such.Encoder", "llmrec_django.testing.Nothing"])
def test_a_backend_that_is_not_there_is_refused(path):
    with pytest.raises(EncoderError, match="no such class"):
        build_encoder(EncoderSpec("tiny", path))


@pytest.mark.parametrize("path", ["collections.OrderedDict", "llmrec_django.engine.text.clean_text"])
def test_a_backend_that_is_no_encoder_is_refused(path):
    with pytest.raises(EncoderError, match="no subclass"):
        build_encoder(EncoderSpec("tiny", path))


def test_a_backend_whose_package_is_missing_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "needy_backend.py").write_text("import not_installed_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency, match=r'not_installed_at_all.*pip install "llmrec_django\[worker\]"'):
        build_encoder(EncoderSpec("needy", "needy_backend.Needy"))
    sys.modules.pop("needy_backend", None)
