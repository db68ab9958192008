"""What an alert says: its texts, and the fields of its templates.

Free of patient data: it holds modality, station, the prompt's region, series number and the gate's own
sentences. (0008,103E) *Series Description* and (0018,1030) *Protocol Name* are typed by people and may hold a
name, so they appear only where a setting allows it (`include_patient`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from qagate.assessment import Assessment, Decision, Verdict
from qagate.series import Series
from qagate.wording import one_line

WORST_SLICES = 3  #: slices named as the worst

DEFAULT_TITLE = "{headline}: {subject}"
DEFAULT_BODY = """\
{sentence}
Scanner: {scanner}
Series: {series}
Why: {reasons}
Quality: {quality}
Slices: {slices}
What to do: {advice}
Archive: {held}
"""
FREE_TEXT_BODY = DEFAULT_BODY.replace("Why:", "Protocol: {protocol}\nDescription: {description}\nWhy:")

_HEADLINES = {
    Verdict.PASS: "Good",
    Verdict.REVIEW: "Please look",
    Verdict.REPEAT: "Repeat suggested",
    Verdict.NOT_ASSESSED: "Not checked",
}
_SENTENCES = {
    Verdict.PASS: "The images are good enough.",
    Verdict.REVIEW: "The images may not be good enough.",
    Verdict.REPEAT: "The images are probably not good enough to read.",
    Verdict.NOT_ASSESSED: "The gate did not judge these images.",
}
_ADVICE = {
    Verdict.PASS: "Nothing.",
    Verdict.REVIEW: "Look at the images before the patient leaves. You decide.",
    Verdict.REPEAT: "Keep the patient on the table and look at the images. If you agree, repeat the series.",
    Verdict.NOT_ASSESSED: "Check the images yourself, as without the gate.",
}
#: what a service that shows HTML or Markdown would take for markup or for a link
_TAMED = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")", "`": "'"})


class AlertError(RuntimeError):
    """An alert cannot be set up or was not accepted; never quotes a destination's URL."""

    def __init__(self, message: str, failed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.failed = tuple(failed)  #: names of the destinations to try again


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertMessage:
    """What is sent to every destination."""

    verdict: Verdict | None  #: None: an alarm about the gate itself, for the physicist
    title: str  #: one line, the verdict first
    body: str  #: plain text, a fact a line


def compose(
    series: Series,
    assessment: Assessment,
    decision: Decision,
    *,
    include_patient: bool = False,
    title: str | None = None,
    body: str | None = None,
    held: str = "",
) -> AlertMessage:
    """Put one decision into plain words.

    Parameters
    ----------
    include_patient
        Allow `{description}` and `{protocol}`, free text that may hold patient data; else both are empty.
    title, body
        Templates with the fields of `FIELDS` in braces; None: the default ones. A line of the
        body whose fields are all empty is left out.
    held
        Why the archive has not got the images, as one sentence; "" when they are on their way.

    Raises
    ------
    AlertError
        A template has an unknown field.
    """
    fields = _fields(series, assessment, decision) | {"held": held}
    if not include_patient:
        fields |= {"description": "", "protocol": ""}
    title = DEFAULT_TITLE if title is None else title
    if body is None:
        body = FREE_TEXT_BODY if include_patient else DEFAULT_BODY
    line = " ".join(_fill(title, fields).split())
    return AlertMessage(verdict=decision.verdict, title=line, body=_fill(body, fields))


def _fields(series: Series, assessment: Assessment, decision: Decision) -> dict[str, str]:
    return {
        name: value.translate(_TAMED) for name, value in _raw_fields(series, assessment, decision).items()
    }


def _raw_fields(series: Series, assessment: Assessment, decision: Decision) -> dict[str, str]:
    header, verdict = series.header, decision.verdict
    modality = header.modality or "images"
    region = assessment.prompt.region if assessment.prompt.region != "unknown" else ""
    station = one_line(header.station_name or f"calling AE title {series.calling_ae_title}")
    number = "" if header.series_number is None else str(header.series_number)
    subject = " ".join(part for part in (modality, region, number and f"series {number}") if part)
    return {
        "headline": _HEADLINES[verdict],
        "sentence": _SENTENCES[verdict],
        "advice": _ADVICE[verdict],
        "verdict": verdict.value,
        "subject": f"{subject} on {station}",
        "scanner": f"{station} ({modality})",
        "series": " ".join(part for part in (number, region) if part),
        "station": station,
        "modality": header.modality,
        "region": region,
        "series_number": number,
        "reasons": "; ".join(one_line(reason) for reason in decision.reasons),
        "quality": "" if assessment.quality is None else f"{assessment.quality:.0%}",
        "slices": _slices(assessment),
        "description": one_line(header.series_description),
        "protocol": one_line(header.protocol_name),
        "revision": str(series.revision),
        "series_instance_uid": series.series_instance_uid,
    }


FIELDS = (
    *("headline", "sentence", "advice", "verdict", "subject", "scanner", "series", "station", "modality"),
    *("region", "series_number", "reasons", "quality", "slices", "description", "protocol", "revision"),
    *("held", "series_instance_uid"),
)  #: what a template may name


def _slices(assessment: Assessment) -> str:
    if not assessment.slices:
        return ""
    worst = sorted(assessment.slices, key=lambda one: one.quality)[:WORST_SLICES]
    numbers = ", ".join(map(str, sorted(one.slice_number for one in worst)))
    total = max(assessment.slice_count, len(assessment.slices))
    return f"{total}, {len(assessment.slices)} of them checked; the worst: {numbers}"


def fields_named(template: str) -> list[str]:
    """The fields a template names; AlertError when it is no template or names others than `FIELDS`."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise AlertError(f"an alert template cannot be read: {error}; write {{{{ for a brace") from error
    names = [name for _, name, _, _ in parts if name is not None]
    for name in names:
        if name not in FIELDS:
            raise AlertError(f"an alert template names {name!r}; known are {', '.join(FIELDS)}")
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise AlertError("an alert template formats a field; write the field's name alone in the braces")
    return names


def _fill(template: str, fields: Mapping[str, str]) -> str:
    lines = []
    for line in template.splitlines():
        names = fields_named(line)
        if not names or any(fields[name] for name in names):
            lines.append(line.format_map(fields).rstrip())
    return "\n".join(lines)
