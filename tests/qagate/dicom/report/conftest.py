"""Source headers and assessments that the report tests share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from qagate.assessment import Artefact, Assessment, Decision, Finding, Prompt, SliceScore, Verdict
from qagate.dicom.report import ReportIdentity

SHARED = Path(__file__).resolve().parents[5] / "shared" / "dicom"


def header(path: Path | str) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, stop_before_pixels=True)


@pytest.fixture
def mr_evidence() -> list[Dataset]:
    folder = Path(str(get_testdata_file("dicomdirtests/98892003/MR700/4678"))).parent
    return [header(path) for path in sorted(folder.iterdir())]


@pytest.fixture
def shared_series() -> Callable[[str], list[Dataset]]:
    def read(name: str) -> list[Dataset]:
        if not (SHARED / name).is_dir():
            pytest.skip(f"../shared/dicom/{name} is not here")
        files = sorted((SHARED / name).glob("*.dcm"))
        return [header(path) for path in files[:: max(1, len(files) // 7)][:7]]

    return read


@pytest.fixture
def when() -> datetime:
    return datetime(2026, 3, 1, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def identity_of() -> Callable[..., ReportIdentity]:
    def make(evidence: Sequence[Dataset], revision: int = 1) -> ReportIdentity:
        return ReportIdentity(
            series_instance_uid=str(evidence[0].SeriesInstanceUID),
            revision=revision,
            device_uid="2.25.1234",
            ae_title="QAGATE",
            serial_number="qagate-1",
            software_version="0.1.0",
        )

    return make


def _slices(evidence: Sequence[Dataset]) -> list[SliceScore]:
    slices: list[SliceScore] = []
    for dataset in evidence:
        raw = dataset.get_item("NumberOfFrames").value if "NumberOfFrames" in dataset else b"1"
        text = raw.decode().strip() if isinstance(raw, bytes) else str(raw)
        frames = int(text) if text.isdigit() else 1
        for frame in range(1, min(frames, 7) + 1):
            slices.append(
                SliceScore(
                    sop_instance_uid=str(dataset.SOPInstanceUID),
                    frame_number=frame if frames > 1 else None,
                    slice_number=len(slices) + 1,
                    score=2.34567,
                    quality=0.31234,
                )
            )
    return slices


@pytest.fixture
def scored() -> Callable[..., tuple[Assessment, Decision]]:
    """An assessment of the evidence with every artefact there is, and a decision that goes with it."""

    def make(
        evidence: Sequence[Dataset], verdict: Verdict = Verdict.REPEAT, artefact: Artefact = Artefact.MOTION
    ) -> tuple[Assessment, Decision]:
        seen = (str(evidence[0].SOPInstanceUID), "1.2.3.not.in.evidence")
        findings = [
            Finding(artefact=one, severity=0.2, text=f"{one.value}, slices 1–3", sop_instance_uids=seen)
            for one in Artefact
            if one is not artefact
        ]
        worst = Finding(artefact=artefact, severity=0.9, text=artefact.value, sop_instance_uids=seen)
        measures = {
            "noise_hu": 16.512345678,
            "snr_tissue": 12.0,
            "ghost_to_signal_ratio": 0.031,
            "slice_gap_mm": 2.5,
            "entropy_focus": float("nan"),
            "clipped_percent": 1e-7,
        }
        assessment = Assessment(
            prompt=Prompt(dimension="3D", modality="MR"),
            quality=0.31234,
            score=2.34567,
            slices=tuple(_slices(evidence)),
            measures=measures,
            findings=(*findings, worst),
            slice_count=20,
            model="default",
            model_version="1.0.0",
            weights_sha256="ab" * 32,
        )
        decision = Decision(
            verdict=verdict,
            reasons=("quality 31 % is below 40 %", "motion, slices 1–3"),
            review_below=0.6,
            repeat_below=0.4,
            rule="MR brain",
            policy_version="2026-03",
        )
        return assessment, decision

    return make


@pytest.fixture
def not_assessed() -> tuple[Assessment, Decision]:
    reason = "a localiser is not assessed"
    assessment = Assessment(
        prompt=Prompt(dimension="2D", modality="unknown"), quality=None, score=None, not_assessed=reason
    )
    return assessment, Decision(verdict=Verdict.NOT_ASSESSED, reasons=(reason,), policy_version="2026-03")


@pytest.fixture
def pydicom_header() -> Callable[[str], Dataset]:
    """The header of one of pydicom's own test files."""

    def read(name: str) -> Dataset:
        path = get_testdata_file(name, download=False)
        if path is None:
            pytest.skip(f"this pydicom ships no {name}")
        return header(str(path))

    return read
