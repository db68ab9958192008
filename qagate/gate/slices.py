"""Which slices of a series are looked at: MedIQA's salient slices. Decodes nothing itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from qagate.image import SliceHeader, SliceImage, Stack

SALIENT_COUNT = 7  #: MedIQA section 2.2
BODY_HU = -400.0
BODY_SHARE = 0.005  #: of a CT slice's blocks; less is a table edge or nothing
CONTRAST = 1.5  #: of the pixel noise, between bright and dark blocks; noise alone gives about 0.5
BLOCK = 8  #: side of the blocks in pixels


def scored_stack(stacks: Sequence[Stack]) -> Stack | None:
    """The largest stack that may be scored (no localiser, no phase image); None when there is none."""
    usable = [stack for stack in stacks if stack.not_assessed is None]
    return max(usable, key=lambda stack: len(stack.slices), default=None)


def salient(
    stack: Stack, is_empty: Callable[[SliceHeader], bool], count: int = SALIENT_COUNT
) -> tuple[SliceHeader, ...]:
    """Choose the slices that stand for the stack, in its order; () when every slice is empty.

    The empty slices at both ends are dropped, the rest is cut into `count` equal regions, and the
    middle slice of each region, R[len(R) // 2], is taken (MedIQA section 2.2). An empty middle
    gives way to the nearest slice of its region that is not; a region without any is left out.
    With `count` slices or fewer all that are not empty are taken, once.

    is_empty is asked at most once a slice, and was asked of every slice returned. As it decodes,
    few are asked: the ends are found by doubling steps inwards and halving back, which takes it
    that the empty slices of an end lie together; only a stack without any hit is asked throughout.
    """
    if count < 1:
        raise ValueError(f"count of salient slices is {count}; it must be 1 or more")
    slices = stack.slices
    known: dict[int, bool] = {}

    def empty(place: int) -> bool:
        if place not in known:
            known[place] = is_empty(slices[place])
        return known[place]

    if len(slices) <= count:
        return tuple(header for place, header in enumerate(slices) if not empty(place))
    first = _first_filled(range(len(slices)), empty)
    if first is None:
        return ()
    last = _first_filled(range(len(slices) - 1, first, -1), empty)
    filled = range(first, first + 1 if last is None else last + 1)
    regions = _regions(filled, min(count, len(filled)))
    chosen = (_middle_filled(region, empty) for region in regions)
    return tuple(slices[place] for place in chosen if place is not None)


def _first_filled(places: Sequence[int], empty: Callable[[int], bool]) -> int | None:
    """The first of the places that is not empty, walking in doubling steps and halving back."""
    low, step = -1, 1
    while low + step < len(places) and empty(places[low + step]):
        low, step = low + step, 2 * step
    high = low + step
    if high >= len(places):
        return next((place for place in places if not empty(place)), None)
    while high - low > 1:
        middle = (low + high) // 2
        if empty(places[middle]):
            low = middle
        else:
            high = middle
    return places[high]


def _regions(places: range, count: int) -> Iterable[range]:
    edges = [len(places) * region // count for region in range(count + 1)]
    return (places[start:end] for start, end in itertools.pairwise(edges))


def _middle_filled(region: range, empty: Callable[[int], bool]) -> int | None:
    middle = region[len(region) // 2]
    nearest = sorted(region, key=lambda place: abs(place - middle))
    return next((place for place in nearest if not empty(place)), None)


def is_empty_image(image: SliceImage) -> bool:
    """Whether a slice shows nothing: constant, air only (CT), or noise only."""
    pixels = np.asarray(image.pixels, dtype=np.float32)
    valid = np.isfinite(pixels) if image.valid is None else image.valid & np.isfinite(pixels)
    if not valid.any():
        return True
    values = pixels[valid]
    if values.min() == values.max():
        return True
    if min(pixels.shape) < 2 * BLOCK:
        return False
    pixels = np.where(valid, pixels, values.min())
    rows, columns = pixels.shape[0] // BLOCK, pixels.shape[1] // BLOCK
    blocks = pixels[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    means = blocks.mean(axis=(1, 3))
    if image.header.modality == "CT":
        return bool(np.mean(means > BODY_HU) < BODY_SHARE)
    noise = float(np.median(np.abs(np.diff(blocks, axis=3)))) / 0.954  # median |a - b| of Gaussians
    low, high = np.quantile(means, (0.1, 0.995))
    return bool(high - low <= CONTRAST * noise)
