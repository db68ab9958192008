from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.evaluation.correlation import plcc
from train.evaluation.folds import (
    Fold,
    TooFewGroups,
    aggregate,
    fold_of_rows,
    grouped_folds,
    leave_one_group_out,
    random_folds,
    split,
    with_validation,
)

GROUPS = st.lists(st.integers(0, 12), min_size=6, max_size=80).map(np.array)
SEEDS = st.integers(0, 1000)


def _check(fold: Fold, groups: np.ndarray) -> None:
    parts = [fold.train, fold.validation, fold.test]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(groups)))
    names = [set(groups[part]) for part in parts]
    assert not names[0] & names[2] and not names[0] & names[1] and not names[1] & names[2]


@given(groups=GROUPS, k=st.integers(2, 6), seed=SEEDS)
def test_grouped_folds_share_no_group_and_test_each_row_once(groups: np.ndarray, k: int, seed: int) -> None:
    if len(np.unique(groups)) < k:
        with pytest.raises(TooFewGroups):
            grouped_folds(groups, k, seed=seed)
        return
    folds = grouped_folds(groups, k, seed=seed)
    for fold in folds:
        _check(fold, groups)
        assert len(fold.test) and len(fold.train)
    assert len(folds) == k and set(fold_of_rows(folds, len(groups))) == set(range(k))


@given(groups=GROUPS, seed=SEEDS)
def test_a_split_shares_no_group_and_fills_each_part(groups: np.ndarray, seed: int) -> None:
    if len(np.unique(groups)) < 3:
        with pytest.raises(TooFewGroups):
            split(groups, seed=seed)
        return
    fold = split(groups, seed=seed)
    _check(fold, groups)
    assert len(fold.train) and len(fold.validation) and len(fold.test)


@given(groups=GROUPS, seed=SEEDS)
def test_inner_validation_comes_from_training_groups_only(groups: np.ndarray, seed: int) -> None:
    if len(np.unique(groups)) < 3:
        return
    for fold in leave_one_group_out(groups):
        inner = with_validation(fold, groups, seed=seed)
        _check(inner, groups)
        assert np.array_equal(inner.test, fold.test) and len(inner.validation) and len(inner.train)


def test_leave_one_reference_out_has_the_papers_sizes() -> None:
    references = np.repeat(list("abcdefgh"), 14)
    folds = leave_one_group_out(references)
    assert [len(fold.test) for fold in folds] == [14] * 8
    assert [set(references[fold.test]) for fold in folds] == [{name} for name in "abcdefgh"]


def test_random_folds_are_even_random_and_seeded() -> None:
    folds = random_folds(30, 8, seed=1)
    assert sorted(len(fold.test) for fold in folds) == [3, 3, 4, 4, 4, 4, 4, 4]
    same, other = random_folds(30, 8, seed=1), random_folds(30, 8, seed=2)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(folds, same, strict=True))
    assert any(not np.array_equal(a.test, b.test) for a, b in zip(folds, other, strict=True))


def test_eight_to_one_to_one_by_patient() -> None:
    patients = np.repeat(np.arange(100), 10)
    fold = split(patients, seed=3)
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [800, 100, 100]


def test_a_splits_test_part_is_no_refuge_of_small_groups() -> None:
    sizes = np.r_[np.full(20, 30), np.full(20, 2)]
    patients = np.repeat(np.arange(40), sizes)
    large = [np.isin(patients[split(patients, seed=s).test], np.arange(20)).any() for s in range(20)]
    assert sum(large) > 10


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: grouped_folds([1, 1, 2, 2], 3),
        lambda: leave_one_group_out([1, 1, 1]),
        lambda: split(["a", "a", "b"]),
        lambda: random_folds(4, 5),
    ],
)
def test_too_few_groups_are_named(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TooFewGroups, match=r"\d groups cannot fill \d parts"):
        wrong()


def test_impossible_divisions_are_refused() -> None:
    with pytest.raises(ValueError, match="k 1"):
        grouped_folds([1, 2, 3], 1)
    with pytest.raises(ValueError, match="shares"):
        split([1, 2, 3], (8, 2))
    with pytest.raises(ValueError, match="share 1"):
        with_validation(leave_one_group_out([1, 2, 3])[0], [1, 2, 3], 1)
    with pytest.raises(ValueError, match="one name a row"):
        leave_one_group_out(np.zeros((3, 2)))
    folds = leave_one_group_out([1, 2, 3])
    with pytest.raises(ValueError, match="row 2 is tested 0 times"):
        fold_of_rows(folds[:2], 3)


def test_the_mean_over_folds_is_not_the_pooled_figure() -> None:
    fold = np.repeat([0, 1, 2], 5)
    labels = np.tile(np.arange(5.0), 3)
    predicted = labels + np.array([0.0, 100, 200])[fold]  # each fold's model has its own offset
    found = aggregate(plcc, predicted, labels, fold)
    assert found.mean == pytest.approx(1) and found.pooled < 0.1
    assert found.by_fold == pytest.approx((1, 1, 1)) and found.deviation == pytest.approx(0, abs=1e-9)
    constant = np.where(fold == 2, 1.0, labels)
    found = aggregate(plcc, predicted, constant, fold)
    assert np.isnan(found.by_fold[2]) and found.mean == pytest.approx(1)
