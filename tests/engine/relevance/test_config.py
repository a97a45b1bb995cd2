import dataclasses
import subprocess
import sys

import pytest

from llmrec_django.engine.relevance.config import RelevanceConfig


def test_survives_a_trip_through_a_dict():
    config = RelevanceConfig(layers=1, seed=7)
    assert RelevanceConfig.from_dict(config.to_dict()) == config


def test_an_unknown_option_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown relevance option 'layrs', must be one of: .*layers"):
        RelevanceConfig.from_dict({"layrs": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [("layers", 0), ("dropout", 1.0), ("learning_rate", 0), ("whitening", 1.5), ("heads", 3), ("reg_learner", -1)],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=rf"Cannot use {name}={value}"):
        dataclasses.replace(RelevanceConfig(), **{name: value})


def test_configuring_imports_nothing_heavy():
    code = (
        "import sys, llmrec_django.engine.relevance.config\n"
        "heavy = {'torch', 'numpy', 'django', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
