"""Networks on OpenVINO, for CPUs: `pip install 'qagate[openvino]'`.

OpenVINO is imported when it is first used, and without its telemetry, which would call home.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from models.fast import batches
from models.fast.batches import Inputs
from models.fast.errors import ConversionError, is_out_of_memory
from models.fast.precision import Precision
from models.output import Output

EXTRA = "OpenVINO is not installed; pip install 'qagate[openvino]', or use engine=\"torch\""
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


def available() -> bool:
    """Whether OpenVINO is installed; does not import it."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> ModuleType:
    """The openvino module, its telemetry switched off. Raises ImportError naming the extra."""
    # OpenVINO sends usage events from its import on unless this package is missing; None makes it missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise ImportError(EXTRA) from error


class SumLinear(nn.Linear):
    """A linear layer of one output as products and a sum, sharing the weights of another.

    OpenVINO rounds what a matrix product answers to bfloat16, though it were the score; what follows the last
    product it leaves in float32. One output only: OpenVINO 2026.4 sums broadcast products wrongly, as
    (3, 1, 112) * (14, 112).
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        found = (x * self.weight[0]).sum(dim=-1, keepdim=True)
        return found if self.bias is None else found + self.bias


def _exact_heads(net: nn.Module) -> nn.Module:
    for module in list(net.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and child.out_features == 1:
                setattr(module, name, SumLinear(child))
    return net


class _Flat(nn.Module):
    """A network of tensors only: optional inputs that are not given and fields that are None left out."""

    def __init__(self, net: nn.Module, given: tuple[bool, ...], fields: tuple[int, ...]) -> None:
        super().__init__()
        self.net, self.given, self.fields = net, given, fields

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        left = iter(tensors)
        output = self.net(*(next(left) if there else None for there in self.given))
        return tuple(output[index] for index in self.fields)


class OpenVinoRunner:
    """Runs a batch on OpenVINO's CPU plugin.

    One compiled network for each shape of inputs, for batches of any size up to the largest; where the
    network's code does not allow that, one for each bucket size, batches being padded. Converted on first
    use, which takes seconds. Raises ConversionError when OpenVINO cannot take the network, or answers
    the first images otherwise. Takes over the network: it changes its heads and must find it in eval mode.
    """

    engine = "openvino"
    device = torch.device("cpu")

    def __init__(
        self, net: nn.Module, precision: Precision, sizes: tuple[int, ...], *, threads: int | None = None
    ) -> None:
        self._openvino = import_openvino()
        self._core: Any = self._openvino.Core()
        self._net = net if precision == "fp32" else _exact_heads(net)
        self._sizes = sizes
        self._properties = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # several workers would be pinned to the same cores
        }
        self._any_size: dict[object, _Compiled | None] = {}
        self._fixed: dict[object, _Compiled] = {}

    def __call__(self, inputs: Inputs) -> Output:
        count = batches.check_rows(inputs)
        shape = batches.signature(inputs)
        if shape not in self._any_size:
            self._any_size[shape] = self._compile_any_size(inputs)
        compiled = self._any_size[shape]
        if compiled is not None:
            return compiled(inputs)
        size = batches.bucket_of(count, self._sizes)
        if (size, shape) not in self._fixed:
            self._fixed[size, shape] = self._compile(batches.padded(inputs, size), None)
        return batches.first(self._fixed[size, shape](batches.padded(inputs, size)), count)

    def release(self) -> None:
        """Drop what was compiled; the next batch compiles again."""
        self._any_size.clear()
        self._fixed.clear()

    def _compile_any_size(self, inputs: Inputs) -> _Compiled | None:
        if self._sizes[-1] == 1:
            return None
        # A batch of one would be taken for a constant.
        two = batches.padded(batches.rows(inputs, 0, 2), 2)
        try:
            return self._compile(two, self._sizes[-1])
        except ConversionError:
            return None

    def _compile(self, inputs: Inputs, largest: int | None) -> _Compiled:
        tensors = tuple(given for given in inputs if given is not None)
        with torch.inference_mode():
            sample: Output = self._net(*batches.rows(inputs, 0, 2))
        fields = tuple(index for index, field in enumerate(sample) if field is not None)
        flat = _Flat(self._net, tuple(given is not None for given in inputs), fields).eval()
        any_size = [tuple({0: torch.export.Dim.DYNAMIC} for _ in tensors)] if largest else None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch's and OpenVINO's insides
                exported = torch.export.export(flat, tensors, dynamic_shapes=any_size)
                model = self._openvino.convert_model(exported)
            if largest:
                rows = self._openvino.Dimension(1, largest)
                shapes = [self._openvino.PartialShape([rows, *given.shape[1:]]) for given in tensors]
                model.reshape(dict(enumerate(shapes)))
            compiled = self._core.compile_model(model, "CPU", self._properties)
        except Exception as error:  # whatever the exporter's and the converter's passes raise
            if is_out_of_memory(error):
                raise
            first_line = (str(error).strip().splitlines() or [repr(error)])[0]
            raise ConversionError(
                f'OpenVINO cannot take {type(self._net).__name__} ({first_line}); use engine="torch"'
            ) from error
        found = _Compiled(compiled, fields)
        self._check(sample, found(inputs))
        return found

    def _check(self, wanted: Output, found: Output) -> None:
        """A coarse look at two images, for what goes wrong altogether; small drift is the gate's."""
        size = max(float(field.abs().max()) for field in wanted if field is not None)
        for score, other in zip(wanted.score.tolist(), found.score.tolist(), strict=False):
            if not abs(score - other) <= 0.1 * abs(score) + 0.01 * size:
                raise ConversionError(
                    f"OpenVINO answers {other:.4g} where {type(self._net).__name__} answers {score:.4g}; "
                    f'use engine="torch"'
                )


class _Compiled:
    def __init__(self, compiled: Any, fields: tuple[int, ...]) -> None:
        self._request, self._fields = compiled.create_infer_request(), fields

    def __call__(self, inputs: Inputs) -> Output:
        arrays = [given.detach().contiguous().numpy() for given in inputs if given is not None]
        answers = self._request.infer(arrays, share_inputs=True)
        values: list[Tensor | None] = [None] * len(Output._fields)
        for index, position in enumerate(self._fields):
            values[position] = torch.from_numpy(answers[index].copy())
        return batches.as_float32(Output(*values))  # type: ignore[arg-type]
