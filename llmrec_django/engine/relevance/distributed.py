"""Training on several devices or hosts: every process takes its share of the batches and all keep equal weights.

Start one process for each device with `torchrun` or `accelerate launch`; both say through the environment who is who.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

T = TypeVar("T")


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
            distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_first(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def share(self, batches: Sequence[T]) -> list[T]:
        """This process's batches. All get equally many, else they would wait for each other for ever."""
        rounds = -(-len(batches) // self.size)
        return [batches[(turn * self.size + self.rank) % len(batches)] for turn in range(rounds)]

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
