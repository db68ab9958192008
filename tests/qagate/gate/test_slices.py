"""Salient slices: the right ones, once, with few questions asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qagate.gate.slices import is_empty_image, salient, scored_stack
from qagate.image import SliceHeader, SliceImage, Stack


def _header(number: int, modality: str = "MR") -> SliceHeader:
    return SliceHeader(
        path=f"{number}.dcm",
        sop_instance_uid=f"1.2.{number}",
        sop_class_uid="1.2.3",
        modality=modality,
        rows=64,
        columns=64,
        instance_number=number,
        position_mm=float(number),
    )


def _stack(count: int) -> Stack:
    return Stack(slices=tuple(_header(number) for number in range(count)))


def _numbers(chosen: tuple[SliceHeader, ...]) -> list[int]:
    return [header.instance_number or 0 for header in chosen]


def test_middles_of_seven_equal_regions() -> None:
    assert _numbers(salient(_stack(70), lambda _: False)) == [5, 15, 25, 35, 45, 55, 65]


def test_empty_ends_are_dropped_first() -> None:
    chosen = salient(_stack(100), lambda h: not 15 <= (h.instance_number or 0) < 85)
    assert _numbers(chosen) == [20, 30, 40, 50, 60, 70, 80]


@pytest.mark.parametrize("count", [1, 2, 6, 7])
def test_few_slices_are_all_taken_once(count: int) -> None:
    assert _numbers(salient(_stack(count), lambda _: False)) == list(range(count))


def test_empty_slices_of_a_short_stack_are_left_out() -> None:
    assert _numbers(salient(_stack(6), lambda h: h.instance_number in (0, 2))) == [1, 3, 4, 5]


def test_an_empty_middle_gives_way_to_its_neighbour() -> None:
    chosen = _numbers(salient(_stack(70), lambda h: h.instance_number == 35))
    assert chosen in ([5, 15, 25, 34, 45, 55, 65], [5, 15, 25, 36, 45, 55, 65])


def test_all_empty_gives_nothing() -> None:
    assert salient(_stack(20), lambda _: True) == ()
    assert salient(Stack(slices=()), lambda _: False) == ()


def test_a_lone_filled_slice_is_found() -> None:
    assert _numbers(salient(_stack(200), lambda h: h.instance_number != 10)) == [10]


def test_few_slices_are_asked_about() -> None:
    asked: list[int] = []

    def is_empty(header: SliceHeader) -> bool:
        asked.append(header.instance_number or 0)
        return False

    salient(_stack(200), is_empty)
    assert len(asked) == 9
    asked.clear()
    salient(_stack(200), lambda h: is_empty(h) or not 20 <= asked[-1] < 190)
    assert len(asked) <= 27


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    filled=st.lists(st.booleans(), max_size=60),
    count=st.integers(min_value=1, max_value=9),
)
def test_choice_is_ordered_distinct_filled_and_asked_once(filled: list[bool], count: int) -> None:
    asked: list[int] = []

    def is_empty(header: SliceHeader) -> bool:
        asked.append(header.instance_number or 0)
        return not filled[header.instance_number or 0]

    chosen = _numbers(salient(_stack(len(filled)), is_empty, count))
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= count
    assert all(filled[number] for number in chosen)
    assert bool(chosen) == any(filled)
    assert len(asked) == len(set(asked))
    assert set(chosen) <= set(asked)


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        salient(_stack(3), lambda _: False, 0)


def test_the_largest_stack_is_scored() -> None:
    assert scored_stack([_stack(3), _stack(9)]) == _stack(9)
    localiser = Stack(slices=_stack(20).slices, not_assessed="a localiser")
    assert scored_stack([_stack(9), localiser]) == _stack(9)
    assert scored_stack([localiser]) is None
    assert scored_stack([]) is None


def _image(pixels: np.ndarray, modality: str, valid: np.ndarray | None = None) -> SliceImage:
    return SliceImage(header=_header(1, modality), pixels=pixels.astype(np.float32), valid=valid)


def test_air_noise_and_constants_are_empty() -> None:
    rng = np.random.default_rng(0)
    magnitude = np.hypot(rng.normal(0, 5, (256, 256)), rng.normal(0, 5, (256, 256)))
    assert is_empty_image(_image(magnitude, "MR"))
    assert is_empty_image(_image(rng.normal(-1000, 20, (512, 512)), "CT"))
    assert is_empty_image(_image(np.full((64, 64), 7.0), "US"))
    assert is_empty_image(_image(np.full((64, 64), np.nan), "MR"))
    assert is_empty_image(_image(np.eye(64), "MR", np.zeros((64, 64), dtype=np.bool_)))


def test_small_faint_objects_are_not_empty() -> None:
    rng = np.random.default_rng(0)
    faint = np.hypot(rng.normal(0, 5, (256, 256)), rng.normal(0, 5, (256, 256)))
    faint[100:140, 100:140] += 20
    assert not is_empty_image(_image(faint, "MR"))
    finger = rng.normal(-1000, 20, (512, 512))
    finger[200:250, 200:250] += 1040
    assert not is_empty_image(_image(finger, "CT"))
    blanked = np.zeros((256, 256))
    blanked[60:120, 60:120] = 100
    assert not is_empty_image(_image(blanked, "MR"))
