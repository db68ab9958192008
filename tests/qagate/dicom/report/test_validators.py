"""Independent programs read what the gate sends: dciodvfy, PixelMed's validator, dsrdump, highdicom."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import highdicom
import pytest
from pydicom.dataset import Dataset

from qagate.assessment import Assessment, Baseline, Decision, Rating
from qagate.dicom.report import (
    Rejection,
    ReportIdentity,
    build_kos,
    build_rejection,
    build_sr,
    reference_to,
    to_bytes,
)
from qagate.series import Instance

Scored = Callable[..., tuple[Assessment, Decision]]
Identify = Callable[..., ReportIdentity]

JARS = Path("/usr/share/java")
SERIES = (
    "ct_abdomen_siemens_mct",
    "ct_head_ge_hispeed",
    "ct_headphantom_philips_bone1mm",
    "ct_headphantom_philips_std5mm",
    "mr_acr_siemens_aera_1p5t_t1",
    "mr_head_t1_defaced_pddl",
)
IMAGES = (
    *("CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "JPEG2000.dcm", "examples_overlay.dcm"),
    *("examples_ybr_color.dcm", "examples_rgb_color.dcm", "examples_palette.dcm", "liver_1frame.dcm"),
    *("SC_rgb_rle_2frame.dcm", "SC_rgb_jpeg_gdcm.dcm"),
)
NOT_IMAGES = ("test-SR.dcm", "rtplan.dcm", "waveform_ecg.dcm", "rtdose.dcm")
#: PixelMed finds the modifiers of every key object conditional on another title than 113010.
FALSE_ERRORS = "Conditional content item present when condition not satisfied"


@pytest.fixture
def documents(
    scored: Scored, not_assessed: tuple[Assessment, Decision], identity_of: Identify, when: datetime
) -> Callable[[Sequence[Dataset]], dict[str, Dataset]]:
    """Every kind of document of one piece of evidence."""

    def build(evidence: Sequence[Dataset]) -> dict[str, Dataset]:
        result, identity = scored(evidence), identity_of(evidence)
        sr = build_sr(evidence, *result, identity, content_datetime=when)
        relative = (
            replace(result[0], rating=Rating(value=1.2, low=1.0, high=1.5, worst=0.0, best=4.0)),
            replace(result[1], baseline=Baseline(median=0.8, mad=0.03, count=120), relative=True),
        )
        later = build_sr(
            evidence,
            *relative,
            identity_of(evidence, 2),
            content_datetime=when,
            previous=reference_to(sr),
            sr_class="enhanced",
        )
        abstained = build_sr(evidence, *not_assessed, identity, content_datetime=when)
        documents = {"sr": sr, "enhanced": later, "not_assessed": abstained}
        if "Image Storage" in evidence[0].SOPClassUID.name:
            kos = build_kos(evidence, *result, identity, content_datetime=when)
            documents["kos"] = kos
        instances = [
            Instance(
                sop_instance_uid=str(one.SOPInstanceUID), sop_class_uid=str(one.SOPClassUID),
                series_instance_uid=str(one.SeriesInstanceUID),
                study_instance_uid=str(one.StudyInstanceUID), transfer_syntax_uid="", calling_ae_title="",
                path="", sha256="", size=0, received_at=when,
            )
            for one in evidence
        ]  # fmt: skip
        why = Rejection(person="anna", reason="111210", words="patient moved")
        note = build_rejection(evidence[0], instances, why, identity, content_datetime=when)
        return documents | {"rejection": note}

    return build


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    return done.stdout + done.stderr


def assert_valid(documents: dict[str, Dataset], folder: Path) -> None:
    """dciodvfy finds no error, dsrdump reads it, and highdicom knows its class."""
    for name, document in documents.items():
        path = folder / f"{name}.dcm"
        path.write_bytes(to_bytes(document))
        said = run("dciodvfy", "-new", str(path))
        assert not [line for line in said.splitlines() if line.startswith("Error")], (name, said)
        assert any(iod in said for iod in ("Comprehensive3DSR", "EnhancedSR", "KeyObjectSelection")), said
        dumped = run("dsrdump", str(path))
        assert not [line for line in dumped.splitlines() if line.startswith(("E:", "F:"))], dumped
        assert "CONTAINER" in dumped
        if document.Modality == "SR":
            # highdicom asks for UIDs that some old sources do not have, hence the class alone.
            read = highdicom.sr.srread(BytesIO(path.read_bytes()))
            assert read.SOPInstanceUID == document.SOPInstanceUID


needs_tools = pytest.mark.skipif(
    not (shutil.which("dciodvfy") and shutil.which("dsrdump")),
    reason="needs dciodvfy (Debian dicom3tools) and dsrdump (Debian dcmtk)",
)
Documents = Callable[[Sequence[Dataset]], dict[str, Dataset]]


@needs_tools
@pytest.mark.parametrize("name", SERIES)
def test_real_series(
    name: str, shared_series: Callable[[str], list[Dataset]], documents: Documents, tmp_path: Path
) -> None:
    assert_valid(documents(shared_series(name)), tmp_path)


@needs_tools
@pytest.mark.parametrize("name", [*IMAGES, *NOT_IMAGES])
def test_other_modalities(
    name: str, pydicom_header: Callable[[str], Dataset], documents: Documents, tmp_path: Path
) -> None:
    assert_valid(documents([pydicom_header(name)]), tmp_path)


@needs_tools
@pytest.mark.parametrize("modality", ["CR", "DX", "MG", "OP", "US", "XA", "PT", "NM", "SC", "??", ""])
def test_any_modality(
    modality: str, pydicom_header: Callable[[str], Dataset], documents: Documents, tmp_path: Path
) -> None:
    evidence = pydicom_header("CT_small.dcm")
    evidence.Modality = modality
    assert_valid(documents([evidence]), tmp_path)


@pytest.mark.skipif(
    not (shutil.which("java") and (JARS / "pixelmed.jar").is_file()),
    reason="needs java and PixelMed (Debian default-jre-headless, libpixelmed-java)",
)
@pytest.mark.parametrize("name", ["sr", "enhanced", "not_assessed", "kos", "rejection"])
def test_templates(name: str, mr_evidence: list[Dataset], documents: Documents, tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(to_bytes(documents(mr_evidence)[name]))
    limits = [f"-Djdk.xml.xpath{kind}Limit=0" for kind in ("TotalOp", "ExprOp", "ExprGrp")]
    validator = ["-cp", f"{JARS}/*", "com.pixelmed.validate.DicomSRValidator", str(path)]
    said = run("java", "-XX:TieredStopAtLevel=1", *limits, *validator)
    assert "IOD validation complete" in said and "Root Template Validation Complete" in said, said
    errors = [line for line in said.splitlines() if line.startswith("Error")]
    if name in ("kos", "rejection"):
        assert len(errors) == 2 and all(FALSE_ERRORS in line for line in errors), errors
    else:
        assert not errors


def test_highdicom_reads_the_measurements(mr_evidence: list[Dataset], documents: Documents) -> None:
    sr = highdicom.sr.srread(BytesIO(to_bytes(documents(mr_evidence)["sr"])))
    assert isinstance(sr, highdicom.sr.Comprehensive3DSR)
    series, *slices = sr.content.get_image_measurement_groups()
    assert series.tracking_identifier == "series"
    measured = {one.name.meaning: (one.value, one.unit.value) for one in series.get_measurements()}
    assert measured["Image Set Quality Rating"] == (31.2, "%")
    assert measured["noise hu"] == (16.5123, "[hnsf'U]")
    assert len(slices) == len(mr_evidence)
    assert [len(one.get_measurements()) for one in slices] == [1] * len(slices)
