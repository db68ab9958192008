"""Slices as the MedIQA authors' code takes them; the gate's own choice is `qagate.gate.slices.salient`."""

from __future__ import annotations


def legacy_slices(count: int, wanted: int = 7) -> tuple[int, ...]:
    """Places, from 0, of `wanted` slices spread evenly from the first to the last of `count`.

    Fewer slices are repeated; one slice, a 2D image, is taken `wanted` times. Empty slices are not left
    out. Raises ValueError for a stack without slices.
    Source: MedIQA, published code; the paper leaves empty slices out and takes the middle of equal regions.
    """
    if count < 1:
        raise ValueError("a stack without slices")
    return tuple(round(step * (count - 1) / (wanted - 1)) for step in range(wanted))
