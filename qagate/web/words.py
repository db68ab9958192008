"""Words for what the gate names in code, and days and shares as people write them."""

from __future__ import annotations

from datetime import date

from babel.dates import format_date
from babel.numbers import format_percent

from qagate.web.texts import gettext as _
from qagate.web.texts import language, locale


def artefact(name: str) -> str:
    """A value of `Artefact` in the visitor's language; "" is what no measure explains."""
    return {
        "": _("low score, no artefact named"),
        "noise": _("noise"),
        "motion": _("motion"),
        "ghosting": _("ghosting"),
        "blur": _("blur"),
        "streak": _("streaks"),
        "ring": _("rings"),
        "beam hardening": _("beam hardening"),
        "non-uniformity": _("non-uniformity"),
        "wrap-around": _("wrap-around"),
        "intensity clipping": _("intensity clipping"),
        "field-of-view truncation": _("field-of-view truncation"),
        "missing slices": _("missing slices"),
    }.get(name, name)


def figure(name: str) -> str:
    """Quality, a measure or a dose, with its unit."""
    return {
        "quality": _("Quality"),
        "ctdi_vol_mgy": _("CTDIvol (mGy)"),
        "noise_hu": _("Noise in tissue (HU)"),
        "noise_air_hu": _("Noise in air (HU)"),
        "snr_air": _("SNR, noise from air"),
        "snr_tissue": _("SNR, noise from tissue"),
        "edge_sharpness_per_px": _("Edge sharpness (1/pixel)"),
        "ghost_to_signal_ratio": _("Ghost-to-signal ratio"),
        "ghost_correlation": _("Ghost correlation"),
        "entropy_focus": _("Entropy focus"),
        "clipping_fraction": _("Share of clipped pixels"),
        "uniformity_percent": _("Uniformity in percent"),
        "fov_truncation_fraction": _("Share of the rim inside the body"),
        "slice_gap_mm": _("Slice gap (mm)"),
        "missing_slices_count": _("Missing slices"),
        "duplicated_positions_count": _("Duplicated positions"),
    }.get(name, name)


def refusal(name: str) -> str:
    """A value of `qagate.refusal.WORDS`, or "other"."""
    return {
        "not_recorded": _("not recorded; sending again helps"),
        "not_supported": _("kind of object or transfer syntax not taken"),
        "not_authorised": _("may not send images"),
        "no_space": _("no space on the disk"),
        "data_set_too_large": _("data set too large"),
        "association_full": _("too much on one association"),
        "does_not_match": _("data set and request differ"),
        "cannot_understand": _("not readable as DICOM"),
        "calling_ae_title": _("unknown calling AE title"),
        "called_ae_title": _("wrong called AE title"),
        "address": _("wrong address for its AE title"),
        "too_many_associations": _("too many associations"),
        "disk_nearly_full": _("disk nearly full"),
        "tls": _("TLS refused"),
        "too_many_connections": _("too many connections"),
    }.get(name, _("other reasons"))


def day(of: date) -> str:
    """A day without its year."""
    pattern = "d MMM" if language() == "en" else "d. MMM"
    return str(format_date(of, pattern, locale=locale()))


def percent(part: float, whole: float) -> str:
    """A share; a dash where there is nothing to share."""
    if not whole:
        return "–"
    return str(format_percent(part / whole, format="0.#%", locale=locale()))
