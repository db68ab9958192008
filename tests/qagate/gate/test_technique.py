"""What is kept of a series' technique."""

from __future__ import annotations

import pytest

from qagate.gate.technique import technique_from


def test_coil_kernel_and_dose_are_kept() -> None:
    attributes = {"ReceiveCoilName": " Head_32 ", "ConvolutionKernel": ("Br40d", "3"), "CTDIvol": 12.5}
    assert technique_from(attributes) == {"coil": "Head_32", "kernel": "Br40d", "ctdi_vol_mgy": 12.5}


@pytest.mark.parametrize("dose", [0, -1.0, 1e6, float("nan"), "12", None, ()])
def test_what_is_no_dose_is_left_out(dose: object) -> None:
    assert technique_from({"CTDIvol": dose, "ConvolutionKernel": 7, "ReceiveCoilName": "\x00 "}) == {}


def test_a_long_name_is_cut() -> None:
    assert technique_from({"ReceiveCoilName": "a\nb" * 100})["coil"] == ("ab" * 100)[:64]
