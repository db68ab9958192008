"""A series' files as stacks of slices, and one slice as pixels in physical units.

`read_series` reads headers only and never raises for what a file holds; `decode` decodes one frame
and raises PixelError with a plain reason. What the pixels mean is the gate's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qagate.dicom.attributes import KEYWORDS, Attribute, flatten
from qagate.dicom.decoders import Layout, layout_of, stored_values
from qagate.dicom.frames import Instance, read_instance
from qagate.dicom.geometry import orthogonal_localiser, stacks
from qagate.dicom.kinds import named_localiser
from qagate.dicom.source import PixelError, Source, open_source
from qagate.dicom.units import (
    luminance,
    padding_mask,
    palette_luminance,
    signed_values,
    stored_range,
    transform_of,
    window_of,
)
from qagate.image import SeriesImages, SliceHeader, SliceImage, Stack

__all__ = ["PixelError", "decode", "display", "read_series"]

PIXEL_KEYWORDS = (
    *KEYWORDS,
    "PlanarConfiguration",
    "HighBit",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
)
CT_DEFAULT_WINDOW = (40.0, 400.0)  #: HU, soft tissue
MR_PERCENTILES = (1.0, 99.0)


def read_series(paths: Sequence[Path]) -> SeriesImages:
    """Read the headers of one series and group its images into ordered stacks.

    Multi-frame objects give one slice a frame. A file that cannot be used, or that holds no
    image, is a sentence in `problems`; nothing a file holds raises.

    Stacks share modality, size, orientation and, in MR, echo, b-value and image component; a
    position that repeats (dynamics, phases) starts a further stack. `not_assessed` says why no
    stack may be scored; a single stack that may not (a localiser beside the axial slices, phase
    beside magnitude) says so itself and comes last.
    """
    problems: list[str] = []
    instances = list(_usable(paths, problems))
    if not instances:
        return SeriesImages(
            attributes={}, stacks=(), problems=tuple(problems), not_assessed=_why_none(paths, problems)
        )
    found = stacks([plane for instance in instances for plane in instance.planes])
    modalities = sorted({instance.modality for instance in instances})
    attributes = _attributes(found[0])
    reason = _why_not(found, modalities, attributes)
    return SeriesImages(
        attributes=attributes,
        stacks=tuple(found),
        problems=tuple(problems),
        not_assessed=reason,
    )


def _usable(paths: Sequence[Path], problems: list[str]) -> Iterator[Instance]:
    seen: set[str] = set()
    for path in paths:
        instance = read_instance(Path(path))
        if isinstance(instance, str):
            problems.append(instance)
        elif instance.sop_instance_uid in seen:
            problems.append(
                f"{instance.sop_instance_uid}: the object is there more than once; the first is used"
            )
        else:
            seen.add(instance.sop_instance_uid)
            yield instance


def _attributes(stack: Stack) -> dict[str, Attribute]:
    """Of the first slice that will be looked at, whatever order the files came in."""
    try:
        return flatten(open_source(Path(stack.slices[0].path), KEYWORDS).data)
    except PixelError:  # the file went away since; decoding it will say so
        return {}


def _why_none(paths: Sequence[Path], problems: Sequence[str]) -> str:
    if not paths:
        return "the series has no files"
    reasons = sorted({problem.partition(": ")[2] for problem in problems})
    return "the series has no usable image: " + "; ".join(reasons[:3])


def _why_not(
    found: Sequence[Stack], modalities: Sequence[str], attributes: dict[str, Attribute]
) -> str | None:
    if len(modalities) > 1:
        return "the series mixes modalities: " + ", ".join(name or "none" for name in modalities)
    open_stacks = [stack for stack in found if stack.not_assessed is None]
    if not open_stacks:
        return "the series is " + "; ".join(sorted({stack.not_assessed or "" for stack in found}))
    description = f"{attributes.get('SeriesDescription', '')} {attributes.get('ProtocolName', '')}"
    longest = max(len(stack.slices) for stack in open_stacks)
    reason = named_localiser(modalities[0], description, longest)
    if reason is None and modalities[0] == "MR":
        reason = orthogonal_localiser(open_stacks)
    return None if reason is None else f"the series is {reason}"


@lru_cache(maxsize=2)
def _opened(path: str, modified_ns: int, size: int) -> tuple[Source, Layout]:
    """The parsed header of a file; kept because slices of one multi-frame file come in a row."""
    source = open_source(Path(path), PIXEL_KEYWORDS)
    return source, layout_of(source)


def decode(header: SliceHeader) -> SliceImage:
    """Decode one slice into physical units; only the wanted frame is read and decoded.

    Returns
    -------
    SliceImage
        (rows, columns) float32: Hounsfield units for CT, rescaled units otherwise. MONOCHROME1 is
        inverted within its storable range, colour becomes Rec. 601 luminance (palettes 0-255),
        padding carries the smallest valid value.

    Raises
    ------
    PixelError
        For anything that cannot be decoded as declared: size out of bounds, truncated or corrupt
        data, unsupported transfer syntax, a rescale that is no number.
    """
    try:
        status = Path(header.path).stat()
    except OSError as error:
        raise PixelError("the file is gone or cannot be read") from error
    source, layout = _opened(header.path, status.st_mtime_ns, status.st_size)
    index = (header.frame_number or 1) - 1
    container, photometric = stored_values(source, layout, index)
    if container.shape[:2] != (header.rows, header.columns):
        raise PixelError("the file changed since its header was read")
    values = signed_values(container, layout)
    if layout.samples > 1 or photometric == "PALETTE COLOR":
        return _colour_slice(header, source, layout, values, photometric)
    mask = padding_mask(source.data, container, values, layout)
    return _grey_slice(header, _Frame(source, layout, index), values, mask)


class _Frame(NamedTuple):
    source: Source
    layout: Layout
    number: int  # from 0


def _colour_slice(
    header: SliceHeader, source: Source, layout: Layout, values: npt.NDArray[Any], photometric: str
) -> SliceImage:
    if photometric == "PALETTE COLOR":
        grey, largest = palette_luminance(values, source.data), 255.0
    else:
        grey, largest = luminance(values, photometric), float(2**layout.stored - 1)
    return SliceImage(header=header, pixels=grey.astype(np.float32), storable=(0.0, largest))


def _grey_slice(
    header: SliceHeader, frame: _Frame, values: npt.NDArray[Any], invalid: npt.NDArray[np.bool_] | None
) -> SliceImage:
    source, layout, index = frame
    transform = transform_of(source.data, index)
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = transform.apply(values)
        single = pixels.astype(np.float32)
    finite = np.isfinite(single)
    if not finite.all():
        invalid = ~finite if invalid is None else invalid | ~finite
    valid = None if invalid is None else ~invalid
    if valid is not None and not valid.any():
        raise PixelError("the slice holds padding only, or no finite value")
    storable = None if layout.is_float else transform.range(*stored_range(layout))
    window = window_of(source.data, index)
    if layout.photometric == "MONOCHROME1":
        ends = storable or (float(np.nanmin(single[finite])), float(np.nanmax(single[finite])))
        single = np.float32(ends[0] + ends[1]) - single
        window = None if window is None else (ends[0] + ends[1] - window[0], window[1])
    if valid is not None:
        single = np.where(valid, single, single[valid].min())
    return SliceImage(header=header, pixels=single, valid=valid, storable=storable, window=window)


def display(image: SliceImage) -> npt.NDArray[np.uint8]:
    """A slice as 0-255 for previews and for models that want [0, 1].

    CT: its VOI window, else 40/400 HU, by the linear function of PS3.3 C.11.2.1.2. MR: 1st to
    99th percentile of the valid pixels. Others: their window, else smallest to largest value.
    """
    pixels = image.pixels
    valid = pixels if image.valid is None else pixels[image.valid]
    modality = image.header.modality
    if modality == "MR":
        low, high = np.percentile(valid, MR_PERCENTILES)
        if high <= low:
            low, high = valid.min(), valid.max()
    elif modality == "CT" or image.window is not None:
        centre, width = image.window or CT_DEFAULT_WINDOW
        low = centre - 0.5 - (width - 1) / 2
        high = centre - 0.5 + (width - 1) / 2
    else:
        low, high = valid.min(), valid.max()
    scaled = (pixels - np.float32(low)) / max(float(high) - float(low), 1e-6)
    return np.asarray(np.clip(np.rint(scaled * 255.0), 0, 255), dtype=np.uint8)
