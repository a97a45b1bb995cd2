import subprocess
import sys

import numpy as np
import pytest

from llmrec_django.testing import HashingEncoder


def test_texts_that_share_words_are_near():
    vectors = HashingEncoder(256).encode_documents(
        ["statistics for biology", "biology and statistics", "medieval history of Europe"]
    )
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]


def test_chinese_texts_that_share_characters_in_order_are_near():
    vectors = HashingEncoder(256).encode_documents(["机器学习导论", "机器学习入门", "欧洲中世纪史"])
    assert vectors[0] @ vectors[1] > 0.5 > abs(vectors[0] @ vectors[2])


def test_vectors_are_the_same_in_another_process():
    code = "from llmrec_django.testing import HashingEncoder as H; print(H(8).encode_documents(['a b 机器']))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_a_text_without_words_gets_a_fixed_unit_vector():
    vectors = HashingEncoder(8).encode_documents(["", " \n", "!?"])
    assert vectors.tolist() == [[1.0] + [0.0] * 7] * 3


def test_case_and_width_do_not_matter():
    vectors = HashingEncoder().encode_documents(["Ｐｙｔｈｏｎ COURSE", "python course"])
    assert np.array_equal(vectors[0], vectors[1])


def test_a_dimension_of_one_is_refused():
    with pytest.raises(ValueError, match="dimension"):
        HashingEncoder(1)
