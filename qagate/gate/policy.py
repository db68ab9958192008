"""From assessment to verdict: a table of two-tier thresholds, first match wins."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from qagate.assessment import Artefact, Assessment, Baseline, Decision, Finding, Verdict
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
    review_below_baseline: float | None = None  #: MADs below the median, in place of review_below once warm
    repeat_below_baseline: float | None = None  #: the same in place of repeat_below; both or neither

    def __post_init__(self) -> None:
        for key in ("review_below", "repeat_below"):
            if not 0 <= getattr(self, key) <= 1:
                raise PolicyError(f"rule {self.name!r}: {key} must lie between 0 and 1")
        if self.repeat_below > self.review_below:
            raise PolicyError(
                f"rule {self.name!r}: repeat_below ({self.repeat_below:g}) must not be above "
                f"review_below ({self.review_below:g})"
            )
        review, repeat = self.review_below_baseline, self.repeat_below_baseline
        if (review is None) != (repeat is None):
            raise PolicyError(
                f"rule {self.name!r}: set both review_below_baseline and repeat_below_baseline, or neither"
            )
        if review is not None and repeat is not None and not 0 < review <= repeat:
            raise PolicyError(
                f"rule {self.name!r}: repeat_below_baseline ({repeat:g}) must not be less than "
                f"review_below_baseline ({review:g}), and both must be above 0 MADs"
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

    def limits(self, baseline: Baseline | None) -> tuple[float, float, bool]:
        """Quality below which a person should look, and repeat; and whether the baseline gave them.

        A baseline so wide that nothing could fall below its repeat limit does not replace the absolute ones.
        """
        if baseline is not None and self.review_below_baseline and self.repeat_below_baseline:
            repeat = baseline.median - self.repeat_below_baseline * baseline.mad
            if repeat > 0:
                return baseline.median - self.review_below_baseline * baseline.mad, repeat, True
        return self.review_below, self.repeat_below, False


USUAL_REVIEW_MADS, USUAL_REPEAT_MADS = 4.0, 8.0
"""About 2.7 and 5.4 standard deviations of a normal distribution: one good series in 300 is looked at."""

SOFT_NOISE_HU = 20.0
"""Soft reconstructions of head and trunk are read at 3 to 15 HU; sharp ones are noisier by design."""


def _default(name: str, modality: str, **more: Any) -> PolicyRule:
    return PolicyRule(
        name=name,
        modality=modality,
        review_below=0.5,
        repeat_below=0.3,
        review_below_baseline=USUAL_REVIEW_MADS,
        repeat_below_baseline=USUAL_REPEAT_MADS,
        **more,
    )


DEFAULT_RULES = (
    _default("default CT soft", "CT", type="soft*", review_above={"noise_hu": SOFT_NOISE_HU}),
    _default("default CT", "CT"),
    _default("default MR", "MR"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The decision table; its version names its content."""

    rules: tuple[PolicyRule, ...] = DEFAULT_RULES
    version: str = field(init=False)  #: first 12 hexadecimal digits of the content's SHA-256

    def __post_init__(self) -> None:
        content = json.dumps([asdict(rule) for rule in self.rules], sort_keys=True)
        object.__setattr__(self, "version", hashlib.sha256(content.encode()).hexdigest()[:12])


def decide(
    assessment: Assessment, header: SeriesHeader, policy: Policy, baseline: Baseline | None = None
) -> Decision:
    """Decide one series. A lower quality never gives a better verdict.

    baseline: of this station and protocol once it is warm; a rule that says so then judges the distance to it
    instead of the absolute quality.
    """
    reason = assessment.not_assessed
    quality = assessment.quality
    if reason is None and (quality is None or not math.isfinite(quality) or not 0 <= quality <= 1):
        reason = "the model gave no usable quality"
    rule = next((rule for rule in policy.rules if rule.matches(assessment, header)), None)
    if reason is None and rule is None:
        reason = "no rule of the decision table fits this series"
    if reason is not None or rule is None or quality is None:
        return Decision(verdict=Verdict.NOT_ASSESSED, reasons=(reason or "",), policy_version=policy.version)
    review_below, repeat_below, relative = rule.limits(baseline)
    verdict = Verdict.PASS
    if quality < review_below:
        verdict = Verdict.REPEAT if quality < repeat_below else Verdict.REVIEW
    reasons: tuple[str, ...] = (
        _by_baseline(quality, verdict, baseline)
        if baseline is not None and relative
        else _by_quality(quality, verdict, repeat_below if verdict is Verdict.REPEAT else review_below),
    )
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
        review_below=review_below,
        repeat_below=repeat_below,
        rule=rule.name,
        policy_version=policy.version,
        baseline=baseline,
        relative=relative,
    )


_ADVICE = {Verdict.REPEAT: ": repeat suggested", Verdict.REVIEW: ": please look", Verdict.PASS: ""}


def _by_quality(quality: float, verdict: Verdict, limit: float) -> str:
    below = "" if verdict is Verdict.PASS else f" is below {limit:.2f}"
    return f"quality {quality:.2f}{below}{_ADVICE[verdict]}"


def _by_baseline(quality: float, verdict: Verdict, baseline: Baseline) -> str:
    distance = baseline.distance(quality)
    side = "below" if distance < 0 else "above"
    return (
        f"quality {quality:.2f} is {abs(distance):.1f} MADs {side} the usual {baseline.median:.2f} of this "
        f"protocol{_ADVICE[verdict]}"
    )


def _is_hard(finding: Finding) -> bool:
    return finding.severity >= _HARD.get(finding.artefact, _HARD_OTHERWISE)


def _beyond(measures: Mapping[str, float], rule: PolicyRule) -> Iterator[str]:
    """A sentence for each measure that is beyond the rule's limit."""
    for limits, word, sign in ((rule.review_above, "above", 1), (rule.review_under, "below", -1)):
        for name, limit in limits.items():
            if name in measures and sign * (measures[name] - limit) > 0:
                yield f"{name} {measures[name]:.3g} is {word} {limit:.3g}"
