"""The header reader meets right, wrong and random bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from qagate.dicom.headers import HeaderError, is_uid, read_header
from qagate.dicom.part10 import FileMeta

MakeFile = Callable[..., Path]
META = FileMeta(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=ExplicitVRLittleEndian)


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def uids() -> bytes:
    return element(8, 0x16, b"UI", b"1.2\0") + element(8, 0x18, b"UI", b"1.2.3\0")


def series_uids() -> bytes:
    return element(0x20, 0xD, b"UI", b"1.4\0") + element(0x20, 0xE, b"UI", b"1.5\0")


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_every_encoding_gives_the_same_header(make_file: MakeFile, syntax: str) -> None:
    nested = Dataset()
    nested.CodeValue = "X"
    nested.ConceptNameCodeSequence = [Dataset()]
    path = make_file(
        syntax,
        SeriesDescription="Thorax",
        SeriesNumber=7,
        NumberOfSlices=258,
        NumberOfTemporalPositions=2,
        AnatomicRegionSequence=[nested, nested],
        PixelData=None,
    )
    data_set = pydicom.dcmread(path)
    header = read_header(path)
    assert header.sop_instance_uid == data_set.SOPInstanceUID
    assert header.series_instance_uid == data_set.SeriesInstanceUID
    assert header.study_instance_uid == data_set.StudyInstanceUID
    assert (header.series.modality, header.series.series_description) == ("CT", "Thorax")
    assert (header.series.series_number, header.series.expected_instances) == (7, 516)


def test_undefined_lengths_are_walked(make_file: MakeFile, tmp_path: Path) -> None:
    item = b"\xfe\xff\x00\xe0" + b"\xff\xff\xff\xff" + element(8, 0x100, b"SH", b"AB")
    item += b"\xfe\xff\x0d\xe0" + b"\0" * 4
    sequence = struct.pack("<HH2s2xL", 8, 0x1111, b"SQ", 0xFFFFFFFF) + item * 2
    sequence += b"\xfe\xff\xdd\xe0" + b"\0" * 4
    path = tmp_path / "undefined.dcm"
    path.write_bytes(META.encode() + uids() + element(8, 0x60, b"CS", b"MR") + sequence + series_uids())
    assert read_header(path).series.modality == "MR"


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_a_missing_uid_is_named(make_file: MakeFile, keyword: str) -> None:
    with pytest.raises(HeaderError, match=f"{keyword} is missing"):
        read_header(make_file(**{keyword: None}))


@pytest.mark.parametrize("uid", [b"../../../etc/x", b"1.2/3.4 ", b"1..2", b".1.2", b"1" * 66, b"a.b.c "])
def test_a_uid_that_is_no_file_name_is_refused(tmp_path: Path, uid: bytes) -> None:
    path = tmp_path / "bad.dcm"
    uid += b"\0" * (len(uid) % 2)
    path.write_bytes(
        META.encode() + element(8, 0x16, b"UI", b"1.2\0") + element(8, 0x18, b"UI", uid) + series_uids()
    )
    with pytest.raises(HeaderError, match="SOPInstanceUID is not a UID"):
        read_header(path)


def test_wrong_values_become_empty(tmp_path: Path) -> None:
    path = tmp_path / "wrong.dcm"
    path.write_bytes(
        META.encode()
        + uids()
        + element(8, 0x20, b"DA", b"***")
        + element(8, 0x60, b"CS", b"CT")
        + element(8, 0x103E, b"LO", b"A\x00\x1bB\xff")
        + element(0x10, 0x30, b"DA", b"***")
        + series_uids()
        + element(0x20, 0x11, b"IS", b"ten")
        + element(0x20, 0x1002, b"IS", b"many")
        + element(0x54, 0x81, b"US", b"20")
    )
    header = read_header(path).series
    assert (header.series_description, header.series_number) == ("ABÿ", None)
    assert header.expected_instances == 20


def test_a_multi_frame_instance_promises_no_instances(make_file: MakeFile) -> None:
    assert read_header(make_file(NumberOfFrames=40, NumberOfSlices=40)).series.expected_instances is None
    assert read_header(make_file(ImagesInAcquisition=12)).series.expected_instances == 12


def test_text_is_decoded_by_its_character_set(make_file: MakeFile) -> None:
    for character_set in ("ISO_IR 192", "ISO_IR 100", ["", "ISO 2022 IR 100"]):
        path = make_file(SpecificCharacterSet=character_set, SeriesDescription="Schädel")
        assert read_header(path).series.series_description == "Schädel"


def test_what_is_no_data_set_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    for content, reason in (
        (b"", "not a DICOM file"),
        (META.encode(), "the data set is empty"),
        (META.encode() + b"\x08\0", "SOPClassUID is missing"),
        (META.encode() + bytes(1000), "SOPClassUID is missing"),
    ):
        path.write_bytes(content)
        with pytest.raises(HeaderError, match=reason):
            read_header(path)


def test_a_corrupt_deflated_data_set_is_said_so(tmp_path: Path) -> None:
    meta = FileMeta(
        sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=DeflatedExplicitVRLittleEndian
    )
    path = tmp_path / "x.dcm"
    path.write_bytes(meta.encode() + b"\xff" * 100)
    with pytest.raises(HeaderError, match="deflated"):
        read_header(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_random_damage_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = uids() + element(8, 0x60, b"CS", b"CT") + series_uids() + element(0x28, 8, b"IS", b"1 ")
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 6))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged += data.draw(st.binary(max_size=40))
    syntax = data.draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]))
    meta = FileMeta(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=syntax)
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    path.write_bytes(meta.encode() + bytes(damaged))
    try:
        header = read_header(path)
    except HeaderError:
        return
    assert is_uid(header.sop_instance_uid)


def test_the_shared_series_agree_with_pydicom(shared_series: list[Path]) -> None:
    for folder in shared_series:
        for path in sorted(folder.glob("*.dcm"))[:3]:
            data_set = pydicom.dcmread(path, stop_before_pixels=True)
            header = read_header(path)
            assert header.sop_instance_uid == data_set.SOPInstanceUID
            assert header.series_instance_uid == data_set.SeriesInstanceUID
            assert header.series.modality == data_set.Modality
            assert header.series.body_part_examined == data_set.get("BodyPartExamined", "")


def test_is_uid() -> None:
    assert is_uid(generate_uid())
    assert is_uid("1.2.0113.5")
    assert not is_uid("") and not is_uid("1." + "2" * 64) and not is_uid("1.2\n")
