"""The state of a training run on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from llmrec_django.exceptions import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and texts to `path`; a kill at any moment leaves the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint, None when there is none. Nothing in the file is executed.

    Raises:
        ArtifactError: the file is damaged or of another version.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # torch raises whatever its readers raise
        raise ArtifactError(f"Cannot read checkpoint {str(path)!r}. {exc} Delete it to train anew.") from exc
    if state.get("format") != FORMAT:
        raise ArtifactError(
            f"Cannot use checkpoint {str(path)!r}. Its format is {state.get('format')!r}, expected {FORMAT}. "
            "Delete it to train anew."
        )
    return dict(state)
