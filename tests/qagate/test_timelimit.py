import subprocess
import sys

import pytest

HEAD = "import ctypes, time; from qagate.timelimit import within;"
ENDS = HEAD + (
    "\nfor _ in range(3):\n    with within(0.5, lambda: print('late', flush=True)): time.sleep(0.01)\n"
    "time.sleep(1.2); print('ended', flush=True)"
)
SLEEPS = HEAD + "\nwith within(0.2, lambda: print('late', flush=True)): time.sleep(60)"
FAILS = HEAD + "\nwith within(0.2, lambda: 1 / 0): time.sleep(60)"
HANGS_WHILE_TOLD = HEAD + "\nwith within(0.2, lambda: time.sleep(60)): time.sleep(60)"
HOLDS_THE_LOCK = HEAD + "\nwith within(0.2, lambda: print('late', flush=True)): ctypes.PyDLL(None).sleep(60)"


def run(program: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=40
    )
    return done.returncode, done.stdout


def test_work_that_ends_is_left_alone() -> None:
    assert run(ENDS) == (0, "ended\n")


@pytest.mark.parametrize(
    ("program", "told"),
    [(SLEEPS, True), (FAILS, False), (HANGS_WHILE_TOLD, False), (HOLDS_THE_LOCK, False)],
)
def test_work_that_hangs_ends_the_process(program: str, told: bool) -> None:
    code, out = run(program)
    assert code == 1
    assert ("late" in out.splitlines()) is told
