"""Where a language model's files are, what they say about it, and how to tell one from another. No torch here."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_django.engine.encoders.dependencies import require
from llmrec_django.exceptions import EncoderError, EncoderUnavailable, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_TEXT_FILES = ("*.json", "*.txt", "*.model", "*_Dense/*")
_SAFETENSORS = ("model*.safetensors", "0_Transformer/*.safetensors")
_PICKLED = ("pytorch_model*.bin",)
_SAMPLED_FROM = 1 << 20
_SAMPLES = 512
_SAMPLE_SIZE = 4096
# These count positions from the padding id + 1, so that two positions fewer than declared can be used.
_SHIFTED_POSITIONS = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"})
_POOLINGS = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
_OLD_POOLING_KEYS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What the files of a transformers or sentence-transformers folder say."""

    path: Path
    """Holds config.json, the tokenizer and the weights."""
    model_type: str
    hidden_size: int
    max_tokens: int | None
    """Longest input with its special tokens; None: the files do not say."""
    pooling: str | None = None
    """"mean", "cls" or "last"; None: a plain transformers folder, which does not say."""
    query_prefix: str = ""
    document_prefix: str = ""
    lowercase: bool = False
    dense: tuple[Path, ...] = field(default=())
    """Folders of linear layers that follow the pooling."""
    dense_size: int | None = None

    @property
    def dimension(self) -> int:
        return self.dense_size or self.hidden_size


def is_reference(model: str) -> bool:
    """Say whether `model` is a "package.module:function" whose function returns a folder."""
    return _REFERENCE.fullmatch(model) is not None and not Path(model).exists()


def is_local(model: str) -> bool:
    """Say whether `model` names files on this machine rather than a model of a hub."""
    return is_reference(model) or Path(model).is_absolute() or model.startswith(".") or Path(model).is_dir()


def find_model(model: str, revision: str | None = None, *, weights: bool = True) -> Path:
    """Return the folder of a model, fetching it from the hub when `model` is neither folder nor reference.

    Args:
        model: A folder, a "package.module:function" that returns one, or the name of a hub's model.
        revision: Commit, tag or branch of the hub's model.
        weights: False fetches no more than the small files.

    Raises:
        EncoderUnavailable: there is no such folder, or the hub cannot be reached and has not been before.
        MissingDependency: the package of a reference, or the client of the hub, is not installed.
    """
    if is_reference(model):
        return _folder(_call_reference(model), model)
    if is_local(model):
        return _folder(Path(model).expanduser(), model)
    hub = require("huggingface_hub", extra="worker")
    try:
        folder = hub.snapshot_download(model, revision=revision, allow_patterns=list(_TEXT_FILES))
        if weights:
            folder = hub.snapshot_download(model, revision=revision, allow_patterns=[*_TEXT_FILES, *_SAFETENSORS])
            if not any(Path(folder).rglob("*.safetensors")):
                folder = hub.snapshot_download(model, revision=revision, allow_patterns=[*_TEXT_FILES, *_PICKLED])
    except (OSError, ValueError) as exc:
        raise EncoderUnavailable(
            f"Cannot fetch model {model!r} at revision {revision or 'main'!r}. {exc} "
            "Check the name and the connection, or give the path of a folder with the model."
        ) from exc
    return _folder(Path(folder), model)


def read_model_folder(root: Path) -> ModelFolder:
    """Read the options of a transformers or sentence-transformers folder.

    Raises:
        EncoderError: a file is damaged, or asks for something this app does not do.
    """
    modules = _read_json(root / "modules.json")
    layers = [(str(module["type"]).rpartition(".")[2], root / str(module["path"])) for module in modules or []]
    path = next((path for kind, path in layers if kind == "Transformer"), root)
    config = _read_json(path / "config.json")
    if not isinstance(config, dict) or "model_type" not in config:
        raise EncoderError(
            f"Cannot read model folder {str(path)!r}. It has no config.json with a model_type. "
            "Give the folder that `save_pretrained` wrote."
        )
    text_config = config.get("text_config") or config
    hidden_size = next(
        (int(text_config[key]) for key in ("hidden_size", "d_model", "dim", "n_embd") if key in text_config), 0
    )
    dense = tuple(path for kind, path in layers if kind == "Dense")
    prompts = _prompts(_read_json(root / "config_sentence_transformers.json") or {})
    options = _read_json(path / "sentence_bert_config.json") or {}
    return ModelFolder(
        path=path,
        model_type=str(config["model_type"]),
        hidden_size=hidden_size,
        max_tokens=options.get("max_seq_length") or _longest_input(path, text_config),
        pooling=_pooling(root, layers) if layers else None,
        query_prefix=prompts[0],
        document_prefix=prompts[1],
        lowercase=bool(options.get("do_lower_case")),
        dense=dense,
        dense_size=int(_read_json(dense[-1] / "config.json")["out_features"]) if dense else None,
    )


def fingerprint(root: Path) -> str:
    """Return 12 hexadecimal digits that change with the model, whatever its folder is called.

    Small files count in full, large ones by size, beginning, end and many samples between: a fine-tuned model of
    the same shape differs nearly everywhere. Takes milliseconds, where hashing in full takes seconds a gigabyte.
    """
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix in (".json", ".safetensors", ".bin", ".txt", ".model") and path.is_file():
            if name.startswith((".", "onnx/", "openvino/")):
                continue
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            _add_content(digest, path)
    return digest.hexdigest()[:12]


def _add_content(digest: Any, path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _SAMPLED_FROM:
            digest.update(file.read())
            return
        for number in range(_SAMPLES + 1):
            file.seek((size - _SAMPLE_SIZE) * number // _SAMPLES)
            digest.update(file.read(_SAMPLE_SIZE))


def _folder(path: Path, model: str) -> Path:
    if not path.is_dir():
        raise EncoderUnavailable(
            f"Cannot find model {model!r}. {str(path)!r} is no folder. Give the folder that holds config.json."
        )
    return path


def _call_reference(model: str) -> Path:
    module_name, _, function = model.partition(":")
    try:
        return Path(getattr(importlib.import_module(module_name), function)())
    except ModuleNotFoundError as exc:
        raise MissingDependency(
            f"Cannot find model {model!r}. The package {exc.name!r} is not installed. Install the package that "
            "holds the model."
        ) from exc
    except AttributeError as exc:
        raise EncoderError(
            f"Cannot find model {model!r}. {module_name!r} has no function {function!r}. "
            "Give package:function where the function returns a folder."
        ) from exc


def _read_json(path: Path) -> Any:
    """Return the content of a JSON file; None when there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as exc:
        raise EncoderError(f"Cannot read {str(path)!r}. It is no JSON: {exc}. Fetch the model again.") from exc


def _longest_input(path: Path, config: Mapping[str, Any]) -> int | None:
    limits = [int(config[key]) for key in ("max_position_embeddings", "n_positions") if config.get(key)]
    if config.get("model_type") in _SHIFTED_POSITIONS:
        limits = [limit - 2 for limit in limits]
    declared = (_read_json(path / "tokenizer_config.json") or {}).get("model_max_length")
    # Tokenizers that know no limit say so with a number like 1e30.
    if declared and declared < 1e9:
        limits.append(int(declared))
    return min(limits, default=None)


def _prompts(config: Mapping[str, Any]) -> tuple[str, str]:
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name") or "", "") or ""
    query = prompts.get("query", default)
    document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), default)
    return query or "", document or ""


def _pooling(root: Path, layers: list[tuple[str, Path]]) -> str:
    kinds = [kind for kind, _ in layers]
    rest = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Dense", "Normalize")]
    if rest or kinds[:2] != ["Transformer", "Pooling"]:
        raise EncoderError(
            f"Cannot use model folder {str(root)!r}. Its modules.json lists {', '.join(kinds)}; only Transformer, "
            "Pooling, Dense and Normalize, in this order, are known. Use another model or an HTTP endpoint."
        )
    config = _read_json(layers[1][1] / "config.json") or {}
    mode = config.get("pooling_mode") or "+".join(
        _OLD_POOLING_KEYS.get(key, key) for key, on in config.items() if key.startswith("pooling_mode_") and on is True
    )
    if mode not in _POOLINGS or config.get("include_prompt") is False:
        raise EncoderError(
            f"Cannot use model folder {str(root)!r}. It pools by {mode!r}"
            f"{' without the prompt' if config.get('include_prompt') is False else ''}; mean, cls and lasttoken "
            "are known. Use another model or an HTTP endpoint."
        )
    return _POOLINGS[mode]
