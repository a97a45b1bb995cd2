"""Language models from a transformers folder, a hub or a GGUF file, run with torch in a worker."""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

from llmrec_django.engine.encoders.dependencies import missing, require
from llmrec_django.engine.encoders.model_files import find_model, fingerprint, is_local, is_reference
from llmrec_django.engine.writers.base import Prompt, TextGenerator
from llmrec_django.exceptions import EncoderError, WriterError, WriterUnavailable

_DTYPES = ("float32", "bfloat16", "float16")
_SAMPLED = 1 << 16


class TransformersWriter(TextGenerator):
    """A chat model from a folder, an installed package or a hub, or the GGUF file in one of them.

    Code that comes with a model is never run.

    Args:
        model: A folder, a "package.module:function" that returns one, or the name of a hub's model.
        gguf_file: Name of a GGUF file in it. Its weights are unpacked to `dtype`, which takes time and memory once.
        revision: Commit, tag or branch of a hub's model.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: "float32", "bfloat16" or "float16".
        max_input_tokens: A longer prompt is refused.
        timeout_s: Seconds one text may take; it is cut there.
    """

    def __init__(
        self,
        model: str,
        gguf_file: str | None = None,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        max_input_tokens: int = 2048,
        timeout_s: float = 60.0,
    ) -> None:
        if dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, not {dtype!r}")
        if max_input_tokens < 1 or timeout_s <= 0:
            raise ValueError("max_input_tokens and timeout_s must be more than 0")
        self._model = str(model)
        self._gguf_file = gguf_file
        self._revision = revision
        self._device = device
        self._dtype = dtype
        self._max_input_tokens = max_input_tokens
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, str] | None = None

    @cached_property
    def model_id(self) -> str:
        """Name and content: the same files give the same id wherever they lie."""
        if not is_local(self._model):
            name, version = self._model, self._revision or "main"
        else:
            name = self._model if is_reference(self._model) else Path(self._model).resolve().name
            folder = find_model(self._model)
            version = _file_fingerprint(folder / self._gguf_file) if self._gguf_file else fingerprint(folder)
        return f"{name}@{version} {self._gguf_file or ''} {self._dtype}"[:255]

    def generate(self, prompt: Prompt, *, attempt: int = 0) -> str:
        """Run the model; see the base class."""
        torch = require("torch", extra="worker")
        tokenizer, model, device = self._load()
        messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(device)
        length = inputs["input_ids"].shape[1]
        if length > self._max_input_tokens:
            raise WriterError(
                f"Cannot write with {self._model!r}. The prompt has {length} tokens, more than "
                f"{self._max_input_tokens}. Raise max_input_tokens."
            )
        # Sampling draws from torch's own generator; one text at a time, so that a seed means something.
        with self._lock, torch.inference_mode():
            torch.manual_seed(attempt)
            # What a model's folder says about sampling would warn where nothing is sampled.
            sampling = {"temperature": 0.7, "top_p": 0.9} if attempt else {"temperature": None, "top_p": None}
            output = model.generate(
                **inputs,
                max_new_tokens=prompt.max_tokens,
                max_time=self._timeout_s,
                do_sample=bool(attempt),
                top_k=50 if attempt else None,
                pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
                **sampling,
            )
        text = str(tokenizer.decode(output[0][length:], skip_special_tokens=True))
        if not text.strip():
            raise WriterError(f"Cannot write with {self._model!r}. The model says nothing. Use another model.")
        return text

    def check(self) -> list[str]:
        """Return what is wrong with a local model's files."""
        problems = missing("torch", "transformers", extra="worker")
        for name in ("gguf", "accelerate") if self._gguf_file else ():
            if importlib.util.find_spec(name) is None:
                problems.append(f"The package {name!r} is not installed. Run `pip install gguf accelerate`.")
        if is_local(self._model):
            try:
                folder = find_model(self._model)
            except EncoderError as exc:
                return [*problems, str(exc)]
            if self._gguf_file and not (folder / self._gguf_file).is_file():
                problems.append(f"{str(folder)!r} has no file {self._gguf_file!r}. Correct gguf_file.")
        return problems

    def _load(self) -> tuple[Any, Any, str]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._read()
            return self._loaded

    def _read(self) -> tuple[Any, Any, str]:
        torch = require("torch", extra="worker")
        transformers = require("transformers", extra="worker")
        where = self._model
        try:
            if is_local(self._model):
                where = str(find_model(self._model))
            options: dict[str, Any] = {"trust_remote_code": False}
            if self._revision:
                options["revision"] = self._revision
            if self._gguf_file:
                options["gguf_file"] = self._gguf_file
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
            version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
            dtype = {"dtype" if version >= (4, 56) else "torch_dtype": getattr(torch, self._dtype)}
            model = transformers.AutoModelForCausalLM.from_pretrained(where, **options, **dtype)
        except EncoderError as exc:
            raise WriterUnavailable(str(exc)) from exc
        except (OSError, ValueError, KeyError, ImportError) as exc:
            raise WriterUnavailable(
                f"Cannot load the model {self._model!r}. {exc} Check its files and that transformers knows it."
            ) from exc
        if not getattr(tokenizer, "chat_template", None):
            raise WriterUnavailable(
                f"Cannot write with {self._model!r}. Its tokenizer has no chat template. Use a model made for chats."
            )
        device = self._device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return tokenizer, model.eval().requires_grad_(False).to(device), device


def _file_fingerprint(path: Path) -> str:
    """Return 12 hexadecimal digits for a large file: its size, its beginning and its end."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.sha256(f"{size}".encode() + file.read(_SAMPLED))
            file.seek(max(0, size - _SAMPLED))
            digest.update(file.read())
    except OSError as exc:
        raise WriterUnavailable(f"Cannot read {str(path)!r}. {exc}. Correct gguf_file.") from exc
    return digest.hexdigest()[:12]
