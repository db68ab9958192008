"""Mutated data sets and bombs at every door: a named outcome, bounded memory, nothing else raised."""

from __future__ import annotations

import io
import resource
import struct
import tracemalloc
from pathlib import Path

import fuzz_mutate
import fuzz_seeds as seeds
import numpy as np
import pytest
from fuzz_child import memory_mb
from fuzz_mutate import KINDS
from fuzz_read import Doors
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from qagate import parts
from qagate.assessment import Verdict
from qagate.config import Settings
from qagate.dicom.headers import HeaderError, read_header
from qagate.dicom.pixels import PixelError, decode, read_series
from qagate.dicom.source import check_bounds
from qagate.examine import MOST_PIXELS, examine, prepare
from qagate.gate.policy import Policy
from qagate.series import SeriesHeader

CASES = 10 * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_mutation_has_a_named_outcome(doors: Doors, kind: str) -> None:
    before = memory_mb()[0]
    first = list(KINDS).index(kind)
    for number in range(first, CASES, len(KINDS)):
        read = doors.read(fuzz_mutate.case(1, number).data, report=number < 3 * len(KINDS))
        assert read.received in ("taken", "refused")
        assert read.prepared in ("scored", "not assessed")
    assert memory_mb()[0] - before < 200


@pytest.mark.parametrize("syntax", [*seeds.PLAIN, *seeds.ENCODED])
def test_the_seeds_are_good(doors: Doors, syntax: str) -> None:
    read = doors.read(seeds.synthetic(syntax))
    assert (read.received, read.drawn, read.reported) == ("taken", "drawn", "reported")


@pytest.mark.parametrize("value", fuzz_mutate.UIDS)
def test_what_is_no_uid_is_refused(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / "x.dcm"
    whole = seeds.synthetic(ExplicitVRLittleEndian)
    path.write_bytes(fuzz_mutate._with(whole, 0x0020000E, b"UI", value))
    with pytest.raises(HeaderError, match=r"SeriesInstanceUID|end"):
        read_header(path)


def test_a_deflate_bomb_reaches_no_parser(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qagate.dicom.elements.MOST_INFLATED", 1 << 20)
    made = seeds.data_set(16)
    made.add_new(0x00091001, "OB", bytes(400 << 20))
    bomb = seeds.deflated(seeds.plain_data_set(made))
    del made
    assert len(bomb) < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = doors.read(bomb)
    assert (read.received, read.prepared, read.reported) == ("refused", "not assessed", "no report")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_more_items_than_any_image_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qagate.dicom.elements.MOST_ELEMENTS", 5_000)
    monkeypatch.setattr("qagate.dicom.source.MOST_ELEMENTS", 5_000)
    whole = seeds.plain_data_set(seeds.data_set(16))
    at = whole.find(struct.pack("<HH", 0x0018, 0x0015))
    path = tmp_path / "items.dcm"
    for explicit in (True, False):
        items = fuzz_mutate._many_items(6_000, explicit)
        path.write_bytes(seeds.head(ExplicitVRLittleEndian) + whole[:at] + items + whole[at:])
        with pytest.raises(PixelError, match="more than 5000 elements"):
            check_bounds(path)
        assert "more than 5000 elements" in read_series([path]).problems[0]
    with pytest.raises(HeaderError, match="more than 5000 elements"):
        read_header(path)


def test_an_object_of_a_thousand_frames_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qagate.dicom.source.MOST_ELEMENTS", 0)  # every file is walked
    path = tmp_path / "enhanced.dcm"
    path.write_bytes(seeds.enhanced(1000, side=16))
    assert len(read_series([path]).stacks[0].slices) == 1000


def _jpeg(side: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((side, side), 90, np.uint8)).save(out, "JPEG")
    return out.getvalue()


def _compressed(tmp_path: Path, frame: bytes, syntax: str) -> Path:
    made = seeds.data_set(32)
    made.BitsAllocated = made.BitsStored = 8 if syntax == JPEGBaseline8Bit else 16
    made.HighBit = made.BitsStored - 1
    made.PixelData = encapsulate([frame])
    made["PixelData"].is_undefined_length = True
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "compressed.dcm"
    path.write_bytes(seeds.part10(made))
    return path


def _decoded(path: Path) -> np.ndarray:
    return decode(read_series([path]).stacks[0].slices[0]).pixels


def test_a_jpeg_size_that_only_the_decoder_would_see_is_refused(tmp_path: Path) -> None:
    small, large = _jpeg(32), _jpeg(4000)
    head = large[2 : large.index(b"\xff\xda")]
    # libjpeg passes over FF 00 and takes the large frame's header; a walk by lengths takes the small one's.
    hidden = small[:2] + b"\xff\x00" + struct.pack(">H", len(head) + 2) + head + small[2:]
    with pytest.raises(PixelError, match="corrupt header"):
        _decoded(_compressed(tmp_path, hidden, JPEGBaseline8Bit))


def test_a_jpeg_of_many_scans_is_refused(tmp_path: Path) -> None:
    frame = _jpeg(32)
    scan = frame[frame.index(b"\xff\xda") : -2]
    with pytest.raises(PixelError, match="scans"):
        _decoded(_compressed(tmp_path, frame[:-2] + scan * 50 + b"\xff\xd9", JPEGBaseline8Bit))


def test_the_codestream_that_is_examined_is_the_one_that_is_decoded(tmp_path: Path) -> None:
    whole = seeds.synthetic(JPEG2000Lossless)
    start = whole.index(b"\xff\x4f\xff\x51")
    stream = whole[start : whole.index(b"\xff\xd9", start) + 2]
    large = bytearray(stream)
    large[8:16] = struct.pack(">2L", 60_000, 60_000)
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">L4s", 8 + len(stream), b"free") + stream
    boxes += struct.pack(">L4s", 8 + len(large), b"jp2c") + bytes(large)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    expected = _decoded(_compressed(tmp_path, stream, JPEG2000Lossless))
    np.testing.assert_array_equal(_decoded(_compressed(tmp_path, boxes, JPEG2000Lossless)), expected)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_empty_slices_are_not_kept(tmp_path: Path) -> None:
    paths = []
    for number in range(1, 61):
        made = seeds.data_set(256, number)
        made.PixelData = bytes(2 * 256 * 256)
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(seeds.part10(made))
    tracemalloc.start()
    prepared = prepare(paths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert prepared.not_assessed == "every slice is empty"
    assert peak < 20 * 4 * 256 * 256  # bytes; sixty slices are three times as much


def test_what_the_model_declines_is_not_assessed(tmp_path: Path) -> None:
    path = tmp_path / "small.dcm"
    made = seeds.data_set(16)
    made.PixelData = np.random.default_rng(1).integers(0, 4096, (16, 16)).astype("<u2").tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.write_bytes(seeds.part10(made))
    prepared = prepare([path])
    assert prepared.not_assessed is None and len(prepared.slices) == 1  # it is the model that declines
    scorer = parts.scorer(Settings(data_dir=tmp_path), device="cpu")
    (found,) = examine([prepared], [SeriesHeader(modality="CT")], scorer, Policy())
    assert found.decision.verdict is Verdict.NOT_ASSESSED
    assert found.assessment.not_assessed


def test_slices_too_large_to_be_judged_together_are_named(tmp_path: Path) -> None:
    made = seeds.data_set(16)
    made.Rows, made.Columns = 4097, 4096
    made.PixelData = bytes(2 * 4097 * 4096)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / "large.dcm"
    path.write_bytes(seeds.part10(made))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert f"at most {MOST_PIXELS}" in (prepare([path]).not_assessed or "")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
