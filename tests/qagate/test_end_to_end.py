"""DCMTK's storescu as scanner, the gate, and Orthanc as archive, on every shared real series."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless

from qagate.assessment import Verdict
from qagate.dicom.part10 import hash_data_set
from qagate.dicom.spool import Spool
from qagate.store.views import SeriesHistory

JARS = Path("/usr/share/java")
FALSE_ERRORS = "Conditional content item present"  #: of PixelMed, on every key object
SERIES = (
    *("ct_abdomen_siemens_mct", "ct_head_ge_hispeed", "ct_headphantom_philips_bone1mm"),
    *("ct_headphantom_philips_std5mm", "mr_acr_siemens_aera_1p5t_t1", "mr_head_t1_defaced_pddl"),
)
#: Without these storescu converts to the transfer syntax it likes best.
PROPOSE = {JPEG2000Lossless: ["--propose-j2k-lossless"], ImplicitVRLittleEndian: ["--propose-implicit"]}
#: What every MR series gets, so that key objects are sent whatever the model thinks of these.
REPEAT_MR = {"name": "repeat MR", "modality": "MR", "review_below": 1.0, "repeat_below": 1.0}
ANY_CT = {"name": "CT", "modality": "CT", "review_below": 0.5, "repeat_below": 0.3}


@pytest.fixture(scope="module")
def site(
    storescu: Path, real_series: dict[str, list[Path]], make_orthanc: Callable, make_gate: Callable
) -> SimpleNamespace:
    """A gate in `forward` mode that was sent every series, and its archive."""
    orthanc = make_orthanc()
    gate = make_gate(mode="forward", archive=[orthanc.settings()], rule=[REPEAT_MR, ANY_CT])
    uids = {}
    for name, paths in real_series.items():
        uids[name] = str(dcmread(paths[0], specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)
        syntax = dcmread(paths[0], stop_before_pixels=True).file_meta.TransferSyntaxUID
        gate.scan(paths, *PROPOSE.get(syntax, []))
    return SimpleNamespace(gate=gate, orthanc=orthanc, series=real_series, uids=uids)


@pytest.fixture(params=SERIES)
def one(request: pytest.FixtureRequest, site: SimpleNamespace) -> SimpleNamespace:
    """One of the series, delivered."""
    if request.param not in site.uids:
        pytest.skip(f"{request.param} is not among the shared series")
    uid = site.uids[request.param]
    history: SeriesHistory = site.gate.ended(uid, states=("DELIVERED",), limit_s=120)
    return SimpleNamespace(
        gate=site.gate, orthanc=site.orthanc, uid=uid, paths=site.series[request.param], history=history
    )


def elements(data_set: Dataset) -> dict[int, Any]:
    """Tag -> value of everything but group lengths, which a sender may add or drop."""
    return {element.tag: (element.VR, element.value) for element in data_set if element.tag.element != 0}


def test_received_byte_identical(one: SimpleNamespace) -> None:
    spool = Spool(one.gate.data / "spool")
    received = {path.stem: path for path in spool.folder(one.uid).glob("*.dcm")}
    assert len(received) == len(one.paths) == one.history.row.instance_count
    for path in one.paths:
        sent = dcmread(path)
        got = dcmread(received[sent.SOPInstanceUID])
        assert got.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert elements(got) == elements(sent)
        assert bytes(got.PixelData) == bytes(sent.PixelData)


def test_decided(one: SimpleNamespace) -> None:
    (result,) = one.history.results
    assessment, decision = result.assessment, result.decision
    assert decision.verdict is not Verdict.NOT_ASSESSED, decision.reasons
    assert assessment.quality is not None and 0 <= assessment.quality <= 1
    assert assessment.measures and assessment.slice_count == len(one.paths)
    assert 1 <= len(assessment.slices) <= 7
    if assessment.prompt.modality == "MR":
        assert decision.verdict is Verdict.REPEAT and decision.rule == "repeat MR"
    else:
        assert decision.rule == "CT"


def documents(one: SimpleNamespace) -> dict[str, Dataset]:
    """What the archive has of the gate's documents, by modality."""
    wanted = {"SR": one.gate.report(one.uid)}
    if one.history.results[0].decision.verdict in (Verdict.REVIEW, Verdict.REPEAT):
        wanted["KO"] = one.gate.report(one.uid, kind="kos")
    found = {}
    for modality, path in wanted.items():
        uid = dcmread(path).SOPInstanceUID
        stored = one.orthanc.file(uid)
        assert stored, f"the archive lacks the {modality} {uid}"
        found[modality] = dcmread(BytesIO(stored))
        assert elements(found[modality]) == elements(dcmread(path))
    return found


def test_report_read_back_from_the_archive(one: SimpleNamespace) -> None:
    found = documents(one)
    source = dcmread(one.paths[0], stop_before_pixels=True)
    for modality, document in found.items():
        assert document.Modality == modality
        assert document.StudyInstanceUID == source.StudyInstanceUID
        assert document.get("PatientID") == source.get("PatientID")
    kinds = [(row.kind, row.state) for row in one.history.deliveries if row.destination == "pacs"]
    expected = ["SR", *(["KOS"] if "KO" in found else []), "FORWARD"]
    assert sorted(kinds) == sorted((kind, "SENT") for kind in expected)


def test_images_forwarded_unchanged(one: SimpleNamespace, tmp_path: Path) -> None:
    for path in Spool(one.gate.data / "spool").folder(one.uid).glob("*.dcm"):
        stored = one.orthanc.file(path.stem)
        assert stored, f"the archive lacks image {path.stem}"
        copy = tmp_path / path.name
        copy.write_bytes(stored)
        assert hash_data_set(copy) == hash_data_set(path)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    return done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy (Debian dicom3tools)")
def test_dciodvfy_finds_no_error(one: SimpleNamespace, tmp_path: Path) -> None:
    for modality, document in documents(one).items():
        path = tmp_path / f"{modality}.dcm"
        document.save_as(path)
        said = run("dciodvfy", "-new", str(path))
        assert "Comprehensive3DSR" in said or "KeyObjectSelection" in said, said
        assert not [line for line in said.splitlines() if line.startswith("Error")], said


@pytest.mark.skipif(
    not (shutil.which("java") and (JARS / "pixelmed.jar").is_file()),
    reason="needs java and PixelMed (Debian default-jre-headless, libpixelmed-java)",
)
@pytest.mark.slow
def test_pixelmed_finds_no_error(one: SimpleNamespace, tmp_path: Path) -> None:
    limits = [f"-Djdk.xml.xpath{kind}Limit=0" for kind in ("TotalOp", "ExprOp", "ExprGrp")]
    java = ("java", "-XX:TieredStopAtLevel=1", *limits, "-cp", f"{JARS}/*")
    for modality, document in documents(one).items():
        path = tmp_path / f"{modality}.dcm"
        document.save_as(path)
        said = run(*java, "com.pixelmed.validate.DicomSRValidator", str(path))
        assert "Root Template Validation Complete" in said, said
        errors = [line for line in said.splitlines() if line.startswith("Error")]
        false = [line for line in errors if modality == "KO" and FALSE_ERRORS in line]
        assert len(false) == (2 if modality == "KO" else 0)
        assert errors == false


def test_status_shows_every_series(site: SimpleNamespace) -> None:
    for uid in site.uids.values():
        site.gate.ended(uid, states=("DELIVERED",), limit_s=120)
    overview = site.gate.overview()
    assert overview.counts == {"DELIVERED": len(site.uids)}
    assert not overview.refused and not overview.stuck and not overview.conflicts
    said = site.gate.run("status").stdout
    assert all(uid[-9:] in said for uid in site.uids.values())
    one = site.gate.run("status", site.uids["mr_head_t1_defaced_pddl"][-12:])
    assert one.returncode == 0 and "REPEAT" in one.stdout and "SR to pacs: SENT" in one.stdout
