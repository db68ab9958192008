"""The demo's scene, archive and checks, with the real parts: nilearn's template, the simulator, DIMSE."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import Comprehensive3DSRStorage, generate_uid

from qagate.dicom import scu
from train.demo import archive as archives
from train.demo.phantom import DemoError, ct_slice, load_head, mr_slice
from train.demo.scene import Expected, Scene, write_scene
from train.demo.watch import Row, failures, reported_series, worst

pytest.importorskip("nilearn", reason="needs the demo extra")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return write_scene(tmp_path_factory.mktemp("scene"))


def _series(scene: Scene, name: str) -> list[pydicom.Dataset]:
    paths = next(series.paths for series in scene.series if series.name == name)
    return [pydicom.dcmread(path) for path in paths]


def _hounsfield(dataset: pydicom.Dataset) -> np.ndarray:
    return dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


def test_head_has_tissue_skull_and_air() -> None:
    head = load_head()
    hounsfield = ct_slice(head, 20.0, 5.0, 512, 0.45)
    assert hounsfield[5, 5] == pytest.approx(-1000)
    assert 1000 < hounsfield.max() < 1600
    brain = hounsfield[240:272, 180:200]
    assert 20 < np.median(brain) < 42
    signal = mr_slice(head, 20.0, 3.0)
    assert signal[2, 2] < 0.01
    assert 0.5 < np.median(signal[100:150, 100:150]) < 1.0


def test_scene_is_what_the_demo_promises(scene: Scene) -> None:
    assert [series.expected for series in scene.series] == [
        Expected.NOT_ASSESSED,
        Expected.PASS,
        Expected.NOT_PASS,
        Expected.NOT_PASS,
        Expected.PASS,
        Expected.NOT_PASS,
    ]
    assert len({series.series_instance_uid for series in scene.series}) == len(scene.series)
    for series in scene.series:
        read = [pydicom.dcmread(path) for path in series.paths]
        assert {dataset.SeriesInstanceUID for dataset in read} == {series.series_instance_uid}
        assert {str(dataset.PatientName) for dataset in read} == {"DEMO^QAGATE"}
        assert len({dataset.SOPInstanceUID for dataset in read}) == len(read)


def test_slices_are_evenly_spaced(scene: Scene) -> None:
    for name in ("MR head T1", "CT head"):
        heights = [float(dataset.ImagePositionPatient[2]) for dataset in _series(scene, name)]
        assert len(set(np.diff(heights))) == 1


def test_localizer_planes_are_orthogonal(scene: Scene) -> None:
    planes = _series(scene, "MR localizer")
    normals = [
        np.cross(dataset.ImageOrientationPatient[:3], dataset.ImageOrientationPatient[3:])
        for dataset in planes
    ]
    assert abs(np.linalg.det(np.array(normals))) == pytest.approx(1)
    assert all("LOCALIZER" in dataset.ImageType for dataset in planes)


def test_ct_noise_is_diagnostic_in_the_clean_scan_and_not_in_the_low_dose_one(scene: Scene) -> None:
    noise = {}
    for name in ("CT head", "CT head, low dose"):
        # Differences of neighbours, so that anatomy does not count as noise.
        pixels = _hounsfield(_series(scene, name)[4])[220:292, 220:292]
        noise[name] = float(np.std(np.diff(pixels, axis=1)) / np.sqrt(2))
    assert 1 < noise["CT head"] < 6
    assert noise["CT head, low dose"] > 4 * noise["CT head"]


def test_degraded_mr_differs_from_the_clean_one(scene: Scene) -> None:
    clean = _series(scene, "MR head T1")[10].pixel_array.astype(float)
    for name in ("MR head T1, motion", "MR head T1, noise"):
        degraded = _series(scene, name)[10].pixel_array.astype(float)
        assert np.std(degraded - clean) > 0.03 * clean.max()


def test_uids_are_fresh_and_pixels_are_not(scene: Scene) -> None:
    first, second = _series(scene, "MR head T1")[:2]
    assert first.SOPInstanceUID.startswith("1.2.826.0.1.3680043.8.498.")
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_broken_object_names_itself_but_has_no_series(scene: Scene) -> None:
    dataset = pydicom.dcmread(scene.broken, force=True)
    assert dataset.file_meta.MediaStorageSOPInstanceUID == scene.broken_sop_instance_uid
    assert "SeriesInstanceUID" not in dataset


@pytest.mark.parametrize("program", [archives.ORTHANC, Path("/nonexistent")], ids=["orthanc", "built-in"])
def test_archive_gives_back_the_reports_it_got(tmp_path: Path, program: Path) -> None:
    if program == archives.ORTHANC and not program.is_file():
        pytest.skip("needs Orthanc: `make system-test-deps`")
    report = _report(series_instance_uid=generate_uid())
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    archive = archives.start_archive(tmp_path / "archive", caller_ae_title="QAGATE", orthanc=program)
    try:
        peer = scu.Archive(name="demo", ae_title=archive.ae_title, host="127.0.0.1", port=archive.port)
        (result,) = scu.store(peer, [tmp_path / "report.dcm"])
        assert result.status == 0x0000
        (document,) = archive.documents()
    finally:
        archive.stop()
    assert document.SOPInstanceUID == report.SOPInstanceUID


def test_taken_port_is_named() -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(DemoError, match=f"port {port}.*--port"):
            archives.choose_port(port, usual=None)
        assert archives.choose_port(None, usual=port) != port


def _report(series_instance_uid: str) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = series_instance_uid
    study = Dataset()
    study.ReferencedSeriesSequence = Sequence([series])
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID = Comprehensive3DSRStorage, generate_uid()
    report.StudyInstanceUID, report.SeriesInstanceUID = generate_uid(), generate_uid()
    report.PatientID, report.Modality = "QAGATE-DEMO", "SR"
    report.CurrentRequestedProcedureEvidenceSequence = Sequence([study])
    report.file_meta = pydicom.dataset.FileMetaDataset()
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    report.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return report


def _rows(scene: Scene) -> dict[str, Row]:
    verdicts = {Expected.PASS: "PASS", Expected.NOT_PASS: "REPEAT", Expected.NOT_ASSESSED: "NOT_ASSESSED"}
    return {
        series.series_instance_uid: Row(
            name=series.name, state="DELIVERED", verdict=verdicts[series.expected]
        )
        for series in scene.series
    }


def test_nothing_failed_when_all_is_as_promised(scene: Scene) -> None:
    rows = _rows(scene)
    reports = reported_series(_report(uid) for uid in rows)
    assert not failures(scene, rows, reports, refused=True, refusals=[scene.broken_sop_instance_uid])


def test_every_broken_promise_is_named(scene: Scene) -> None:
    rows = _rows(scene)
    first, second, *_ = rows
    rows[second] = replace(rows[second], verdict="REVIEW")
    reports = reported_series(_report(uid) for uid in rows if uid != first)
    found = failures(scene, rows, reports, refused=False, refusals=[])
    assert found == [
        "MR localizer: no SR reached the archive",
        "MR head T1: REVIEW, expected PASS",
        "broken object: the gate accepted it",
        "broken object: the gate's status does not name it",
    ]


def test_worst_is_the_lowest_quality_and_ignores_what_was_not_scored() -> None:
    rows = {"1": Row(name="a"), "2": Row(name="b", quality=0.9), "3": Row(name="c", quality=0.2)}
    assert worst(rows) == "3"
    assert worst({"1": Row(name="a")}) is None
