"""Baselines in the worker: which one a series is held against, what its decision does to it, who is told."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import structlog

from qagate import alarms
from qagate.alerts import Alerter
from qagate.assessment import Baseline, Prompt, Verdict
from qagate.baseline import BaselineKey, BaselineState, Point
from qagate.delivery import alert_payload
from qagate.examine import Examination
from qagate.gate.baseline import BaselineRules, updated, usable
from qagate.series import Series
from qagate.store.baselines import BaselineChange, Baselines
from qagate.store.outbox import Kind, OutboxItem

log = structlog.get_logger(__name__)


class Watch:
    """Holds series against the baselines of one store.

    physicist: where alarms go. include_protocol: whether these may name the protocol, which is free text.
    """

    def __init__(
        self,
        *,
        baselines: Baselines,
        rules: BaselineRules,
        physicist: Alerter,
        include_protocol: bool = False,
    ) -> None:
        self._baselines, self._rules = baselines, rules
        self._physicist, self._include_protocol = physicist, include_protocol

    def usual(self, keys: Sequence[BaselineKey]) -> list[Baseline | None]:
        """The warm baseline of each key, else None."""
        states = self._baselines.states(keys) if keys else {}
        return [usable(states[key], self._rules) for key in keys]

    def change(
        self, key: BaselineKey, series: Series, examination: Examination, *, silent: bool = False
    ) -> BaselineChange | None:
        """What this decision does to the baseline; None when nothing was assessed. silent: tell nobody."""
        quality, verdict = examination.assessment.quality, examination.decision.verdict
        if quality is None or verdict is Verdict.NOT_ASSESSED:
            return None
        point = Point(series_id=series.series_id, quality=float(quality), repeat=verdict is Verdict.REPEAT)
        change = partial(updated, point=point, rules=self._rules)
        if silent:
            return BaselineChange(key=key, change=change)
        return BaselineChange(key=key, change=change, alarms=partial(self._alarms, key))

    def _alarms(
        self, key: BaselineKey, baseline_id: int, before: BaselineState, after: BaselineState
    ) -> list[OutboxItem]:
        """What a new alarm sends, in the transaction that raised it."""
        if after.alarm is None or after.alarm is before.alarm:
            return []
        log.warning("baseline_alarm", baseline=baseline_id, alarm=after.alarm.value)
        message = alarms.compose(baseline_id, key, after, include_protocol=self._include_protocol)
        return [
            OutboxItem(
                kind=Kind.ALERT, destination=name, payload=alert_payload(message), topic=after.alarm.value
            )
            for name in self._physicist.destinations
        ]


def key_of(series: Series, prompt: Prompt, weights_sha256: str) -> BaselineKey:
    """What the series is compared with: the same station, protocol, region and type under the same model."""
    header = series.header
    return BaselineKey(
        station=header.station_name or series.calling_ae_title,
        protocol_name=header.protocol_name,
        modality=header.modality,
        region=prompt.region,
        type=prompt.type,
        weights_sha256=weights_sha256,
    )
