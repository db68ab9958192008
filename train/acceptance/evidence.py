"""What the compared series say: agreement, changed decisions, figures on rated ones, by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from qagate.assessment import Verdict
from qagate.gate.promotion import Group
from qagate.gate.promotion import Interval as Ends
from qagate.stewardship import Case
from train.acceptance.document import Block, Facts, Text
from train.acceptance.pictures import FEWEST, agreement
from train.evaluation import correlation as of
from train.evaluation.significance import Interval, Rows, bootstrap
from train.evaluation.tables import Cell, Column, Table

_READERS = "readers"
_FIGURES = ("PLCC", "SROCC", "KROCC", "RMSE")


def live(case: Case) -> Iterator[Block]:
    """Agreement of the two models, and whose decisions differ."""
    comparison, pairs = case.compared.comparison, case.compared.pairs
    both = [
        (pair.champion, pair.challenger)
        for pair in pairs
        if pair.champion is not None and pair.challenger is not None
    ]
    changed = sum(pair.champion_verdict != pair.challenger_verdict for pair in pairs)
    share = f" ({changed / len(pairs):.1%})" if pairs else ""
    rows = [
        ("series both scored", f"{len(pairs)}, {len(both)} of them with a quality from both"),
        ("series the challenger failed on", f"{comparison.failed}"),
        ("decisions that would change", f"{changed}{share}"),
    ]
    if len(both) >= FEWEST:
        rows += _agreement(both)
    yield Facts(rows=tuple(rows))
    if pairs:
        yield _changed(case)
    pictures = agreement(both, ("champion", "challenger"), title="Live series")
    if pictures:
        yield pictures
    else:
        yield Text(text=f"No pictures: fewer than {FEWEST} series have a quality from both.")


def _agreement(both: Sequence[tuple[float, float]]) -> Iterator[tuple[str, str]]:
    champion, challenger = np.array(both, float).T
    difference = challenger - champion

    def vector(rows: Rows) -> list[float]:
        return [of.srocc(champion[rows], challenger[rows]), float(difference[rows].mean())]

    srocc, mean = bootstrap(vector, len(both))
    spread = 1.96 * float(difference.std(ddof=1))
    column = Column(name="")
    yield "rank correlation (SROCC) of the two", column.text(srocc)
    yield "mean difference, challenger − champion", column.text(mean)
    low, high = column.text(mean.value - spread), column.text(mean.value + spread)
    yield "limits of agreement (±1.96 SD)", f"{low} to {high}"


def _changed(case: Case) -> Table:
    """Verdicts of the champion by those of the challenger."""
    counts = Counter((pair.champion_verdict, pair.challenger_verdict) for pair in case.compared.pairs)
    verdicts = [verdict.value for verdict in Verdict]
    return Table(
        title="Decisions: champion's in rows, challenger's in columns",
        columns=(
            Column(name="champion", numeric=False),
            *(Column(name=f"challenger {verdict}") for verdict in verdicts),
        ),
        rows=tuple((one, *(counts[one, other] for other in verdicts)) for one in verdicts),
        notes=("Decisions off the diagonal would change.",),
    )


def rated(case: Case) -> Iterator[Block]:
    """Both models against the readers."""
    rows = [
        (pair.label, pair.champion, pair.challenger)
        for pair in case.compared.pairs
        if pair.label is not None and pair.champion is not None and pair.challenger is not None
    ]
    if len(rows) < FEWEST:
        yield Text(text=f"{len(rows)} of the compared series were rated; figures need {FEWEST} or more.")
        return
    label, champion, challenger = np.array(rows, float).T

    def vector(chosen: Rows) -> list[float]:
        found: list[float] = []
        for scores in (champion[chosen], challenger[chosen]):
            wanted = label[chosen]
            found += [of.plcc(scores, wanted), of.srocc(scores, wanted)]
            found += [of.krocc(scores, wanted), of.rmse(scores, wanted)]
        return found

    intervals = bootstrap(vector, len(rows))
    yield Table(
        title=f"Agreement with the mean of the readers' ratings, {len(rows)} series",
        columns=(
            Column(name="figure", numeric=False),
            Column(name=f"champion {case.compared.comparison.champion.name}"),
            Column(name=f"challenger {case.compared.comparison.challenger.name}"),
        ),
        rows=tuple(zip(_FIGURES, intervals[:4], intervals[4:], strict=True)),
        notes=(
            "Ratings as quality: 0 the worst of the readers' scale, 1 its best. RMSE is in this unit.",
            'Value [95 % interval]. Whether the models differ is told by the differences under "By group".',
        ),
    )
    for name, scores in (("champion", champion), ("challenger", challenger)):
        pictures = agreement(
            list(zip(label.tolist(), scores.tolist(), strict=True)),
            (_READERS, name),
            title=f"Rated series, {name}",
        )
        if pictures:
            yield pictures


def by_group(case: Case) -> Iterator[Block]:
    """All series, then each scanner, modality, region, type and field strength."""
    groups = case.compared.comparison.groups
    yield Table(
        title="Agreement of the two models on live series",
        columns=(
            Column(name="series of", numeric=False),
            Column(name="series"),
            Column(name="SROCC"),
            Column(name="mean difference"),
            Column(name="decisions changed", numeric=False),
        ),
        rows=tuple(
            (group.name, group.cases, group.srocc, group.mean_difference, _kinds(group)) for group in groups
        ),
        notes=("Differences are challenger − champion.",),
    )
    rated = [(group, group.labelled) for group in groups if group.labelled is not None]
    if not rated:
        yield Text(text="No series was rated, so no group can be told better or worse.")
        return
    numbers = ("rated", "MAE champion", "MAE challenger", "MAE difference")
    order = ("SROCC champion", "SROCC challenger", "SROCC difference")
    yield Table(
        title="Both models against the readers, by group",
        columns=(
            Column(name="series of", numeric=False),
            *(Column(name=name) for name in (*numbers, *order)),
        ),
        rows=tuple(
            (
                group.name, of.cases, of.champion_mae, of.challenger_mae, _interval(of.mae_difference),
                of.champion_srocc, of.challenger_srocc, _interval(of.srocc_difference),
            )
            for group, of in rated
        ),
        notes=(
            "MAE: mean absolute difference of quality and rating; a difference above 0 is worse. SROCC: a "
            "difference below 0 is worse. [95 % interval].",
        ),
    )  # fmt: skip


def _kinds(group: Group) -> str:
    if not group.changed:
        return "none"
    kinds = ", ".join(f"{count} {kind}" for kind, count in group.changed.items())
    return f"{group.changed_share:.0%}: {kinds}"


def _interval(ends: Ends | None) -> Cell:
    return None if ends is None else Interval(value=ends.value, low=ends.low, high=ends.high)
