"""The seam between the training loop and whatever shows its numbers."""

from __future__ import annotations

import importlib.util
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)


class RunLogger(Protocol):
    """Takes the numbers of a run. An implementation must not raise for a number it cannot show."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers that belong to an optimizer step."""

    def close(self) -> None:
        """Write out what is held back."""


class JsonLinesLogger:
    """One JSON object a line: {"time", "step", …}. Appends: what is there stays."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._file.write(json.dumps({"time": round(time.time(), 3), "step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoardLogger:
    """Scalars for TensorBoard, in the run's folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandbLogger:
    """Scalars for Weights & Biases; sends numbers to that service unless it is set to offline."""

    def __init__(self, project: str, config: Mapping[str, Any]) -> None:
        import wandb

        self._run: Any = wandb.init(project=project, config=dict(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class RunLog:
    """Several loggers as one."""

    def __init__(self, loggers: Sequence[RunLogger] = ()) -> None:
        self._loggers = list(loggers)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for logger in self._loggers:
            logger.log(step, values)

    def close(self) -> None:
        for logger in self._loggers:
            logger.close()


def open_run_log(folder: Path, *, config: Mapping[str, Any] | None = None, wandb_project: str = "") -> RunLog:
    """Log to `folder`/log.jsonl; to TensorBoard too when it is installed; to W&B when a project is named.

    That W&B is not installed or cannot be reached is a warning: training goes on without it.
    """
    loggers: list[RunLogger] = [JsonLinesLogger(folder / "log.jsonl")]
    if importlib.util.find_spec("tensorboard") is not None:
        loggers.append(TensorBoardLogger(folder))
    if wandb_project:
        try:
            loggers.append(WandbLogger(wandb_project, config or {}))
        except Exception as exc:  # noqa: BLE001 - not installed, no account, no network
            logger.warning("training is not logged to W&B project=%s cause=%s", wandb_project, exc)
    return RunLog(loggers)
