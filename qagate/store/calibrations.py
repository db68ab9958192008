"""Which readers' scale a model is calibrated to. Rows are only ever added; the newest of a model counts."""

from __future__ import annotations

import sqlalchemy as sa

from qagate.store.engine import Store
from qagate.store.rows import text
from qagate.store.schema import calibration


class Calibrations:
    """The calibrations of a store; their content is text here (`qagate.gate.calibration` reads it)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, weights_sha256: str, scale: str, *, actor: str, reason: str = "") -> None:
        """Let a scale count for a model from now on."""
        with self._store.write() as connection:
            connection.execute(
                sa.insert(calibration).values(
                    weights_sha256=weights_sha256,
                    scale=scale,
                    actor=text(actor),
                    reason=text(reason),
                    acted_at=self._store.now(),
                )
            )

    def of(self, weights_sha256: str) -> str | None:
        """The scale that counts for a model; None when it was never calibrated."""
        mine = sa.select(calibration.c.scale).where(calibration.c.weights_sha256 == weights_sha256)
        with self._store.read() as connection:
            found: str | None = connection.scalar(mine.order_by(calibration.c.id.desc()).limit(1))
            return found
