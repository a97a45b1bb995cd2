"""Write a trained model in the form that web processes serve, without torch."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_django.engine.encoders.dependencies import require
from llmrec_django.engine.relevance.artifact import GRAPH, TENSORS, write_manifest, written_at_once
from llmrec_django.engine.relevance.model import bounded
from llmrec_django.exceptions import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from llmrec_django.engine.relevance.item_features import Whitening
    from llmrec_django.engine.relevance.model import RelevanceModel

INPUTS = ("resources", "verbs", "values", "gaps", "lengths", "profile", "left_out")
TOLERANCE = 1e-4
"""Largest difference between torch and ONNX Runtime in any number of S(u)."""


class _LearnerGraph(nn.Module):
    def __init__(self, model: RelevanceModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        resources: Tensor,
        verbs: Tensor,
        values: Tensor,
        gaps: Tensor,
        lengths: Tensor,
        profile: Tensor,
        left_out: Tensor,
    ) -> Tensor:
        return self.model.transformer.last(  # [B, M, D]
            resources, verbs, values, gaps, self.model.profile_vectors(profile), lengths, left_out
        )


def export_model(
    model: RelevanceModel,
    whitening: Whitening,
    folder: Path,
    *,
    description: Mapping[str, Any] | None = None,
    arrays: Mapping[str, NDArray[Any]] | None = None,
) -> str:
    """Write ONNX, safetensors and manifest to `folder`, all or nothing.

    E(u) is left out: lists are made without it, and nobody who asks to be forgotten is then in the files.

    Args:
        model: Trained; float32 on the processor.
        whitening: The map that its features were made with.
        folder: Need not exist; what it held is replaced.
        description: JSON-ready facts to keep with it: verb codes, encoder, data window.
        arrays: Arrays to keep with it: which row is which resource or learner. Read back by `open_scorer(...).arrays`.

    Returns:
        Digest of the whole, for `open_scorer`.

    Raises:
        ArtifactError: the exported graph gives other vectors than torch.
        MissingDependency: onnxruntime or safetensors is not installed.
    """
    save_file = require("safetensors.numpy", extra="worker").save_file
    model = model.eval()
    served = {name: p for name, p in model.named_parameters() if not name.startswith("learner.")}
    with written_at_once(folder) as scratch:
        _export_graph(model, scratch / GRAPH)
        with torch.no_grad():
            tensors = {
                "resource_vectors": model.resource_vectors().numpy(),
                **_lenders(model),
                "whitening.mean": whitening.mean,
                "whitening.matrix": whitening.matrix,
                **{f"weights.{name}": p.numpy() for name, p in served.items()},
                **{f"arrays.{name}": np.asarray(array) for name, array in (arrays or {}).items()},
            }
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, str(scratch / TENSORS))
        return write_manifest(
            scratch,
            {
                "config": model.config.to_dict(),
                "description": dict(description or {}),
                "n_verbs": model.transformer.verb.num_embeddings,
            },
        )


def _lenders(model: RelevanceModel) -> dict[str, NDArray[Any]]:
    """Features and E of the resources that new ones borrow from."""
    features = model.features[:, :-1]
    sources = model.met & features.any(dim=1)
    delta = bounded(model.delta.weight[sources], model.config.delta_bound)
    return {"lenders.features": features[sources].numpy(), "lenders.delta": delta.numpy()}


def _export_graph(model: RelevanceModel, path: Path) -> None:
    graph = _LearnerGraph(model).eval()  # the exporter sets the mode back to what it found
    axes = {0: "batch", 1: "length"}
    names: dict[str, dict[int, str]] = dict.fromkeys(("resources", "verbs", "values", "gaps"), axes)
    names |= dict.fromkeys(("lengths", "profile"), {0: "batch"})
    names |= {"left_out": {0: "batch", 1: "variants", 2: "length"}, "state": {0: "batch", 1: "variants"}}
    options: dict[str, Any] = {}
    if "dynamo" in torch.onnx.export.__code__.co_varnames:
        options["dynamo"] = False  # the older exporter needs no further package
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            graph,
            _example(model, 2, 5, 3),
            str(path),
            input_names=list(INPUTS),
            output_names=["state"],
            dynamic_axes=names,
            opset_version=17,
            **options,
        )
    _compare(model, graph, path)


def _example(model: RelevanceModel, batch: int, length: int, variants: int) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(0)
    values = rng.random((batch, length), dtype=np.float32)
    values[:, ::2] = np.nan
    profile = rng.normal(size=(batch, model.n_features)).astype(np.float32)
    profile[batch // 2] = 0  # one learner without a profile
    lengths = np.full(batch, length)
    lengths[batch // 2] = length // 2
    left_out = rng.random((batch, variants, length)) < 0.3
    left_out[:, 0] = False
    return tuple(
        torch.as_tensor(array)
        for array in (
            rng.normal(size=(batch, length, model.config.embedding_size)).astype(np.float32),
            rng.integers(0, model.transformer.verb.num_embeddings, (batch, length)),
            values,
            rng.integers(0, model.transformer.gap.num_embeddings, (batch, length)),
            lengths,
            profile,
            left_out,
        )
    )


def _compare(model: RelevanceModel, graph: nn.Module, path: Path) -> None:
    """Run graph and module side by side: what a fixed example bakes into a graph shows at other shapes."""
    runtime = require("onnxruntime", extra="web")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    longest = model.config.max_length
    for batch, length, variants in ((1, 1, 1), (3, 1, 2), (1, 7, 4), (3, 7, 1), (1, longest, 9), (3, longest, 1)):
        example = _example(model, batch, length, variants)
        with torch.no_grad():
            expected = graph(*example).numpy()
            expected[:, 0] = _expected(model, *example)
        found = session.run(["state"], {n: t.numpy() for n, t in zip(INPUTS, example, strict=True)})[0]
        difference = float(np.abs(found - expected).max())
        if found.shape != expected.shape or not difference < TOLERANCE:
            raise ArtifactError(
                f"Cannot export the relevance model. At {batch} learners, {length} steps and {variants} variants "
                f"of each its graph is {difference:.1e} off. Try other versions of torch and onnxruntime."
            )


def _expected(model: RelevanceModel, resources: Tensor, *rest: Tensor) -> NDArray[np.float32]:
    """Return S(u) as training has it: all states, of which the last is taken."""
    verbs, values, gaps, lengths, profile, _ = rest
    states = model.transformer(resources, verbs, values, gaps, model.profile_vectors(profile))
    expected: NDArray[np.float32] = states[torch.arange(len(lengths)), lengths].numpy()
    return expected


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
