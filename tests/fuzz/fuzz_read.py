"""Reads one file the way the gate does, through its own functions: reception, scoring, reports, pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qagate.alerts import Alerter
from qagate.assessment import Assessment, Decision, SliceScore, Verdict
from qagate.dicom.headers import HeaderError, read_header
from qagate.dicom.pixels import PixelError, decode
from qagate.dicom.report import ReportIdentity
from qagate.dicom.spool import Spool
from qagate.examine import Examination, Prepared, prepare
from qagate.reporting import Destination, Reporter
from qagate.series import Instance, Series, SeriesHeader, State
from qagate.web.imaging import picture, screen_pixels, thumbnail

MOST_DRAWN = 2  #: slices of one file that are drawn


@dataclass(frozen=True, slots=True)
class Read:
    """What became of one file: a named outcome at each door."""

    received: str  #: "taken" or "refused"
    prepared: str  #: "scored" or "not assessed"
    drawn: str  #: "drawn", "cannot be drawn" or "no slice"
    reported: str  #: "reported", "no report", or "" where none was asked for


class Doors:
    """Every door of the gate that a file goes through, on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._spool = Spool(folder / "spool")
        self._reporter = Reporter(
            spool=self._spool,
            folder=folder / "reports",
            destinations=[Destination(name="archive", results=True, images=False)],
            alerter=Alerter(()),
            alert_verdicts=(),
            identity=_identity,
        )
        self.path = self._spool.root / "case.dcm"

    def read(self, data: bytes, *, report: bool = True) -> Read:
        """Take the file through each door; what raises here is a fault of the gate."""
        self.path.write_bytes(data)
        received = self._received()
        prepared = prepare([self.path])
        return Read(
            received=received,
            prepared="scored" if prepared.not_assessed is None else "not assessed",
            drawn=self._drawn(prepared),
            reported=self._reported(prepared) if report else "",
        )

    def _received(self) -> str:
        try:
            read_header(self.path)
        except HeaderError as error:
            assert str(error)
            return "refused"
        return "taken"

    def _drawn(self, prepared: Prepared) -> str:
        headers = [header for stack in prepared.images.stacks for header in stack.slices][:MOST_DRAWN]
        for header in headers:
            try:
                image = decode(header)
            except PixelError as error:
                assert str(error)
                return "cannot be drawn"
            screen_pixels(image), thumbnail(image), picture(image)
        return "drawn" if headers else "no slice"

    def _reported(self, prepared: Prepared) -> str:
        examination = _examination(prepared)
        return "reported" if self._reporter.deliveries(_SERIES, examination) else "no report"


_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_SERIES = Series(
    series_id=1,
    study_instance_uid="2.25.2",
    series_instance_uid="2.25.3",
    revision=1,
    state=State.SCORING,
    attempts=1,
    header=SeriesHeader(modality="CT"),
    calling_ae_title="FUZZ",
    first_received_at=_NOW,
    last_received_at=_NOW,
    instances=(
        Instance(
            sop_instance_uid="2.25.4",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            series_instance_uid="2.25.3",
            study_instance_uid="2.25.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            calling_ae_title="FUZZ",
            path="case.dcm",
            sha256="0" * 64,
            size=1,
            received_at=_NOW,
        ),
    ),
)


def _identity(series: Series) -> ReportIdentity:
    return ReportIdentity(
        series_instance_uid=series.series_instance_uid,
        revision=series.revision,
        device_uid="2.25.5",
        ae_title="QAGATE",
    )


def _examination(prepared: Prepared) -> Examination:
    """What a model that found the slices bad would lead to, so that an SR and a KOS are made."""
    assessed = prepared.not_assessed is None
    slices = tuple(
        SliceScore(
            sop_instance_uid=image.header.sop_instance_uid,
            frame_number=image.header.frame_number,
            slice_number=number,
            score=0.4,
            quality=0.1,
            weight=1 / len(prepared.slices),
        )
        for number, image in enumerate(prepared.slices if assessed else (), 1)
    )
    assessment = Assessment(
        prompt=prepared.prompt,
        quality=0.1 if assessed else None,
        score=0.4 if assessed else None,
        slices=slices,
        measures=prepared.measures,
        findings=prepared.findings,
        slice_count=len(prepared.stack.slices) if prepared.stack else 0,
        model="fuzz",
        model_version="1",
        weights_sha256="0" * 64,
        not_assessed=prepared.not_assessed,
    )
    decision = Decision(
        verdict=Verdict.REPEAT if assessed else Verdict.NOT_ASSESSED,
        reasons=("quality 0.10 is below 0.30",) if assessed else (prepared.not_assessed or "",),
        review_below=0.5 if assessed else None,
        repeat_below=0.3 if assessed else None,
        rule="default",
        policy_version="1",
    )
    evidence = tuple(image.header for image in prepared.slices)
    if not evidence:
        evidence = tuple(header for stack in prepared.images.stacks for header in stack.slices)[:1]
    return Examination(assessment=assessment, decision=decision, evidence=evidence)
