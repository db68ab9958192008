"""Whatever arrives: a reason in plain words, never another exception, never a blow-up."""

from __future__ import annotations

import contextlib
import resource
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from qagate.dicom.pixels import PixelError, decode, read_series

MakeFile = Callable[..., Path]
PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.mark.parametrize("content", [b"", b"DICM", b"not an image at all" * 50, bytes(4096)])
def test_files_that_are_no_dicom(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.dcm").write_bytes(content)
    series = read_series([tmp_path / "odd.dcm"])
    assert series.stacks == ()
    assert len(series.problems) == 1
    assert series.problems[0].startswith("odd.dcm: ")
    assert series.not_assessed is not None


def test_no_file_and_a_missing_file(tmp_path: Path) -> None:
    assert read_series([]).not_assessed == "the series has no files"
    assert read_series([tmp_path / "gone.dcm"]).problems[0].startswith("gone.dcm: ")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Rows": 0, "Columns": 0, "PixelData": b""}, "empty"),
        ({"Rows": 1, "Columns": 1, "PixelData": b"\0\0"}, "too small"),
        ({"Rows": 20000, "Columns": 20000}, "too large"),
        ({"Rows": None}, "Rows or Columns is missing"),
        ({"PixelData": None}, "holds no image"),
        ({"PixelData": bytes(400)}, "truncated"),
        ({"NumberOfFrames": 2_000_000_000}, "NumberOfFrames"),
        ({"NumberOfFrames": 3}, "truncated"),
        ({"Modality": "RTSTRUCT"}, "structure set"),
    ],
)
def test_unusable_headers_are_named(make_file: MakeFile, values: dict[str, Any], reason: str) -> None:
    series = read_series([make_file(**values)])
    assert series.stacks == ()
    assert reason in series.problems[0]
    assert reason in (series.not_assessed or "")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"BitsAllocated": 12}, "BitsAllocated 12"),
        ({"BitsStored": 17}, "BitsStored 17"),
        ({"SamplesPerPixel": 2}, "SamplesPerPixel 2"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette"),
    ],
)
def test_undecodable_layouts_are_named(make_file: MakeFile, values: dict[str, Any], reason: str) -> None:
    header = read_series([make_file(**values)]).stacks[0].slices[0]
    with pytest.raises(PixelError, match=reason):
        decode(header)


def test_a_huge_image_costs_no_memory(make_file: MakeFile) -> None:
    header = read_series([make_file()]).stacks[0].slices[0]
    huge = make_file(Rows=20000, Columns=20000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PixelError, match="too large"):
        decode(replace(header, path=str(huge), rows=20000, columns=20000))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("syntax", ["1.2.840.113619.5.2", "1.2.840.10008.1.2.4.100", "1.2.3.4"])
def test_other_transfer_syntaxes_are_named(make_file: MakeFile, syntax: str) -> None:
    path = make_file()
    data = path.read_bytes()
    old = b"1.2.840.10008.1.2.1\0"
    assert old in data
    at = data.index(old)
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    path.write_bytes(
        data[: at - 2] + struct.pack("<H", len(new)) + new + data[at + len(old) :]
    )  # the group length is wrong now, as in many real files
    series = read_series([path])
    assert series.stacks == ()
    assert f"transfer syntax {syntax}" in series.problems[0]


def test_wrong_value_representations_cost_only_their_value(tmp_path: Path, make_file: MakeFile) -> None:
    path = make_file(ImplicitVRLittleEndian, KVP="120", SeriesDate="20240101", SliceThickness="3.0")
    data = path.read_bytes()
    data = data.replace(b"20240101", b"***     ").replace(b"120 ", b"high").replace(b"3.0 ", b"thin")
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        series = read_series([path])
    assert series.problems == ()
    assert "KVP" not in series.attributes
    assert series.stacks[0].slices[0].slice_thickness_mm is None
    assert decode(series.stacks[0].slices[0]).pixels.shape == (16, 16)


def test_missing_uids(make_file: MakeFile) -> None:
    uid = generate_uid()
    path = make_file(SOPInstanceUID=uid)
    data = pydicom.dcmread(path)
    del data.SOPInstanceUID, data.SeriesInstanceUID, data.StudyInstanceUID, data.SOPClassUID
    data.save_as(path)
    assert read_series([path]).stacks[0].slices[0].sop_instance_uid == uid  # from the meta information
    del data.file_meta.MediaStorageSOPInstanceUID
    data.save_as(path)
    assert "has no SOPInstanceUID" in read_series([path]).problems[0]


def test_native_pixels_under_a_compressed_syntax(make_file: MakeFile) -> None:
    path = make_file()
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    header = read_series([path]).stacks[0].slices[0]
    with pytest.raises(PixelError, match="not encapsulated"):
        decode(header)


def test_a_file_that_goes_away(make_file: MakeFile) -> None:
    path = make_file()
    header = read_series([path]).stacks[0].slices[0]
    path.unlink()
    with pytest.raises(PixelError, match="gone"):
        decode(header)


def test_a_frame_that_is_not_there(make_file: MakeFile) -> None:
    header = read_series([make_file()]).stacks[0].slices[0]
    with pytest.raises(PixelError, match="no frame 2 of 1"):
        decode(replace(header, frame_number=2))


def test_a_deflate_bomb_is_not_inflated(
    make_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qagate.dicom.elements.MOST_INFLATED", 1_000_000)
    plain = make_file(DeflatedExplicitVRLittleEndian)
    whole = plain.read_bytes()
    meta = pydicom.filereader.read_file_meta_info(plain)
    start = 132 + 12 + int(meta.FileMetaInformationGroupLength)
    deflater = zlib.compressobj(wbits=-15)
    bomb = deflater.compress(bytes(50_000_000)) + deflater.flush()
    (tmp_path / "bomb.dcm").write_bytes(whole[:start] + bomb)
    assert "the deflated data set is larger than" in read_series([tmp_path / "bomb.dcm"]).problems[0]


def test_one_bad_file_does_not_spoil_the_series(make_file: MakeFile, tmp_path: Path) -> None:
    good = make_file()
    (tmp_path / "bad.dcm").write_bytes(b"")
    series = read_series([tmp_path / "bad.dcm", good])
    assert len(series.stacks[0].slices) == 1
    assert series.problems == ("bad.dcm: the file is empty",)
    assert series.not_assessed is None


def test_every_packaged_file_is_answered() -> None:
    """Truncated, malformed and non-image files among them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(PACKAGED.glob("*.dcm")):
            series = read_series([path])
            assert series.stacks or series.problems, path.name
            for stack in series.stacks:
                try:
                    decode(stack.slices[-1])
                except PixelError as error:
                    assert path.name == "JPEG2000-embedded-sequence-delimiter.dcm", (path.name, str(error))


NAMES = ["MR_small.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_gdcm.dcm", "MR_small_jpeg_ls_lossless.dcm"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), flips=st.lists(st.integers(0, 2**31), min_size=1, max_size=8))
def test_flipped_bytes_in_the_header_raise_nothing_else(tmp_path: Path, name: str, flips: list[int]) -> None:
    data = bytearray((PACKAGED / name).read_bytes())
    for flip in flips:
        data[(flip >> 8) % min(len(data), 2500)] ^= (flip & 0xFF) or 1
    (tmp_path / "flipped.dcm").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        series = read_series([tmp_path / "flipped.dcm"])
        for stack in series.stacks:
            with contextlib.suppress(PixelError):
                decode(stack.slices[0])
