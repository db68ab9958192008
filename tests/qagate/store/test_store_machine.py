"""Random interleavings of receivers, workers, senders and clocks; many more in tests/faults."""

from __future__ import annotations

from collections.abc import Callable

import store_machine

from qagate.assessment import Assessment, Decision
from qagate.series import Received
from qagate.store.engine import Clock, Store


def test_random_interleavings(
    store: Store, clock: Clock, arrive: Callable[..., Received], result: tuple[Assessment, Decision]
) -> None:
    store_machine.run(store, clock, arrive, result, examples=8, steps=40)
