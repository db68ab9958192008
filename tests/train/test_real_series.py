"""The clean real series: above their degraded copies, and no REPEAT once their baseline is warm."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from models.registry import load
from qagate.assessment import Verdict
from qagate.baseline import BaselineState, Point
from qagate.examine import examine, prepare
from qagate.files import SeriesFiles, group
from qagate.gate.baseline import BaselineRules, updated, usable
from qagate.gate.policy import Policy
from qagate.gate.scoring import Scorer
from train.copies import write_copy
from train.house import choose
from train.simulate import SIMULATORS

SHARED = Path(__file__).resolve().parents[3] / "shared" / "dicom"
REAL = sorted(folder for folder in SHARED.glob("*") if folder.is_dir())
SEVERITIES = (2.0, 3.5)  #: tests/train/test_copies.py has 5
SLICES = 8  #: a stack is thinned evenly to this many slices or a few more
RULES = BaselineRules()
PARTS = 12  #: stacks that each series gives, for want of other patients scanned with its protocol

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not REAL, reason="the shared series are not here"),
]
each = pytest.mark.parametrize("folder", REAL, ids=lambda folder: folder.name)


@cache
def scorer() -> Scorer:
    return Scorer(load())


def quality(files: list[Path]) -> float:
    (series,), problems = group(files)
    assert not problems
    (found,) = examine([prepare(series.paths)], [series.header], scorer(), Policy())
    assert found.assessment.quality is not None, found.assessment.not_assessed
    return found.assessment.quality


@each
def test_the_clean_series_stands_above_its_copies(folder: Path, tmp_path: Path) -> None:
    files = sorted(folder.glob("*.dcm"), key=_number)
    files = files[:: max(len(files) // SLICES, 1)]
    clean, failed = quality(files), set()
    for artefact in SIMULATORS[dcmread(files[0], stop_before_pixels=True).Modality]:
        for severity in SEVERITIES:
            copy = tmp_path / f"{artefact}-{severity:g}"
            write_copy(files, copy, {artefact: severity}, seed=7)
            if quality(sorted(copy.iterdir())) >= clean:
                failed.add((artefact, severity))
    assert not failed


@each
def test_no_clean_series_is_repeat_after_warm_up(folder: Path) -> None:
    (series,), problems = group([folder])
    assert not problems
    rng = np.random.default_rng(3)
    stacks = [series, *(_part(series, rng) for _ in range(PARTS - 1))]
    prepared, headers = [prepare(stack.paths) for stack in stacks], [series.header] * PARTS
    first = examine(prepared, headers, scorer(), Policy())
    state = BaselineState()
    for number in range(RULES.warm_up):
        one = first[number % (PARTS // 2)]  # the other half are the next patients
        assert one.assessment.quality is not None, one.assessment.not_assessed
        repeat = one.decision.verdict is Verdict.REPEAT
        state = updated(state, Point(series_id=number, quality=one.assessment.quality, repeat=repeat), RULES)
    baseline = usable(state, RULES)
    assert baseline is not None, "REPEAT before the warm-up keeps a baseline cold"
    decided = examine(prepared, headers, scorer(), Policy(), baselines=[baseline] * PARTS)
    verdicts = [one.decision.verdict for one in decided]
    assert not {Verdict.REPEAT, Verdict.NOT_ASSESSED} & set(verdicts), verdicts
    assert decided[0].decision.verdict is Verdict.PASS, "the whole series"
    assert all(one.decision.relative for one in decided)


def test_all_of_them_may_serve_as_references() -> None:
    found, problems = group(REAL)
    assert not problems and len(found) == len(REAL)
    chosen = choose(found, scorer(), Policy(), worst=0.0)
    assert not chosen.left_out and len(chosen.accepted) == len(REAL)
    assert {one.modality for one in chosen.accepted} == {"CT", "MR"}


def _number(path: Path) -> int:
    return int(dcmread(path, stop_before_pixels=True).InstanceNumber)


def _part(series: SeriesFiles, rng: np.random.Generator) -> SeriesFiles:
    """A stack of neighbouring slices, at least half of them, as a scan of another length would be."""
    places = sorted(series.paths, key=_number)
    count = int(rng.integers(len(places) // 2 + 1, len(places) + 1))
    start = int(rng.integers(0, len(places) - count + 1))
    return SeriesFiles(
        series_instance_uid=series.series_instance_uid, header=series.header,
        paths=tuple(places[start : start + count]),
    )  # fmt: skip
