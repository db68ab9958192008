"""Which number formats a processor or GPU multiplies fast."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
#: Flags of /proc/cpuinfo that stand for bfloat16 dot products: x86 AVX-512 and AMX, Arm.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CAPABLE = 8  #: CUDA compute capability, major, from which bfloat16 runs on tensor cores


@cache
def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the processor says it can do; empty where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return frozenset()


def fast_precisions(device: torch.device | str = "cpu") -> tuple[Precision, ...]:
    """The formats worth using on a device, the fastest first; "fp32" is always the last.

    Without instructions for it bfloat16 is slower than float32 on a CPU; float16 always is.
    """
    kind = torch.device(device)
    if kind.type == "cuda" and torch.cuda.is_available():
        major, _ = torch.cuda.get_device_capability(kind)
        return ("bf16", "fp16", "fp32") if major >= _CAPABLE else ("fp16", "fp32")
    if kind.type == "cpu" and BF16_FLAGS & cpu_flags():
        return ("bf16", "fp32")
    return ("fp32",)


def choose(precision: str = "auto", device: torch.device | str = "cpu") -> Precision:
    """The format to compute in: the fastest for "auto", otherwise the one that is named.

    Raises ValueError for an unknown name and for fp16 on a CPU, which no processor multiplies fast.
    """
    if precision == "auto":
        return fast_precisions(device)[0]
    for known in DTYPES:
        if precision == known:
            if known == "fp16" and torch.device(device).type == "cpu":
                raise ValueError("precision 'fp16' is for GPUs; on a CPU use bf16 or fp32")
            return known
    raise ValueError(f"precision {precision!r} is not one of auto, {', '.join(DTYPES)}")
