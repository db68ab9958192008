"""Gates, archives and series for the fault tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fault_gate import whole


@pytest.fixture(scope="module")
def make_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Start gates; those still running end with the module."""
    gates: list[Any] = []

    def make(*, folder: Any = None, start: bool = True, **settings: Any) -> Any:
        gates.append(whole().Gate(folder or tmp_path_factory.mktemp("gate"), **settings))
        return gates[-1].start() if start else gates[-1]

    yield make
    for gate in gates:
        gate.stop()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes synthetic series on disk."""
    return whole().Made(tmp_path_factory.mktemp("made"))
