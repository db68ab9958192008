"""Alarms to the physicist: a baseline has drifted. Composes the words; when is `gate.baseline`'s."""

from __future__ import annotations

from statistics import median

from qagate.alert_text import AlertMessage
from qagate.baseline import BaselineAlarm, BaselineKey, BaselineState
from qagate.wording import one_line

_HEADLINES = {BaselineAlarm.DRIFT: "Baseline has drifted", BaselineAlarm.LOW: "Protocol scores low"}
_ADVICE = {
    BaselineAlarm.DRIFT: "Look for what changed: coil, calibration, protocol, software, dose.",
    BaselineAlarm.LOW: "Look at the images: is it the protocol, or does the model not know its like?",
}


def compose(
    baseline_id: int, key: BaselineKey, state: BaselineState, *, include_protocol: bool = False
) -> AlertMessage:
    """Put one alarm into plain words. The protocol's name is free text and is left out unless allowed."""
    assert state.alarm is not None, "nothing to tell"
    subject = " ".join(part for part in (key.modality, *_known(key.region, key.type)) if part)
    judged_by = "the absolute thresholds" if state.median is None else "the former baseline"
    lines = [
        sentence(state),
        f"Scanner: {key.station}",
        f"Series: {subject}",
        *([f"Protocol: {one_line(key.protocol_name)}"] if include_protocol and key.protocol_name else []),
        f"Baseline: {baseline_id}",
        f"What to do: {_ADVICE[state.alarm]} Until then the gate judges by {judged_by}. If the level is as "
        f"it should be: `qagate baselines accept {baseline_id} --reason WHY`.",
    ]
    title = f"{_HEADLINES[state.alarm]}: {subject} on {key.station}"
    return AlertMessage(verdict=None, title=one_line(title), body="\n".join(lines))


def sentence(state: BaselineState) -> str:
    """What is the matter, in one sentence."""
    qualities = [point.quality for point in state.recent]
    now = median(qualities) if qualities else float("nan")
    if state.alarm is BaselineAlarm.LOW or state.anchor_median is None:
        repeats = sum(point.repeat for point in state.recent)
        return (
            f"{repeats} of the last {len(qualities)} series are REPEAT before there is a baseline; their "
            f"median quality is {now:.2f}."
        )
    return (
        f"The median quality of the last {len(qualities)} series is {now:.2f}; the baseline was built at "
        f"{state.anchor_median:.2f} (MAD {state.anchor_mad:.2f})."
    )


def _known(*words: str) -> list[str]:
    return [word for word in words if word != "unknown"]
