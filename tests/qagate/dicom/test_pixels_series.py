"""Headers into stacks: geometry, components, localisers, derived images, multi-frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from qagate.dicom.pixels import decode, read_series
from qagate.image import SeriesImages

MakeFile = Callable[..., Path]
AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]
SHARED = Path(__file__).parents[4] / "shared" / "dicom"
FRAME = bytes(512)


def slices(make_file: MakeFile, places: list[Any], **values: Any) -> list[Path]:
    """One file a place: a z in mm, or a whole position."""
    paths = []
    for number, place in enumerate(places, start=1):
        position = place if isinstance(place, list) else [0, 0, place]
        own = {"ImageOrientationPatient": AXIAL, "InstanceNumber": number} | values
        paths.append(make_file(ImagePositionPatient=position, **own))
    return paths


def shape(series: SeriesImages) -> list[int]:
    return [len(stack.slices) for stack in series.stacks]


def test_order_is_by_position_not_by_instance_number(make_file: MakeFile) -> None:
    paths = slices(make_file, [5, 0, 10, -5])
    series = read_series(paths)
    (stack,) = series.stacks
    assert stack.ordered_by == "position"
    assert [header.position_mm for header in stack.slices] == [-5, 0, 5, 10]
    assert [header.instance_number for header in stack.slices] == [4, 2, 1, 3]
    assert series.not_assessed is None


def test_without_positions_the_instance_number_orders(make_file: MakeFile) -> None:
    paths = [make_file(InstanceNumber=number) for number in (10, 9, 2)]
    (stack,) = read_series(paths).stacks
    assert stack.ordered_by == "instance_number"
    assert [header.instance_number for header in stack.slices] == [2, 9, 10]


def test_positions_run_along_an_oblique_normal(make_file: MakeFile) -> None:
    tilt = [1, 0, 0, 0, 0.8, 0.6]  # gantry tilted; normal (0, -0.6, 0.8)
    paths = slices(make_file, [[0, 0, 10], [0, 0, 0]], ImageOrientationPatient=tilt)
    positions = [header.position_mm for header in read_series(paths).stacks[0].slices]
    assert positions == pytest.approx([0, 8])


def test_orientations_and_sizes_are_stacks_of_their_own(make_file: MakeFile) -> None:
    paths = slices(make_file, [0, 1, 2, 3, 4, 5])
    paths += slices(make_file, [[0, y, 0] for y in range(7)], ImageOrientationPatient=CORONAL)
    paths += slices(make_file, [0, 1], Rows=32, PixelData=bytes(1024))
    nearly = [1, 0.003, 0, -0.003, 1, 0]
    paths += slices(make_file, [6, 7], ImageOrientationPatient=nearly)
    assert shape(read_series(paths)) == [8, 7, 2]


def test_mr_components_and_echoes_do_not_interleave(make_file: MakeFile) -> None:
    paths = []
    for echo in (1, 2):
        for part in ("M", "P"):
            kind = {"ImageType": ["ORIGINAL", "PRIMARY", part, "ND"], "EchoNumbers": echo}
            paths += slices(make_file, [0, 1, 2], SOPClassUID=MRImageStorage, Modality="MR", **kind)
    series = read_series(paths)
    assert shape(series) == [3, 3, 3, 3]
    assert [stack.not_assessed is None for stack in series.stacks] == [True, True, False, False]
    assert "phase" in (series.stacks[-1].not_assessed or "")
    assert series.not_assessed is None


def test_ct_slices_with_uneven_image_types_stay_together(make_file: MakeFile) -> None:
    paths = slices(make_file, [0, 1], ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    paths += slices(make_file, [2, 3], ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "ADD"])
    assert shape(read_series(paths)) == [4]


def test_repeated_positions_are_further_stacks(make_file: MakeFile) -> None:
    paths = slices(make_file, [0, 1, 2, 0, 1, 2, 0, 1, 2])
    series = read_series(paths)
    assert shape(series) == [3, 3, 3]
    assert [header.instance_number for header in series.stacks[1].slices] == [4, 5, 6]


def test_one_position_seen_many_times_is_one_stack(make_file: MakeFile) -> None:
    (stack,) = read_series(slices(make_file, [7, 7, 7])).stacks
    assert stack.ordered_by == "instance_number"
    assert len(stack.slices) == 3


def test_a_localiser_beside_axial_slices_comes_last(make_file: MakeFile) -> None:
    paths = slices(
        make_file,
        [0, 1, 2],
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=CORONAL,
        SeriesDescription="first in the folder",
    )
    paths += slices(make_file, [0, 1], SeriesDescription="Abdomen")
    series = read_series(paths)
    assert shape(series) == [2, 3]
    assert "localiser" in (series.stacks[1].not_assessed or "")
    assert series.not_assessed is None
    assert series.attributes["SeriesDescription"] == "Abdomen"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localiser"),
        ({"SeriesDescription": "AAHead_Scout"}, "localiser"),
        ({"SeriesDescription": "3-plane loc"}, "localiser"),
        ({"SeriesDescription": "Survey"}, "localiser"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "a reformat"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, "a reformat"),
        ({"ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE", "MIP"]}, "a projection"),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "a parameter map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, "a mosaic"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "a secondary capture"),
        (
            {
                "SamplesPerPixel": 3,
                "PhotometricInterpretation": "RGB",
                "PlanarConfiguration": 0,
                "BitsAllocated": 8,
                "BitsStored": 8,
                "HighBit": 7,
                "PixelData": bytes(768),
            },
            "a colour picture",
        ),
    ],
)
def test_what_may_not_be_judged(make_file: MakeFile, values: dict[str, Any], reason: str) -> None:
    own = {"SOPClassUID": MRImageStorage, "Modality": "MR"} | values
    series = read_series(slices(make_file, [0, 1], **own))
    assert reason in (series.not_assessed or "")


@pytest.mark.parametrize(
    "values",
    [
        {"ImageType": ["DERIVED", "SECONDARY"]},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]},
        {"ImageType": ["DERIVED", "SECONDARY", "OTHER"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"]},
        {"ImageType": "ORIGINAL"},
        {"SeriesDescription": "localized prostate"},
        {"SeriesDescription": "LOCK block axial"},
    ],
)
def test_what_stays_judged(make_file: MakeFile, values: dict[str, Any]) -> None:
    assert read_series(slices(make_file, [0, 1], **values)).not_assessed is None


def test_three_orthogonal_planes_are_a_localiser_but_disc_blocks_are_not(make_file: MakeFile) -> None:
    kind = {"SOPClassUID": MRImageStorage, "Modality": "MR"}
    planes = []
    for orientation in (AXIAL, CORONAL, SAGITTAL):
        planes += slices(make_file, [0], ImageOrientationPatient=orientation, **kind)
    assert "orthogonal" in (read_series(planes).not_assessed or "")
    blocks = []
    for angle in (0.0, 0.2, 0.4):
        tilted = [1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))]
        blocks += slices(make_file, [0, 4, 8], ImageOrientationPatient=tilted, **kind)
    series = read_series(blocks)
    assert shape(series) == [3, 3, 3]
    assert series.not_assessed is None


def test_mixed_modalities_and_non_images(make_file: MakeFile) -> None:
    ct, mr = slices(make_file, [0]), slices(make_file, [0], SOPClassUID=MRImageStorage, Modality="MR")
    report = make_file(SOPClassUID=BasicTextSRStorage, Modality="SR", PixelData=None, Rows=None)
    assert read_series([*ct, *mr]).not_assessed == "the series mixes modalities: CT, MR"
    beside = read_series([*ct, report])
    assert beside.not_assessed is None
    assert "structured report" in beside.problems[0]
    assert "structured report" in (read_series([report]).not_assessed or "")


def functional_group(z: float, time: int, echo: float) -> Dataset:
    """Per-frame groups of one enhanced MR frame."""
    group, position, content, mr_echo = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [0, 0, z]
    content.TemporalPositionIndex = time
    mr_echo.EffectiveEchoTime = echo
    group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
    group.MREchoSequence = [mr_echo]
    return group


def shared_group() -> Dataset:
    group, measures, orientation, fov, timing = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.6], 3
    orientation.ImageOrientationPatient = AXIAL
    fov.InPlanePhaseEncodingDirection = "COLUMN"
    timing.RepetitionTime, timing.FlipAngle = 2000, 90
    anatomy, region = Dataset(), Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "69536005", "SCT", "Head"
    anatomy.AnatomicRegionSequence = [region]
    group.PixelMeasuresSequence, group.PlaneOrientationSequence = [measures], [orientation]
    group.MRFOVGeometrySequence, group.MRTimingAndRelatedParametersSequence = [fov], [timing]
    group.FrameAnatomySequence = [anatomy]
    return group


def enhanced(make_file: MakeFile, groups: list[Dataset], **values: Any) -> Path:
    frames = np.repeat(np.arange(len(groups), dtype=np.uint16), 256)
    return make_file(
        SOPClassUID=EnhancedMRImageStorage,
        Modality="MR",
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        NumberOfFrames=len(groups),
        SharedFunctionalGroupsSequence=[shared_group()],
        PerFrameFunctionalGroupsSequence=groups,
        EchoPulseSequence="SPIN",
        InversionRecovery="YES",
        PixelData=frames.tobytes(),
        **values,
    )


def test_enhanced_mr_frames_become_ordered_slices(make_file: MakeFile) -> None:
    groups = [functional_group(z, 1, echo) for echo in (10.0, 90.0) for z in (6, 0, 3)]
    series = read_series([enhanced(make_file, groups)])
    assert shape(series) == [3, 3]
    first = series.stacks[0].slices
    assert [(header.position_mm, header.frame_number) for header in first] == [(0, 2), (3, 3), (6, 1)]
    assert first[0].pixel_spacing_mm == (0.5, 0.6)
    assert first[0].slice_thickness_mm == 3
    assert first[0].phase_encoding == "COL"
    assert decode(first[0]).pixels[0, 0] == 1
    assert series.attributes["EchoTime"] == 10.0
    assert series.attributes["ScanningSequence"] == ("SE", "IR")
    assert series.attributes["RepetitionTime"] == 2000
    assert series.attributes["AnatomicRegionSequence"] == (("69536005", "SCT", "Head"),)


def test_enhanced_dynamics_are_a_stack_a_time(make_file: MakeFile) -> None:
    groups = [functional_group(z, time, 10.0) for z in (0, 3) for time in (1, 2, 3)]
    series = read_series([enhanced(make_file, groups)])
    assert shape(series) == [2, 2, 2]
    assert [header.frame_number for header in series.stacks[0].slices] == [1, 4]


def test_an_enhanced_projection_is_derived(make_file: MakeFile) -> None:
    path = enhanced(make_file, [functional_group(0, 1, 10.0)], VolumeBasedCalculationTechnique="MAX_IP")
    assert "a projection" in (read_series([path]).not_assessed or "")


def test_attributes_hold_nothing_of_the_patient(make_file: MakeFile) -> None:
    path = make_file(PatientName="DOE^JANE", PatientID="4711", PatientBirthDate="19500101", KVP="120")
    series = read_series([path])
    assert not [keyword for keyword in series.attributes if keyword.startswith("Patient")]
    assert series.attributes["KVP"] == 120.0
    assert "DOE" not in repr(series)


def test_attribute_types(make_file: MakeFile) -> None:
    path = make_file(
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        WindowCenter=["40", "500"],
        ConvolutionKernel="Br38f",
        SeriesNumber="3",
        SliceThickness="2.5",
    )
    attributes = read_series([path]).attributes
    assert attributes["ImageType"] == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert attributes["WindowCenter"] == (40.0, 500.0)
    assert attributes["ConvolutionKernel"] == "Br38f"
    assert (attributes["SeriesNumber"], attributes["SliceThickness"], attributes["Rows"]) == (3, 2.5, 16)
    assert all(type(value) in (str, int, float, tuple) for value in attributes.values())


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared series beside the repository")
def test_shared_series_are_single_stacks_in_place() -> None:
    for folder in sorted(path for path in SHARED.iterdir() if path.is_dir()):
        paths = sorted(folder.glob("*.dcm"))
        series = read_series(paths[::-1])
        assert series.problems == ()
        assert series.not_assessed is None
        assert shape(series) == [len(paths)], folder.name
        positions = [header.position_mm or 0.0 for header in series.stacks[0].slices]
        assert positions == sorted(positions)
        image = decode(series.stacks[0].slices[len(paths) // 2])
        assert image.pixels.std() > 10


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared series beside the repository")
def test_shared_ct_air_is_air() -> None:
    series = read_series(sorted((SHARED / "ct_headphantom_philips_std5mm").glob("*.dcm")))
    pixels = decode(series.stacks[0].slices[5]).pixels
    assert -1024 <= np.median(pixels[:20, :20]) < -950


def test_the_same_object_twice_counts_once(make_file: MakeFile) -> None:
    uid = generate_uid()
    paths = [make_file(SOPInstanceUID=uid, SOPClassUID=CTImageStorage) for _ in range(2)]
    series = read_series(paths)
    assert shape(series) == [1]
    assert series.problems == (f"{uid}: the object is there more than once; the first is used",)
