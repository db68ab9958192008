"""Slices for the screen: pixels with 16 bits for the viewer, small pictures for strips and tiles."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from qagate.assessment import QualityMap
from qagate.dicom.pixels import CT_DEFAULT_WINDOW, MR_PERCENTILES, display
from qagate.image import SliceImage

THUMBNAIL = 96  #: pixels of a thumbnail's longer side
PREVIEW = 384  #: the same of a tile's picture
_STEPS = 65_535
_HEAT = (230, 60, 20)  #: colour of what is seen as bad; the viewer's script uses the same
_HEAT_MOST = 0.6  #: opacity of the worst
_JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenPixels:
    """One slice as the viewer takes it: value = stored * slope + intercept, in the slice's units."""

    rows: int
    columns: int
    slope: float
    intercept: float
    centre: float  #: of the window to begin with, in the slice's units
    width: float
    stored: bytes  #: rows x columns unsigned 16-bit numbers, little endian


def screen_pixels(image: SliceImage) -> ScreenPixels:
    """A decoded slice in 16 bits: exact where its values are whole numbers within 65,536 of each other.

    MONOCHROME1 and the rescale are dealt with by the decoder; larger is brighter.
    """
    pixels = image.pixels
    low, high = float(pixels.min()), float(pixels.max())
    whole = high - low <= _STEPS and bool(np.array_equal(pixels, np.rint(pixels)))
    slope = 1.0 if whole else max((high - low) / _STEPS, float(np.finfo(np.float32).tiny))
    stored = np.rint((pixels.astype(np.float64) - low) / slope).astype("<u2")
    centre, width = window(image)
    return ScreenPixels(
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        slope=slope,
        intercept=low,
        centre=centre,
        width=width,
        stored=stored.tobytes(),
    )


def window(image: SliceImage) -> tuple[float, float]:
    """Centre and width to show a slice with: the header's, else soft tissue (CT) or the usual percentiles."""
    if image.window is not None and image.window[1] >= 1:
        return image.window
    if image.header.modality == "CT":
        return CT_DEFAULT_WINDOW
    valid = image.pixels if image.valid is None else image.pixels[image.valid]
    low, high = (float(value) for value in np.percentile(valid, MR_PERCENTILES))
    if high <= low:
        low, high = float(valid.min()), float(valid.max())
    return (low + high) / 2, max(high - low, 1e-6)


def thumbnail(
    image: SliceImage,
    quality_map: QualityMap | None = None,
    *,
    ends: tuple[float, float] = (0.0, 0.0),
    side: int = THUMBNAIL,
) -> bytes:
    """A JPEG of at most `side` pixels a side; with a map, what is seen as bad is tinted. ends: `map_ends`."""
    shown = Image.fromarray(display(image))
    shown.thumbnail((side, side), Image.Resampling.BOX)
    made = io.BytesIO()
    _tinted(shown, quality_map, ends).save(made, "JPEG", quality=_JPEG_QUALITY)
    return made.getvalue()


def picture(image: SliceImage) -> bytes:
    """A PNG of the whole slice, for browsers without the viewer."""
    made = io.BytesIO()
    Image.fromarray(display(image)).save(made, "PNG")
    return made.getvalue()


def cells(quality_map: QualityMap) -> npt.NDArray[np.float32]:
    """(rows, columns) scores of a kept map, float32, on the model's scale."""
    steps = np.frombuffer(quality_map.cells, np.uint8).reshape(quality_map.rows, quality_map.columns)
    return np.float32(quality_map.low) + steps * np.float32((quality_map.high - quality_map.low) / 255)


def map_ends(maps: Iterable[QualityMap | None]) -> tuple[float, float]:
    """The scores between which the maps of one series are tinted: the lowest per cent, and the median.

    One scale for the series, so that its slices can be compared; (0, 0) without a map.
    """
    found = [cells(one).ravel() for one in maps if one is not None]
    if not found:
        return 0.0, 0.0
    low, middle = np.percentile(np.concatenate(found), (1, 50))
    return float(low), float(middle)


def _tinted(shown: Image.Image, quality_map: QualityMap | None, ends: tuple[float, float]) -> Image.Image:
    low, high = ends
    if quality_map is None or high <= low:
        return shown
    bad = np.clip((high - cells(quality_map)) / (high - low), 0, 1)
    cover = Image.fromarray(np.rint(255 * _HEAT_MOST * bad).astype(np.uint8))
    cover = cover.resize(shown.size, Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", shown.size, _HEAT), shown.convert("RGB"), cover)
