"""What is concluded: scores, measures and findings of a series, and the gate's decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Verdict(Enum):
    """The gate's answer for one revision of a series."""

    PASS = "PASS"  #: good enough
    REVIEW = "REVIEW"  #: a person should look
    REPEAT = "REPEAT"  #: repeat suggested while the patient is there
    NOT_ASSESSED = "NOT_ASSESSED"  #: the gate does not guess


BAD = frozenset({Verdict.REVIEW, Verdict.REPEAT})  #: verdicts that ask something of a person


class Artefact(Enum):
    """What can be wrong with an image; the report maps each to its standard code."""

    NOISE = "noise"
    MOTION = "motion"
    GHOSTING = "ghosting"
    BLUR = "blur"
    STREAK = "streak"
    RING = "ring"
    BEAM_HARDENING = "beam hardening"
    NON_UNIFORMITY = "non-uniformity"
    WRAP = "wrap-around"
    CLIPPING = "intensity clipping"
    TRUNCATION = "field-of-view truncation"
    MISSING_SLICES = "missing slices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The MedIQA prompt, each part a word of its vocabulary or "unknown"."""

    dimension: str  #: "2D" or "3D"
    modality: str  #: "CT", "MR", ... or "unknown"
    region: str = "unknown"
    type: str = "unknown"  #: MR contrast ("t1", "t2", ...) or CT kernel class ("soft", "bone", ...)
    evidence: tuple[str, ...] = ()  #: the tags that spoke, for people


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityMap:
    """Where a slice is good and where it is not: its patches' scores, in 256 steps, over the whole slice."""

    rows: int
    columns: int
    low: float  #: the score of 0, on the model's scale
    high: float  #: the score of 255
    cells: bytes  #: rows x columns, row by row


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceScore:
    """One scored slice."""

    sop_instance_uid: str
    frame_number: int | None = None  #: 1-based; None for a single-frame instance
    slice_number: int  #: 1-based place in the stack
    score: float  #: on the model's own scale
    quality: float  #: 0 to 1, higher is better
    artefacts: Mapping[str, float] = field(default_factory=dict)  #: artefact type -> probability
    uncertainty: float | None = None  #: of the model's grade, 0 (sure) to 1; None when it gives none
    weight: float = 1.0  #: share of the slice in the series' mean; shares sum to 1
    quality_map: QualityMap | None = None  #: None when the model gives none


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One artefact that explains the score, in words a radiographer reads."""

    artefact: Artefact
    severity: float  #: 0 to 1
    text: str  #: "ghosting along columns, slices 9-15"
    sop_instance_uids: tuple[str, ...] = ()  #: where it was seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What the house's readers would be expected to say, on their own scale."""

    value: float
    low: float  #: end of the interval towards the scale's worst
    high: float  #: end of the interval towards its best
    worst: float  #: the scale's ends; `worst` may be the larger number
    best: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """How series of the same station, protocol, region and type usually score under the same model."""

    median: float  #: quality
    mad: float  #: median absolute deviation from the median, never below the least that counts
    count: int  #: series behind it

    def distance(self, quality: float) -> float:
        """How many MADs a quality lies from the median; negative is worse than usual."""
        return (quality - self.median) / self.mad


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Everything one model run concluded of one revision of a series."""

    prompt: Prompt
    quality: float | None  #: 0 to 1, higher is better; None when not assessed
    score: float | None  #: on the model's own scale; None when not assessed
    slices: tuple[SliceScore, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)  #: name with unit -> value
    technique: Mapping[str, str | float] = field(default_factory=dict)  #: coil, kernel, ctdi_vol_mgy
    findings: tuple[Finding, ...] = ()
    slice_count: int = 0  #: slices in the scored stack
    model: str = ""
    model_version: str = ""
    weights_sha256: str = ""
    not_assessed: str | None = None  #: why the gate abstains; None when it does not
    rating: Rating | None = None  #: None when the model was not calibrated to the readers


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict with what led to it."""

    verdict: Verdict
    reasons: tuple[str, ...]  #: plain sentences, the weightiest first
    review_below: float | None = None  #: quality threshold that was applied; None when not assessed
    repeat_below: float | None = None
    rule: str = ""  #: name of the policy rule that matched
    policy_version: str = ""
    baseline: Baseline | None = None  #: None until it is warm
    relative: bool = False  #: whether the thresholds were taken from the baseline
