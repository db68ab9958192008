"""The distribution: its names, what it ships, what an import may do."""

import configparser
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def lines(section: str, key: str) -> list[str]:
    return [line for line in SETUP[section][key].splitlines() if line.strip()]


def pins() -> dict[str, str]:
    rows = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(row.lower().replace("_", "-").split("==") for row in rows if row and row[0] not in "#-")


def test_the_three_names_belong_to_qagate_alone() -> None:
    owners = packages_distributions()
    for name in ("qagate", "models", "train"):
        assert set(owners.get(name, ["qagate"])) <= {"qagate"}, owners[name]


@pytest.mark.parametrize("extra", ["install", "train", "demo", "report", "openvino", "oidc", "test"])
def test_every_range_admits_its_pin(extra: str) -> None:
    wanted = (
        lines("options", "install_requires") if extra == "install" else lines("options.extras_require", extra)
    )
    for line in wanted:
        requirement = Requirement(line)
        name = requirement.name.lower().replace("_", "-")
        assert name in pins(), f"{name} has no pin in constraints.txt"
        assert requirement.specifier.contains(pins()[name]), f"{name} {pins()[name]} is outside {line}"


def test_weights_and_migrations_are_packaged() -> None:
    patterns = {name: lines("options.package_data", name) for name in ("qagate", "models", "train")}
    assert "weights/*" in patterns["models"] and "*.toml" in patterns["models"]
    for package, globs in patterns.items():
        for pattern in globs:
            assert list((ROOT / package).glob(pattern)), f"{package}/{pattern} matches nothing"


def test_imports_stay_off_the_network() -> None:
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('network at import')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "import qagate.cli, qagate.app, models.registry, train\n"
        "models.registry.load()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_nothing_outside_weighs_too_much() -> None:
    weights = sum(path.stat().st_size for path in (ROOT / "models/weights").iterdir())
    assert weights <= 20_000_000
