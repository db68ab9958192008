"""From assessment to verdict: a table of two-tier thresholds, first match wins."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase

from qagate.assessment import Artefact, Assessment, Decision, Finding, Verdict
from qagate.series import SeriesHeader

_HARD: dict[Artefact, float] = {Artefact.MISSING_SLICES: 0.0, Artefact.CLIPPING: 0.5}
"""Findings that ask for a person whatever the score, from this severity on."""
_HARD_OTHERWISE = 0.8  #: any other finding this severe does too: scores differ between anatomies


class PolicyError(ValueError):
    """A rule contradicts itself; the message names rule and mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """One row of the decision table. None matches anything; text matches with `*` wildcards, caseless."""

    name: str
    modality: str | None = None
    region: str | None = None
    type: str | None = None
    station: str | None = None  #: StationName
    protocol: str | None = None  #: ProtocolName
    review_below: float  #: quality, 0 to 1
    repeat_below: float  #: quality, 0 to 1, at most review_below
    review_above: Mapping[str, float] = field(default_factory=dict)  #: measure -> value a person should see
    review_under: Mapping[str, float] = field(default_factory=dict)  #: the same for values that are too low

    def __post_init__(self) -> None:
        for key in ("review_below", "repeat_below"):
            if not 0 <= getattr(self, key) <= 1:
                raise PolicyError(f"rule {self.name!r}: {key} must lie between 0 and 1")
        if self.repeat_below > self.review_below:
            raise PolicyError(
                f"rule {self.name!r}: repeat_below ({self.repeat_below:g}) must not be above "
                f"review_below ({self.review_below:g})"
            )

    def matches(self, assessment: Assessment, header: SeriesHeader) -> bool:
        """Tell whether this row decides the series."""
        prompt = assessment.prompt
        pairs = (
            (self.modality, header.modality),
            (self.region, prompt.region),
            (self.type, prompt.type),
            (self.station, header.station_name),
            (self.protocol, header.protocol_name),
        )
        return all(
            pattern is None or fnmatchcase(value.casefold(), pattern.casefold()) for pattern, value in pairs
        )


SOFT_NOISE_HU = 20.0
"""Soft reconstructions of head and trunk are read at 3 to 15 HU; sharp ones are noisier by design."""

DEFAULT_RULES = (
    PolicyRule(
        name="default CT soft",
        modality="CT",
        type="soft*",
        review_below=0.5,
        repeat_below=0.3,
        review_above={"noise_hu": SOFT_NOISE_HU},
    ),
    PolicyRule(name="default CT", modality="CT", review_below=0.5, repeat_below=0.3),
    PolicyRule(name="default MR", modality="MR", review_below=0.5, repeat_below=0.3),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The decision table; its version names its content."""

    rules: tuple[PolicyRule, ...] = DEFAULT_RULES
    version: str = field(init=False)  #: first 12 hexadecimal digits of the content's SHA-256

    def __post_init__(self) -> None:
        content = json.dumps([asdict(rule) for rule in self.rules], sort_keys=True)
        object.__setattr__(self, "version", hashlib.sha256(content.encode()).hexdigest()[:12])


def decide(assessment: Assessment, header: SeriesHeader, policy: Policy) -> Decision:
    """Decide one series. A lower quality never gives a better verdict."""
    reason = assessment.not_assessed
    quality = assessment.quality
    if reason is None and (quality is None or not math.isfinite(quality) or not 0 <= quality <= 1):
        reason = "the model gave no usable quality"
    rule = next((rule for rule in policy.rules if rule.matches(assessment, header)), None)
    if reason is None and rule is None:
        reason = "no rule of the decision table fits this series"
    if reason is not None or rule is None or quality is None:
        return Decision(verdict=Verdict.NOT_ASSESSED, reasons=(reason or "",), policy_version=policy.version)
    verdict, reasons = _by_quality(quality, rule)
    hard = tuple(finding.text for finding in assessment.findings if _is_hard(finding))
    beyond = tuple(_beyond(assessment.measures, rule))
    if verdict is Verdict.PASS and (hard or beyond):
        verdict, reasons = Verdict.REVIEW, hard + beyond + reasons
    elif beyond:
        reasons += beyond
    if verdict is not Verdict.PASS:
        reasons += tuple(finding.text for finding in assessment.findings if finding.text not in reasons)
    return Decision(
        verdict=verdict,
        reasons=reasons,
        review_below=rule.review_below,
        repeat_below=rule.repeat_below,
        rule=rule.name,
        policy_version=policy.version,
    )


def _by_quality(quality: float, rule: PolicyRule) -> tuple[Verdict, tuple[str, ...]]:
    if quality < rule.repeat_below:
        return Verdict.REPEAT, (f"quality {quality:.2f} is below {rule.repeat_below:.2f}: repeat suggested",)
    if quality < rule.review_below:
        return Verdict.REVIEW, (f"quality {quality:.2f} is below {rule.review_below:.2f}: please look",)
    return Verdict.PASS, (f"quality {quality:.2f}",)


def _is_hard(finding: Finding) -> bool:
    return finding.severity >= _HARD.get(finding.artefact, _HARD_OTHERWISE)


def _beyond(measures: Mapping[str, float], rule: PolicyRule) -> Iterator[str]:
    """A sentence for each measure that is beyond the rule's limit."""
    for limits, word, sign in ((rule.review_above, "above", 1), (rule.review_under, "below", -1)):
        for name, limit in limits.items():
            if name in measures and sign * (measures[name] - limit) > 0:
                yield f"{name} {measures[name]:.3g} is {word} {limit:.3g}"
