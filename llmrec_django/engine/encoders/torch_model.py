"""The torch module that turns token ids into unit vectors. Imported only when a model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrec_django.engine.encoders.dependencies import require
from llmrec_django.exceptions import EncoderError, EncoderUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from llmrec_django.engine.encoders.model_files import ModelFolder

_ACTIVATIONS = ("Tanh", "Identity", "ReLU", "GELU", "Sigmoid")


def pool(hidden: Any, mask: Any, pooling: str) -> Any:
    """Make one vector of the token vectors of each text.

    Args:
        hidden: float [B, L, D].
        mask: int [B, L], 0 at padding, which may be on either side.
        pooling: "mean", "cls" (first token) or "last" (last token).

    Returns:
        float32 [B, D].
    """
    import torch

    hidden = hidden.float()
    if pooling == "mean":
        kept = mask.unsqueeze(-1).to(hidden.dtype)  # [B, L, 1]
        return (hidden * kept).sum(1) / kept.sum(1).clamp(min=1)
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    if pooling == "cls":
        places = places.flip(0)
    chosen = (mask * places).argmax(1)  # [B]
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), chosen]


def build_module(folder: ModelFolder, *, pooling: str, dimension: int, dtype: str, device: str) -> Any:
    """Load the weights into a module: input_ids, attention_mask int64 [B, L] → unit vectors float32 [B, dimension].

    Raises:
        EncoderUnavailable: the weights cannot be read, or the device cannot be used.
        EncoderError: the model is of a kind this app or the installed transformers does not know.
    """
    torch = require("torch", extra="worker")
    SafetensorError = require("safetensors", extra="worker").SafetensorError  # noqa: N806 - a class

    class TextToVector(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = _load_transformer(folder, dtype)
            self.dense = torch.nn.Sequential(*(_load_dense(path) for path in folder.dense))

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            vectors = self.dense(pool(hidden, attention_mask, pooling))
            return torch.nn.functional.normalize(vectors[:, :dimension], dim=1)

    try:
        return TextToVector().eval().requires_grad_(False).to(device)
    except OSError as exc:
        raise EncoderUnavailable(
            f"Cannot load the model in {str(folder.path)!r}. {exc} Check that the folder is complete."
        ) from exc
    except (ValueError, KeyError, RuntimeError, AssertionError, SafetensorError) as exc:
        raise EncoderError(
            f"Cannot load the model in {str(folder.path)!r} on device {device!r}. {exc} "
            "Check the device and that the installed transformers knows the model."
        ) from exc


def _load_transformer(folder: ModelFolder, dtype: str) -> Any:
    torch = require("torch", extra="worker")
    transformers = require("transformers", extra="worker")
    # Of models with encoder and decoder, only the encoder makes embeddings.
    factory = transformers.AutoModelForTextEncoding if "t5" in folder.model_type else transformers.AutoModel
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    dtype_option = "dtype" if version >= (4, 56) else "torch_dtype"
    progress = transformers.utils.logging
    was_shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        return factory.from_pretrained(
            str(folder.path), trust_remote_code=False, local_files_only=True, **{dtype_option: getattr(torch, dtype)}
        )
    finally:
        if was_shown:
            progress.enable_progress_bar()


def _load_dense(path: Path) -> Any:
    """Load one `Dense` layer of a sentence-transformers folder."""
    import json

    torch = require("torch", extra="worker")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    activation = str(config.get("activation_function", "Identity")).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise EncoderError(
            f"Cannot load {str(path)!r}. Its activation {activation!r} is none of {', '.join(_ACTIVATIONS)}. "
            "Use another model."
        )
    linear = torch.nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    if (path / "model.safetensors").exists():
        state = require("safetensors.torch", extra="worker").load_file(path / "model.safetensors")
    else:
        state = torch.load(path / "pytorch_model.bin", map_location="cpu", weights_only=True)
    linear.load_state_dict({name.removeprefix("linear."): tensor for name, tensor in state.items()})
    return torch.nn.Sequential(linear, getattr(torch.nn, activation)())
