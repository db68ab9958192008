"""The reports as short text for a terminal, free of patient data."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from qagate.dicom.report import codes
from qagate.dicom.report.source import ReportError

_WIDTH = 12
_DIMENSIONLESS = frozenset({"1"})
_READERS = (
    codes.EXPECTED_RATING, codes.RATING_LOW, codes.RATING_HIGH, codes.RATING_WORST, codes.RATING_BEST,
)  # fmt: skip
_BASELINE = (codes.BASELINE_MEDIAN, codes.BASELINE_MAD, codes.BASELINE_COUNT)
_OWN_LINES = frozenset(
    code.value
    for code in (
        *(codes.SET_RATING, codes.MODEL_SCORE, codes.REVIEW_BELOW, codes.REPEAT_BELOW),
        *(codes.BASELINE_DISTANCE, *_READERS),
    )
)


def sr_text(document: Dataset) -> str:
    """What one of this package's reports (SR or KOS) says, a line a fact, labels aligned.

    It quotes the content tree and UIDs only, never the patient or study modules.

    Raises
    ------
    ReportError
        The data set is no report of this package.
    """
    title = _name(document)
    if title == codes.REPORT.value:
        lines = _report(document)
    elif title in (codes.QUALITY_ISSUE.value, codes.REJECTED.value):
        lines = _key_object(document)
    else:
        raise ReportError("not a report of this gate: the root has another title")
    return "\n".join(f"{label:<{_WIDTH}}{value}".rstrip() for label, value in lines)


def _report(document: Dataset) -> Iterator[tuple[str, str]]:
    measurements = _children(document, codes.MEASUREMENTS)
    groups = _children(measurements[0], codes.GROUP) if measurements else []
    if not groups:
        raise ReportError("not a report of this gate: it holds no measurement group")
    series, *slices = groups
    decision = next(iter(_children(series, codes.GATE_DECISION)), None)
    if decision is None:
        raise ReportError("not a report of this gate: it holds no gate decision")
    yield "Decision", _meaning(decision)
    yield from _labelled("Because", (_text(one) for one in _children(decision, codes.GATE_REASON)))
    yield from _labelled("Quality", _quality(series, decision))
    yield from _labelled("Baseline", _baseline(series, decision))
    yield from _labelled("Readers", _readers(series))
    yield from _labelled("Finding", _findings(series))
    yield from _labelled("Measures", _measures(series))
    yield from _labelled("Slices", (_slice(one) for one in slices))
    name, version = (_children(series, code) for code in (codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION))
    if name and version:
        yield "Model", f"{_text(name[0])} {_text(version[0])}"
    yield from _labelled("Policy", _policy(decision))
    yield from _references(document)


def _key_object(document: Dataset) -> Iterator[tuple[str, str]]:
    yield "Flag", str(document.ConceptNameCodeSequence[0].CodeMeaning)
    yield from _labelled("Reason", (_meaning(one) for one in _children(document, codes.TITLE_MODIFIER)))
    yield from _labelled("Because", (_text(one) for one in _children(document, codes.KEY_OBJECT_DESCRIPTION)))
    count = sum(one.ValueType == "IMAGE" for one in document.ContentSequence)
    yield "Images", str(count)
    yield from _references(document)


def _references(document: Dataset) -> Iterator[tuple[str, str]]:
    evidence = document.get("CurrentRequestedProcedureEvidenceSequence") or []
    for study in evidence:
        for series in study.ReferencedSeriesSequence:
            yield "Series", f"{series.SeriesInstanceUID}, revision {document.InstanceNumber}"
    yield "Report", str(document.SOPInstanceUID)


def _labelled(label: str, values: Iterator[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        yield label, value
        label = ""


def _quality(series: Dataset, decision: Dataset) -> Iterator[str]:
    for rating in _children(series, codes.SET_RATING):
        bounds = [
            f"{_concept(one).lower()} {_number(one)}"
            for code in (codes.REVIEW_BELOW, codes.REPEAT_BELOW)
            for one in _children(decision, code)
        ]
        yield _number(rating) + (f" ({', '.join(bounds)})" if bounds else "")


def _baseline(series: Dataset, decision: Dataset) -> Iterator[str]:
    found = [_number(one) for code in _BASELINE for one in _children(decision, code)]
    for distance in _children(series, codes.BASELINE_DISTANCE) if len(found) == len(_BASELINE) else ():
        median, mad, count = found
        value = float(distance.MeasuredValueSequence[0].NumericValue)
        side = "below" if value < 0 else "above"
        yield f"median {median}, MAD {mad} of {count} series; this one {abs(value):.1f} MADs {side}"


def _readers(series: Dataset) -> Iterator[str]:
    found = [_number(one) for code in _READERS for one in _children(series, code)]
    if len(found) == len(_READERS):
        value, low, high, worst, best = found
        yield f"{value} expected ({low} to {high}), on a scale from {worst} (worst) to {best} (best)"


def _findings(series: Dataset) -> Iterator[str]:
    for finding in _children(series, codes.QUALITY_FINDING):
        words = _children(finding, codes.COMMENT)
        if words:
            severity = "".join(f", severity {_number(one)}" for one in _children(finding, codes.SEVERITY))
            yield f"{_text(words[0])} ({_meaning(finding)}{severity})"


def _measures(series: Dataset) -> Iterator[str]:
    found = [
        (_concept(one), _number(one))
        for one in series.ContentSequence
        if one.ValueType == "NUM" and _name(one) not in _OWN_LINES
    ]
    width = max((len(name) for name, _ in found), default=0)
    for name, value in found:
        yield f"{name:<{width}}  {value}"


def _slice(group: Dataset) -> str:
    label = "".join(_text(one) for one in _children(group, codes.TRACKING_ID))
    ratings = ", ".join(_number(one) for one in _children(group, codes.IMAGE_RATING))
    return f"{label.removeprefix('slice '):>5}  {ratings}"


def _policy(decision: Dataset) -> Iterator[str]:
    names = (codes.POLICY_VERSION, codes.POLICY_RULE)
    parts = [_text(one) for code in names for one in _children(decision, code)]
    if parts:
        yield ", rule ".join(parts)


def _name(item: Dataset) -> str:
    concept = item.get("ConceptNameCodeSequence")
    if not concept:
        return ""
    return str(concept[0].get("CodeValue") or concept[0].get("LongCodeValue") or "")


def _children(item: Dataset, code: Code) -> list[Dataset]:
    return [one for one in item.get("ContentSequence") or [] if _name(one) == code.value]


def _concept(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def _meaning(item: Dataset) -> str:
    return str(item.ConceptCodeSequence[0].CodeMeaning)


def _text(item: Dataset) -> str:
    return str(item.TextValue)


def _number(item: Dataset) -> str:
    measured = item.MeasuredValueSequence[0]
    unit = measured.MeasurementUnitsCodeSequence[0]
    if unit.CodeValue in _DIMENSIONLESS:
        return str(measured.NumericValue)
    shown = {"percent": "%", "Hounsfield unit": "HU", "per millimeter": "/mm", "decibel": "dB"}
    return f"{measured.NumericValue} {shown.get(unit.CodeMeaning, unit.CodeMeaning)}"
