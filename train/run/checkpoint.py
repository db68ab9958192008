"""The state of a training on disk: one safetensors file, replaced as a whole; no pickle, no chance in it.

Chance needs no state: every draw is seeded by epoch and step (`train.run.batches.seeded`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from train.disk import write_atomically

FORMAT = "qagate training 1"


class CheckpointError(RuntimeError):
    """A state cannot be resumed from; the message names the file and the mend."""


@dataclass(slots=True, kw_only=True)
class State:
    """Where a training stands, beside its tensors."""

    epoch: int = 0  #: that runs, from 0
    step: int = 0  #: batches of it that are done
    losses: list[float] = field(default_factory=list)  #: of those batches
    sizes: list[int] = field(default_factory=list)  #: rows of those batches
    history: list[dict[str, float]] = field(default_factory=list)  #: one entry an epoch
    best_epoch: int = -1
    best_figure: float | None = None
    worse: int = 0  #: epochs since the best
    finished: bool = False
    threads: int = 0  #: torch's; another number sums in another order
    scaler: dict[str, float] = field(default_factory=dict)  #: of fp16's gradient scaler


def write(
    path: Path,
    state: State,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: Mapping[str, Tensor] | None,
) -> None:
    """Raises NoSpaceError when the disk is full; the former state stays."""
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (best or {}).items()}
    numbers: dict[str, Any] = {}
    for index, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            key = f"optimiser.{index}.{name}"
            if isinstance(value, Tensor):
                tensors[key] = value
            else:
                numbers[key] = value
    told = json.dumps({"format": FORMAT, "state": asdict(state), "optimiser": numbers})
    whole = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    write_atomically(path, save(whole, {"told": told}))


def read(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[State, dict[str, Tensor] | None]:
    """Fill module and optimiser; the state, and the best epoch's weights where there are any.

    Raises CheckpointError for a file that is none or of another recipe.
    """
    mend = "remove the fold's folder to train it anew"
    try:
        with safe_open(path, framework="pt") as opened:
            told = json.loads((opened.metadata() or {}).get("told", "{}"))
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        if told.get("format") != FORMAT:
            raise CheckpointError(f"{path} has format {told.get('format', 'none')!r}, not {FORMAT!r}; {mend}")
        state = State(**told["state"])
        numbers = told["optimiser"]
        module.load_state_dict(_below("module.", tensors))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be resumed from ({error}); {mend}") from error
    kept: dict[int, dict[str, Any]] = {}
    for key, value in {**_below("optimiser.", tensors), **_below("optimiser.", numbers)}.items():
        index, _, name = key.partition(".")
        kept.setdefault(int(index), {})[name] = value
    whole = optimiser.state_dict()
    optimiser.load_state_dict({"state": kept, "param_groups": whole["param_groups"]})
    return state, _below("best.", tensors) or None


def _below(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key[len(prefix) :]: value for key, value in values.items() if key.startswith(prefix)}
