"""What an ablation shows: the table beside the paper's figures, a sentence a row, a picture, JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from train.ablate.figures import Estimates, estimate
from train.ablate.runs import Plan, Runs
from train.ablate.table import Row
from train.disk import write_atomically
from train.evaluation.plots import differences
from train.evaluation.significance import CONFIDENCE, RESAMPLES, Interval
from train.evaluation.tables import Cell, Column, Table

STEM = "table"
FIGURES = "figures.json"
_DIGITS = 3

Answer = Literal["agrees", "disagrees", "cannot tell", "nothing claimed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one row says of the paper's claim about it."""

    claimed: float | None  #: the paper's difference to its full system; None where it prints none
    answer: Answer
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything found, ready to be written."""

    plan: Plan
    runs: Runs
    estimates: Estimates
    verdicts: tuple[Verdict | None, ...]  #: None for the full system

    def table(self) -> Table:
        """A row for each of the ablation's, with what the paper prints; the sentences are its notes."""
        judged = self.plan.ablation.judged_by.upper()
        heads = ("SROCC", "PLCC", "paper SROCC", "paper PLCC", f"{judged} − full", "paper − full")
        columns = [Column(name="row", numeric=False), *(Column(name=name) for name in heads)]
        columns += [Column(name="parameters (M)", digits=2), Column(name="seconds a run", digits=0)]
        told = "small networks, " if self.plan.small else ""
        return Table(
            title=f"{self.plan.ablation.title}; {told}{self._size()}",
            columns=tuple(columns),
            rows=tuple(self._cells(number) for number in range(len(self.runs.rows))),
            notes=(*(f"{one.sentence}" for one in self.verdicts if one), *self._notes()),
        )

    def write(self, folder: Path) -> list[Path]:
        """table.txt, .csv, .md, figures.json and the picture."""
        written = self.table().write(folder, STEM)
        write_atomically(folder / FIGURES, json.dumps(self.as_values(), indent=1, ensure_ascii=False) + "\n")
        judged = self.plan.ablation.judged_by
        rows = [number for number, verdict in enumerate(self.verdicts) if verdict]
        drawn = differences(
            [self.runs.rows[n].row.name for n in rows],
            [self.estimates.differences[n][judged] for n in rows],
            [_claimed(self, n) for n in rows],
            folder / "differences",
            title=self.plan.ablation.title,
            along=f"{judged.upper()} − that of {self.plan.ablation.full}",
        ) if rows else []  # fmt: skip
        return [*written, folder / FIGURES, *drawn]

    def as_values(self) -> dict[str, object]:
        """For machines."""
        plan, ablation = self.plan, self.plan.ablation
        return {
            "title": ablation.title, "full": ablation.full, "judged_by": ablation.judged_by,
            "small": plan.small, "changes": dict(plan.more), "seeds": list(plan.seeds),
            "cases": len(self.runs.labels), "units": len(set(self.runs.units)), "resamples": RESAMPLES,
            "confidence": CONFIDENCE, "device": self.runs.device, "python": platform.python_version(),
            "torch": version("torch"), "timm": version("timm"), "left_out": len(self.runs.problems),
            "rows": [self._values(number) for number in range(len(self.runs.rows))],
        }  # fmt: skip

    def _values(self, number: int) -> dict[str, object]:
        made, verdict = self.runs.rows[number], self.verdicts[number]
        found = self.estimates
        return {
            "name": made.row.name, "changes": dict(made.row.changes), "pretrained": made.row.pretrained,
            "paper": asdict(made.row.paper), "parameters": made.parameters, "seconds": made.seconds,
            "figures": {name: _plain(one) for name, one in found.figures[number].items()},
            "less_full": {name: _plain(one) for name, one in found.differences[number].items()},
            "by_seed": found.by_seed[number],
            "claimed": verdict and verdict.claimed, "answer": verdict and verdict.answer,
        }  # fmt: skip

    def _cells(self, number: int) -> tuple[Cell, ...]:
        made, verdict = self.runs.rows[number], self.verdicts[number]
        figures, printed = self.estimates.figures[number], made.row.paper
        known = [one for one in made.seconds if one is not None]
        return (
            made.row.name, figures["srocc"], figures["plcc"], printed.srocc, printed.plcc,
            self.estimates.differences[number][self.plan.ablation.judged_by] if verdict else None,
            verdict.claimed if verdict else None, made.parameters / 1e6,
            float(np.mean(known)) if known else None,
        )  # fmt: skip

    def _size(self) -> str:
        seeds, units = len(self.plan.seeds), len(set(self.runs.units))
        return f"{len(self.runs.labels)} images or series of {units} patients or references, {seeds} seeds"

    def _notes(self) -> list[str]:
        ablation = self.plan.ablation
        notes = [
            f"Figures: mean over seeds, on pooled predictions of cases not trained on; in brackets "
            f"{CONFIDENCE:.0%} intervals over patients and seeds, not corrected for the number of rows.",
            f"{ablation.judged_by.upper()} − full: the row less {ablation.full}, paired over both.",
            "The paper's figures are of its own data and networks: only directions can be compared.",
        ]
        notes += [ablation.note] if ablation.note else []
        if self.plan.small and ablation.small:
            notes.append(f"Small networks: {ablation.small.description}.")
        if any(one.row.pretrained for one in self.runs.rows):
            notes.append("Seconds are without pre-training.")
        if self.runs.problems:
            notes.append(f"{len(self.runs.problems)} images or series could not be read and were left out.")
        return notes


def report(plan: Plan, runs: Runs) -> Report:
    """Draw the intervals and judge each row."""
    names = [one.row.name for one in runs.rows]
    full = names.index(plan.ablation.full)
    found = estimate(
        np.stack([one.predicted for one in runs.rows]), runs.labels, runs.units, full, resamples=RESAMPLES
    )
    judged = plan.ablation.judged_by
    verdicts = [
        None if number == full else judge(
            one.row, runs.rows[full].row, found.differences[number][judged], judged
        )
        for number, one in enumerate(runs.rows)
    ]  # fmt: skip
    return Report(plan=plan, runs=runs, estimates=found, verdicts=tuple(verdicts))


def judge(row: Row, full: Row, here: Interval, figure: Literal["srocc", "plcc"]) -> Verdict:
    """Whether a difference to the full system has the sign that the paper's has.

    It cannot be told where the interval holds 0, or where there is none.
    """
    printed = getattr(row.paper, figure), getattr(full.paper, figure)
    claimed = None if None in printed else printed[0] - printed[1]
    sign = {"worse": -1.0, "better": 1.0, "": 0.0}[row.claim] if claimed is None else float(np.sign(claimed))
    answer: Answer
    if not sign:
        answer = "nothing claimed"
    elif not (here.low > 0 or here.high < 0):
        answer = "cannot tell"
    else:
        answer = "agrees" if np.sign(here.value) == sign else "disagrees"
    told = f"the paper: {row.claim}" if claimed is None else f"the paper: {_signed(claimed)}"
    told = told if sign else "the paper claims no difference"
    sentence = (
        f"{row.name} against {full.name}: {told}; here {_signed(here.value)} "
        f"[{_signed(here.low)}, {_signed(here.high)}]: {answer}."
    )
    return Verdict(claimed=claimed, answer=answer, sentence=sentence)


def _claimed(report: Report, number: int) -> float | None:
    verdict = report.verdicts[number]
    return verdict.claimed if verdict else None


def _signed(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.{_DIGITS}f}".replace("-", "−")


def _plain(one: Interval) -> dict[str, float | None]:
    told = {"value": one.value, "low": one.low, "high": one.high}
    return {name: value if np.isfinite(value) else None for name, value in told.items()}


def summary(found: Sequence[Verdict | None]) -> str:
    """How often the paper's direction was met."""
    answers = [one.answer for one in found if one]
    counts = [
        (answers.count(kind), kind) for kind in ("agrees", "disagrees", "cannot tell", "nothing claimed")
    ]
    return ", ".join(f"{count} {kind}" for count, kind in counts if count)
