"""The state of a training run on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

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

    One that is damaged or of another release is deleted, with a warning: it only saves time, and would stop each run.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise ValueError(f"its format is {state['format']!r}, expected {FORMAT}")
    except Exception as exc:  # noqa: BLE001 - torch raises whatever its readers raise
        logger.warning("training begins anew, a checkpoint cannot be read checkpoint=%s cause=%s", path, exc)
        path.unlink(missing_ok=True)
        return None
    return dict(state)
