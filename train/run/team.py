"""Several processes that train one network: `torchrun` starts them, each takes its share of every batch.

Scores are gathered, every process computes the loss of the whole batch through its own rows, and gradients
are summed: the step is that of one process, whatever the loss compares.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Team:
    """This process among `size`; alone, everything here does nothing."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size = rank, size
        self.device = device or torch.device("cpu")

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def mine(self, count: int) -> slice:
        """Which of `count` rows are this process's."""
        return slice(self.rank, count, self.size)

    def rows(self, own: Tensor, count: int) -> Tensor:
        """Own rows (n, ...) -> all `count` rows in their order; only the own ones carry gradients."""
        if self.size == 1:
            return own
        most = -(-count // self.size)
        padded = own.new_zeros((most, *own.shape[1:]))
        padded[: len(own)] = own.detach()
        parts = [torch.zeros_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        whole = torch.stack(parts, dim=1).flatten(0, 1)[:count].clone()  # row i was process i % size's
        whole[self.mine(count)] = own
        return whole

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gradients of all processes added up; a parameter that no process used keeps none."""
        if self.size == 1:
            return
        parameters = [one for one in parameters if one.requires_grad]
        used = torch.tensor([float(one.grad is not None) for one in parameters], device=self.device)
        dist.all_reduce(used)
        for one, times in zip(parameters, used.tolist(), strict=True):
            if times:
                one.grad = torch.zeros_like(one) if one.grad is None else one.grad
                dist.all_reduce(one.grad)

    def agree(self, module: nn.Module) -> None:
        """Give every process the mean of the buffers that training moves, such as batch norm's."""
        if self.size == 1:
            return
        for buffer in module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer.div_(self.size)

    def all_of(self, own: list[Any]) -> list[Any]:
        """Every process's items, in the order of the rows."""
        if self.size == 1:
            return own
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, own)
        longest = max(map(len, parts))
        return [part[i] for i in range(longest) for part in parts if i < len(part)]

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: str = "auto") -> Iterator[Team]:
    """The team `torchrun` announces in the environment (WORLD_SIZE above 1), or this process alone.

    device: auto (a GPU where there is one), cpu or cuda. Raises ValueError for a GPU that is not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {device!r} is not auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no GPU that torch can use; take --device cpu or auto")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(place)
    if size == 1:
        yield Team(device=place)
        return
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()
