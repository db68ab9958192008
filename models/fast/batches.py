"""Batches of tensors that belong together row by row: cut, padded, joined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from models.output import Output

Inputs = tuple[Tensor | None, ...]
"""What a network takes: the first is there, and all that are have one row for each image or series."""


def bucket_sizes(max_batch: int) -> tuple[int, ...]:
    """Powers of two up to the largest batch, and the largest itself: 12 -> (1, 2, 4, 8, 12)."""
    if max_batch < 1:
        raise ValueError(f"max_batch {max_batch} is below 1")
    powers = [2**power for power in range(max_batch.bit_length())]
    return tuple(sorted({*powers, max_batch}))


def bucket_of(count: int, sizes: Sequence[int]) -> int:
    """The smallest size that takes so many rows. Raises ValueError when none does."""
    for size in sorted(sizes):
        if size >= count:
            return size
    raise ValueError(f"{count} rows do not fit the sizes {tuple(sizes)}")


def check_rows(inputs: Inputs) -> int:
    """How many rows there are. Raises ValueError when the tensors disagree or have none."""
    if not inputs or inputs[0] is None:
        raise ValueError("no images were given")
    shapes = [tuple(given.shape) for given in inputs if given is not None]
    counts = {shape[0] if shape else 0 for shape in shapes}
    if len(counts) > 1 or not min(counts):
        raise ValueError(f"inputs of shapes {shapes} are not the same number of rows, one or more")
    return counts.pop()


def rows(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Some of the rows, as views."""
    return tuple(None if given is None else given[start:stop] for given in inputs)


def padded(inputs: Inputs, size: int) -> Inputs:
    """The rows and then the last one again, up to a size: values a network can take, unlike zeros."""

    def one(given: Tensor) -> Tensor:
        missing = size - given.shape[0]
        return torch.cat([given, given[-1:].expand(missing, *given.shape[1:])]) if missing > 0 else given

    return tuple(None if given is None else one(given) for given in inputs)


def first(output: Output, count: int) -> Output:
    """The first rows of every field."""
    return Output(*(None if field is None else field[:count] for field in output))  # type: ignore[arg-type]


def joined(outputs: Iterable[Output]) -> Output:
    """One output of several; a field that is None stays None."""
    parts = list(outputs)
    if len(parts) == 1:
        return parts[0]
    columns = zip(*parts, strict=True)
    return Output(*(None if fields[0] is None else torch.cat(fields) for fields in columns))  # type: ignore[arg-type]


def as_float32(output: Output, device: torch.device | None = None) -> Output:
    """Every field in float32, on a device when one is named."""
    return Output(
        *(None if field is None else field.to(device=device, dtype=torch.float32) for field in output)  # type: ignore[arg-type]
    )


def signature(inputs: Inputs) -> tuple[tuple[tuple[int, ...], torch.dtype] | None, ...]:
    """Shape of one row and type of each input: what a captured or converted network is made for."""
    return tuple(None if given is None else (tuple(given.shape[1:]), given.dtype) for given in inputs)
