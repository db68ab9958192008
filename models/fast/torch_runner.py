"""Networks on torch: eager on any device, captured as CUDA graphs on a GPU.

Linear layers and convolutions hold their weights in the fast format from the start; everything between them
follows torch's autocast rules, so residual sums, norms and the heads' last layers stay in float32. Casting
everything would round the score itself to three digits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.fast import batches
from models.fast.batches import Inputs
from models.fast.errors import is_out_of_memory
from models.fast.precision import DTYPES, Precision
from models.output import Output

HEAD_WIDTH = 64  #: linear layers with no more outputs are heads: they cost nothing and hold the score
_WARM_UP = 3  #: runs before a capture, for cuDNN's and cuBLAS's choices
_CAST = (nn.Linear, nn.Conv2d)  #: exactly these: a subclass may compute with its weight before


class Float32Linear(nn.Linear):
    """A linear layer that autocast leaves alone, sharing the weights of another."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return functional.linear(x.float(), self.weight, self.bias)


def prepared(net: nn.Module, device: torch.device, precision: Precision) -> nn.Module:
    """A copy in eval mode on the device, channels last, with weights in the fast format; the net stays."""
    fast = copy.deepcopy(net).eval().requires_grad_(False)
    if precision != "fp32":
        for module in list(fast.modules()):
            for name, child in module.named_children():
                if type(child) is nn.Linear and child.out_features <= HEAD_WIDTH:
                    setattr(module, name, Float32Linear(child))
                elif type(child) in _CAST:
                    child.to(DTYPES[precision])
    return fast.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class TorchRunner:
    """Runs a batch as it comes. Raises what torch raises."""

    engine = "torch"

    def __init__(self, net: nn.Module, device: torch.device, precision: Precision) -> None:
        self.device, self._precision = device, precision
        self._net = prepared(net, device, precision)

    def __call__(self, inputs: Inputs) -> Output:
        with torch.inference_mode():
            moved = (None if given is None else given.to(self.device) for given in inputs)
            return self.forward(tuple(moved))

    def forward(self, inputs: Inputs) -> Output:
        """The network on tensors of its device; float32 out."""
        inputs = tuple(_channels_last(given) for given in inputs)
        low = self._precision != "fp32"
        # The cache of autocast must not outlive a captured graph, and there are no weights left to cache.
        with torch.autocast(self.device.type, DTYPES[self._precision], enabled=low, cache_enabled=False):
            return batches.as_float32(self._net(*inputs))

    def release(self) -> None:
        """Give back what can be computed again."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _channels_last(given: Tensor | None) -> Tensor | None:
    if given is None or given.ndim != 4:
        return given
    return given.contiguous(memory_format=torch.channels_last)


class GraphRunner(TorchRunner):
    """One captured CUDA graph for each bucket size and shape of inputs; rows beyond the batch are stale.

    A shape that cannot be captured runs eagerly from then on; `note` is told so. Captured on first use.
    Answers lie on the GPU and may still be computed.
    """

    engine = "torch, CUDA graphs"

    def __init__(
        self,
        net: nn.Module,
        device: torch.device,
        precision: Precision,
        sizes: tuple[int, ...],
        note: Callable[[str], None],
    ) -> None:
        super().__init__(net, device, precision)
        self._sizes, self._note = sizes, note
        self._pool: Any = None
        self._graphs: dict[object, _Captured | None] = {}

    def __call__(self, inputs: Inputs) -> Output:
        count = batches.check_rows(inputs)
        size = batches.bucket_of(count, self._sizes)
        key = (size, batches.signature(inputs))
        with torch.inference_mode(), torch.cuda.device(self.device):
            if key not in self._graphs:
                self._graphs[key] = self._capture(inputs, size)
            captured = self._graphs[key]
            if captured is None:
                return super().__call__(inputs)
            return captured(inputs, count)

    def _capture(self, inputs: Inputs, size: int) -> _Captured | None:
        static = tuple(
            None if given is None else given.to(self.device, copy=True)
            for given in batches.padded(inputs, size)
        )
        side = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self.forward(static)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                output = self.forward(static)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._note(f"no CUDA graph for batches of {size} ({str(error).splitlines()[0]}); run eagerly")
            return None
        return _Captured(graph, static, output)

    def release(self) -> None:
        self._graphs.clear()
        self._pool = None
        super().release()


class _Captured:
    """A graph with its static inputs and outputs; two pinned buffers, so that one fills while one is sent."""

    def __init__(self, graph: torch.cuda.CUDAGraph, static: Inputs, output: Output) -> None:
        self._graph, self._static, self._output = graph, static, output
        self._pinned: list[Inputs] = []
        self._sent: list[torch.cuda.Event] = []
        self._turn = 0

    def __call__(self, inputs: Inputs, count: int) -> Output:
        for static, given in zip(self._static, inputs, strict=True):
            if static is not None and given is not None and given.is_cuda:
                static[:count].copy_(given, non_blocking=True)
        if any(given is not None and not given.is_cuda for given in inputs):
            self._send(inputs, count)
        self._graph.replay()
        # Cloned, for the next replay of any graph of the pool overwrites it.
        return Output(*(None if field is None else field[:count].clone() for field in self._output))  # type: ignore[arg-type]

    def _send(self, inputs: Inputs, count: int) -> None:
        if not self._pinned:
            for _ in range(2):
                self._pinned.append(tuple(None if s is None else _pinned(s) for s in self._static))
                self._sent.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
        self._turn = 1 - self._turn
        buffers, sent = self._pinned[self._turn], self._sent[self._turn]
        sent.synchronize()  # returns at once for an event that was never recorded
        for static, buffer, given in zip(self._static, buffers, inputs, strict=True):
            if static is None or buffer is None or given is None or given.is_cuda:
                continue
            buffer[:count].copy_(given)
            static[:count].copy_(buffer[:count], non_blocking=True)
        sent.record()


def _pinned(like: Tensor) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
