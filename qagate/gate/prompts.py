"""The MedIQA prompt from DICOM attributes: dimension, modality, region and type.

Tags that are missing or contradict each other give "unknown", and the evidence says why. Free text
is quoted by the word that spoke only, as the rest of it may name a patient.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

from models.prompt import MODALITIES, UNKNOWN
from qagate.assessment import Prompt
from qagate.gate import vocabulary as words

PROJECTIONS = frozenset({"CR", "DX", "MG", "OP", "US", "XA", "RF", "SC", "OT"})
LEGACY_SCHEMES = frozenset({"SRT", "SNM3", "99SDM", "SNM"})
REGION_TEXTS = ("ProtocolName", "SeriesDescription")
TYPE_TEXTS = ("SeriesDescription", "ProtocolName", "SequenceName")

Vote = tuple[str, str]  #: a word of the vocabulary, and the evidence for it


def prompt_from(attributes: Mapping[str, object], slice_count: int | None = None) -> Prompt:
    """The prompt of a series.

    attributes: DICOM keyword -> str, int, float or tuple; coded sequences as tuples of
    (value, scheme, meaning). slice_count: slices of the scored stack, when known: a lone slice is
    2D whatever the modality.
    """
    modality = _text(attributes, "Modality").upper()
    known = modality if modality in MODALITIES else UNKNOWN
    flat = modality in PROJECTIONS or slice_count == 1
    region, region_evidence = _region(attributes)
    kind, kind_evidence = {"MR": _mr_type, "CT": _ct_type}.get(known, _no_type)(attributes)
    if known == "OP" and region == UNKNOWN:
        region, region_evidence = "eye", (*region_evidence, "Modality: OP")
    return Prompt(
        dimension="2D" if flat else "3D",
        modality=known,
        region=region,
        type=kind,
        evidence=(*region_evidence, *kind_evidence),
    )


def _region(attributes: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    votes = [*_coded_regions(attributes)]
    body_part = re.sub(r"[^A-Z]", "", _text(attributes, "BodyPartExamined").upper())
    notes: tuple[str, ...] = ()
    if body_part in words.BODY_PARTS:
        votes.append((words.BODY_PARTS[body_part], f"BodyPartExamined: {body_part}"))
    elif body_part in words.NO_REGION:
        notes = (f"BodyPartExamined: {body_part} names no region",)
    elif body_part:
        notes = ("BodyPartExamined: not a known body part",)
    for keyword in REGION_TEXTS:
        votes += _spoken(attributes, keyword, words.REGION_WORDS)
    if not votes:
        votes += _spoken(attributes, "StudyDescription", words.REGION_WORDS)
    named = frozenset(region for region, _ in votes)
    evidence = notes + tuple(evidence for _, evidence in votes)
    if len(named) == 1:
        return next(iter(named)), evidence
    merged = words.MERGED_REGIONS.get(named)
    if named and merged is None:
        evidence += (f"region: {', '.join(sorted(named))} contradict each other",)
    return merged or UNKNOWN, evidence


def _coded_regions(attributes: Mapping[str, object]) -> Iterable[Vote]:
    for code in _values(attributes, "AnatomicRegionSequence"):
        if not isinstance(code, tuple) or len(code) < 2:
            continue
        value, scheme = str(code[0]).strip(), str(code[1]).strip().upper()
        table = words.SRT_REGIONS if scheme in LEGACY_SCHEMES else words.SNOMED_REGIONS
        region = table.get(value)
        if region is not None and (scheme in LEGACY_SCHEMES or scheme in {"SCT", "SNOMED"}):
            yield region, f"AnatomicRegionSequence: {value} ({scheme})"


def _mr_type(attributes: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    contrast = words.ACQUISITION_CONTRAST.get(_text(attributes, "AcquisitionContrast").upper())
    tagged: list[Vote] = []
    for value in map(str, _values(attributes, "ImageType")[2:]):
        if value.upper() in words.IMAGE_TYPES:
            tagged.append((words.IMAGE_TYPES[value.upper()], f"ImageType: {value.upper()}"))
    if contrast:
        tagged.append((contrast, f"AcquisitionContrast: {_text(attributes, 'AcquisitionContrast')}"))
    if str(_text(attributes, "AngioFlag")).upper() == "Y":
        tagged.append(("angio", "AngioFlag: Y"))
    if (_number(attributes, "DiffusionBValue") or 0) > 0:
        tagged.append(("dwi", "DiffusionBValue above 0"))
    said = [vote for keyword in TYPE_TEXTS for vote in _spoken(attributes, keyword, words.MR_WORDS)]
    physical = _mr_physics(attributes)
    evidence = tuple(text for _, text in (*tagged, *said, *physical))
    kind = _agreed([k for k, _ in tagged + said], [k for k, _ in physical])
    if kind == UNKNOWN and evidence:
        evidence += ("type: the tags contradict each other or say too little",)
    return _with_contrast(kind, attributes, evidence, only="t1")


def _agreed(told: list[str], physical: list[str]) -> str:
    """One MR type of what tags and texts tell and what the timing shows, or unknown.

    A special technique (everything before flair in the vocabulary) outweighs the plain contrast it
    is built on: a DWI is also T2 weighted. Of plain contrasts, t1 with flair is a T1 FLAIR,
    t2 with flair a FLAIR; the timing settles pd against t2 (double echo) and speaks where nothing
    else does; it contradicts t1 against t2 or pd.
    """
    order = list(words.MR_WORDS)
    named = set(told)
    special = next((kind for kind in order[: order.index("flair")] if kind in named), None)
    return special or _plain_contrast(named, physical[0] if physical else None)


def _plain_contrast(named: set[str], timing: str | None) -> str:
    if "flair" in named:
        return "t1" if "t1" in named and "t2" not in named else "flair"
    if named == {"t2star", "t2"}:
        return "t2star"
    if named == {"pd", "t2"}:
        return timing if timing in named else UNKNOWN
    if len(named) != 1:
        return UNKNOWN if named else timing or UNKNOWN
    kind = named.pop()
    opposed = {kind, timing} in ({"t1", "t2"}, {"t1", "pd"})
    return UNKNOWN if opposed else kind


def _mr_physics(attributes: Mapping[str, object]) -> list[Vote]:
    """The contrast that TE, TR, TI and flip angle give, in ms and degrees, where they are clear.

    Ranges after McRobbie et al., MRI from Picture to Proton, chapter on image contrast.
    """
    echo, repetition = _number(attributes, "EchoTime"), _number(attributes, "RepetitionTime")
    inversion = _number(attributes, "InversionTime") or 0.0
    if echo is None or repetition is None or echo <= 0 or repetition <= 0:
        return []
    sequence = {str(value).upper() for value in _values(attributes, "ScanningSequence")}
    kind = None
    if inversion >= 1600 and echo >= 60:
        kind = "flair"
    elif "EP" in sequence:
        kind = None
    elif "GR" in sequence:
        kind = _gradient_echo(echo, repetition, inversion, _number(attributes, "FlipAngle") or 0.0)
    elif "SE" in sequence and not inversion:
        kind = _spin_echo(echo, repetition)
    timing = f"TE {echo:g} ms, TR {repetition:g} ms" + (f", TI {inversion:g} ms" if inversion else "")
    return [(kind, timing)] if kind else []


def _gradient_echo(echo: float, repetition: float, inversion: float, flip: float) -> str | None:
    if echo >= 15 and repetition >= 100 and flip <= 40:
        return "t2star"
    return "t1" if echo < 8 and (500 <= inversion <= 1300 or flip >= 15) else None


def _spin_echo(echo: float, repetition: float) -> str | None:
    if echo <= 30 and repetition <= 900:
        return "t1"
    if repetition < 1500 or 40 < echo < 60:
        return None
    return "t2" if echo >= 60 else "pd"


def _ct_type(attributes: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    if "LOCALIZER" in {str(value).upper() for value in _values(attributes, "ImageType")}:
        return "localizer", ("ImageType: LOCALIZER",)
    votes = _ct_kernel(attributes)
    votes += _spoken(attributes, "SeriesDescription", words.CT_WORDS)
    named = {kind for kind, _ in votes}
    if not named:
        votes = _ct_window(attributes)
        named = {kind for kind, _ in votes}
    evidence = tuple(text for _, text in votes)
    if len(named) > 1:
        return UNKNOWN, (*evidence, f"type: {', '.join(sorted(named))} contradict each other")
    kind = named.pop() if named else UNKNOWN
    return _with_contrast(kind, attributes, evidence)


def _ct_kernel(attributes: Mapping[str, object]) -> list[Vote]:
    kernel = next((str(v).strip().lower() for v in _values(attributes, "ConvolutionKernel")), "")
    for kind, pattern in words.CT_KERNELS.items():
        if kernel and re.fullmatch(pattern, kernel):
            return [(kind, f"ConvolutionKernel: {kernel.upper()}")]
    return []


def _ct_window(attributes: Mapping[str, object]) -> list[Vote]:
    centre, width = _number(attributes, "WindowCenter"), _number(attributes, "WindowWidth")
    if centre is None or width is None:
        return []
    text = f"window {centre:g}/{width:g} HU"
    if width >= 1000:
        return [("lung", text)] if centre <= -300 else [("bone", text)] if centre >= 200 else []
    return [("soft", text)] if 0 < width <= 500 and -100 <= centre <= 200 else []


def _no_type(attributes: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    return UNKNOWN, ()


def _with_contrast(
    kind: str, attributes: Mapping[str, object], evidence: tuple[str, ...], only: str | None = None
) -> tuple[str, tuple[str, ...]]:
    agent = _folded(_text(attributes, "ContrastBolusAgent"))
    given = bool(agent) and not re.fullmatch(words.NO_CONTRAST, agent)
    if not given or kind in {UNKNOWN, "localizer"} or kind != (only or kind):
        return kind, evidence
    return kind + words.CONTRAST_SUFFIX, (*evidence, "ContrastBolusAgent: present")


def _spoken(attributes: Mapping[str, object], keyword: str, table: Mapping[str, str]) -> list[Vote]:
    """What a free text says, with the word that said it."""
    text = _folded(_text(attributes, keyword))
    found = ((kind, _pattern(pattern).search(text)) for kind, pattern in table.items())
    return [(kind, f"{keyword}: {match.group()!r}") for kind, match in found if match]


@lru_cache(maxsize=128)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{pattern})(?![\w*])")


def _folded(text: str) -> str:
    """Lower case, accents off, signs other than * to blanks, one blank between words."""
    plain = text.casefold().replace("œ", "oe")
    letters = (c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return re.sub(r"[^0-9a-z*/]+|/", " ", "".join(letters)).strip()


def _values(attributes: Mapping[str, object], keyword: str) -> tuple[object, ...]:
    value = attributes.get(keyword)
    if value is None:
        return ()
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _text(attributes: Mapping[str, object], keyword: str) -> str:
    return " ".join(str(value) for value in _values(attributes, keyword)).strip()


def _number(attributes: Mapping[str, object], keyword: str) -> float | None:
    for value in _values(attributes, keyword)[:1]:
        try:
            return float(str(value))
        except ValueError:
            return None
    return None
