"""SR content items (PS3.3 C.17.3) as pydicom data sets, one function a value type."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from qagate.dicom.report.codes import MEANING_LIMIT

CODE_VALUE_LIMIT = 16  #: characters of (0008,0100), SH; longer values go to (0008,0119) Long Code Value

CONTAINS = "CONTAINS"
HAS_PROPERTIES = "HAS PROPERTIES"
HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"
INFERRED_FROM = "INFERRED FROM"


def plain(text: str, limit: int | None = None) -> str:
    """`text` in one line without control characters, cut to `limit` characters, never empty."""
    words = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).split()
    line = " ".join(words) or "unknown"
    return line if limit is None else line[:limit].rstrip()


def coded(code: Code) -> Dataset:
    """One item of a code sequence (PS3.3 8.8); over-long meanings are cut to what LO allows."""
    item = Dataset()
    if len(code.value) > CODE_VALUE_LIMIT:
        item.LongCodeValue = code.value
    else:
        item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = plain(code.meaning.replace("\\", "/"), MEANING_LIMIT)
    return item


def _item(
    relationship: str | None, value_type: str, name: Code | None, children: Iterable[Dataset]
) -> Dataset:
    item = Dataset()
    if relationship is not None:
        item.RelationshipType = relationship
    item.ValueType = value_type
    if name is not None:
        item.ConceptNameCodeSequence = [coded(name)]
    below = list(children)
    if below:
        item.ContentSequence = below
    return item


def container(
    relationship: str | None, name: Code, children: Iterable[Dataset], template: str | None = None
) -> Dataset:
    item = _item(relationship, "CONTAINER", name, children)
    item.ContinuityOfContent = "SEPARATE"
    if template is not None:
        identification = Dataset()
        identification.MappingResource = "DCMR"
        identification.TemplateIdentifier = template
        item.ContentTemplateSequence = [identification]
    return item


def code(relationship: str, name: Code, value: Code, children: Iterable[Dataset] = ()) -> Dataset:
    item = _item(relationship, "CODE", name, children)
    item.ConceptCodeSequence = [coded(value)]
    return item


def text(relationship: str, name: Code, value: str, children: Iterable[Dataset] = ()) -> Dataset:
    item = _item(relationship, "TEXT", name, children)
    item.TextValue = plain(value)
    return item


def uid_reference(relationship: str, name: Code, value: str) -> Dataset:
    item = _item(relationship, "UIDREF", name, ())
    item.UID = value
    return item


def person(relationship: str, name: Code, value: str) -> Dataset:
    """A PNAME item; what would end a component or a group of a name is taken for a blank."""
    item = _item(relationship, "PNAME", name, ())
    item.PersonName = plain(re.sub(r"[\\^=]", " ", value), 64)
    return item


def number(relationship: str, name: Code, value: float, unit: Code) -> Dataset:
    """A NUM item; `value` is finite and keeps ten significant digits, the most that always fit a DS."""
    item = _item(relationship, "NUM", name, ())
    measured = Dataset()
    measured.NumericValue = f"{value:.10g}"
    measured.MeasurementUnitsCodeSequence = [coded(unit)]
    item.MeasuredValueSequence = [measured]
    return item


def image(
    relationship: str,
    name: Code | None,
    uids: tuple[str, str],
    frames: Sequence[int] = (),
    children: Iterable[Dataset] = (),
) -> Dataset:
    """An IMAGE item of the SOP class and instance `uids`; `frames` are 1-based, none means all of it."""
    item = _item(relationship, "IMAGE", name, children)
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = uids
    if frames:
        reference.ReferencedFrameNumber = list(frames)
    item.ReferencedSOPSequence = [reference]
    return item


def composite(relationship: str, name: Code | None, uids: tuple[str, str]) -> Dataset:
    """A COMPOSITE item of the SOP class and instance `uids`: any object that is no image."""
    item = _item(relationship, "COMPOSITE", name, ())
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = uids
    item.ReferencedSOPSequence = [reference]
    return item
