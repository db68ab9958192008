"""The roles write into one stream at a time, and no line of one ends up inside another's."""

import json
import subprocess
import sys
from pathlib import Path

WRITERS, LINES = 4, 3000
PROGRAM = f"""
import structlog
from qagate import telemetry
telemetry.configure(role="writer")
log = structlog.get_logger()
for number in range({LINES}):
    log.info("decided", number=number, because="x" * 200)
"""


def test_each_line_is_whole(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as stream:
        writers = [subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=stream) for _ in range(WRITERS)]
        assert [writer.wait(120) for writer in writers] == [0] * WRITERS
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == WRITERS * LINES
    assert {json.loads(line)["event"] for line in lines} == {"decided"}
