"""The networks that the three papers compare themselves with, one a module, and which of them are absent.

Rows that one class covers (VGG, ResNet, Swin, ViT, BEiT, ConvNeXt, MobileNetV2, EfficientNetV2) are presets
of `models.rows.timm_net`. MANIQA is `models.maniqa`; the metrics of the tables are in `models.metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping

_UNPUBLISHED = "described in a sentence of the challenge's report only; neither code nor weights are public"
_NO_LIBRARY = "no maintained library computes it, and its row lies below that of metrics that are built"
_DWT = f"works on wavelet sub-bands: {_NO_LIBRARY}"

ABSENT: Mapping[str, str] = {
    # MIQANet, tables I to III
    "CLIP-IQA": "needs CLIP's text encoder and its weights, which no package carries",
    "dipIQ": "is weights learnt from millions of ranked pairs of natural images, not a formula",
    "IL-NIQE": "half of its features are statistics of colour, which gray images lack; NIQE is built",
    "BRISQUE (score)": "its regression was fitted to LIVE; the features are built, to be fitted anew",
    "WSNR": _NO_LIBRARY,
    "NQM": _NO_LIBRARY,
    "PSNR-HVS": _NO_LIBRARY,
    "PSNR-HVS-M": _NO_LIBRARY,
    "PSNR-HA": _NO_LIBRARY,
    "PSNR-HMA": _NO_LIBRARY,
    "IW-PSNR": f"{_NO_LIBRARY}; IW-SSIM is built",
    "PSNR-DWT": _DWT,
    "AD-DWT": _DWT,
    "SSIM-DWT": _DWT,
    "WSSI": _DWT,
    "DWT-VIF": _DWT,
    "VIF-DWT": _DWT,
    "RFSIM": f"{_NO_LIBRARY}; its successor FSIM is built",
    "IFC": "VIF without its normalisation, by the same authors; VIFP is built",
    "VIF": "the steerable-pyramid variant; its pixel-domain form VIFP, of the same paper, is built",
    # ClinReadNet, table 2
    "gabybaldeon": _UNPUBLISHED,
    "Team Epoch": _UNPUBLISHED,
    "FeatureNet": _UNPUBLISHED,
    "CHILL@UK": "an ensemble with an unpublished input and output layer; `efficientnetv2_t` is its backbone",
    "RPI_AXIS": "MANIQA with unpublished changes; `models.maniqa` is its base",
    "agaldran": "an ensemble over Swin-T and BiT ResNeXt-50; `swin_t` with grades=21, heads=4 is one member",
}
"""Method -> why it is not here."""
