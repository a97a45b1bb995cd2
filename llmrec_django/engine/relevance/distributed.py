"""Training on several devices or hosts: every process takes its share of the batches and all keep equal weights.

Start one process for each device with `torchrun` or `accelerate launch`; both say through the environment who is who.

The first process decides what is trained and hands it to the others, which know nothing of where it came from: each
`share_job` of the first is one `next_job` of every other, and both then call `fit` with it.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

T = TypeVar("T")

PATIENCE = timedelta(days=3)
"""How long processes wait for each other: the first one does much between two jobs."""


def own_device() -> str:
    """Return where this process computes: the GPU that a launcher meant for it, the first one, or the processor."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that train one model together; one process alone is a group too."""

    rank: int = 0
    size: int = 1

    @classmethod
    def from_environment(cls, device: str) -> Group:
        """Join the processes that a launcher started with this one; alone when it started none."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not distributed.is_available():
            return cls()
        if not distributed.is_initialized():
            if device.startswith("cuda"):
                torch.cuda.set_device(device)
            distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_first(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def share(self, batches: Sequence[T]) -> list[T]:
        """This process's batches. All get equally many, else they would wait for each other for ever."""
        rounds = -(-len(batches) // self.size)
        return [batches[(turn * self.size + self.rank) % len(batches)] for turn in range(rounds)]

    def agree(self, value: float) -> float:
        """Give every process the number of the first one: rounding must not make them decide differently."""
        if self.size == 1:
            return value
        [agreed] = _sent([value])
        return float(agreed)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the mean of all gradients: one message for all parameters."""
        if self.size == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def join() -> None:
    """Join the processes that a launcher started with this one, if any; waits until all are there."""
    if Group.from_environment(own_device()).size > 1:
        _messages()


def share_job(job: dict[str, Any] | None) -> None:
    """Hand the other processes what they are to call `fit` with; None: there is nothing more, they may end."""
    if Group.from_environment(own_device()).size > 1:
        _sent([job])
        if job is None:
            _leave()


def next_job() -> dict[str, Any] | None:
    """Wait for what the first process hands over; None: this one may end."""
    job: dict[str, Any] | None = _sent([None])[0]
    if job is None:
        _leave()
    return job


def _leave() -> None:
    """End the threads that messages go through: a process that ends while they run may be aborted."""
    _messages.cache_clear()
    distributed.destroy_process_group()


def _sent(values: list[Any]) -> list[Any]:
    distributed.broadcast_object_list(values, src=0, group=_messages())
    return values


@functools.cache
def _messages() -> Any:
    """Return the group for messages, which go from memory to memory also where gradients go between GPUs."""
    return distributed.new_group(backend="gloo", timeout=PATIENCE)
