"""What a report takes over from a source image's header, whatever state that header is in.

Values are read from the raw elements: pydicom's own conversion warns with the offending value,
which may be patient data, and raises on some of the junk that scanners write.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.tag import Tag
from pydicom.uid import UID

#: what a report reads of an instance's header
EVIDENCE_KEYWORDS = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "TimezoneOffsetFromUTC", "Modality", "Rows"),
    *("Columns", "PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient"),
)
_DELIMITERS = {ord(c) for c in "\r\n\t\f\\^="}
_DATE = re.compile(r"[12]\d{7}")  # placeholders such as 00010101 are no dates
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_ENHANCED_US_VOLUME = _STORAGE + "6.2"
_SINGLE_FRAME = frozenset(
    _STORAGE + end
    for end in (
        *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "2", "4", "6.1", "7", "128"),
        *("77.1.1", "77.1.2", "77.1.3", "77.1.4"),
    )
)


class ReportError(ValueError):
    """A report cannot be built from this evidence."""


def raw_text(dataset: Dataset, keyword: str) -> str:
    """The value of a text element, decoded, stripped, every value of it; "" when absent or not text."""
    if keyword not in dataset:
        return ""
    value = dataset.get_item(Tag(keyword)).value
    if isinstance(value, bytes):
        value = decode_bytes(value, _encodings(dataset), _DELIMITERS)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        value = "\\".join(str(part) for part in value)
    text = "" if value is None else str(value)
    return "".join(c for c in text if c.isprintable()).strip()


def _encodings(dataset: Dataset) -> list[str]:
    if "SpecificCharacterSet" not in dataset:
        return convert_encodings(None)
    value = dataset.get_item(Tag("SpecificCharacterSet")).value
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").strip("\0 ")
    names = value.split("\\") if isinstance(value, str) else [str(name) for name in value or [""]]
    try:
        return convert_encodings([name.strip() for name in names])
    except (ValueError, LookupError):  # no name of a character set, such as one with a NUL
        return convert_encodings(None)


def first(dataset: Dataset, keyword: str) -> str:
    """The first value of a text element."""
    return raw_text(dataset, keyword).split("\\")[0].strip()


def date(dataset: Dataset, keyword: str) -> str:
    """A DA value as YYYYMMDD (also from the older YYYY.MM.DD); "" when it is no date."""
    value = first(dataset, keyword).replace(".", "")
    if not _DATE.fullmatch(value):
        return ""
    try:
        datetime.strptime(value, "%Y%m%d")
    except ValueError:
        return ""
    return value


def time(dataset: Dataset, keyword: str) -> str:
    """A TM value (also from the older HH:MM:SS); "" when it is no time."""
    value = first(dataset, keyword).replace(":", "")
    return value if _TIME.fullmatch(value) else ""


def offset_from_utc(dataset: Dataset) -> str | None:
    """(0008,0201) *Timezone Offset From UTC* when it is one, else None."""
    value = first(dataset, "TimezoneOffsetFromUTC")
    return value if _OFFSET.fullmatch(value) else None


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """The `count` finite numbers of a DS or IS element; () when it does not hold just these."""
    try:
        values = tuple(float(part) for part in raw_text(dataset, keyword).split("\\"))
    except ValueError:
        return ()
    return values if len(values) == count and all(map(math.isfinite, values)) else ()


def unsigned(dataset: Dataset, keyword: str) -> int | None:
    """A US value; None when absent or of another kind."""
    if keyword not in dataset:
        return None
    try:
        value = dataset[keyword].value
    except (ValueError, TypeError, NotImplementedError, LookupError, BytesLengthException):
        return None
    return value if isinstance(value, int) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One instance of the evidence."""

    dataset: Dataset
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str

    @property
    def uids(self) -> tuple[str, str]:
        """SOP class and SOP instance UID, as a reference needs them."""
        return self.sop_class_uid, self.sop_instance_uid

    @property
    def modality(self) -> str:
        return first(self.dataset, "Modality")

    def frames(self, wanted: Iterable[int | None]) -> tuple[int, ...]:
        """Frame numbers to refer to; none when the SOP class has single frames (PS3.3 10.3)."""
        if self.sop_class_uid in _SINGLE_FRAME:
            return ()
        return tuple(sorted({frame for frame in wanted if frame is not None}))

    @property
    def is_image(self) -> bool:
        """Whether an IMAGE content item may point to it; readers refuse one to any other class."""
        return self.sop_class_uid == _ENHANCED_US_VOLUME or "Image Storage" in UID(self.sop_class_uid).name


def sources(evidence: Sequence[Dataset]) -> dict[str, Source]:
    """The evidence by SOP instance UID, in its own order.

    Raises
    ------
    ReportError
        There is no evidence, or an instance lacks one of its four UIDs.
    """
    if not evidence:
        raise ReportError("a report needs the header of at least one instance as evidence; none was given")
    found: dict[str, Source] = {}
    for dataset in evidence:
        uids = {}
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            uids[keyword] = first(dataset, keyword)
            if not uids[keyword]:
                raise ReportError(f"an instance of the evidence has no {keyword}; leave it out")
        found[uids["SOPInstanceUID"]] = Source(
            dataset=dataset,
            sop_class_uid=uids["SOPClassUID"],
            sop_instance_uid=uids["SOPInstanceUID"],
            study_instance_uid=uids["StudyInstanceUID"],
            series_instance_uid=uids["SeriesInstanceUID"],
        )
    return found
