"""The search for patients in what a test run printed can find one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("privacy", ROOT / "tests/privacy.py")
assert _SPEC and _SPEC.loader
privacy = importlib.util.module_from_spec(_SPEC)
sys.modules["privacy"] = privacy
_SPEC.loader.exec_module(privacy)


@pytest.fixture(scope="module")
def wanted() -> frozenset[str]:
    values = [*privacy.written(), *privacy.in_files(privacy.data_sets())]
    return privacy.patterns(values, privacy.own_words())


@pytest.mark.parametrize(
    "line",
    [
        '{"reason": "XYZZYMANN^QUUXBERT"}', "a report for Quuxbert is ready", "born 1899-12-31",
        "18991231,CT", "id PID-7741-ZQ.", "CompressedSamples^CT1",
    ],
)  # fmt: skip
def test_a_planted_patient_is_found(line: str, wanted: frozenset[str], tmp_path: Path) -> None:
    (tmp_path / "log-1.txt").write_text(f"first line\n{line}\n", encoding="utf-8")
    found = privacy.search(tmp_path, wanted).found
    assert found and all(one.startswith("log-1.txt:2:") for one in found)


def test_nothing_is_found_where_nobody_is(wanted: frozenset[str], tmp_path: Path) -> None:
    text = "1.2.18991231.4711 127.0.0.1:4711 head first\n"
    (tmp_path / "log-1.txt").write_text(text, encoding="utf-8")
    done = privacy.search(tmp_path, wanted)
    assert (done.files, done.size, done.found) == (1, len(text), ())


def test_an_empty_folder_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="was QAGATE_TEST_LOGS set"):
        privacy.main([str(tmp_path)])


def test_the_patients_are_gathered(wanted: frozenset[str]) -> None:
    assert {"xyzzymann", "doe^jane", "pid-7741-zq", "1899-12-31", "compressedsamples"} <= wanted


def test_what_a_test_prints_is_kept(tmp_path: Path) -> None:
    logs, tests = tmp_path / "logs", tmp_path / "test_planted.py"
    logs.mkdir()
    tests.write_text(
        "import subprocess, sys\n"
        "from click.testing import CliRunner\n"
        "from qagate.cli import main\n"
        "def test_prints(capsys):\n"
        "    with capsys.disabled(): pass\n"
        "    sys.stderr.write('XYZZYMANN-captured')\n"
        "    CliRunner().invoke(main, ['-c', 'XYZZYMANN-invoked.toml', 'check'])\n"
        "    subprocess.run([sys.executable, '-m', 'qagate.cli', '-c', 'XYZZYMANN-run.toml', 'check'],\n"
        "                   capture_output=True, text=True)\n",
        encoding="utf-8",
    )
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text(encoding="utf-8"))
    environment = os.environ | {"QAGATE_TEST_LOGS": str(logs)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests/qagate")])
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        check=True, env=environment, cwd=tmp_path, capture_output=True,
    )  # fmt: skip
    kept = "".join(path.read_text() for path in logs.iterdir())
    for way in ("captured", "invoked", "run"):
        assert f"XYZZYMANN-{way}" in kept, way
