"""Physical parameters from headers: every route, every unit that scanners mix up."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from qagate.dicom.attributes import flatten
from qagate.dicom.pixels import read_series
from train.physics import PARAMETERS, physics_of

SHARED = Path(__file__).resolve().parents[3] / "shared" / "dicom"


def ct(**attributes: object) -> dict[str, object]:
    return {"Modality": "CT", **attributes}


@pytest.mark.parametrize(
    ("attributes", "mas", "effective"),
    [
        (ct(Exposure=200), 200, None),
        (ct(ExposureInuAs=150_000), 150, None),
        (ct(XRayTubeCurrent=180, ExposureTime=2000), 360, None),
        (ct(XRayTubeCurrentInuA=180_000, ExposureTimeInuS=2_000_000), 360, None),
        (ct(XRayTubeCurrentInmA=100.5, ExposureTimeInms=1000.0), 100.5, None),
        (ct(Exposure=100, ExposureInuAs=999_000), 100, None),
        (ct(XRayTubeCurrent=200, ExposureTime=500, SpiralPitchFactor=0.5), 100, 200),
        (ct(Exposure=100, XRayTubeCurrent=200, ExposureTime=500, SpiralPitchFactor=0.5), 100, 200),
    ],
)
def test_charge_by_every_route(attributes: dict[str, object], mas: float, effective: float | None) -> None:
    found = physics_of(attributes)
    assert found.mas == pytest.approx(mas)
    assert found.effective_mas == (None if effective is None else pytest.approx(effective))
    assert found.evidence and found.tesla is None


def test_an_exposure_that_is_effective_already_is_not_divided_again() -> None:
    told = ct(Exposure=253, XRayTubeCurrent=615, ExposureTime=330, SpiralPitchFactor=0.8)
    found = physics_of(told)
    assert found.mas == found.effective_mas == 253
    assert any("effective charge already" in line for line in found.evidence)


def test_an_exposure_time_that_carries_the_pitch_is_not_divided_again() -> None:
    told = ct(
        Exposure=128, XRayTubeCurrent=100, ExposureTime=1280, SpiralPitchFactor=0.391, RevolutionTime=0.5
    )
    assert physics_of(told).effective_mas == 128
    assert physics_of({**told, "RevolutionTime": 1.28}).effective_mas == pytest.approx(128 / 0.391)


def test_microampere_seconds_in_exposure_are_noticed() -> None:
    found = physics_of(ct(Exposure=100_000, XRayTubeCurrent=200, ExposureTime=500))
    assert found.mas == 100 and any("µAs" in line for line in found.evidence)


def test_the_ct_exposure_sequence_of_an_enhanced_object_speaks() -> None:
    data, shared, exposure = Dataset(), Dataset(), Dataset()
    exposure.ExposureInmAs, exposure.CTDIvol = 87.5, 6.25
    shared.CTExposureSequence = Sequence([exposure])
    data.Modality = "CT"
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    found = physics_of(flatten(data))
    assert (found.mas, found.ctdivol) == (87.5, 6.25)
    assert "CT Exposure Sequence 87.5 mAs" in found.evidence


@pytest.mark.parametrize(
    ("attributes", "tesla"),
    [
        ({"MagneticFieldStrength": 1.5}, 1.5),
        ({"MagneticFieldStrength": "3"}, 3.0),
        ({"MagneticFieldStrength": 15000}, 1.5),
        ({"MagneticFieldStrength": 30000.0}, 3.0),
        ({"MagneticFieldStrength": 11.7}, 11.7),
        ({"MagneticFieldStrength": 0, "ImagingFrequency": 127.7, "ImagedNucleus": "1H"}, 3.0),
        ({"ImagingFrequency": 63.87, "ImagedNucleus": "1H"}, 1.5),
        ({"ImagingFrequency": 63.87, "ImagedNucleus": "23NA"}, None),
        ({"ImagingFrequency": 63.87}, None),
        ({"MagneticFieldStrength": "strong"}, None),
        ({"MagneticFieldStrength": float("nan")}, None),
        ({}, None),
    ],
)
def test_field_strength_in_tesla_gauss_or_megahertz(
    attributes: dict[str, object], tesla: float | None
) -> None:
    found = physics_of({"Modality": "MR", **attributes})
    assert found.tesla == (None if tesla is None else pytest.approx(tesla, rel=0.01))
    assert found.evidence and found.mas is None


def test_other_modalities_and_empty_headers_tell_nothing() -> None:
    assert physics_of({"Modality": "US", "Exposure": 3}).known() == {}
    assert physics_of({}).known() == {}
    assert physics_of(ct(Exposure=0, XRayTubeCurrent=-1, ExposureTime=0)).known() == {}


@pytest.mark.parametrize("name", PARAMETERS)
def test_labels_rise_with_the_parameter_and_turn_back(name: str) -> None:
    one = PARAMETERS[name]
    values = [one.low, (one.low * one.high) ** 0.5, one.high]
    labels = [one.label(value) for value in values]
    assert labels == pytest.approx([0, 0.5, 1])
    assert [one.value(label) for label in labels] == pytest.approx(values)
    assert one.label(one.high * 10) == 1 and one.label(one.low / 10) == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared series are not here")
def test_the_shared_series_tell_what_they_tell() -> None:
    found = {
        folder.name: physics_of(read_series(sorted(folder.glob("*.dcm"))).attributes).known()
        for folder in SHARED.iterdir() if folder.is_dir()
    }  # fmt: skip
    assert found["ct_abdomen_siemens_mct"] == pytest.approx(
        {"mas": 253, "effective_mas": 253, "ctdivol": 18.54}, abs=0.01
    )
    assert found["ct_head_ge_hispeed"] == {"mas": 360}
    assert found["ct_headphantom_philips_bone1mm"]["effective_mas"] == pytest.approx(128)
    assert found["mr_acr_siemens_aera_1p5t_t1"] == {"tesla": 1.5}
    assert found["mr_head_t1_defaced_pddl"] == {}
