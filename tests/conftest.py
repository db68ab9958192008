"""What must be set before anything imports torch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Two test processes of two threads each would wait for one another's cores: eight times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure() -> None:
    """Where QAGATE_TEST_LOGS names a folder, what qagate prints is kept there; see tests/qagate/kept.py."""
    if os.environ.get("QAGATE_TEST_LOGS"):
        import kept

        kept.watch()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what a test printed and logged, once: xdist's controller hears of it again."""
    if os.environ.get("QAGATE_TEST_LOGS") and report.passed and not hasattr(report, "node"):
        import kept

        for _, text in report.sections:
            kept.keep("log", text)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the logs of the gates."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if os.environ.get("QAGATE_TEST_LOGS") and factory is not None:
        import kept

        kept.keep_files(Path(factory.getbasetemp()))
