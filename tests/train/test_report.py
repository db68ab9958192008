from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from train.evaluation import correlation as of
from train.evaluation.estimates import FIGURES, FOLD_MEAN, LOGISTIC5, POOLED, RAW, decode, figures
from train.evaluation.report import AS_GIVEN, compare, evaluate

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def _data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, worse predictions, labels on a 0.2 grid, references: 8 of 14 images."""
    rng = np.random.default_rng(seed)
    labels = np.round(np.clip(rng.normal(2, 1, 112), 0, 4) * 5) / 5
    return (
        labels + rng.normal(0, 0.3, 112),
        labels + rng.normal(0, 0.6, 112),
        labels,
        np.repeat(list("abcdefgh"), 14),
    )


def _grades(scores: np.ndarray) -> np.ndarray:
    bell = np.exp(-0.5 * ((np.arange(21) - scores[:, None] * 5) / 1.2) ** 2)
    return bell / bell.sum(axis=1, keepdims=True)


def test_every_figure_is_the_one_of_correlation() -> None:
    predicted, _, labels, _ = _data()
    found = dict(zip(FIGURES, figures(predicted, labels), strict=True))
    assert found[RAW, "KROCC"] == of.krocc(predicted, labels)
    assert found[RAW, "Score"] == pytest.approx(sum(found[RAW, n] for n in ("PLCC", "SROCC", "KROCC")))
    assert found[LOGISTIC5, "PLCC"] == of.plcc_logistic5(predicted, labels)
    assert found[LOGISTIC5, "RMSE"] == of.fit_logistic(predicted, labels, 5).rmse


def test_evaluate_gives_pooled_and_fold_means_of_both_decodings() -> None:
    predicted, _, labels, reference = _data()
    found = evaluate(
        predicted, labels, groups=reference, folds=reference, grades=_grades(predicted), resamples=20
    )
    keys = {(e.scores, e.over) for e in found.estimates}
    assert keys == {(s, o) for s in (AS_GIVEN, "argmax", "continuous") for o in (POOLED, FOLD_MEAN)}
    assert len(found.estimates) == 6 * len(FIGURES)
    pooled = found[AS_GIVEN, POOLED, RAW, "PLCC"]
    assert pooled.value == of.plcc(predicted, labels) and pooled.low < pooled.value < pooled.high
    mean = np.mean([of.srocc(predicted[reference == r], labels[reference == r]) for r in "abcdefgh"])
    assert found[AS_GIVEN, FOLD_MEAN, RAW, "SROCC"].value == pytest.approx(mean)
    assert (
        found[AS_GIVEN, FOLD_MEAN, LOGISTIC5, "PLCC"].value > found[AS_GIVEN, POOLED, LOGISTIC5, "PLCC"].value
    )
    assert found["argmax", POOLED, RAW, "KROCC"].value > found["continuous", POOLED, RAW, "KROCC"].value
    assert any("optimistic" in note for note in found.notes)
    assert len(found.table().rows) == 18
    with pytest.raises(KeyError):
        found["argmax", POOLED, RAW, "nonsense"]


def test_decoding() -> None:
    grades = np.zeros((2, 21))
    grades[0, 20], grades[1, [0, 10]] = 1, (0.4, 0.6)
    found = decode(grades)
    assert found["argmax"] == pytest.approx([4, 2]) and found["continuous"] == pytest.approx([4, 1.2])
    for wrong in (grades * 2, grades - 0.1, grades[0], np.full((2, 21), np.nan)):
        with pytest.raises(ValueError, match="grades"):
            decode(wrong)


def test_grades_alone_suffice() -> None:
    predicted, _, labels, _ = _data()
    found = evaluate(None, labels, grades=_grades(predicted), resamples=5)
    assert set(found.scores) == {"argmax", "continuous"}


def test_an_evaluation_repeats_with_its_seed() -> None:
    predicted, _, labels, reference = _data()
    first, same, other = (
        evaluate(predicted, labels, groups=reference, resamples=20, seed=seed).estimates for seed in (1, 1, 2)
    )
    assert first == same != other


def test_what_must_be_told_is_told() -> None:
    predicted, _, labels, reference = _data()
    turned = evaluate(-predicted, labels, resamples=2)
    assert any("hide the sign" in note for note in turned.notes)
    folds = np.arange(112) % 4
    split = evaluate(predicted, labels, groups=reference, folds=folds, resamples=2)
    assert any("split between folds" in note for note in split.notes)
    assert any("too narrow" in note for note in split.notes)
    flat = np.where(reference == "c", 2.0, labels)
    missing = evaluate(predicted, flat, folds=reference, resamples=2)
    assert any("1 folds have no PLCC" in note for note in missing.notes)
    coarse = evaluate(np.round(predicted / 4), labels, resamples=2)
    assert any("a straight line" in note for note in coarse.notes)


def test_compare_pairs_its_draws_and_tests_each_curve(tmp_path: Path) -> None:
    a, b, labels, reference = _data()
    found = compare(a, b, labels, names=("new", "old"), groups=reference, folds=reference, resamples=40)
    difference = found["new − old", POOLED, RAW, "PLCC"]
    assert difference.value == pytest.approx(of.plcc(a, labels) - of.plcc(b, labels))
    assert difference.excludes(0) and found["new − old", POOLED, RAW, "RMSE"].value < 0
    rows = {(row[0], str(row[1]).partition(" ")[0]): row for row in found.tests.rows}
    assert len(rows) == 9
    assert all(row[5:] == ("yes", "new") for row in rows.values())
    assert "yes" in found.table().text()
    same = compare(a, a, labels, resamples=5)
    assert all(row[5:] == ("no", None) for row in same.tests.rows)
    assert all(row[-1] == "no" for row in same.table().rows)


def test_folders_are_written(tmp_path: Path) -> None:
    a, b, labels, _ = _data()
    evaluated = evaluate(a, labels, grades=_grades(a), resamples=2).write(tmp_path / "one", unit="MOS")
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(p.name for p in evaluated)
    assert {p.name for p in evaluated} >= {"table.txt", "table.csv", "table.md", "scatter-as-given.png"}
    compared = compare(a, b, labels, names=("A/B", "é"), resamples=2).write(tmp_path / "two")
    names = {p.name for p in compared}
    twins = compare(a, b, labels, names=("a", "A"), resamples=2).write(tmp_path / "three")
    assert len({p.name for p in twins}) == 6 + 8
    assert names >= {"tests.csv", "scatter-a-b.svg", "bland-altman-model-2.png"} and len(names) == 6 + 8


def test_what_cannot_be_judged_is_refused() -> None:
    a, b, labels, reference = _data()
    with pytest.raises(ValueError, match="both None"):
        evaluate(None, labels)
    with pytest.raises(ValueError, match="shape"):
        evaluate(a[:5], labels)
    with pytest.raises(ValueError, match="NaN"):
        evaluate(np.where(a > 2, np.nan, a), labels)
    with pytest.raises(ValueError, match="labels"):
        evaluate(a, np.where(a > 2, np.nan, labels))
    with pytest.raises(ValueError, match="groups"):
        evaluate(a, labels, groups=reference[:4])
    with pytest.raises(ValueError, match="folds"):
        compare(a, b, labels, folds=reference[:4])
    with pytest.raises(ValueError, match="names"):
        compare(a, b, labels, names=("x", "x"))


def test_the_page_names_only_what_exists() -> None:
    named = re.findall(r"`(correlation|significance|folds|estimates|report)\.(\w+)", PAGE.read_text("utf-8"))
    assert len(named) > 15
    for module, name in named:
        assert hasattr(importlib.import_module(f"train.evaluation.{module}"), name), f"{module}.{name}"
