"""Prompts from tags: what speaks, what contradicts, what stays unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.prompt import CT_TYPES, DIMENSIONS, MR_TYPES, REGIONS
from qagate.gate import vocabulary
from qagate.gate.prompts import prompt_from

SHARED = Path(__file__).parents[4] / "shared" / "dicom"


@pytest.mark.parametrize(
    ("attributes", "region"),
    [
        ({"BodyPartExamined": "HEAD"}, "head"),
        ({"BodyPartExamined": "C SPINE"}, "spine"),
        ({"BodyPartExamined": "PARTIALBODY"}, "unknown"),
        ({"BodyPartExamined": "PARTIALBODY", "ProtocolName": "Leber nativ"}, "abdomen"),
        ({"AnatomicRegionSequence": (("69536005", "SCT", "Head"),)}, "head"),
        ({"AnatomicRegionSequence": (("T-D3000", "SRT", "Chest"),)}, "chest"),
        ({"AnatomicRegionSequence": (("T-D9200", "SNM3", "Knee"),)}, "knee"),
        ({"AnatomicRegionSequence": (("69536005", "99LOCAL", "?"),)}, "unknown"),
        ({"AnatomicRegionSequence": (("69536005", "SCT", "Head"),), "BodyPartExamined": "KNEE"}, "unknown"),
        ({"BodyPartExamined": "CHEST", "SeriesDescription": "Thorax Abdomen 5.0"}, "trunk"),
        ({"BodyPartExamined": "LEG", "ProtocolName": "Knie rechts"}, "knee"),
        ({"BodyPartExamined": "HEAD", "ProtocolName": "HWS sag"}, "unknown"),
        ({"ProtocolName": "Schädel nativ"}, "head"),
        ({"ProtocolName": "Schaedel"}, "head"),
        ({"SeriesDescription": "AX_CRÂNE_T2"}, "head"),
        ({"SeriesDescription": "IRM genou gauche"}, "knee"),
        ({"SeriesDescription": "Rachis lombaire"}, "spine"),
        ({"SeriesDescription": "BWS_t2_sag"}, "spine"),
        ({"SeriesDescription": "Hüfte cor"}, "hip"),
        ({"StudyDescription": "MRT Becken"}, "pelvis"),
        ({"BodyPartExamined": "HEAD", "StudyDescription": "Polytrauma Thorax"}, "head"),
        ({"SeriesDescription": "headache protocol"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_region(attributes: dict[str, object], region: str) -> None:
    assert prompt_from({"Modality": "MR"} | attributes).region == region


SE_T1 = {"ScanningSequence": "SE", "EchoTime": 12.0, "RepetitionTime": 500.0}
SE_T2 = {"ScanningSequence": "SE", "EchoTime": 95.0, "RepetitionTime": 4000.0}
GR = {"ScanningSequence": "GR", "EchoTime": 3.0, "RepetitionTime": 1900.0}
SE_PD = {"ScanningSequence": "SE", "EchoTime": 25.0, "RepetitionTime": 3000.0}


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        (SE_T1, "t1"),
        (SE_T2, "t2"),
        (SE_PD, "pd"),
        (SE_T1 | {"ContrastBolusAgent": "Gadovist"}, "t1 ce"),
        (SE_T1 | {"ContrastBolusAgent": "NONE"}, "t1"),
        (SE_T2 | {"ContrastBolusAgent": "Gadovist"}, "t2"),
        (SE_T2 | {"SeriesDescription": "t1_se_tra"}, "unknown"),
        (SE_T1 | {"SeriesDescription": "T2 tse"}, "unknown"),
        ({"SeriesDescription": "T1 T2 mapping"}, "unknown"),
        ({"SeriesDescription": "PD T2 dual"} | SE_PD, "pd"),
        ({"SeriesDescription": "PD T2 dual"}, "unknown"),
        ({"SeriesDescription": "t2_tirm_tra_dark-fluid"}, "flair"),
        ({"SeriesDescription": "Ax T2 FLAIR"}, "flair"),
        ({"SeriesDescription": "Ax T1 FLAIR"}, "t1"),
        ({"SeriesDescription": "t2_fl2d_tra_hemo"}, "t2star"),
        ({"SeriesDescription": "AX T2* GRE"}, "t2star"),
        ({"SeriesDescription": "ep2d_diff_b1000"}, "dwi"),
        ({"SeriesDescription": "ep2d_diff_ADC"}, "adc"),
        ({"ImageType": ("DERIVED", "PRIMARY", "DIFFUSION", "ADC")}, "adc"),
        ({"ImageType": ("ORIGINAL", "PRIMARY", "LOCALIZER"), "SeriesDescription": "t2"}, "localizer"),
        ({"DiffusionBValue": 1000.0}, "dwi"),
        ({"AcquisitionContrast": "FLUID_ATTENUATED"}, "flair"),
        ({"SeriesDescription": "SWI_Images"}, "swi"),
        ({"SeriesDescription": "TOF_3D_multi-slab"}, "angio"),
        ({"SeriesDescription": "anat-T1w"}, "t1"),
        ({"SequenceName": "*tfl3d1", "SeriesDescription": "MPRAGE"}, "t1"),
        ({"SeriesDescription": "Repérage"}, "localizer"),
        (GR | {"ScanningSequence": ("GR", "IR"), "InversionTime": 900.0}, "t1"),
        (SE_T2 | {"ScanningSequence": ("SE", "IR"), "InversionTime": 2500.0}, "flair"),
        ({"ScanningSequence": "GR", "EchoTime": 20.0, "RepetitionTime": 700.0, "FlipAngle": 20.0}, "t2star"),
        ({"EchoTime": "n/a", "RepetitionTime": "***"}, "unknown"),
        ({}, "unknown"),
    ],
)  # fmt: skip
def test_mr_type(attributes: dict[str, object], kind: str) -> None:
    assert prompt_from({"Modality": "MR"} | attributes).type == kind


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"ConvolutionKernel": ("Br38f", "3")}, "soft"),
        ({"ConvolutionKernel": "BONEPLUS"}, "bone"),
        ({"ConvolutionKernel": "LUNG"}, "lung"),
        ({"ConvolutionKernel": "Bl57d"}, "lung"),
        ({"ConvolutionKernel": "H70h"}, "bone"),
        ({"ConvolutionKernel": "FC08"}, "soft"),
        ({"ConvolutionKernel": "STANDARD", "ContrastBolusAgent": "Ultravist 370"}, "soft ce"),
        ({"ConvolutionKernel": "STANDARD", "ContrastBolusAgent": "ohne"}, "soft"),
        ({"ConvolutionKernel": "STANDARD", "SeriesDescription": "BONE 1.0"}, "unknown"),
        ({"SeriesDescription": "Knochenfenster Knochen 2mm"}, "bone"),
        ({"ConvolutionKernel": "B60f", "WindowCenter": -600.0, "WindowWidth": 1600.0}, "lung"),
        ({"ConvolutionKernel": "odd", "WindowCenter": (40.0, 300.0), "WindowWidth": (300.0, 1500.0)}, "soft"),
        ({"ImageType": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "localizer"),
        ({}, "unknown"),
    ],
)
def test_ct_type(attributes: dict[str, object], kind: str) -> None:
    assert prompt_from({"Modality": "CT"} | attributes).type == kind


def test_dimension_and_modality() -> None:
    assert prompt_from({"Modality": "CT"}).dimension == "3D"
    assert prompt_from({"Modality": "CT"}, slice_count=1).dimension == "2D"
    assert prompt_from({"Modality": "DX"}).dimension == "2D"
    assert prompt_from({"Modality": "SR"}).modality == "unknown"
    assert prompt_from({"Modality": "OP"}).region == "eye"


def test_evidence_is_kept_and_quotes_no_free_text() -> None:
    prompt = prompt_from(
        {"Modality": "MR", "BodyPartExamined": "KNEE", "SeriesDescription": "Meier Anna 1970 Schulter t1"}
    )
    assert prompt.region == "unknown"
    assert "BodyPartExamined: KNEE" in prompt.evidence
    assert "SeriesDescription: 'schulter'" in prompt.evidence
    assert not any("meier" in text.lower() or "1970" in text for text in prompt.evidence)
    unknown = prompt_from({"Modality": "MR", "BodyPartExamined": "MEIER ANNA"})
    assert not any("MEIER" in text for text in unknown.evidence)


TEXTS = st.text(alphabet="aT12* _-/é漢\0", max_size=12)
VALUES = st.one_of(TEXTS, st.integers(), st.floats(), st.tuples(TEXTS, st.floats()), st.none())
KEYWORDS = st.sampled_from(
    ["BodyPartExamined", "AnatomicRegionSequence", "ImageType", "EchoTime", "RepetitionTime", "WindowCenter",
     "WindowWidth", "ConvolutionKernel", "SeriesDescription", "ScanningSequence", "DiffusionBValue"]
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["CT", "MR", "US", ""]), st.dictionaries(KEYWORDS, VALUES))
def test_any_attributes_give_a_prompt_of_the_vocabulary(modality: str, attributes: dict[str, object]) -> None:
    prompt = prompt_from({"Modality": modality} | attributes)
    assert prompt.region in {*REGIONS, "unknown"}
    assert prompt.type in {*MR_TYPES, *CT_TYPES, "unknown"}
    assert prompt.dimension in DIMENSIONS


def test_tables_speak_the_vocabulary() -> None:
    tables = (
        vocabulary.SNOMED_REGIONS,
        vocabulary.SRT_REGIONS,
        vocabulary.BODY_PARTS,
        vocabulary.MERGED_REGIONS,
    )
    for table in tables:
        assert set(table.values()) <= set(REGIONS)
    assert set(vocabulary.REGION_WORDS) <= set(REGIONS)
    assert set(vocabulary.MR_WORDS) <= set(MR_TYPES)


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared series are not there")
@pytest.mark.parametrize(
    ("folder", "region", "kind"),
    [
        ("ct_abdomen_siemens_mct", "unknown", "soft ce"),
        ("ct_head_ge_hispeed", "head", "soft"),
        ("ct_headphantom_philips_bone1mm", "head", "bone"),
        ("ct_headphantom_philips_std5mm", "head", "soft"),
        ("mr_acr_siemens_aera_1p5t_t1", "head", "t1"),
        ("mr_head_t1_defaced_pddl", "unknown", "t1"),
    ],
)
def test_shared_series(folder: str, region: str, kind: str) -> None:
    from qagate.dicom.pixels import read_series

    series = read_series(sorted((SHARED / folder).glob("*.dcm")))
    prompt = prompt_from(series.attributes)
    assert (prompt.region, prompt.type) == (region, kind)
    assert prompt.evidence
