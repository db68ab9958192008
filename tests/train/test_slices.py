import pytest

from train.slices import legacy_slices


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(1, (0,) * 7), (7, tuple(range(7))), (13, (0, 2, 4, 6, 8, 10, 12)), (3, (0, 0, 1, 1, 1, 2, 2))],
)
def test_first_and_last_slice_are_taken(count: int, wanted: tuple[int, ...]) -> None:
    assert legacy_slices(count) == wanted


def test_no_slices_are_named() -> None:
    with pytest.raises(ValueError, match="without slices"):
        legacy_slices(0)
