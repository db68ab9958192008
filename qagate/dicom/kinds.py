"""What may not be judged: localisers, derived images, secondary captures, non-images.

What counts, and why so narrowly: ImageType (0008,0008) value 1 DERIVED alone is no evidence.
Lossy compression, anonymisers, converters and some scanners' ordinary reconstructions write it.
An image is derived here when it says what was made of it (a reformat, a projection, a map), in
ImageType, in the volumetric attributes of enhanced objects, or by being a colour or captured
picture in a CT or MR series.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LOCALISER = "localiser"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  #: and its multi-frame kin below it

_LOCALISER_TYPES = frozenset(
    ("LOCALIZER", "LOCALISER", "SCOUT", "TOPOGRAM", "SCANOGRAM", "SURVIEW", "SURVEY")
)
_LOCALISER_NAMES = re.compile(r"(?<![a-z])(locali[sz]er|scout|topogram|scanogram|surview)(?![a-z])", re.I)
# Words that ordinary series also use; they count only where the stacks are short.
_LOCALISER_HINTS = re.compile(r"(?<![a-z])(loc|survey|pilot|3[ _-]?pl(ane)?)(?![a-z])", re.I)
HINTED_LOCALISER_SLICES = 30
ORTHOGONAL_LOCALISER_SLICES = 5

_MADE_OF_DERIVED = {
    "a reformat": "MPR|CSA MPR|MPR THICK|REFORMATTED|CPR|CURVED|CURVED_MPR|CSAPARALLEL|RESAMPLED"
    "|CSARESAMPLED",
    "a calculated image": "SUB|SUBTRACTION|SUBTRACT|STD_DEVIATION|STDDEV|QUANTITY|DIVISION|MULTIPLICATION"
    "|MAXIMUM|MINIMUM|MEAN",
}
_ALWAYS = {
    "a projection": "MIP|MAXIP|MINIP|MIN IP|MAX_IP|MIN_IP|AIP|PROJECTION IMAGE|CSA MIP|THIN MIP|MNIP|RADON",
    "a rendering": "VRT|VOLREN|VOLUME RENDERED|VOLUME_RENDER|SURFACE_RENDER|SSD|3D RENDERING",
    "a parameter map": "ADC|ADC_UNSPECIFIED|EADC|FA|COLFA|TENSOR|CBF|CBV|RCBF|RCBV|RELCBF|RELCBV|MTT|TTP"
    "|TMAX|T1 MAP|T2 MAP|T2_STAR MAP|T1_MAP|T2_MAP|R2_STAR|R2 MAP|R2_STAR MAP|B0 MAP|B1 MAP|FIELD MAP"
    "|FIELD_MAP|FAT_FRACTION|WATER_FRACTION",
    "a screen capture": "SCREEN SAVE|SCREENSAVE|SCREENSHOT|SCREEN SHOT|CAPTURE|SCREEN CAPTURE",
    "a mosaic of several slices in one image": "MOSAIC",
    "a phase image": "P|PHASE|PHASE MAP|PHASE_MAP|P_FFE|P_SE|P_IR",
    "an imaginary-part image": "I|IMAGINARY|I_FFE|I_SE|I_IR",
}
_MR_ONLY = frozenset(("a phase image", "an imaginary-part image"))
_TECHNIQUES = {
    "MAX_IP": "a projection",
    "MIN_IP": "a projection",
    "VOLUME_RENDER": "a rendering",
    "SURFACE_RENDER": "a rendering",
    "MPR": "a reformat",
    "CURVED_MPR": "a reformat",
}
_NOT_ACQUIRED = {
    "SEG": "a segmentation",
    "RTDOSE": "a radiotherapy dose grid",
    "REG": "a registration",
    "RWV": "a real-world value mapping",
    "PR": "a presentation state",
    "KO": "a key object selection",
    "SR": "a structured report",
    "RTSTRUCT": "a radiotherapy structure set",
    "RTPLAN": "a radiotherapy plan",
    "DOC": "a document",
    "ECG": "a waveform",
}
_MR_COMPONENTS = re.compile(
    r"^([MPRI](_\w+)?|MAGNITUDE|PHASE( MAP)?|REAL|IMAGINARY|W(ATER)?|F(AT)?|IP|OP|IN_PHASE|OUT_PHASE"
    r"|IN|OPP|OPP_PHASE|IN PHASE|OUT OF PHASE|INV1|INV2|UNI|DIFFUSION|TRACEW|MAG)$"
)


def _table(rows: Mapping[str, str]) -> dict[str, str]:
    return {word: reason for reason, words in rows.items() for word in words.split("|")}


_DERIVED_WORDS, _ALWAYS_WORDS = _table(_MADE_OF_DERIVED), _table(_ALWAYS)


def not_acquired(modality: str) -> str | None:
    """What an object of a non-image modality is, or None."""
    return _NOT_ACQUIRED.get(modality)


def component(modality: str, image_type: Sequence[str]) -> tuple[str, ...]:
    """The ImageType values that must not be mixed in one MR stack (magnitude and phase, Dixon)."""
    if modality != "MR":
        return ()
    return tuple(sorted(word for word in image_type[2:] if _MR_COMPONENTS.match(word)))


def reason_not_to_judge(
    *,
    modality: str,
    sop_class_uid: str,
    image_type: Sequence[str],
    samples_per_pixel: int,
    technique: str = "",
    complex_component: str = "",
) -> str | None:
    """Why one image may not be judged, as a noun phrase with its evidence; None: it may.

    Parameters
    ----------
    image_type : sequence of str
        (0008,0008) *Image Type*, or (0008,9007) *Frame Type* of the frame.
    technique : str
        (0008,9207) *Volume Based Calculation Technique*.
    complex_component : str
        (0008,9208) *Complex Image Component*.
    """
    reason = _named_reason(modality, image_type)
    if reason is not None:
        return f"{reason} (ImageType {'/'.join(image_type)})"
    if technique in _TECHNIQUES:
        return f"{_TECHNIQUES[technique]} (VolumeBasedCalculationTechnique {technique})"
    if modality == "MR" and complex_component in ("PHASE", "IMAGINARY"):
        return f"a {complex_component.lower()} image (ComplexImageComponent)"
    if modality in ("CT", "MR") and samples_per_pixel > 1:
        return "a colour picture in a CT or MR series"
    if modality in ("CT", "MR") and sop_class_uid.startswith(SECONDARY_CAPTURE):
        return "a secondary capture, not an acquired image"
    return None


def _named_reason(modality: str, image_type: Sequence[str]) -> str | None:
    words = [word.upper() for word in image_type]
    if _LOCALISER_TYPES.intersection(words):
        return f"a {LOCALISER}"
    for word in words[2:]:
        reason = _ALWAYS_WORDS.get(word) or (_DERIVED_WORDS.get(word) if words[0] == "DERIVED" else None)
        if reason is not None and (modality == "MR" or reason not in _MR_ONLY):
            return reason
    return None


def named_localiser(modality: str, description: str, longest: int) -> str | None:
    """Whether the series' description says localiser; longest: slices of its longest stack."""
    if modality not in ("CT", "MR"):
        return None
    found = _LOCALISER_NAMES.search(description)
    if found is None and longest <= HINTED_LOCALISER_SLICES:
        found = _LOCALISER_HINTS.search(description)
    return None if found is None else f'a {LOCALISER} (described as "{found[0]}")'
