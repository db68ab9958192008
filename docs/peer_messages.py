"""Makes every kind of refusal happen and writes what each side says into docs/transport.md.

`python docs/peer_messages.py` needs Orthanc and DCMTK's storescu and echoscu. A test, tests/qagate/dicom/
test_peer_messages.py, runs the same and compares.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("docs", "tests/qagate", "tests/qagate/dicom")]

import pydicom  # noqa: E402
from certificates import Authority  # noqa: E402
from peer_orthanc import Senders  # noqa: E402
from pydicom.data import get_testdata_file  # noqa: E402
from pynetdicom import AE  # noqa: E402
from pynetdicom.sop_class import CTImageStorage  # noqa: E402
from structlog.testing import capture_logs  # noqa: E402

from qagate.dicom.access import Access, AccessRule  # noqa: E402
from qagate.dicom.limits import Limits  # noqa: E402
from qagate.dicom.scp import StorageSCP  # noqa: E402
from qagate.dicom.spool import Spool  # noqa: E402
from qagate.dicom.tls import Credentials, Tls  # noqa: E402

PAGE = ROOT / "docs" / "transport.md"
BEGIN, END = "<!-- Written by docs/peer_messages.py; do not edit. -->\n", "<!-- End of what it writes. -->\n"
STORESCU, ECHOSCU = "/usr/bin/storescu", "/usr/bin/echoscu"
_TELLING = re.compile(r"^[WEF]: |Received ")  #: of what a command prints with -v
_MB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to meet the gate."""

    name: str
    tls: str = ""  #: of the gate: "", "mutual", "expired" or "one-sided"
    peer: tuple[str, ...] = ()  #: DCMTK's TLS options; {…} names a file of the public key infrastructure
    calling: str = "CT1"
    called: str = "QAGATE"
    files: int = 1
    size: int = 1000
    echo: bool = False  #: with echoscu in place of storescu
    held: bool = False  #: an association of CT1 is open already
    free: tuple[int, ...] = ()  #: MB that the disk has at each look; then the last
    scp: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()  # noqa: RUF009


_WITH = ("+tls", "{ct1.key}", "{ct1.pem}", "+cf", "{ca.pem}")
CASES = (
    Case(name="plain text, allowed"),
    Case(name="mutual TLS, both certificates good", tls="mutual", peer=_WITH),
    Case(
        name="TLS, the sender's certificate from an issuer that is not in `tls_issuers`",
        tls="mutual", peer=("+tls", "{stranger.key}", "{stranger.pem}", "+cf", "{ca.pem}"),
    ),
    Case(
        name="TLS, the sender's certificate has expired",
        tls="mutual", peer=("+tls", "{expired.key}", "{expired.pem}", "+cf", "{ca.pem}"),
    ),
    Case(name="TLS, the sender shows no certificate", tls="mutual", peer=("+tla", "+cf", "{ca.pem}")),
    Case(
        name="no certificate asked for (`tls_issuers` unset)",
        tls="one-sided", peer=("+tla", "+cf", "{ca.pem}"),
    ),
    Case(
        name="TLS, the sender does not know who signed the gate's certificate",
        tls="mutual", peer=("+tls", "{ct1.key}", "{ct1.pem}", "+cf", "{other.pem}"),
    ),
    Case(name="TLS, the gate's own certificate has expired", tls="expired", peer=_WITH),
    Case(name="plain text to a TLS port", tls="mutual"),
    Case(name="TLS to a plain port", peer=_WITH),
    Case(name="wrong called AE title", called="PACS"),
    Case(name="wrong calling AE title", calling="CT9"),
    Case(name="wrong address for this AE title", calling="FAR"),
    Case(name="too many associations (`max_associations`)", held=True, scp={"max_associations": 1}),
    Case(
        name="too many of this peer (`peer_associations`)", held=True, limits=Limits(associations=1)
    ),
    Case(name="disk nearly full, new association", free=(0,)),
    Case(name="disk nearly full, association open", free=(100, 0)),
    Case(name="data set larger than `max_dataset_mb`, and a second file", files=2, size=2 * _MB,
         limits=Limits(dataset_bytes=_MB)),
    Case(name="more than `association_instances`", files=2, limits=Limits(association_instances=1)),
    Case(name="faster than `instances_per_minute`", files=3, limits=Limits(instances_per_minute=1)),
    Case(name="may not store (`store = false`)", calling="MONITOR"),
    Case(name="may not verify (`echo = false`)", calling="SILENT", echo=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one case led to."""

    case: Case
    logged: tuple[str, ...]
    dcmtk: tuple[str, ...]  #: standard output and error
    received: int  #: instances, from DCMTK
    pynetdicom: tuple[str, ...] | None  #: None: its storescu knows no TLS and no C-ECHO
    orthanc: tuple[str, ...] | None  #: None: it does not echo here, nor does it do TLS without a certificate


def version() -> str:
    """DCMTK's, whose words these are."""
    said = subprocess.run([STORESCU, "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


def run(folder: Path, cases: tuple[Case, ...] = CASES, *, every: bool = True) -> Iterator[Said]:
    """Let every case happen, one after the other; every: with every sender, not DCMTK's alone."""
    pki = _certificates(folder / "pki")
    with ExitStack() as started:
        senders = Senders(folder / "orthanc", pki, started)
        for number, case in enumerate(cases):
            here, pynetdicom, orthanc = folder / str(number), None, None
            with _gate(here, case, pki) as (port, spool, logs):
                dcmtk = _told(_dcmtk(case, pki, port, _files(here, case)))
                logged, received = _logged(logs), len(list(spool.paths()))
            if every and not case.tls and not case.peer and not case.echo:
                with _gate(here / "again", case, pki) as (port, _, _):
                    pynetdicom = _told(_pynetdicom(case, port, _files(here, case)))
            if every and not case.echo and "+tla" not in case.peer:
                with _gate(here / "once more", case, pki) as (port, _, _):
                    to = {"calling": case.calling, "called": case.called}
                    orthanc = senders.of(case.peer).send(port, _files(here, case), **to)
            yield Said(
                case=case,
                logged=logged,
                dcmtk=dcmtk,
                received=received,
                pynetdicom=pynetdicom,
                orthanc=orthanc,
            )


def _certificates(folder: Path) -> Path:
    ours, other = Authority(folder), Authority(folder, "other")
    for name in ("gate", "ct1"):
        ours.issue(name)
    for name in ("expired", "gate-expired"):
        ours.issue(name, days=-1)
    other.issue("stranger")
    return folder


@contextmanager
def _gate(folder: Path, case: Case, pki: Path) -> Iterator[tuple[int, Spool, list[Any]]]:
    rules = (
        AccessRule(ae_title="CT1", limits=case.limits),
        AccessRule(ae_title="FAR", addresses=("10.20.0.0/16",)),
        AccessRule(ae_title="MONITOR", store=False),
        AccessRule(ae_title="SILENT", echo=False),
    )
    spool = Spool(folder / "spool")
    looks = iter(case.free)
    if case.free:
        spool.free_bytes = lambda: next(looks, case.free[-1]) * _MB  # type: ignore[method-assign]
    values: dict[str, Any] = {"max_associations": 4} | dict(case.scp)
    scp = StorageSCP(
        ae_title="QAGATE", host="127.0.0.1", port=0, spool=spool, tls=_tls(case.tls, pki),
        access=Access(rules, called_ae_titles=frozenset({"QAGATE"})), network_timeout_s=4,
        on_received=lambda _: None, on_released=lambda *_: None, min_free_bytes=_MB, **values,
    )  # fmt: skip
    with capture_logs() as logs, ExitStack() as held:
        scp.start()
        held.callback(scp.stop, 1.0)
        if case.held:
            ae = AE("CT1")
            ae.add_requested_context(CTImageStorage)
            link = ae.associate("127.0.0.1", scp.port, ae_title="QAGATE")
            held.callback(link.release)
        yield scp.port, spool, logs


def _tls(kind: str, pki: Path) -> Tls | None:
    if not kind:
        return None
    name = "gate-expired" if kind == "expired" else "gate"
    of = Credentials(certificate=pki / f"{name}.pem", key=pki / f"{name}.key", issuers=pki / "ca.pem")
    return Tls(replace(of, issuers=None) if kind == "one-sided" else of, server=True)


def _files(folder: Path, case: Case) -> list[Path]:
    data_set = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    paths = []
    for number in range(case.files):
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        data_set.PixelData = bytes(case.size if number == 0 else 1000)
        paths.append(folder / f"{number + 1}.dcm")
        data_set.save_as(paths[-1])
    return paths


def _dcmtk(case: Case, pki: Path, port: int, files: list[Path]) -> list[str]:
    tls = [str(pki / word[1:-1]) if word.startswith("{") else word for word in case.peer]
    titles = ["-aet", case.calling, "-aec", case.called]
    if case.echo:
        return [ECHOSCU, "-v", *tls, *titles, "127.0.0.1", str(port)]
    return [STORESCU, "-v", "-nh", *tls, *titles, "127.0.0.1", str(port), *map(str, files)]


def _pynetdicom(case: Case, port: int, files: list[Path]) -> list[str]:
    titles = ["-aet", case.calling, "-aec", case.called]
    peer = [sys.executable, "-m", "pynetdicom", "storescu", "-v", *titles, "127.0.0.1", str(port)]
    return [*peer, str(files[0].parent)] if len(files) > 1 else [*peer, str(files[0])]


def _told(command: list[str]) -> tuple[str, ...]:
    """What a command printed; folders, and what no two runs share, left out."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    text = re.sub(r"[^\s:]*/(\d\.dcm)", r"\1", done.stdout + done.stderr)
    return tuple(line.rstrip() for line in text.splitlines() if _TELLING.search(line))


def _logged(logs: list[Any]) -> tuple[str, ...]:
    shown = ("reason", "status", "calling_ae_title", "called_ae_title", "abstract_syntax", "address")
    lines = []
    for entry in logs:
        if entry["event"] not in ("listen", "series_arrives", "association_ended"):
            values = " ".join(f"{key}={entry[key]}" for key in shown if key in entry)
            lines.append(f"{entry['log_level']} {entry['event']} {values}")
    return tuple(lines)


def table(said: list[Said]) -> str:
    """The cases as Markdown."""
    head = (
        "case",
        "the gate logs",
        f"DCMTK {version()} prints",
        "arrived",
        "pynetdicom prints",
        "Orthanc answers",
    )
    lines = [head, ["---"] * len(head), *map(cells, said)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def cells(one: Said) -> tuple[str, ...]:
    """One row: case, log, DCMTK, how many arrived, pynetdicom, Orthanc."""
    arrived = "–" if one.case.echo else f"{one.received} of {one.case.files}"
    others = (_cell(one.pynetdicom), _cell(one.orthanc))
    return one.case.name, _cell(one.logged), _cell(one.dcmtk), arrived, *others


def _cell(lines: tuple[str, ...] | None) -> str:
    if lines is None:
        return "–"
    return "<br>".join(f"`{line}`" for line in lines) or "nothing"


def written(page: str) -> str:
    """What docs/transport.md holds now."""
    return page.partition(BEGIN)[2].partition(END)[0]


def rows(page: str) -> list[tuple[str, ...]]:
    """Its lines, the head first, as `cells` gives them."""
    return [tuple(line.strip("| \n").split(" | ")) for line in written(page).splitlines()]


def main() -> None:
    """Write the table anew."""
    with tempfile.TemporaryDirectory() as folder:
        made = table(list(run(Path(folder))))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.replace(BEGIN + written(page) + END, BEGIN + made + END), encoding="utf-8")


if __name__ == "__main__":
    main()
