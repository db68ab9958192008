"""Slices as the gate sees them: geometry without pixels, and pixels in physical units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceHeader:
    """One image plane (a single-frame instance or one frame of a multi-frame one)."""

    path: str  #: absolute path of the Part 10 file
    sop_instance_uid: str  #: (0008,0018)
    sop_class_uid: str  #: (0008,0016)
    frame_number: int | None = None  #: 1-based; None for a single-frame instance
    modality: str = ""  #: (0008,0060)
    rows: int  #: (0028,0010)
    columns: int  #: (0028,0011)
    instance_number: int | None = None  #: (0020,0013)
    position_mm: float | None = None  #: (0020,0032) projected on the plane's normal
    orientation: tuple[float, ...] | None = None  #: (0020,0037), six direction cosines
    pixel_spacing_mm: tuple[float, float] | None = None  #: (0028,0030), between rows, between columns
    slice_thickness_mm: float | None = None  #: (0018,0050)
    phase_encoding: str | None = None  #: (0018,1312) In-plane Phase Encoding Direction: ROW or COL


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceImage:
    """One decoded slice.

    pixels: (rows, columns) float32; Hounsfield units for CT, rescaled units otherwise;
    MONOCHROME1 is inverted, colour is luminance; padding carries the smallest valid value.
    """

    header: SliceHeader
    pixels: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_] | None = None  #: False at (0028,0120) padding; None: all valid
    storable: tuple[float, float] | None = None  #: pixel units of the smallest and largest storable value
    window: tuple[float, float] | None = None  #: (0028,1050) centre, (0028,1051) width, in pixel units


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Parallel slices of one size, ordered along their normal (or by instance number)."""

    slices: tuple[SliceHeader, ...]
    ordered_by: str = "position"  #: "position" or "instance_number"
    not_assessed: str | None = None  #: why this stack may not be scored (a localiser, a reformat)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesImages:
    """What reading a series' headers gave; nothing is decoded yet.

    attributes: DICOM keyword -> str, int, float or tuple of these, of the first stack's first slice
    (multi-frame: shared and first per-frame groups flattened into it).
    """

    attributes: Mapping[str, object]
    stacks: tuple[Stack, ...]  #: those that may be scored first, then largest first
    problems: tuple[str, ...] = field(default=())  #: one plain sentence a file that cannot be used
    not_assessed: str | None = None  #: why nothing of this series may be scored; None: it may
