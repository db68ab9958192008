"""Every transfer syntax against the original pixels or against DCMTK's decoding."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from qagate.dicom.pixels import PixelError, decode, read_series
from qagate.image import SliceImage

MakeFile = Callable[..., Path]
PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"
SIDE = 96

# 32 x 32 x 12 bits, pixel = 100 * row + 3 * column, encoded with OpenJPH.
HTJ2K_RAMP = base64.b64decode(
    "/0//UQApQAAAAAAgAAAAIAAAAAAAAAAAAAAAIAAAACAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQ"
    "kJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAALMAAf+TwAAmofgFB3QAwAASwAATAOwAh3QASP4DB3QAwAATQAATgNb+AAJ0"
    "ACIX+QCjVADAABPAABVgqqqgp8J1AI47duz4wEIB7LYAwAAVcAAFpCRJkufAp6enQngAwIGBgYGBgYH9jGB79jGB7LoAwAAtCAAF0IAAAAAA+f8p"
    "6enp6enp4nwAxkaj0Wg0Go1Go9FoNBr/eGCEB79iEB79iEB79iEB7LMB/9k="
)


def only(path: Path) -> SliceImage:
    series = read_series([path])
    assert not series.problems
    return decode(series.stacks[0].slices[0])


def tool(name: str) -> str:
    found = shutil.which(name, path="/usr/bin")
    if found is None:
        pytest.skip(f"DCMTK's {name} is not installed")
    return found


def convert(name: str, *arguments: str | Path) -> None:
    subprocess.run([tool(name), *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def scene() -> np.ndarray:
    """Smooth with noise, 12 bits: what lossy coders are made for."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    noise = np.random.default_rng(7).normal(0, 8, (SIDE, SIDE))
    return np.clip(2000 + 900 * np.sin(rows / 9) * np.cos(columns / 13) + noise, 0, 4095).astype(np.uint16)


@pytest.fixture
def plain(make_file: MakeFile, scene: np.ndarray) -> Path:
    return make_file(
        Rows=SIDE,
        Columns=SIDE,
        BitsStored=12,
        HighBit=11,
        PixelData=scene.tobytes(),
        RescaleSlope="1",
        RescaleIntercept="-1024",
        PatientID="",
        StudyDate="",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
    )


def test_uncompressed_little_endian(plain: Path, scene: np.ndarray) -> None:
    image = only(plain)
    assert image.pixels.dtype == np.float32
    assert np.array_equal(image.pixels, scene.astype(np.float32) - 1024)
    assert image.storable == (-1024.0, 3071.0)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_native_encodings(make_file: MakeFile, scene: np.ndarray, syntax: str) -> None:
    stored = scene.byteswap() if syntax == ExplicitVRBigEndian else scene
    path = make_file(syntax, Rows=SIDE, Columns=SIDE, PixelData=stored.tobytes())
    assert np.array_equal(only(path).pixels, scene)


def test_deflated(plain: Path, tmp_path: Path) -> None:
    convert("dcmconv", "+td", plain, tmp_path / "deflated.dcm")
    assert pydicom.filereader.read_file_meta_info(tmp_path / "deflated.dcm").TransferSyntaxUID == (
        DeflatedExplicitVRLittleEndian
    )
    assert np.array_equal(only(tmp_path / "deflated.dcm").pixels, only(plain).pixels)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("dcmcjpeg", "+el", "+tl"), id="JPEG lossless process 14"),
        pytest.param(("dcmcjpeg", "+e1", "+tl"), id="JPEG lossless SV1"),
        pytest.param(("dcmcjpls", "+el"), id="JPEG-LS lossless"),
        pytest.param(("dcmcrle",), id="RLE"),
    ],
)
def test_dcmtk_lossless_is_exact(plain: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    convert(*command, plain, tmp_path / "coded.dcm")
    assert np.array_equal(only(tmp_path / "coded.dcm").pixels, only(plain).pixels)


@pytest.mark.parametrize(
    ("command", "decoder", "tolerance"),
    [
        pytest.param(("dcmcjpeg", "+eb"), "dcmdjpeg", 20, id="JPEG baseline, 8 bits"),
        pytest.param(("dcmcjpeg", "+ee"), "dcmdjpeg", 2, id="JPEG extended, 12 bits"),
        pytest.param(("dcmcjpls", "+en"), "dcmdjpls", 0, id="JPEG-LS near-lossless"),
    ],
)
def test_dcmtk_lossy_as_dcmtk_decodes(
    plain: Path, tmp_path: Path, command: tuple[str, ...], decoder: str, tolerance: float
) -> None:
    """Within a grey value or two of the stream: inverse transforms round differently."""
    convert(*command, plain, tmp_path / "coded.dcm")
    convert(decoder, tmp_path / "coded.dcm", tmp_path / "decoded.dcm")
    ours, theirs = only(tmp_path / "coded.dcm"), only(tmp_path / "decoded.dcm")
    assert np.abs(ours.pixels - theirs.pixels).max() <= tolerance
    assert np.abs(ours.pixels - only(plain).pixels).mean() < 40


@pytest.mark.parametrize(
    ("syntax", "signed"),
    [(JPEG2000Lossless, 0), (JPEG2000Lossless, 1), (JPEGLSLossless, 0), (RLELossless, 0), (RLELossless, 1)],
)
def test_pydicom_lossless_is_exact(plain: Path, tmp_path: Path, syntax: str, signed: int) -> None:
    data = pydicom.dcmread(plain)
    data.PixelRepresentation = signed
    data.BitsStored, data.HighBit = 16, 15
    data.PixelData = (data.pixel_array.astype(np.int32) - 1500 * signed).astype("<i2").tobytes()
    data.save_as(tmp_path / "plain.dcm")
    data.compress(syntax, generate_instance_uid=False)
    data.save_as(tmp_path / "coded.dcm")
    assert np.array_equal(only(tmp_path / "coded.dcm").pixels, only(tmp_path / "plain.dcm").pixels)


def test_near_lossless_stays_within_its_error(plain: Path, tmp_path: Path) -> None:
    data = pydicom.dcmread(plain)
    data.compress(JPEGLSNearLossless, jls_error=3)
    data.save_as(tmp_path / "coded.dcm")
    assert 0 < np.abs(only(tmp_path / "coded.dcm").pixels - only(plain).pixels).max() <= 3


@pytest.mark.parametrize("syntax", [HTJ2KLossless, "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"])
def test_high_throughput_jpeg_2000(plain: Path, tmp_path: Path, syntax: str) -> None:
    data = pydicom.dcmread(plain)
    data.Rows = data.Columns = 32
    del data.RescaleIntercept
    data.PixelData = encapsulate([HTJ2K_RAMP])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    data.save_as(tmp_path / "coded.dcm")
    expected = np.add.outer(np.arange(32) * 100, np.arange(32) * 3)
    assert np.array_equal(only(tmp_path / "coded.dcm").pixels, expected)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_one_image_in_every_packaged_syntax(name: str) -> None:
    reference = pydicom.dcmread(PACKAGED / "MR_small.dcm").pixel_array
    assert np.array_equal(only(PACKAGED / name).pixels, reference)


@pytest.mark.parametrize(
    "name",
    [
        "JPGExtended.dcm",
        "JPEG2000.dcm",
        "693_J2KI.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jls_lossy_sample.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "SC_rgb_rle_16bit_2frame.dcm",
        "examples_ybr_color.dcm",
        "examples_jpeg2k.dcm",
        "examples_palette.dcm",
        "image_dfl.dcm",
        "ExplVR_BigEnd.dcm",
    ],
)
def test_packaged_oddities_decode(name: str) -> None:
    if not (PACKAGED / name).exists():
        pytest.skip("not packaged with this pydicom")
    image = only(PACKAGED / name)
    assert np.isfinite(image.pixels).all()
    assert image.pixels.std() > 0


def test_colour_is_its_luminance_in_any_encoding() -> None:
    """One picture, uncompressed RGB through DCMTK's JPEG and JPEG-LS in RGB and YBR."""
    reference = only(PACKAGED / "SC_rgb_rle.dcm").pixels
    colour = pydicom.dcmread(PACKAGED / "SC_rgb_rle.dcm").pixel_array
    assert np.allclose(reference, colour @ [0.299, 0.587, 0.114], atol=1e-3)
    for name in ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm"):
        assert np.abs(only(PACKAGED / name).pixels - reference).mean() < 3, name


def test_signed_sample_of_a_wrongly_signed_codestream() -> None:
    pixels = only(PACKAGED / "J2K_pixelrep_mismatch.dcm").pixels
    assert pixels.min() >= -4096  # two's complement of 13 bits, not 6192 for -2000
    assert pixels[0, 0] == -2000


@pytest.mark.parametrize("frame_number", [1, 2, 3])
def test_only_the_wanted_frame_is_taken(make_file: MakeFile, tmp_path: Path, frame_number: int) -> None:
    frames = np.stack([np.full((32, 32), value, np.uint16) for value in (10, 20, 30)])
    frames[:, 0, 0] = 99
    path = make_file(Rows=32, Columns=32, NumberOfFrames=3, PixelData=frames.tobytes(), Modality="US")
    slices = read_series([path]).stacks[0].slices
    assert [header.frame_number for header in slices] == [1, 2, 3]
    assert decode(slices[frame_number - 1]).pixels[5, 5] == frame_number * 10
    data = pydicom.dcmread(path)
    data.compress(RLELossless, generate_instance_uid=False)
    data.save_as(tmp_path / "coded.dcm")
    slices = read_series([tmp_path / "coded.dcm"]).stacks[0].slices
    assert decode(slices[frame_number - 1]).pixels[5, 5] == frame_number * 10


@pytest.mark.parametrize("part", [0.5, 0.95])
@pytest.mark.parametrize(
    "command", [("dcmcjpeg", "+eb"), ("dcmcjpeg", "+ee"), ("dcmcjpeg", "+e1"), ("dcmcjpls",), ("dcmcrle",)]
)
def test_a_cut_frame_is_refused(plain: Path, tmp_path: Path, command: tuple[str, ...], part: float) -> None:
    convert(*command, plain, tmp_path / "coded.dcm")
    whole = (tmp_path / "coded.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(PixelError, match=r"truncated|cannot be decoded|ends inside"):
        only(tmp_path / "cut.dcm")


def test_a_panicking_decoder_is_a_reason(plain: Path, tmp_path: Path) -> None:
    """The RLE decoder panics, past `except Exception`, when a run leaves the frame."""
    data = pydicom.dcmread(plain)
    segments = b"\x02\0\0\0" + b"\x40\0\0\0" + b"\x00\x20\0\0" + bytes(52)
    overrun = b"\x81\x05" * 4096
    data.PixelData = encapsulate([segments + overrun[: 0x2000 - 64] + overrun])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.file_meta.TransferSyntaxUID = RLELossless
    data.save_as(tmp_path / "coded.dcm")
    with pytest.raises(PixelError, match="cannot be decoded"):
        only(tmp_path / "coded.dcm")


def test_a_stream_larger_than_its_header_is_refused(plain: Path, tmp_path: Path) -> None:
    convert("dcmcjpeg", plain, tmp_path / "coded.dcm")
    data = pydicom.dcmread(tmp_path / "coded.dcm")
    data.Rows = 64
    data.save_as(tmp_path / "coded.dcm")
    with pytest.raises(PixelError, match="the compressed frame is 96 x 96, the header says 64 x 96"):
        only(tmp_path / "coded.dcm")
