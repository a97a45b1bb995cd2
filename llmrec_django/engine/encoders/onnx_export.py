"""Writes the folder that `OnnxEncoder` reads. Needs torch; the reader does not."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.encoders.dependencies import require
from llmrec_django.engine.encoders.onnx import FORMAT, file_digest, manifest_digest
from llmrec_django.exceptions import EncoderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INPUTS = ("input_ids", "attention_mask")
_TOLERANCE = 1e-4


def write_export(
    folder: Path, *, module: Any, tokenizer: Any, options: Mapping[str, Any], quantize: bool, n_tokens: int
) -> None:
    """Write model.onnx, tokenizer.json and encoder.json to `folder`, all or nothing.

    Args:
        folder: Need not exist; what it held is replaced.
        module: The torch module of `build_module`, float32 on the processor.
        tokenizer: A `tokenizers.Tokenizer`.
        options: What `OnnxEncoder` needs to know; goes into encoder.json.
        quantize: Weights as 8-bit integers: a quarter of the size and faster, vectors a little off.
        n_tokens: Size of the vocabulary, for trying out the graph.

    Raises:
        EncoderError: the model cannot be exported, or its graph gives other vectors than torch.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _written_at_once(folder) as scratch:
        _export_graph(module, scratch, n_tokens)
        if quantize:
            _quantize(scratch)
        tokenizer.save(str(scratch / "tokenizer.json"))
        files = {path.name: file_digest(path) for path in sorted(scratch.iterdir())}
        manifest = {"format": FORMAT, **options, "quantized": quantize, "files": files}
        manifest["digest"] = manifest_digest(manifest)
        (scratch / "encoder.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


@contextmanager
def _written_at_once(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder` that takes its place when the block ends well."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    scratch.chmod(0o755)  # another account may run the web server
    replaced = scratch.with_name(f"{scratch.name}.replaced")
    try:
        yield scratch
        _take_place(scratch, folder, replaced)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _take_place(scratch: Path, folder: Path, replaced: Path) -> None:
    for attempt in range(3):
        try:
            scratch.rename(folder)
        except OSError:
            # Something is there: an older export, or one that another worker has just finished.
            if attempt == 2:
                raise
            shutil.rmtree(replaced, ignore_errors=True)
            with suppress(FileNotFoundError):
                folder.rename(replaced)
        else:
            return


def _export_graph(module: Any, scratch: Path, n_tokens: int) -> None:
    """Export by torch's older exporter, else by its newer one; keep what gives the same vectors as torch.

    The older one needs no further package and its graphs run a tenth faster (benchmarks/encoder_quality.py), but
    it is on its way out and does not know every model.
    """
    causes = []
    for is_new in (False, True):
        for path in scratch.iterdir():
            path.unlink()
        try:
            with _quiet():
                _export(module, scratch / "model.onnx", is_new=is_new)
            _compare(module, scratch / "model.onnx", n_tokens)
        except Exception as exc:  # noqa: BLE001 - exporters raise errors of every kind
            causes.append(f"{type(exc).__name__}: {str(exc)[:300]}")
        else:
            return
    raise EncoderError(
        f"Cannot export the model to ONNX. {' / '.join(causes)} "
        "Installing onnxscript may help; without an export, search goes by words or over HTTP."
    )


def _export(module: Any, path: Path, *, is_new: bool) -> None:
    torch = require("torch", extra="worker")
    ids = torch.ones((2, 9), dtype=torch.int64)
    mask = torch.ones((2, 9), dtype=torch.int64)
    mask[1, 5:] = 0
    axes = {0: "batch", 1: "length"}
    if is_new:
        dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
        shapes = {"dynamic_shapes": dict.fromkeys(_INPUTS, dynamic), "dynamo": True}
    else:
        shapes = {"dynamic_axes": {**dict.fromkeys(_INPUTS, axes), "vector": {0: "batch"}}, "opset_version": 17}
        if "dynamo" in torch.onnx.export.__code__.co_varnames:
            shapes["dynamo"] = False
    torch.onnx.export(module, (ids, mask), str(path), input_names=list(_INPUTS), output_names=["vector"], **shapes)


def _compare(module: Any, path: Path, n_tokens: int) -> None:
    """Run graph and module side by side on batches of several shapes, padded and not."""
    torch = require("torch", extra="worker")
    runtime = require("onnxruntime", extra="web")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for n_texts, length in ((1, 1), (1, 7), (3, 7), (3, 33)):
        ids = rng.integers(0, n_tokens, (n_texts, length))
        mask = np.ones_like(ids)
        mask[n_texts // 2, (length + 1) // 2 :] = 0
        with torch.inference_mode():
            expected = module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        found = session.run(["vector"], dict(zip(_INPUTS, (ids, mask), strict=True)))[0]
        difference = float(np.abs(found - expected).max())
        if found.shape != expected.shape or not difference < _TOLERANCE:
            raise EncoderError(
                f"Cannot use the exported graph. At shape {ids.shape} its vectors are {difference:.1e} off."
            )


def _quantize(scratch: Path) -> None:
    require("onnx", extra="worker")
    quantization = require("onnxruntime.quantization", extra="web")
    original = scratch / "original.onnx"
    (scratch / "model.onnx").rename(original)
    with _quiet():
        # One scale a channel keeps more neighbours than one a matrix; the reduced range keeps processors without
        # VNNI from overflowing, so that the same export gives the same vectors on every machine.
        quantization.quantize_dynamic(
            str(original),
            str(scratch / "model.onnx"),
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
            use_external_data_format=original.stat().st_size > 1 << 31,
        )
    original.unlink()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence remarks about how a graph is traced: the comparison afterwards says whether it is right."""
    previous = logging.root.manager.disable
    logging.disable(max(previous, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
