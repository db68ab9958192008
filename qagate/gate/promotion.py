"""Champion against challenger on the same series: figures by group, what speaks against a promotion. Pure.

Labels say which of the two is right; where they are too few, only how often decisions would change is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]

ALL = "all"
_RESAMPLES = 500
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRules:
    """What a promotion must not do. Raises ValueError for values without meaning."""

    margin: float = 0.05  #: how much worse a group may become: mean absolute error, rank correlation
    min_cases: int = 20  #: series a group must have to count
    max_changed: float = 0.2  #: share of decisions that may change in a group without labels enough

    def __post_init__(self) -> None:
        if self.margin < 0 or self.min_cases < 2 or not 0 <= self.max_changed <= 1:
            raise ValueError(f"{self}: expected margin >= 0, min_cases >= 2 and max_changed from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One series that both models judged."""

    champion: float | None  #: quality; None: not assessed
    challenger: float | None
    champion_verdict: str
    challenger_verdict: str
    groups: Mapping[str, str] = field(default_factory=dict)  #: "scanner", "region", ... -> which
    label: float | None = None  #: mean of the readers' ratings as quality, 0 to 1; None: not rated


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with the ends of its 95 % interval (bootstrap percentiles)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """How both models do on rated series; differences are challenger minus champion."""

    cases: int
    champion_mae: float  #: mean absolute difference of quality and label
    challenger_mae: float
    mae_difference: Interval  #: above 0: the challenger is worse
    champion_srocc: float | None  #: None: constant qualities or labels
    challenger_srocc: float | None
    srocc_difference: Interval | None  #: below 0: the challenger is worse


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of series."""

    by: str  #: "all", "scanner", ...
    value: str
    cases: int
    srocc: float | None  #: of the two models' qualities; None: fewer than two, or constant
    mean_difference: float | None  #: challenger minus champion
    changed: Mapping[str, int]  #: "PASS to REPEAT" -> how often
    labelled: Labelled | None = None

    @property
    def changed_share(self) -> float:
        """Share of decisions that would be others."""
        return sum(self.changed.values()) / self.cases if self.cases else 0.0

    @property
    def name(self) -> str:
        """For people."""
        return "all series" if self.by == ALL else f"{self.by} {self.value}"


def compare(pairs: Sequence[Pair]) -> tuple[Group, ...]:
    """All series first, then each group of each kind, the largest first."""
    found = [_group(ALL, "", pairs)]
    for by in dict.fromkeys(name for pair in pairs for name in pair.groups):
        counts = Counter(pair.groups[by] for pair in pairs if by in pair.groups)
        for value, _ in counts.most_common():
            found.append(_group(by, value, [pair for pair in pairs if pair.groups.get(by) == value]))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule of `PromotionRules` held against one group."""

    group: str  #: for people
    rule: str  #: for people, with its limit
    found: str  #: what the series say, with their number
    objection: str = ""  #: the sentence against a promotion; "": the rule is met

    @property
    def met(self) -> bool:
        """Whether nothing is to be said against a promotion."""
        return not self.objection


def checks(groups: Sequence[Group], rules: PromotionRules, failed: int = 0) -> tuple[Check, ...]:
    """Every rule that these series can be held against, met or not; groups below min_cases are not judged.

    failed: series the challenger could not score though the champion did.
    """
    cases = groups[0].cases if groups else 0
    nothing = not cases and not failed
    few = f"both scored only {cases} series; promotion.min_cases asks for {rules.min_cases}"
    found = [
        Check(
            group="all series",
            rule="no series that only the champion could score",
            found=f"{failed} of {cases + failed}",
            objection=f"it failed on {failed} of {cases + failed} series that the champion scored"
            if failed
            else "",
        ),
        Check(
            group="all series",
            rule=f"at least {rules.min_cases} series compared",
            found=f"{cases}",
            objection="nothing was compared: let it run in shadow first (`qagate models shadow`)"
            if nothing
            else few
            if cases < rules.min_cases
            else "",
        ),
    ]
    for group in groups:
        if group.cases >= rules.min_cases:
            found += _held(group, rules)
    return tuple(found)


def _held(group: Group, rules: PromotionRules) -> list[Check]:
    labelled = group.labelled
    if labelled is None or labelled.cases < rules.min_cases:
        rated = labelled.cases if labelled else 0
        kinds = ", ".join(f"{count} {kind}" for kind, count in group.changed.items())
        return [
            Check(
                group=group.name,
                rule=f"at most {rules.max_changed:.0%} of decisions change where ratings are too few",
                found=f"{group.changed_share:.0%} of {group.cases}",
                objection=f"{group.name}: {group.changed_share:.0%} of {group.cases} decisions would change "
                f"({kinds}), and {rated} ratings do not tell which are right"
                if group.changed_share > rules.max_changed
                else "",
            )
        ]
    error = (
        f"from {labelled.champion_mae:.3f} to {labelled.challenger_mae:.3f} on {labelled.cases} rated series"
    )
    found = [
        Check(
            group=group.name,
            rule=f"mean absolute error rises by at most {rules.margin:g}",
            found=error,
            objection=f"{group.name}: mean absolute error rises {error}"
            if labelled.mae_difference.value > rules.margin
            else "",
        )
    ]
    difference = labelled.srocc_difference
    if difference is not None:
        order = (
            f"from {labelled.champion_srocc:.3f} to {labelled.challenger_srocc:.3f} "
            f"on {labelled.cases} rated series"
        )
        found.append(
            Check(
                group=group.name,
                rule=f"SROCC falls by at most {rules.margin:g}",
                found=order,
                objection=f"{group.name}: SROCC falls {order}" if -difference.value > rules.margin else "",
            )
        )
    return found


def _group(by: str, value: str, pairs: Sequence[Pair]) -> Group:
    both = [(p.champion, p.challenger) for p in pairs if p.champion is not None and p.challenger is not None]
    one, other = (np.array(column, float) for column in (zip(*both, strict=True) if both else ((), ())))
    changed = Counter(
        f"{p.champion_verdict} to {p.challenger_verdict}"
        for p in pairs
        if p.champion_verdict != p.challenger_verdict
    )
    return Group(
        by=by,
        value=value,
        cases=len(pairs),
        srocc=_number(srocc(one, other)),
        mean_difference=float((other - one).mean()) if both else None,
        changed=dict(changed.most_common()),
        labelled=_labelled(pairs),
    )


def _labelled(pairs: Sequence[Pair]) -> Labelled | None:
    rated = [
        (p.champion, p.challenger, p.label)
        for p in pairs
        if p.champion is not None and p.challenger is not None and p.label is not None
    ]
    if not rated:
        return None
    one, other, label = (np.array(column, float) for column in zip(*rated, strict=True))
    draws = np.random.default_rng(0).integers(0, len(label), (_RESAMPLES, len(label)))

    def interval(figure: Callable[[Floats, Floats], Floats]) -> Interval | None:
        value = float(figure(other, label) - figure(one, label))
        if np.isnan(value):
            return None
        drawn = figure(other[draws], label[draws]) - figure(one[draws], label[draws])
        kept = drawn[~np.isnan(drawn)]
        low, high = (
            np.quantile(kept, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2]) if len(kept) else (value,) * 2
        )
        return Interval(value=value, low=float(low), high=float(high))

    error = interval(mae)
    assert error is not None
    return Labelled(
        cases=len(label),
        champion_mae=float(mae(one, label)),
        challenger_mae=float(mae(other, label)),
        mae_difference=error,
        champion_srocc=_number(srocc(one, label)),
        challenger_srocc=_number(srocc(other, label)),
        srocc_difference=interval(srocc),
    )


def mae(values: Floats, labels: Floats) -> Floats:
    """Mean absolute difference along the last axis."""
    return np.asarray(np.abs(values - labels).mean(axis=-1))


def srocc(values: Floats, labels: Floats) -> Floats:
    """Spearman's rank correlation along the last axis; NaN for fewer than two or constant values."""
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan)
    a, b = (rankdata(of, axis=-1) for of in (values, labels))
    a, b = (of - of.mean(axis=-1, keepdims=True) for of in (a, b))
    spread = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(spread > 0, (a * b).sum(axis=-1) / spread, np.nan))


def _number(value: Floats) -> float | None:
    return None if np.isnan(value) else float(value)
