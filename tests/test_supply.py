"""What is shipped: every pin hashed and in the bill of materials, weights only as hashed safetensors."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
import shutil
import tomllib
from pathlib import Path

import pytest

from models import registry
from models.weights_file import WeightsError

ROOT = Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("supply", ROOT / "deploy/supply.py")
assert _SPEC and _SPEC.loader
supply = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(supply)
WEIGHTS = ROOT / "models/weights"


def test_every_pin_is_hashed_and_every_installed_package_is_the_pinned_one() -> None:
    leftovers = "is installed and not pinned"  # of this machine; `make audit` names them
    assert not [one for one in supply.problems() if leftovers not in one]
    assert supply.locked().keys() == supply.pins().keys() - supply.UNHASHED


def test_a_package_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pins = supply.pins()
    monkeypatch.setattr(
        supply, "pins", lambda: {k: v for k, v in pins.items() if k != "rich"} | {"click": "1"}
    )
    said = "\n".join(supply.problems())
    assert "rich has a hash and no pin" in said and "click is pinned to 1 and hashed as" in said
    assert "is installed, 1 is pinned" in said


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True), ("BSD-3-Clause AND 0BSD AND MIT", True), ("GPL-3.0-only OR MIT", True),
        ("Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND MIT", True),
        ("", False), ("GPL-3.0-only", False), ("AGPL-3.0", False), ("MIT AND GPL-2.0", False),
        ("MITX", False),
    ],
)  # fmt: skip
def test_licences(licence: str, allowed: bool) -> None:
    assert supply.is_allowed(licence) is allowed


def test_the_bill_lists_the_pins_and_the_weights() -> None:
    bill = json.loads((ROOT / "deploy/sbom.cdx.json").read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    kinds: dict[str, dict[str, dict]] = {}
    for one in bill["components"]:
        kinds.setdefault(one["type"], {})[one["name"]] = one
    assert {name: one["version"] for name, one in kinds["library"].items()} == supply.pins()
    shipped = {path.name: path for path in WEIGHTS.glob("*.safetensors")}
    assert kinds["machine-learning-model"].keys() == shipped.keys()
    for name, one in kinds["machine-learning-model"].items():
        (sha256,) = [each["content"] for each in one["hashes"] if each["alg"] == "SHA-256"]
        assert sha256 == hashlib.sha256(shipped[name].read_bytes()).hexdigest()


def test_nothing_that_names_a_registry() -> None:
    for path in (supply.LOCK, supply.PINS, supply.SBOM, ROOT / "deploy/supply-tools.txt"):
        text = path.read_text(encoding="utf-8")
        assert "index-url" not in text and "find-links" not in text and "https://pypi" not in text, path.name


def test_no_package_ships_a_pickle() -> None:
    shipped = [path for package in ("qagate", "models", "train") for path in (ROOT / package).rglob("*")]
    named = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".npy", ".npz", ".onnx", ".h5"}
    assert not [path for path in shipped if path.suffix in named and "__pycache__" not in path.parts]
    listed = {file for file, *_ in supply.weights()}
    assert {path.name for path in WEIGHTS.iterdir() if path.suffix == ".safetensors"} == listed
    for path in WEIGHTS.glob("*.safetensors"):  # 8 bytes of length, then JSON
        assert json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])


class Evil:
    """What a pickle may do when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("listed", [False, True], ids=["another hash", "its own hash in the manifest"])
def test_a_pickle_that_calls_itself_safetensors_is_never_read(
    listed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    (folder / "default.safetensors").write_bytes(pickle.dumps(Evil()))
    manifest = (ROOT / "models/weights.toml").read_text(encoding="utf-8")
    known = tomllib.loads(manifest)["models"]["default"]["files"][0]["sha256"]
    if listed:
        manifest = manifest.replace(known, hashlib.sha256(pickle.dumps(Evil())).hexdigest())
    (tmp_path / "weights.toml").write_text(manifest, encoding="utf-8")
    with pytest.raises(WeightsError):
        registry.load(manifest=tmp_path / "weights.toml", folder=folder)
    assert not (tmp_path / "ran").exists()
