"""The challenger scores what the champion has decided, in silence: nothing it says leaves the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from qagate.examine import Prepared, examine
from qagate.gate.policy import Policy
from qagate.reason import why
from qagate.series import Series
from qagate.serving import Served
from qagate.store.shadows import PATIENCE, Begun, Shadows
from qagate.watch import Watch, key_of

log = structlog.get_logger(__name__)

_GAUSS_ABOVE, _GAUSS_A_TESLA = 30.0, 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One series the champion has decided, still in memory."""

    series: Series
    prepared: Prepared


class Shadow:
    """Lets a challenger score. Its failures are counted and logged, never raised."""

    def __init__(self, *, shadows: Shadows, watch: Watch, policy: Policy) -> None:
        self._shadows, self._watch, self._policy = shadows, watch, policy

    def score(self, done: Sequence[Done], champion: Served, challenger: Served) -> None:
        """Score the decided series; those of which nothing can be assessed are left out."""
        chosen = [one for one in done if one.prepared.not_assessed is None]
        try:
            if chosen and not self._given_up(challenger):
                self._score(chosen, champion, challenger)
        except Exception as error:  # loop edge: the champion's results stand, the worker goes on
            log.error("shadow_failed", model=challenger.scorer.model_name, reason=why(error))

    def _given_up(self, challenger: Served) -> bool:
        errors = self._shadows.last_errors(challenger.act_id, PATIENCE)
        return len(errors) == PATIENCE and all(errors)

    def _score(self, done: Sequence[Done], champion: Served, challenger: Served) -> None:
        for one in done:
            note = _begun(one, champion, challenger)
            self._shadows.begin(note)
            try:
                self._one(one, note, challenger)
            except Exception as error:  # loop edge: one series' trouble
                log.warning("shadow_failed", model=challenger.scorer.model_name, reason=why(error))
                self._shadows.fail(note, why(error))

    def _one(self, done: Done, begun: Begun, challenger: Served) -> None:
        key = key_of(done.series, done.prepared.prompt, challenger.scorer.weights_sha256)
        (found,) = examine(
            [done.prepared],
            [done.series.header],
            challenger.scorer,
            self._policy,
            baselines=self._watch.usual([key]),
            readers=challenger.readers,
        )
        change = self._watch.change(key, done.series, found, silent=True)
        self._shadows.finish(begun, found.assessment, found.decision, change)


def _begun(done: Done, champion: Served, challenger: Served) -> Begun:
    prompt = done.prepared.prompt
    return Begun(
        series=done.series,
        act_id=challenger.act_id,
        weights_sha256=challenger.scorer.weights_sha256,
        champion_sha256=champion.scorer.weights_sha256,
        region=prompt.region,
        type=prompt.type,
        field_strength_t=field_strength_t(done.prepared.images.attributes),
    )


def field_strength_t(attributes: Mapping[str, object]) -> float | None:
    """(0018,0087) *Magnetic Field Strength* in tesla; some scanners write gauss. None: not said, or none."""
    value = attributes.get("MagneticFieldStrength")
    if not isinstance(value, int | float) or value <= 0:
        return None
    return value / _GAUSS_A_TESLA if value > _GAUSS_ABOVE else float(value)
