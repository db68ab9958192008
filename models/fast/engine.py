"""The one way to run a network fast: `accelerate(net, device="cpu")(images)`.

Chooses engine and precision, cuts batches, and makes them smaller when memory runs out. Does not check the
answers: `models.fast.drift.gate` does, once, for a network and its images.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from models.fast import batches, openvino
from models.fast.batches import Inputs
from models.fast.errors import ConversionError, FastWarning, ImageTooLargeError, is_out_of_memory
from models.fast.openvino import OpenVinoRunner
from models.fast.precision import Precision, choose
from models.fast.torch_runner import GraphRunner, TorchRunner
from models.output import Output

Engine = Literal["auto", "torch", "openvino"]
CPU_BATCH, GPU_BATCH = 8, 64  #: largest batches when none is named; a CPU gains nothing from more


class Runner(Protocol):
    """Runs one batch. Raises what its library raises when memory runs out."""

    @property
    def engine(self) -> str: ...

    @property
    def device(self) -> torch.device: ...

    def __call__(self, inputs: Inputs) -> Output: ...

    def release(self) -> None:
        """Give back memory that is not needed to run the next batch."""
        ...


def accelerate(
    net: nn.Module,
    *,
    device: torch.device | str = "cpu",
    precision: str = "auto",
    engine: Engine = "auto",
    max_batch: int | None = None,
) -> Accelerated:
    """A fast copy of a network; the network itself is neither changed nor kept.

    device: "cpu", "cuda" or "cuda:N"; the CPU stands in for a GPU that is not there. precision: "auto" (the
    fastest of the device), "fp32", "bf16" or "fp16". engine: "auto" is OpenVINO on a CPU where it is
    installed and can take the network, torch otherwise. max_batch: rows computed at once.
    Raises ValueError for unknown names, ImportError when OpenVINO is asked for and missing.
    """
    if engine not in ("auto", "torch", "openvino"):
        raise ValueError(f"engine {engine!r} is not one of auto, torch, openvino")
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        warnings.warn(text, FastWarning, stacklevel=3)

    wanted = torch.device(device)
    if wanted.type == "cuda" and not torch.cuda.is_available():
        note(f"there is no GPU for {device}; the CPU is used")
        wanted = torch.device("cpu")
    if wanted.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is neither cpu nor cuda")
    if engine == "openvino" and wanted.type != "cpu":
        raise ValueError(f"engine 'openvino' runs on the CPU, not on {device}")
    chosen = choose(precision, wanted)
    largest = max_batch if max_batch is not None else GPU_BATCH if wanted.type == "cuda" else CPU_BATCH
    sizes = batches.bucket_sizes(largest)
    runner: Runner
    if wanted.type == "cuda":
        runner = GraphRunner(net, wanted, chosen, sizes, note)
    elif engine == "torch" or (engine == "auto" and not openvino.available()):
        runner = TorchRunner(net, wanted, chosen)
    else:
        own = copy.deepcopy(net).cpu().eval().requires_grad_(False)
        runner = OpenVinoRunner(own, chosen, sizes)
        if engine == "auto":
            runner = _OpenVinoIfPossible(runner, own, chosen, note)
    return Accelerated(runner, precision=chosen, max_batch=largest, notes=notes, note=note)


class Accelerated:
    """Takes what the network takes, positionally, and answers float32 on the images' device.

    Remembers a batch size that did not fit. Not safe to share between threads.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        precision: Precision,
        max_batch: int,
        notes: list[str],
        note: Callable[[str], None],
    ) -> None:
        self.precision = precision
        self.max_batch = max_batch
        self.notes = notes  #: what did not go as asked, in words; each is warned of once, too
        self._runner, self._note = runner, note

    @property
    def engine(self) -> str:
        """What computes, in words; final after the first batch."""
        return self._runner.engine

    @property
    def device(self) -> torch.device:
        return self._runner.device

    def __call__(self, *inputs: Tensor | None) -> Output:
        """Raises ValueError for inputs of different lengths, ImageTooLargeError when one row does not fit."""
        total = batches.check_rows(inputs)
        parts: list[Output] = []
        start = 0
        while start < total:
            part = batches.rows(inputs, start, start + self.max_batch)
            found = self._run(part)
            if found is None:
                self._halve(batches.check_rows(part))
                continue
            parts.append(found)
            start += self.max_batch
        assert inputs[0] is not None
        return batches.as_float32(batches.joined(parts), inputs[0].device)

    def _run(self, part: Inputs) -> Output | None:
        """None when memory ran out: the error, whose traceback holds the batch's tensors, ends here."""
        try:
            return self._runner(part)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _halve(self, count: int) -> None:
        self._runner.release()
        if count == 1:
            raise ImageTooLargeError(
                f"one image does not fit the memory of {self.device}; use smaller images or another device"
            )
        self.max_batch = count // 2
        self._note(f"a batch of {count} does not fit the memory of {self.device}; {self.max_batch} are tried")


class _OpenVinoIfPossible:
    """OpenVINO until it refuses the network, then torch for good."""

    def __init__(
        self, runner: OpenVinoRunner, net: nn.Module, precision: Precision, note: Callable[[str], None]
    ) -> None:
        self._runner: Runner = runner
        self._net: nn.Module | None = net
        self._precision, self._note = precision, note

    @property
    def engine(self) -> str:
        return self._runner.engine

    @property
    def device(self) -> torch.device:
        return self._runner.device

    def __call__(self, inputs: Inputs) -> Output:
        try:
            return self._runner(inputs)
        except ConversionError as error:
            if self._net is None:
                raise
            self._note(f"{error}; torch is used")
            self._runner = TorchRunner(self._net, self._runner.device, self._precision)
            self._net = None
        return self._runner(inputs)

    def release(self) -> None:
        self._runner.release()
