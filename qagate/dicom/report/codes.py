"""The coded words of the reports, and which code stands for which artefact, verdict and measure.

Standard codes are those of PS3.16 (DCM, LN, SCT, UCUM) and RadLex; 99QAGATE is used where there is none.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from qagate.assessment import Artefact, Verdict

PRIVATE_SCHEME = "99QAGATE"
PRIVATE_SCHEME_NAME = "qagate concepts"
MEANING_LIMIT = 64  #: characters of (0008,0104), LO


def dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def ours(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


def radlex(value: str, meaning: str) -> Code:
    return Code(value, "RADLEX", meaning)


# Document and context
REPORT = dcm("126000", "Imaging Measurement Report")
LANGUAGE = dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code("en", "RFC5646", "English")
OBSERVER_TYPE = dcm("121005", "Observer Type")
PERSON = dcm("121006", "Person")
PERSON_NAME = dcm("121008", "Person Observer Name")
DEVICE = dcm("121007", "Device")
DEVICE_UID = dcm("121012", "Device Observer UID")
DEVICE_NAME = dcm("121013", "Device Observer Name")
DEVICE_MANUFACTURER = dcm("121014", "Device Observer Manufacturer")
DEVICE_MODEL = dcm("121015", "Device Observer Model Name")
DEVICE_SERIAL = dcm("121016", "Device Observer Serial Number")
PROCEDURE_REPORTED = dcm("121058", "Procedure reported")
PROCESSING_EQUIPMENT = dcm("109102", "Processing Equipment")

# Image library
IMAGE_LIBRARY = dcm("111028", "Image Library")
IMAGE_LIBRARY_GROUP = dcm("126200", "Image Library Group")
MODALITY = dcm("121139", "Modality")
ROWS = dcm("110910", "Pixel Data Rows")
COLUMNS = dcm("110911", "Pixel Data Columns")
HORIZONTAL_SPACING = dcm("111026", "Horizontal Pixel Spacing")
VERTICAL_SPACING = dcm("111066", "Vertical Pixel Spacing")
SLICE_THICKNESS = dcm("112225", "Slice Thickness")
POSITION = tuple(dcm(f"11090{i}", f"Image Position (Patient) {axis}") for i, axis in enumerate("XYZ", 1))
ORIENTATION = tuple(
    dcm(f"11090{i}", f"Image Orientation (Patient) {side} {axis}")
    for i, (side, axis) in enumerate(((s, a) for s in ("Row", "Column") for a in "XYZ"), 4)
)

# Measurements
MEASUREMENTS = dcm("126010", "Imaging Measurements")
GROUP = dcm("125007", "Measurement Group")
TRACKING_ID = dcm("112039", "Tracking Identifier")
TRACKING_UID = dcm("112040", "Tracking Unique Identifier")
FINDING_CATEGORY = Code("276214006", "SCT", "Finding category")
IMAGE_QUALITY = dcm("111101", "Image Quality")
ALGORITHM_NAME = dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = dcm("111003", "Algorithm Version")
ALGORITHM_PARAMETERS = dcm("111002", "Algorithm Parameters")
ALGORITHM_FAMILY = dcm("111000", "Algorithm Family")
ARTIFICIAL_INTELLIGENCE = dcm("123110", "Artificial Intelligence")
SET_RATING = dcm("111694", "Image Set Quality Rating")
IMAGE_RATING = dcm("111029", "Image Quality Rating")
SERIES_QUALITY = dcm("130550", "Imaging Series Quality")
QUALITY_ASSESSMENT = dcm("111050", "Quality Assessment")
QUALITY_STANDARD = dcm("111051", "Quality Control Standard")
INSTITUTION_STANDARD = dcm("111240", "Institutionally defined quality control standard")
QUALITY_FINDING = dcm("111052", "Quality Finding")
REPEAT_REASON = dcm("128552", "Reason for Repeating Acquisition")
PATIENT_MOTION = dcm("128553", "Patient motion")
SOURCE = dcm("121112", "Source of Measurement")
COMMENT = dcm("121106", "Comment")

# Our own concepts
GATE_DECISION = ours("decision", "Gate decision")
GATE_REASON = ours("reason", "Reason of the gate decision")
POLICY_VERSION = ours("policy-version", "Policy version")
POLICY_RULE = ours("policy-rule", "Policy rule")
REVIEW_BELOW = ours("review-below", "Needs review below")
REPEAT_BELOW = ours("repeat-below", "Repeat suggested below")
SEVERITY = ours("severity", "Severity of the finding")
MODEL_SCORE = ours("model-score", "Score on the model's own scale")
BASELINE_DISTANCE = ours("baseline-dist", "Distance from the baseline in MADs")
BASELINE_MEDIAN = ours("baseline-median", "Median of the baseline")
BASELINE_MAD = ours("baseline-mad", "Median absolute deviation of the baseline")
BASELINE_COUNT = ours("baseline-count", "Series in the baseline")
EXPECTED_RATING = ours("expected-rating", "Expected rating of the readers")
RATING_LOW = ours("rating-low", "Expected rating, low end of the interval")
RATING_HIGH = ours("rating-high", "Expected rating, high end of the interval")
RATING_WORST = ours("rating-worst", "Worst rating of the scale")
RATING_BEST = ours("rating-best", "Best rating of the scale")

# Key object selection
QUALITY_ISSUE = dcm("113010", "Quality Issue")
REJECTED = dcm("113001", "Rejected for Quality Reasons")
TITLE_MODIFIER = dcm("113011", "Document Title Modifier")
KEY_OBJECT_DESCRIPTION = dcm("113012", "Key Object Description")

PERCENT = Code("%", "UCUM", "percent")
MILLIMETRE = Code("mm", "UCUM", "mm")
NO_UNITS = Code("1", "UCUM", "no units")
PIXELS = Code("{pixels}", "UCUM", "pixels")
COSINE = Code("{-1:1}", "UCUM", "{-1:1}")

DECISIONS = {
    Verdict.PASS: ours("accept", "Accept"),
    Verdict.REVIEW: ours("review", "Needs review"),
    Verdict.REPEAT: ours("repeat", "Repeat suggested"),
    Verdict.NOT_ASSESSED: ours("not-assessed", "Not assessed"),
}
DIAGNOSTIC = {
    Verdict.PASS: radlex("RID12", "Diagnostic"),
    Verdict.REVIEW: radlex("RID13", "Limited"),
    Verdict.REPEAT: radlex("RID14", "Non-diagnostic"),
}
USABLE = {
    Verdict.PASS: dcm("111237", "Usable - Meets the quality control standard"),
    Verdict.REVIEW: dcm("111236", "Usable - Does not meet the quality control standard"),
    Verdict.REPEAT: dcm("111235", "Unusable - Quality renders image unusable"),
}

OTHER_ARTEFACT = dcm("111215", "Artifact(s) other than grid or detector artifact")
MOTION_BLUR = dcm("111210", "Motion blur")
POOR_SNR = dcm("130578", "Poor SNR")

_FINDINGS: dict[Artefact, tuple[Code, ...]] = {
    Artefact.NOISE: (ours("noise", "Noise"), OTHER_ARTEFACT),
    Artefact.MOTION: (MOTION_BLUR,),
    Artefact.GHOSTING: (radlex("RID11426", "Ghost artifact"),),
    Artefact.BLUR: (ours("blur", "Blur"), OTHER_ARTEFACT),
    Artefact.STREAK: (ours("streak", "Streak artefact"), OTHER_ARTEFACT),
    Artefact.RING: (ours("ring", "Ring artefact"), OTHER_ARTEFACT),
    Artefact.BEAM_HARDENING: (radlex("RID11327", "Beam hardening artifact"),),
    Artefact.NON_UNIFORMITY: (radlex("RID11408", "Non-uniform signal intensity"),),
    Artefact.WRAP: (radlex("RID11395", "Phase wraparound artifact"),),
    Artefact.CLIPPING: (ours("clipping", "Intensity clipping"), OTHER_ARTEFACT),
    Artefact.TRUNCATION: (dcm("130577", "Poor FOV selection"),),
    Artefact.MISSING_SLICES: (dcm("130576", "Anatomy coverage incomplete"),),
}
PROJECTION_MODALITIES = frozenset({"CR", "DX", "IO", "MG", "PX", "RF", "RG", "XA"})


def finding_codes(artefact: Artefact, modality: str) -> tuple[Code, ...]:
    """The values of 111052 *Quality Finding* for one artefact, the most telling first."""
    if artefact is Artefact.NOISE and modality == "MR":
        return (POOR_SNR,)
    return _FINDINGS[artefact]


_REJECTION_REASONS = {
    Artefact.MOTION: MOTION_BLUR,
    Artefact.RING: dcm("111214", "Detector artifact(s)"),
    Artefact.TRUNCATION: dcm("111209", "Positioning"),
    Artefact.MISSING_SLICES: dcm("111220", "Other failure"),
    Artefact.NOISE: dcm("111207", "Image artifact(s)"),
    Artefact.BLUR: dcm("111207", "Image artifact(s)"),
    Artefact.CLIPPING: dcm("111207", "Image artifact(s)"),
}
_UNDER_EXPOSED = dcm("111211", "Under exposed")
_UNKNOWN_FAILURE = dcm("111221", "Unknown failure")


def rejection_reason(artefact: Artefact | None, modality: str) -> Code:
    """The primary reason of CID 7011 for a bad result whose weightiest finding is `artefact`."""
    if artefact is None:
        return _UNKNOWN_FAILURE
    if artefact is Artefact.NOISE and modality in PROJECTION_MODALITIES:
        return _UNDER_EXPOSED
    return _REJECTION_REASONS.get(artefact, OTHER_ARTEFACT)


_PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    **dict.fromkeys(("CR", "DX", "RG"), Code("43468-8", "LN", "XR unspecified body region")),
    "XA": Code("77343006", "SCT", "Angiography"),
}
_ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")


def procedure(modality: str) -> Code:
    """The imaging procedure reported, of CID 100; the general term where CID 100 has no better one."""
    return _PROCEDURES.get(modality, _ANY_PROCEDURE)


_MODALITIES = {
    "BI": "Biomagnetic imaging",
    "CR": "Computed Radiography",
    "CT": "Computed Tomography",
    "DX": "Digital Radiography",
    "ES": "Endoscopy",
    "GM": "General Microscopy",
    "IO": "Intra-oral Radiography",
    "IVOCT": "Intravascular Optical Coherence Tomography",
    "IVUS": "Intravascular Ultrasound",
    "MG": "Mammography",
    "MR": "Magnetic Resonance",
    "NM": "Nuclear Medicine",
    "OCT": "Optical Coherence Tomography",
    "OP": "Ophthalmic Photography",
    "OPT": "Ophthalmic Tomography",
    "PT": "Positron emission tomography",
    "PX": "Panoramic X-Ray",
    "RF": "Radiofluoroscopy",
    "RG": "Radiographic imaging",
    "SM": "Slide Microscopy",
    "TG": "Thermography",
    "US": "Ultrasound",
    "XA": "X-Ray Angiography",
    "XC": "External-camera Photography",
}


def modality_code(modality: str) -> Code | None:
    """The acquisition modality as a code of CID 29; None when it is not an image modality there."""
    meaning = _MODALITIES.get(modality)
    return dcm(modality, meaning) if meaning else None


_UNITS = (
    ("_hu", Code("[hnsf'U]", "UCUM", "Hounsfield unit")),
    ("_per_mm", Code("/mm", "UCUM", "per millimeter")),
    ("_per_px", Code("/{pixels}", "UCUM", "per pixel")),
    ("_mm", MILLIMETRE),
    ("_percent", PERCENT),
    ("_pct", PERCENT),
    ("_db", Code("dB", "UCUM", "decibel")),
    ("_bits", Code("bit_s", "UCUM", "bit")),
    ("_ms", Code("ms", "UCUM", "millisecond")),
    ("_px", PIXELS),
    ("_pixels", PIXELS),
    ("_slices", Code("{slices}", "UCUM", "slices")),
    ("_count", Code("{count}", "UCUM", "count")),
)


def measure_name(name: str) -> Code:
    """The 99QAGATE concept of a measure: its own name is the code, spaces are the meaning's only change."""
    return ours(name, name.replace("_", " ")[:MEANING_LIMIT])


def measure_unit(name: str) -> Code:
    """UCUM unit from the suffix of a measure's name (`noise_hu` -> Hounsfield units), else no units."""
    return next((unit for suffix, unit in _UNITS if name.endswith(suffix)), NO_UNITS)
