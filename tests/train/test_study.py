"""Figures of the default model's study on made-up samples whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.dataset import Samples
from train.evaluation.ladders import relative
from train.fit import type_names
from train.study import agreement, pictures
from train.study.curve import NAMES, Point, learning_curve, subjects_for
from train.study.transfer import unseen_types

SUBJECTS = 4


def _samples() -> Samples:
    rows = [
        (f"v{s}/2/1", f"s{s}", artefact, float(step))
        for s in range(SUBJECTS)
        for artefact, steps in (("none", [0]), ("blur", [1, 2, 3, 4]), ("noise", [1, 2, 3, 4]))
        for step in steps
    ]
    reference, subject, artefact, severity = (np.array(column) for column in zip(*rows, strict=True))
    features = np.column_stack([severity * (artefact == "blur"), severity * (artefact == "noise")])
    return Samples(
        reference=reference, subject=subject, copy=np.zeros(len(rows), int), artefact=artefact,
        severity=severity, teachers=np.stack([-severity] * 4, axis=1), features=features.astype(np.float32),
    )  # fmt: skip


def test_relative_takes_the_volumes_own_level_away() -> None:
    samples = _samples()
    offsets = np.array([float(name[1]) for name in samples.subject])
    wanted = -samples.severity
    assert np.allclose(relative(samples, wanted + offsets), wanted)
    raw, _, less, _ = agreement.agreement(samples, wanted + 5 * offsets, wanted, "blur", resamples=20)
    assert raw.value < 0.6 and less.value == pytest.approx(1)


def test_tables_name_every_artefact_and_scorer_best_first() -> None:
    samples, wanted = _samples(), -_samples().severity
    scores = {"worse": np.random.default_rng(0).standard_normal(len(wanted)), "right": wanted}
    table = agreement.by_artefact(samples, scores, wanted, resamples=10)
    assert [row[:2] for row in table.rows] == [
        ("blur", "worse"), ("blur", "right"), ("noise", "worse"), ("noise", "right"),
    ]  # fmt: skip
    assert agreement.overall(samples, scores, wanted, resamples=10).rows[0][0] == "right"


def test_confusion_is_in_percent_of_the_type() -> None:
    wanted, named = np.array(["a", "a", "b", "b"]), np.array(["a", "b", "b", "b"])
    table = agreement.confusion(wanted, named, ("a", "b"))
    assert table.rows == (("a", 2, 50.0, 50.0), ("b", 2, 0.0, 100.0))


def test_a_power_law_is_found_again_and_no_growth_is_never_enough() -> None:
    def points(c: float) -> list[Point]:
        return [
            Point(subjects=n, mean=dict.fromkeys(NAMES, 1 - 0.5 * n**-c), spread=dict.fromkeys(NAMES, 0.0))
            for n in (1, 2, 4, 8)
        ]

    assert subjects_for(points(0.5), "srocc", 0.9) == pytest.approx(25)
    assert subjects_for(points(-0.1), "srocc", 0.9) == float("inf")


def test_the_curve_and_unseen_types_judge_left_out_subjects() -> None:
    samples = _samples()
    label, types = -samples.severity, type_names(samples)
    taught: list[tuple[set[str], set[str]]] = []

    def fit(some: Samples, wanted: np.ndarray):
        taught.append((set(some.subject), set(some.artefact)))

        def judge(features: np.ndarray) -> np.ndarray:
            blur, noise = features.T
            return np.column_stack([-blur - noise, (blur + noise) == 0, blur > 0, noise > 0]).astype(float)

        return judge

    kinds = np.array([types.index(a) for a in samples.artefact])
    points = learning_curve(samples, label, fit, kinds, draws=2)
    assert [p.subjects for p in points] == [1, 2, 3]
    assert all(p.mean["pairs"] == p.mean["types"] == 1 for p in points)
    assert {len(subjects) for subjects, _ in taught} == {1, 2, 3}
    taught.clear()
    table = unseen_types(samples, label, fit, fit(samples, label)(samples.features))
    assert [row[0] for row in table.rows] == ["blur", "noise"]
    assert all(len(subjects) < SUBJECTS and len(artefacts) == 2 for subjects, artefacts in taught[1:])


def test_plots_are_written_as_png_and_svg(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    severity, quality = rng.integers(0, 6, 60).astype(float), rng.uniform(0, 1, 60)
    written = pictures.quality_by_severity(severity, quality, tmp_path / "q", title="MR")
    written += pictures.reliability(quality, rng.random(60) < quality, tmp_path / "r", title="MR")
    mean = dict.fromkeys(NAMES, 0.5)
    points = [Point(subjects=n, mean=mean, spread=mean) for n in (1, 2)]
    written += pictures.learning(points, tmp_path / "l", title="MR")
    assert {path.suffix for path in written} == {".png", ".svg"}
    assert all(path.stat().st_size > 1000 for path in written)
