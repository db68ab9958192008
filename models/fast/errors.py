"""What can go wrong in the fast path, by name."""

from __future__ import annotations

import torch


class FastError(RuntimeError):
    """The fast path cannot answer; the message says why and what helps."""


class ImageTooLargeError(FastError):
    """One image alone does not fit the device's memory."""


class ConversionError(FastError):
    """OpenVINO cannot take the network; `engine="torch"` can."""


class DriftError(FastError):
    """The fast network does not answer as the original does, or the images cannot tell."""


class FastWarning(UserWarning):
    """The fast path does something slower or smaller than it was asked for."""


_MEMORY = (
    "DefaultCPUAllocator",
    "not enough memory",
    "Cannot allocate memory",
    "out of memory",
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may help: CPU, GPU, OpenVINO and Python say it differently."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY)
