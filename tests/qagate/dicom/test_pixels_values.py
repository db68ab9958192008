"""Stored bits to physical units: sign, depth, padding, rescale, photometric interpretation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, UltrasoundImageStorage

from qagate.dicom.pixels import PixelError, decode, display, read_series
from qagate.image import SliceHeader, SliceImage

MakeFile = Callable[..., Path]
SIDE = 16


def only(path: Path) -> SliceImage:
    return decode(read_series([path]).stacks[0].slices[0])


def ramp(**kind: Any) -> np.ndarray:
    return np.arange(SIDE * SIDE, dtype=kind.get("dtype", np.uint16)).reshape(SIDE, SIDE)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    stored=st.integers(2, 16),
    room=st.integers(0, 3),
    signed=st.booleans(),
    slope=st.floats(-50, 50).filter(lambda slope: abs(slope) > 1e-3),
    intercept=st.floats(-5000, 5000),
)
def test_any_depth_sign_and_rescale(
    make_file: MakeFile, seed: int, stored: int, room: int, signed: bool, slope: float, intercept: float
) -> None:
    """Garbage around the stored bits changes nothing (PS3.5 section 8.1.1)."""
    generator = np.random.default_rng(seed)
    high = min(stored - 1 + room, 15)
    low = -(2 ** (stored - 1)) if signed else 0
    values = generator.integers(low, low + 2**stored, (SIDE, SIDE))
    shift = high + 1 - stored
    mask = ((1 << stored) - 1) << shift
    container = ((values << shift) & mask) | (generator.integers(0, 65536, values.shape) & ~mask & 0xFFFF)
    path = make_file(
        BitsStored=stored,
        HighBit=high,
        PixelRepresentation=int(signed),
        PixelData=container.astype("<u2").tobytes(),
        RescaleSlope=f"{slope:.8g}",
        RescaleIntercept=f"{intercept:.8g}",
    )
    image = only(path)
    expected = values * float(f"{slope:.8g}") + float(f"{intercept:.8g}")
    assert np.allclose(image.pixels, expected, rtol=1e-5, atol=1e-2)
    assert image.storable is not None
    assert image.storable[0] - 1e-2 <= image.pixels.min() <= image.pixels.max() <= image.storable[1] + 1e-2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"RescaleSlope": "0"}, "RescaleSlope is zero"),
        ({"RescaleSlope": "nan"}, "RescaleSlope is not a finite number"),
        ({"RescaleSlope": "inf"}, "RescaleSlope is not a finite number"),
        ({"RescaleIntercept": "NaN"}, "RescaleIntercept is not a finite number"),
    ],
)
def test_a_rescale_that_is_no_number_is_named(
    make_file: MakeFile, values: dict[str, str], message: str
) -> None:
    with pytest.raises(PixelError, match=message):
        only(make_file(**values))


def test_modality_lut(make_file: MakeFile) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 2, 16])
    table.add_new("LUTData", "US", [100, 200, 400, 800])
    table.ModalityLUTType = "HU"
    pixels = ramp()
    image = only(make_file(PixelData=pixels.tobytes(), ModalityLUTSequence=[table]))
    assert image.pixels[0, :7].tolist() == [100, 100, 100, 200, 400, 800, 800]
    assert image.storable == (100.0, 800.0)


def test_monochrome1_is_inverted_with_its_window(make_file: MakeFile) -> None:
    image = only(
        make_file(
            PhotometricInterpretation="MONOCHROME1",
            BitsStored=12,
            HighBit=11,
            PixelData=ramp().tobytes(),
            WindowCenter="95",
            WindowWidth="50",
            Modality="DX",
        )
    )
    assert np.array_equal(image.pixels, 4095 - ramp().astype(np.float32))
    assert image.window == (4000.0, 50.0)


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, [0]), (3, [0, 1, 2, 3])], ids=["value", "range to its limit"]
)
def test_padding_is_marked_and_filled(make_file: MakeFile, limit: int | None, expected: list[int]) -> None:
    values: dict[str, Any] = {"PixelPaddingValue": 0}
    if limit is not None:
        values["PixelPaddingRangeLimit"] = limit
    image = only(make_file(PixelData=ramp().tobytes(), **values))
    assert image.valid is not None
    assert np.flatnonzero(~image.valid).tolist() == expected
    assert image.pixels[~image.valid].tolist() == [expected[-1] + 1] * len(expected)


@pytest.mark.parametrize("padding", [-2000, 63536])
def test_padding_written_outside_the_stored_bits(make_file: MakeFile, padding: int) -> None:
    """-2000 in a 12-bit CT, a habit of several makers, with either sign of the tag."""
    pixels = np.full((SIDE, SIDE), 1000, np.uint16)
    pixels[0] = np.uint16(63536)
    tag = {"PixelPaddingValue": padding % 65536}
    image = only(make_file(BitsStored=12, HighBit=11, PixelData=pixels.tobytes(), **tag))
    assert image.valid is not None
    assert not image.valid[0].any()
    assert image.valid[1:].all()
    assert (image.pixels == 1000).all()


def test_padding_everywhere_is_refused(make_file: MakeFile) -> None:
    with pytest.raises(PixelError, match="padding only"):
        only(make_file(PixelPaddingValue=0))


def test_monochrome1_padding_stays_the_smallest(make_file: MakeFile) -> None:
    image = only(
        make_file(PhotometricInterpretation="MONOCHROME1", PixelData=ramp().tobytes(), PixelPaddingValue=0)
    )
    assert image.pixels[0, 0] == image.pixels.min() == 65535 - 255


def test_float_pixels_and_their_gaps(make_file: MakeFile) -> None:
    pixels = ramp().astype("<f4")
    pixels[3, 3] = np.nan
    image = only(
        make_file(
            BitsAllocated=32,
            BitsStored=None,
            HighBit=None,
            PixelRepresentation=None,
            PixelData=None,
            FloatPixelData=pixels.tobytes(),
        )
    )
    assert image.valid is not None
    assert not image.valid[3, 3]
    assert np.isfinite(image.pixels).all()
    assert image.storable is None


def test_planar_colour(make_file: MakeFile) -> None:
    colours = np.zeros((3, SIDE, SIDE), np.uint8)
    colours[1] = 200
    image = only(
        make_file(
            SOPClassUID=UltrasoundImageStorage,
            Modality="US",
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=1,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelData=colours.tobytes(),
        )
    )
    assert np.allclose(image.pixels, 0.587 * 200)
    assert image.storable == (0.0, 255.0)


def test_the_window_is_the_first_usable_one(make_file: MakeFile) -> None:
    assert only(make_file(WindowCenter=["40", "500"], WindowWidth=["300", "2000"])).window == (40.0, 300.0)
    assert only(make_file(WindowCenter="40", WindowWidth="0")).window is None


def slice_of(pixels: np.ndarray, modality: str, window: tuple[float, float] | None = None) -> SliceImage:
    header = SliceHeader(
        path="", sop_instance_uid="", sop_class_uid="", modality=modality, rows=SIDE, columns=SIDE
    )
    return SliceImage(header=header, pixels=pixels.astype(np.float32), window=window)


def test_display_windows_ct_as_the_standard_says() -> None:
    pixels = np.full((SIDE, SIDE), -1000.0)
    pixels[0, :4] = [-160.0, 39.5, 239.0, 3000.0]
    shown = display(slice_of(pixels, "CT"))
    assert shown.dtype == np.uint8
    assert shown[0, :4].tolist() == [0, 128, 255, 255]
    assert display(slice_of(pixels, "CT", window=(-1000.0, 10.0)))[1, 1] > 100


def test_display_stretches_mr_between_percentiles() -> None:
    pixels = np.random.default_rng(0).uniform(0, 1000, (SIDE, SIDE))
    pixels[0, 0] = 1e6
    shown = display(slice_of(pixels, "MR", window=(1e6, 1e6)))
    assert shown.min() == 0
    assert (shown[1:] > 200).any()
    assert display(slice_of(np.zeros((SIDE, SIDE)), "MR")).max() == 0


def test_rescale_of_the_frame_beats_the_top(make_file: MakeFile) -> None:
    """Enhanced MR: each frame its own slope, and its own window."""
    frames = np.ones((2, SIDE, SIDE), np.uint16)
    groups = []
    for number, slope in enumerate((2, 5)):
        transform, voi, group = Dataset(), Dataset(), Dataset()
        transform.RescaleSlope, transform.RescaleIntercept = str(slope), "1"
        voi.WindowCenter, voi.WindowWidth = str(10 + number), "20"
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [transform], [voi]
        groups.append(group)
    path = make_file(
        SOPClassUID=MRImageStorage,
        Modality="MR",
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=groups,
        PixelData=frames.tobytes(),
    )
    slices = [decode(header) for header in read_series([path]).stacks[0].slices]
    assert [image.pixels[0, 0] for image in slices] == [3.0, 6.0]
    assert [image.window for image in slices] == [(10.0, 20.0), (11.0, 20.0)]
