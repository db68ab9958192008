"""Stored values into the units of the gate: sign, padding, modality transform, luminance.

PS3.3 C.11.1 (modality LUT and rescale), C.7.6.3.1 (photometric interpretation), C.7.5.1.1.2
(pixel padding).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from qagate.dicom.decoders import Layout
from qagate.dicom.source import (
    READ_ERRORS,
    PixelError,
    first_item,
    integer,
    is_present,
    number,
    numbers,
    value,
)

REC601 = (0.299, 0.587, 0.114)  #: luminance of R, G, B; PS3.3 C.7.6.3.1.2, YBR_FULL
MAXIMUM_LUT_ENTRIES = 65536

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """(0028,3000) *Modality LUT Sequence*, else rescale slope and intercept."""

    slope: float = 1.0
    intercept: float = 0.0
    lut: Floats | None = None
    first: int = 0

    def apply(self, stored: npt.NDArray[Any]) -> Floats:
        """Stored values in the units of the modality."""
        if self.lut is not None:
            last = len(self.lut) - 1
            return self.lut[np.clip(stored.astype(np.int64) - self.first, 0, last)]
        return stored.astype(np.float64) * self.slope + self.intercept

    def range(self, smallest: float, largest: float) -> tuple[float, float]:
        """Units of the smallest and the largest value that a stored range gives."""
        if self.lut is not None:
            return float(self.lut.min()), float(self.lut.max())
        ends = smallest * self.slope + self.intercept, largest * self.slope + self.intercept
        return min(ends), max(ends)


def macro(data: Dataset, index: int, keyword: str) -> Dataset | None:
    """A functional group macro of frame `index`: its own, else the shared one."""
    per_frame = value(data, "PerFrameFunctionalGroupsSequence")
    group = None
    if per_frame is not None and hasattr(per_frame, "__getitem__") and index < len(per_frame):  # type: ignore[arg-type]
        group = per_frame[index]
    found = first_item(group, keyword) if isinstance(group, Dataset) else None
    return found or first_item(first_item(data, "SharedFunctionalGroupsSequence"), keyword)


def transform_of(data: Dataset, index: int) -> Transform:
    """Modality transform of one frame; raises PixelError naming the element at fault."""
    found = macro(data, index, "PixelValueTransformationSequence")
    if found is None and (table := first_item(data, "ModalityLUTSequence")) is not None:
        return _modality_lut(table)
    holder = found if found is not None else data
    slope, intercept = _rescale(holder, "RescaleSlope", 1.0), _rescale(holder, "RescaleIntercept", 0.0)
    if slope == 0.0:
        raise PixelError("RescaleSlope is zero")
    return Transform(slope=slope, intercept=intercept)


def _rescale(data: Dataset, keyword: str, default: float) -> float:
    if not is_present(data, keyword):
        return default
    found = number(data, keyword)
    if found is None:
        raise PixelError(f"{keyword} is not a finite number")
    return found


def _modality_lut(table: Dataset) -> Transform:
    descriptor = numbers(table, "LUTDescriptor", 3)
    raw = value(table, "LUTData")
    if descriptor is None or raw is None:
        raise PixelError("ModalityLUTSequence has no usable LUTDescriptor or LUTData")
    entries, first, bits = (int(one) for one in descriptor)
    entries = entries or MAXIMUM_LUT_ENTRIES
    if isinstance(raw, bytes):
        wide = len(raw) >= 2 * entries
        lut = np.frombuffer(raw[: entries * (2 if wide else 1)], dtype="<u2" if wide else "u1")
    else:
        lut = np.asarray(raw if hasattr(raw, "__len__") else [raw])
    if not 0 < len(lut) == entries or not 1 <= bits <= 16:
        raise PixelError("ModalityLUTSequence: LUTData does not match its LUTDescriptor")
    return Transform(lut=lut.astype(np.float64), first=first)


def signed_values(container: npt.NDArray[Any], layout: Layout) -> npt.NDArray[Any]:
    """Stored bits of each sample alone, sign-extended (PS3.5 section 8.1.1)."""
    if layout.is_float or container.dtype.kind == "f":
        return container
    size = container.dtype.itemsize * 8
    up = max(size - 1 - layout.high, 0)
    down = max(size - layout.stored, 0)
    unsigned = container.view(f"u{container.dtype.itemsize}")
    shifted = np.left_shift(unsigned, up)
    return np.asarray(np.right_shift(shifted.view(f"i{size // 8}") if layout.signed else shifted, down))


def padding_mask(
    data: Dataset, container: npt.NDArray[Any], stored: npt.NDArray[Any], layout: Layout
) -> npt.NDArray[np.bool_] | None:
    """True where (0028,0120) *Pixel Padding Value*, or the range to its limit, lies; None: nowhere.

    A padding value outside the range of BitsStored (-2000 in 12 bits: common in CT) is looked for
    in the unmasked container, where it was written.
    """
    padding = integer(data, "PixelPaddingValue")
    if padding is None or stored.dtype.kind == "f":
        return None
    limit = integer(data, "PixelPaddingRangeLimit")
    smallest, largest = stored_range(layout)
    padding, limit = (_wrapped(one, layout) for one in (padding, padding if limit is None else limit))
    if smallest <= padding <= largest and smallest <= limit <= largest:
        mask = (stored >= min(padding, limit)) & (stored <= max(padding, limit))
    elif layout.allocated > layout.stored and padding == limit:
        bits = container.dtype.itemsize * 8
        mask = np.asarray(container.view(f"u{bits // 8}") == padding % 2**bits)
    else:
        return None
    return mask if mask.any() else None


def _wrapped(padding: int, layout: Layout) -> int:
    """A padding value read with the wrong sign, as this image's sign reads it."""
    if layout.signed and padding >= 1 << (layout.allocated - 1):
        return padding - (1 << layout.allocated)
    if not layout.signed and padding < 0:
        return padding + (1 << layout.allocated)
    return padding


def stored_range(layout: Layout) -> tuple[int, int]:
    """Smallest and largest value that BitsStored and the sign allow."""
    if layout.signed:
        return -(1 << (layout.stored - 1)), (1 << (layout.stored - 1)) - 1
    return 0, (1 << layout.stored) - 1


def luminance(array: npt.NDArray[Any], photometric: str) -> Floats:
    """Luminance of a colour frame, (rows, columns, 3) -> (rows, columns), in its own range."""
    if photometric.startswith("YBR"):
        return array[..., 0].astype(np.float64)
    return np.asarray(array.astype(np.float64) @ np.array(REC601))


def palette_luminance(array: npt.NDArray[Any], data: Dataset) -> Floats:
    """Luminance of a PALETTE COLOR frame in 0-255; raises PixelError without a usable palette."""
    try:
        colours = apply_color_lut(array, data)
    except READ_ERRORS as error:
        raise PixelError("the palette colour lookup table cannot be used") from error
    scale = 255.0 / np.iinfo(colours.dtype).max
    return luminance(colours[..., :3], "RGB") * scale


def window_of(data: Dataset, index: int) -> tuple[float, float] | None:
    """First (0028,1050) *Window Center* and (0028,1051) *Window Width* of one frame."""
    holder = macro(data, index, "FrameVOILUTSequence") or data
    centres, widths = numbers(holder, "WindowCenter"), numbers(holder, "WindowWidth")
    if not centres or not widths or widths[0] <= 0:
        return None
    return centres[0], widths[0]
