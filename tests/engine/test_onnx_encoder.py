import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from llmrec_django.engine.encoders.onnx import OnnxEncoder
from llmrec_django.engine.encoders.transformers import TransformersEncoder
from llmrec_django.exceptions import ArtifactError

pytestmark = pytest.mark.model


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("n_words", [0, 1, 5, 254, 700])
def test_gives_the_vectors_of_torch(minilm, exported, batch, n_words):
    # With [CLS] and [SEP], 5 words are 7 tokens and 254 are MiniLM's longest input.
    texts = [" ".join(["algebra", "soup", "train"][number] for _ in range(n_words)) for number in range(batch)]
    encoder = OnnxEncoder(exported)
    assert np.abs(encoder.encode_documents(texts) - minilm.encode_documents(texts)).max() < 1e-4


def test_texts_of_mixed_length_share_a_batch(minilm, exported):
    texts = ["x", "algebra for engineers", "soup " * 40, ""]
    assert np.abs(OnnxEncoder(exported).encode_queries(texts) - minilm.encode_queries(texts)).max() < 1e-4


def test_gives_the_vectors_of_torch_for_a_decoder_that_pools_the_last_token(tiny, tiny_exported):
    texts = ["x", "algebra for engineers", "soup " * 200, ""]
    difference = OnnxEncoder(tiny_exported).encode_documents(texts) - tiny.encode_documents(texts)
    assert np.abs(difference).max() < 1e-4


def test_belongs_to_the_space_of_the_encoder_it_was_exported_from(minilm, exported):
    encoder = OnnxEncoder(str(exported))
    assert encoder.encoder_id == minilm.encoder_id
    assert encoder.dimension == 384
    assert encoder.check() == []


def test_prefixes_dimension_window_and_pooling_travel_with_the_export(tiny_folder, tmp_path):
    encoder = TransformersEncoder(
        str(tiny_folder),
        pooling="mean",
        query_prefix="find: ",
        document_prefix="text: ",
        dimension=16,
        max_tokens=32,
        chunk_overlap=4,
        device="cpu",
    )
    encoder.export_onnx(tmp_path / "export")
    found = OnnxEncoder(tmp_path / "export")
    texts = ["algebra", "algebra and soup " * 30]
    assert found.dimension == 16
    assert np.abs(found.encode_documents(texts) - encoder.encode_documents(texts)).max() < 1e-4
    assert np.abs(found.encode_queries(texts) - encoder.encode_queries(texts)).max() < 1e-4
    assert np.abs(found.encode_queries(texts) - found.encode_documents(texts)).max() > 1e-3


def test_a_quantised_export_is_a_third_of_the_size_and_near(minilm, exported, tmp_path):
    minilm.export_onnx(tmp_path / "small", quantize=True)
    assert (tmp_path / "small/model.onnx").stat().st_size < (exported / "model.onnx").stat().st_size / 3
    texts = ["Linear algebra for engineers", "机器学习导论", "soup " * 300]
    likeness = (OnnxEncoder(tmp_path / "small").encode_documents(texts) * minilm.encode_documents(texts)).sum(1)
    assert 0.95 < likeness.min() < 1 - 1e-6


def test_needs_neither_torch_nor_transformers_nor_django(exported):
    code = (
        "import sys\n"
        "from llmrec_django.engine.encoders import build_encoder\n"
        "from llmrec_django.types import EncoderSpec\n"
        "backend = 'llmrec_django.engine.encoders.onnx.OnnxEncoder'\n"
        f"spec = EncoderSpec('web', backend, {{'folder': {str(exported)!r}}})\n"
        "assert build_encoder(spec).encode_queries(['algebra']).shape == (1, 384)\n"
        "print([name for name in ('torch', 'transformers', 'onnx', 'django') if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_an_export_replaces_an_older_one_and_leaves_nothing_else(tiny, tiny_exported, tmp_path):
    shutil.copytree(tiny_exported, tmp_path / "export")
    (tmp_path / "export/left_over").write_text("")
    tiny.export_onnx(tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == [
        "encoder.json",
        "model.onnx",
        "tokenizer.json",
    ]


def test_an_export_that_fails_leaves_the_older_one(tiny, tiny_exported, tmp_path, monkeypatch):
    shutil.copytree(tiny_exported, tmp_path / "export")

    def fail(*args):
        raise RuntimeError("disk full")

    monkeypatch.setattr("llmrec_django.engine.encoders.onnx_export.file_digest", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        tiny.export_onnx(tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert OnnxEncoder(tmp_path / "export").encode_documents(["x"]).shape == (1, 32)


def test_a_graph_with_other_vectors_than_torch_is_never_written(tiny, tmp_path, monkeypatch):
    from llmrec_django.engine.encoders import onnx_export
    from llmrec_django.exceptions import EncoderError

    export = onnx_export._export

    def wrong(module, path, *, is_new):
        module.model.embed_tokens.weight.mul_(1.01)
        export(module, path, is_new=False)
        module.model.embed_tokens.weight.div_(1.02)

    monkeypatch.setattr(onnx_export, "_export", wrong)
    with pytest.raises(EncoderError, match="vectors are .* off"):
        tiny.export_onnx(tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_the_newer_exporter_takes_over_where_the_older_one_fails(tiny, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    from llmrec_django.engine.encoders import onnx_export

    export, tried = onnx_export._export, []

    def older_one_gone(module, path, *, is_new):
        tried.append(is_new)
        if not is_new:
            raise TypeError("export() got an unexpected keyword argument 'dynamo'")
        export(module, path, is_new=True)

    monkeypatch.setattr(onnx_export, "_export", older_one_gone)
    tiny.export_onnx(tmp_path / "export")
    assert tried == [False, True]
    texts = ["x", "algebra for engineers", "soup " * 200]
    difference = OnnxEncoder(tmp_path / "export").encode_documents(texts) - tiny.encode_documents(texts)
    assert np.abs(difference).max() < 1e-4


# --- exports that cannot be used -------------------------------------------------------------------------------------


@pytest.fixture
def copied(tiny_exported, tmp_path):
    shutil.copytree(tiny_exported, tmp_path / "copied")
    return tmp_path / "copied"


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_changed_file_is_refused(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name} is not what was exported"):
        OnnxEncoder(copied).encode_documents(["x"])


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "encoder.json"])
def test_a_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        OnnxEncoder(copied).encode_documents(["x"])


def test_a_missing_folder_is_refused_when_used(tmp_path):
    encoder = OnnxEncoder(tmp_path / "nothing")
    assert "nothing" in encoder.check()[0]
    with pytest.raises(ArtifactError, match="nothing"):
        _ = encoder.encoder_id


def test_options_changed_by_hand_are_refused(copied):
    manifest = json.loads((copied / "encoder.json").read_text())
    (copied / "encoder.json").write_text(json.dumps({**manifest, "query_prefix": "other: "}))
    with pytest.raises(ArtifactError, match="not what was exported"):
        OnnxEncoder(copied).encode_queries(["x"])


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1}'])
def test_a_damaged_manifest_is_refused(copied, content):
    (copied / "encoder.json").write_text(content)
    with pytest.raises(ArtifactError, match="damaged"):
        _ = OnnxEncoder(copied).dimension


def test_a_manifest_of_another_format_is_refused(copied):
    manifest = json.loads((copied / "encoder.json").read_text())
    (copied / "encoder.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(ArtifactError, match="format is 99"):
        _ = OnnxEncoder(copied).dimension


def test_it_tells_how_much_of_a_text_it_can_read(exported):
    encoder = OnnxEncoder(str(exported))
    assert encoder.known_share("why do empires fall") == 1
    assert encoder.known_share("气候变化") < 0.5
    assert encoder.known_share("") == 1
