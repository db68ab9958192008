"""How a series was made, as far as trends need it: coil, kernel, dose. Nothing of the patient."""

from __future__ import annotations

from collections.abc import Mapping

_LONGEST = 64
_MOST_MGY = 1000.0  #: a larger CTDIvol is a wrong tag, not an exposure


def technique_from(attributes: Mapping[str, object]) -> dict[str, str | float]:
    """What the attributes (DICOM keyword -> value) say of the technique; what they do not say is left out.

    coil: (0018,1250) *Receive Coil Name*. kernel: (0018,1210) *Convolution Kernel*, the first of several.
    ctdi_vol_mgy: (0018,9345) *CTDIvol* in mGy, above 0.
    """
    found: dict[str, str | float] = {}
    for name, keyword in (("coil", "ReceiveCoilName"), ("kernel", "ConvolutionKernel")):
        value = _first(attributes.get(keyword))
        text = "".join(c for c in value if c.isprintable()).strip() if isinstance(value, str) else ""
        if text:
            found[name] = text[:_LONGEST]
    dose = _first(attributes.get("CTDIvol"))
    if isinstance(dose, int | float) and 0 < dose <= _MOST_MGY:
        found["ctdi_vol_mgy"] = float(dose)
    return found


def _first(value: object) -> object:
    return value[0] if isinstance(value, tuple) and value else value
