"""Makes `import timm` work beside a torchvision built for another torch; does nothing else.

The CPU build of torch next to PyPI's torchvision (built for CUDA) cannot load torchvision's operator
library, so `import torchvision` stops at "operator torchvision::nms does not exist". qagate uses none of
these operators: declaring their schemas is enough for the import to pass. Everything that needs timm
calls `import_timm()`, what else needs torchvision calls `mend_torchvision()` first. Where torchvision already
works nothing is declared.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def _declare_missing() -> torch.library.Library:
    # Kept alive by the cache: a collected Library takes its schemas with it.
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        name = schema.partition("(")[0]
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)  # type: ignore[no-untyped-call]
    return library


def mend_torchvision() -> None:
    """Make `import torchvision` work. Raises ImportError naming the mend when nothing here helps."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise ImportError(
                f"torchvision does not import ({error}); reinstall torch and torchvision"
            ) from error
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declare_missing()
        importlib.import_module("torchvision")


def import_timm() -> ModuleType:
    """The timm module."""
    mend_torchvision()
    return importlib.import_module("timm")
