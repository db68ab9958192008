"""What a person says of a series' quality. Carries no patient data: a label names UIDs and its rater."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from qagate.assessment import Artefact

MAX_RATER = 64  #: characters of a rater's name
MAX_REASON = 1000  #: characters of a reason


class LabelKind(Enum):
    """What a label says."""

    RATING = "rating"  #: a score on a scale
    AGREE = "agree"  #: the gate's verdict is right
    DISAGREE = "disagree"  #: the gate's verdict is wrong
    REPEATING = "repeating"  #: the series is being repeated
    CANNOT_REPEAT = "cannot_repeat"  #: it ought to be repeated and cannot be

    @property
    def question(self) -> str:
        """The question it answers; a rater's later answer to the same question replaces the former."""
        return _QUESTIONS[self]


_QUESTIONS = {
    LabelKind.RATING: "quality",
    LabelKind.AGREE: "verdict",
    LabelKind.DISAGREE: "verdict",
    LabelKind.REPEATING: "repeat",
    LabelKind.CANNOT_REPEAT: "repeat",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """The ends of a scale; where `low` is the larger number, small scores are the good ones (3-1)."""

    low: float  #: the score of the worst quality
    high: float  #: the score of the best quality

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low == self.high:
            raise ValueError(f"scale {self}: expected two different numbers, WORST-BEST, such as 0-4")

    def __contains__(self, score: float) -> bool:
        return min(self.low, self.high) <= score <= max(self.low, self.high)

    def __str__(self) -> str:
        return f"{number(self.low)}-{number(self.high)}"

    def quality(self, score: float) -> float:
        """The score as quality, 0 (worst) to 1 (best); a score outside the scale gives the nearer end."""
        return min(max((score - self.low) / (self.high - self.low), 0.0), 1.0)


def number(value: float) -> str:
    """A number as people write it, exact: 4 for 4.0."""
    value = float(value)  # an int may stand where a float is asked for
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One statement of one rater on a series, or on one instance of it."""

    series_instance_uid: str  #: (0020,000E)
    sop_instance_uid: str | None = None  #: (0008,0018); None: the whole series
    revision: int | None = None  #: of the series it speaks of; None: the present one
    rater: str  #: a user name, never patient data
    kind: LabelKind = LabelKind.RATING
    score: float | None = None  #: of a rating, on `scale`
    scale: Scale | None = None  #: of a rating
    artefacts: tuple[Artefact, ...] = ()  #: what the rater saw; none named twice
    reason: str = ""  #: free words of the rater; people are told to leave patients out
    created_at: datetime | None = None  #: with zone; None: when it is recorded

    def __post_init__(self) -> None:
        check_rater(self.rater)
        if (self.kind is LabelKind.RATING) != (self.score is not None):
            has = "no score" if self.score is None else f"the score {number(self.score)}"
            raise ValueError(f"a label of kind {self.kind.value} has {has}; ratings have one, clicks none")
        if (self.score is None) != (self.scale is None):
            raise ValueError(f"score {self.score} and scale {self.scale}: expected both or neither")
        if self.score is not None and self.scale is not None and self.score not in self.scale:
            raise ValueError(f"score {number(self.score)} is outside the scale {self.scale}")
        if len(set(self.artefacts)) != len(self.artefacts):
            raise ValueError("an artefact is named twice")
        if len(self.reason) > MAX_REASON:
            raise ValueError(f"the reason has {len(self.reason)} characters; at most {MAX_REASON} are kept")
        if not storable(self.reason):
            raise ValueError("the reason holds a character that no database keeps (NUL or half of a pair)")
        if self.revision is not None and self.revision < 1:
            raise ValueError(f"revision {self.revision}: expected 1 or more")
        if self.created_at is not None and self.created_at.tzinfo is None:
            raise ValueError(f"time {self.created_at.isoformat()} has no time zone")


def check_rater(name: str) -> None:
    """Raise ValueError unless it can be a user name: short, printable, and no DICOM person name."""
    if not name or name != name.strip() or len(name) > MAX_RATER or not name.isprintable() or "^" in name:
        raise ValueError(
            f"rater {name[:MAX_RATER]!r} is no user name: 1 to {MAX_RATER} printable characters without ^"
        )


def storable(text: str) -> bool:
    """Whether both databases keep the text as it is."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
