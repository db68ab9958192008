"""What the labels of a store are worth: who rated what, how far raters agree, and what to mend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from qagate.gate.agreement import table
from qagate.label import Label, LabelKind, Scale, number
from qagate.store.labels import Labels, StoredLabel
from train.evaluation.significance import RESAMPLES
from train.labels.agreement import Agreement, agreement
from train.labels.opinion import SCREENED_FROM, Floats, Ratings, bias, follows, screen

BINS = 5  #: of the distribution, where scores are not whole steps
STEPS = 12  #: different scores up to which each is counted for itself
FOLLOWS_LEAST = 0.5  #: Spearman's correlation with the others, below which a rater is named


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterRow:
    """One rater; figures are in units of the report's scale, None where they do not exist."""

    rater: str
    kinds: Mapping[str, int]  #: kind of label -> labels that count
    mean: float | None
    deviation: float | None
    bias: float | None  #: mean distance above the others' median of the same images
    follows: float | None  #: Spearman's correlation with that median
    far_above: int  #: ratings that BT.500 takes for outlying
    far_below: int
    rejected: bool  #: erratic by BT.500; training leaves the rater out


@dataclass(frozen=True, slots=True, kw_only=True)
class StationRow:
    """One scanner."""

    station: str
    model: str
    series: int  #: labelled
    kinds: Mapping[str, int]
    mean_quality: float | None  #: of the ratings, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of the distribution of scores."""

    low: float
    high: float  #: equal to `low` for a single score
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything `qagate labels report` shows. A label counts when its rater did not answer again later."""

    recorded: int  #: every label ever given
    counting: int
    series: int  #: that have labels
    first: datetime | None
    last: datetime | None
    scale: str | None  #: of means, biases and bars; None without ratings
    raters: tuple[RaterRow, ...]
    stations: tuple[StationRow, ...]
    distribution: tuple[Bar, ...]
    verdicts: Mapping[str, Mapping[str, int]]  #: the gate's verdict -> clicks on it
    agreement: Agreement | None  #: None without ratings
    warnings: tuple[str, ...]


def report(labels: Labels, *, resamples: int = RESAMPLES) -> Report:
    """The report on every label of the store."""
    everything = list(labels.all())
    counting = list(labels.latest())
    rated = [one for one in counting if one.label.kind is LabelKind.RATING]
    times = [one.label.created_at for one in everything if one.label.created_at]
    ratings, raters, scale, notes = _table(rated)
    return Report(
        recorded=len(everything),
        counting=len(counting),
        series=len({one.label.series_instance_uid for one in counting}),
        first=min(times, default=None),
        last=max(times, default=None),
        scale=str(scale) if rated else None,
        raters=_raters(counting, ratings, raters),
        stations=_stations(counting),
        distribution=_distribution(ratings[~np.isnan(ratings)], scale),
        verdicts=_verdicts(counting),
        agreement=agreement(ratings, resamples=resamples) if rated else None,
        warnings=(*notes, *_warnings(ratings, raters, rated)),
    )


def _table(rated: Sequence[StoredLabel]) -> tuple[Ratings, list[str], Scale, list[str]]:
    objects: dict[tuple[str, str | None], list[Label]] = {}
    for one in rated:
        key = (one.label.series_instance_uid, one.label.sop_instance_uid)
        objects.setdefault(key, []).append(one.label)
    return table(list(objects.values()))


def _raters(counting: Iterable[StoredLabel], ratings: Ratings, names: Sequence[str]) -> tuple[RaterRow, ...]:
    kinds: dict[str, Counter[str]] = {}
    for one in counting:
        kinds.setdefault(one.label.rater, Counter())[one.label.kind.value] += 1
    screening, biases, following = screen(ratings), bias(ratings), follows(ratings)
    rows = []
    for name in sorted(kinds):
        place = names.index(name) if name in names else None
        mine = ratings[:, place] if place is not None else np.empty(0)
        mine = mine[~np.isnan(mine)]
        rows.append(
            RaterRow(
                rater=name,
                kinds=dict(kinds[name]),
                mean=float(mine.mean()) if len(mine) else None,
                deviation=float(mine.std(ddof=1)) if len(mine) > 1 else None,
                bias=_there(biases, place),
                follows=_there(following, place),
                far_above=int(screening.high[place]) if place is not None else 0,
                far_below=int(screening.low[place]) if place is not None else 0,
                rejected=bool(screening.rejected[place]) if place is not None else False,
            )
        )
    return tuple(rows)


def _there(values: Floats, place: int | None) -> float | None:
    return None if place is None or np.isnan(values[place]) else float(values[place])


def _stations(counting: Iterable[StoredLabel]) -> tuple[StationRow, ...]:
    by_station: dict[tuple[str, str], list[StoredLabel]] = {}
    for one in counting:
        by_station.setdefault((one.station_name, one.manufacturer_model_name), []).append(one)
    rows = []
    for (station, model), of in sorted(by_station.items()):
        qualities = [
            one.label.scale.quality(one.label.score)
            for one in of
            if one.label.scale is not None and one.label.score is not None
        ]
        rows.append(
            StationRow(
                station=station,
                model=model,
                series=len({one.label.series_instance_uid for one in of}),
                kinds=dict(Counter(one.label.kind.value for one in of)),
                mean_quality=float(np.mean(qualities)) if qualities else None,
            )
        )
    return tuple(rows)


def _distribution(scores: Floats, scale: Scale) -> tuple[Bar, ...]:
    """A bar for each score where there are few different ones, else equal parts of the scale."""
    values, counts = np.unique(scores, return_counts=True)
    if len(values) <= STEPS:
        return tuple(
            Bar(low=float(value), high=float(value), count=int(count))
            for value, count in zip(values, counts, strict=True)
        )
    ends = sorted((scale.low, scale.high))
    counts, edges = np.histogram(scores, BINS, range=(ends[0], ends[1]))
    return tuple(
        Bar(low=float(low), high=float(high), count=int(count))
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    )


def _verdicts(counting: Iterable[StoredLabel]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for one in counting:
        if one.label.kind is not LabelKind.RATING:
            found.setdefault(one.verdict or "undecided", Counter())[one.label.kind.value] += 1
    return {verdict: dict(found[verdict]) for verdict in sorted(found)}


def _warnings(ratings: Ratings, raters: Sequence[str], rated: Sequence[StoredLabel]) -> list[str]:
    if not rated:
        return ["nobody has rated anything: training needs scores; clicks alone are none"]
    found = []
    shared = (~np.isnan(ratings)).sum(axis=1)
    scores = ratings[~np.isnan(ratings)]
    if np.ptp(scores) == 0:
        found.append(
            f"every rating is {number(float(scores[0]))}: training needs better and worse images too"
        )
    if len(raters) == 1:
        found.append(f"{raters[0]} is the only rater: nothing tells how far others would agree")
    elif (shared > 1).sum() == 0:
        found.append("no image was rated by two raters: let some be rated twice, or agreement stays unknown")
    elif shared.max() < SCREENED_FROM:
        most = int(shared.max())
        found.append(
            f"no image has more than {most} raters: below {SCREENED_FROM} the screening of observers rejects "
            "nobody; look at bias and correlation"
        )
    following = follows(ratings)
    for place, name in enumerate(raters):
        mine = ratings[:, place][~np.isnan(ratings[:, place])]
        if len(mine) > 2 and np.ptp(mine) == 0:
            found.append(f"{name} gave every image {number(float(mine[0]))}")
        if following[place] < FOLLOWS_LEAST:
            found.append(
                f"{name} hardly follows the others (correlation {following[place]:.2f}): was the scale "
                "turned round, or another question answered?"
            )
    return found
