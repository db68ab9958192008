"""What qagate is made of: pins and their hashes, a bill of materials, and whether that is what is installed.

python deploy/supply.py check                installed = pinned = hashed, licences allowed; without network
python deploy/supply.py advisories PIP-AUDIT asks for known vulnerabilities of every pin, where that answers
python deploy/supply.py sbom SITE-PACKAGES   writes deploy/sbom.cdx.json (CycloneDX 1.6), validated
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS, LOCK, SBOM = ROOT / "constraints.txt", ROOT / "deploy/requirements.lock", ROOT / "deploy/sbom.cdx.json"
WEIGHTS = ROOT / "models/weights.toml"
#: their builds differ from machine to machine (CPU, CUDA), and so do their hashes: see docs/operations.md
UNHASHED = frozenset({"torch", "torchvision"})
#: of what an installation brings along and no pin names
BEGINNINGS = frozenset({"pip", "setuptools", "wheel", "qagate"})
#: licences that their packages' metadata lack, read from the licence files they ship
READ = {"axe-playwright-python": "MIT", "resvg-py": "MIT"}
_ALLOWED = re.compile(
    r"MIT(-0|-CMU| License)?|0?BSD.*|.*BSD License|(OSI Approved :: )?Apache.*"
    r"|PSF-2\.0|Python Software Foundation.*|MPL-2\.0|Mozilla Public License 2\.0.*|LGPL-3\.0-only"
    r"|ISC|Zlib|CC0-1\.0|BSL-1\.0|DFSG approved"
    r"|ISC|Zlib|CC0-1\.0|BSL-1\.0|DFSG approved"
    r"|3-Clause BSD License"
)


def normal(name: str) -> str:
    """A package's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Name -> exact version of constraints.txt."""
    rows = PINS.read_text(encoding="utf-8").splitlines()
    return {normal(name): version for name, _, version in (row.partition("==") for row in rows) if version}


def locked() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name -> version and sha256 of each of its files, of requirements.lock."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for block in re.split(r"\n(?=\S)", LOCK.read_text(encoding="utf-8")):
        head = re.match(r"([\w.-]+)==(\S+)", block)
        if head:
            found[normal(head[1])] = head[2], tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
    return found


def licence(of: Distribution) -> str:
    """What its metadata say: an SPDX expression, a short text, or the classifiers; "" when nothing."""
    said = of.metadata.get("License-Expression")
    if said:
        return said
    kinds = [
        one.rpartition(" :: ")[2] for one in of.metadata.get_all("Classifier") or () if "License ::" in one
    ]
    text = of.metadata.get("License") or ""
    short = text if text and "\n" not in text and len(text) < 40 else ""
    return short or " AND ".join(kinds) or READ.get(normal(of.metadata["Name"]), "")


def is_allowed(text: str) -> bool:
    """Whether every part of a licence is one that qagate may be given away with."""
    if not text:
        return False
    any_of = re.split(r"\s+OR\s+", text)
    return any(
        all(
            _ALLOWED.fullmatch(part.strip("() "))
            for part in re.split(r"\s+AND\s+|\s+WITH\s+LLVM-exception", one)
            if part
        )
        for one in any_of
    )


def installed(folder: str | None = None) -> dict[str, Distribution]:
    """The distributions of this interpreter, or of a site-packages folder."""
    found = distributions(path=[folder]) if folder else distributions()
    return {normal(one.metadata["Name"]): one for one in found}


def problems() -> Iterator[str]:
    """One sentence for each thing that does not fit."""
    pinned, hashed = pins(), locked()
    for name in sorted(pinned.keys() - UNHASHED - hashed.keys()):
        yield f"{name} is pinned and has no hash: run `make lock`"
    for name in sorted(hashed.keys() - pinned.keys()):
        yield f"{name} has a hash and no pin: run `make lock`"
    for name, (version, hashes) in sorted(hashed.items()):
        if pinned.get(name, version) != version:
            yield f"{name} is pinned to {pinned[name]} and hashed as {version}: run `make lock`"
        if not hashes:
            yield f"{name} {version} has no hash: run `make lock`"
    for name, there in sorted(installed().items()):
        version = there.version.partition("+")[0]
        if name in BEGINNINGS:
            continue
        if name not in pinned:
            yield f"{name} {there.version} is installed and not pinned: pin it, or remove it"
        elif pinned[name] != version:
            yield f"{name} {there.version} is installed, {pinned[name]} is pinned: run `make clean setup`"
        if not is_allowed(licence(there)):
            yield f"{name}: licence {licence(there) or 'unknown'!r} is none that is allowed here"


def ask_advisories(program: str) -> None:
    """Exit 1 for a known vulnerability; say so when no advisory was to be had."""
    done = subprocess.run(
        [program, "--no-deps", "--disable-pip", "--format", "json", "-r", str(LOCK)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        told = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        told = []
    asked = [one for one in told if "skip_reason" not in one]
    if not asked:
        print("advisories: none asked, no source of advisories answers here; run this where one does")
        return
    found = [(one["name"], one["version"], hole["id"]) for one in asked for hole in one["vulns"]]
    for name, version, hole in found:
        print(f"advisories: {name} {version}: {hole}")
    print(
        f"advisories: {len(asked)} of {len(locked())} packages asked for, {len(found)} vulnerabilities known"
    )
    sys.exit(bool(found))


def weights() -> Iterator[tuple[str, str, str]]:
    """File, sha256 and licence of every weights file that is shipped."""
    for model in tomllib.loads(WEIGHTS.read_text(encoding="utf-8"))["models"].values():
        for file in model["files"]:
            yield file["file"], file["sha256"], file["licence"]


def write_sbom(folder: str) -> None:
    """Write and validate the bill of materials; the same pins give the same file."""
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from packageurl import PackageURL

    make, there = LicenseFactory(), installed(folder)

    def component(name: str, version: str) -> Component:
        said = licence(there[name]) if name in there else ""
        return Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            bom_ref=f"{name}@{version}",
            purl=PackageURL("pypi", None, name, version),
            licenses=[make.make_from_string(said)] if said else [],
        )

    version = re.search(r'__version__ = "(.+)"', (ROOT / "qagate/__init__.py").read_text(encoding="utf-8"))
    assert version is not None
    own = Component(
        type=ComponentType.APPLICATION, name="qagate", version=version[1], bom_ref=f"qagate@{version[1]}",
        licenses=[make.make_from_string("Apache-2.0")],
    )  # fmt: skip
    parts = [component(*pin) for pin in sorted(pins().items())]
    parts += [
        Component(
            type=ComponentType.MACHINE_LEARNING_MODEL, name=file, version=sha256[:12], bom_ref=file,
            licenses=[make.make_from_string(terms)],
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
        )
        for file, sha256, terms in sorted(set(weights()))
    ]  # fmt: skip
    bom = Bom(components=parts)
    bom.metadata.component = own
    bom.register_dependency(own, parts)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    plain = json.loads(text)
    plain["metadata"].pop("timestamp", None)
    plain.pop("serialNumber", None)
    digest = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(plain, sort_keys=True))
    text = json.dumps(plain | {"serialNumber": f"urn:uuid:{digest}"}, indent=1, sort_keys=True) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong:
        sys.exit(f"sbom: not valid CycloneDX 1.6: {wrong}")
    SBOM.write_text(text, encoding="utf-8")
    print(f"sbom: {len(parts)} components, valid CycloneDX 1.6, in {SBOM.relative_to(ROOT)}")


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    match arguments:
        case ["check"]:
            found = list(problems())
            print(
                "\n".join(found)
                or f"supply: {len(pins())} pins, installed = pinned = hashed, licences allowed"
            )
            sys.exit(bool(found))
        case ["advisories", program]:
            ask_advisories(program)
        case ["sbom", folder]:
            write_sbom(folder)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
