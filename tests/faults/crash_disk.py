"""What a power cut leaves on a disk: the system calls of a program, recorded by strace, played back up to any
of them, with only that kept which was flushed.

A file keeps the bytes of its last fsync, a folder the names of its last fsync (POSIX promises no more; most
file systems keep more). `Kept` says what of the rest survives as well: too much can hurt like too little.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

STRACE = Path("/usr/bin/strace")
_CALLS = (
    *("openat", "write", "pwrite64", "ftruncate", "fsync", "fdatasync"),
    *("link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
    "sendto",
)
_PLAIN = {
    "fdatasync": "fsync", "linkat": "link", "renameat": "rename", "renameat2": "rename", "unlinkat": "unlink",
    "mkdirat": "mkdir",
}  # fmt: skip
_LINE = re.compile(r"^(?P<pid>\d+) +(?P<rest>.*)$", re.DOTALL)
_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)", re.DOTALL)
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"^<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$", re.DOTALL)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_FD = re.compile(r"^\d+<((?:\\x[0-9a-f]{2}|[^>])*)>")


class Kept(Enum):
    """What survives of what was never flushed."""

    NOTHING = "nothing"
    NAMES = "names"  #: names, but none of the bytes
    HALF = "half"  #: names, and half of each write


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that succeeded, when it returned."""

    name: str
    paths: tuple[Path, ...] = ()
    data: bytes = b""
    offset: int | None = None  #: None: at the end
    size: int = 0
    creates: bool = False
    truncates: bool = False


@dataclass(slots=True)
class _File:
    data: bytearray = field(default_factory=bytearray)
    flushed: bytes = b""
    waiting: list[tuple[int, bytes]] = field(default_factory=list)  #: writes since the flush


@contextmanager
def recorded(program: Sequence[str], log: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program under strace meanwhile; `calls` reads the log when it has ended."""
    command = [str(STRACE), "-f", "-qq", "-y", "-xx", "-s", "4194304", "--seccomp-bpf"]
    command += ["-e", "trace=" + ",".join(_CALLS), "-e", "signal=none", "-o", str(log), *program]
    process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


def calls(log: Path) -> list[Call]:
    """The recorded calls that succeeded, in the order in which they returned."""
    found: list[Call] = []
    begun: dict[str, str] = {}
    for line in log.read_text(encoding="ascii", errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        pid, rest = match["pid"], match["rest"]
        if rest.endswith(_UNFINISHED):
            begun[pid] = rest.removesuffix(_UNFINISHED)
            continue
        resumed = _RESUMED.match(rest)
        if resumed is not None:
            rest = begun.pop(pid, "") + resumed["rest"]
        call = _CALL.match(rest)
        if call is not None and int(call["result"]) >= 0:
            parsed = _parse(call["name"], call["arguments"], int(call["result"]))
            if parsed is not None:
                found.append(parsed)
    return found


def _parse(name: str, arguments: str, result: int) -> Call | None:
    texts = [_bytes(text) for text, _ in _TEXT.findall(arguments)]
    paths = tuple(Path(os.fsdecode(text)) for text in texts)
    if name in ("write", "pwrite64", "sendto"):
        offset = int(arguments.rsplit(", ", 1)[1]) if name == "pwrite64" else None
        return Call(name=name, paths=_of_fd(arguments), data=texts[0][:result], offset=offset)
    if name in ("fsync", "fdatasync", "ftruncate"):
        size = int(arguments.rsplit(", ", 1)[1]) if name == "ftruncate" else 0
        return Call(name=_PLAIN.get(name, name), paths=_of_fd(arguments), size=size)
    if name == "openat":
        creates, truncates = "O_CREAT" in arguments, "O_TRUNC" in arguments
        changes = creates or truncates
        return Call(name="open", paths=paths, creates=creates, truncates=truncates) if changes else None
    if name == "unlinkat" and "AT_REMOVEDIR" in arguments:
        name = "rmdir"
    return Call(name=_PLAIN.get(name, name), paths=paths)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _of_fd(arguments: str) -> tuple[Path, ...]:
    match = _FD.match(arguments)
    if match is None:
        return ()
    text = re.sub(r"(?:\\x[0-9a-f]{2})+", lambda found: os.fsdecode(_bytes(found[0])), match[1])
    return (Path(text.removesuffix(" (deleted)")),)


class Disk:
    """One folder of the disk, which was flushed at the beginning: empty, or like `start`."""

    def __init__(self, root: Path, start: Path | None = None) -> None:
        self.root = root
        self._names: dict[Path, _File | None] = {root: None}  #: None: a folder
        self._durable: dict[Path, dict[str, _File | None]] = {root: {}}
        self._gone: dict[Path, _File] = {}  #: unlinked, and perhaps still open
        for path in sorted(start.rglob("*")) if start else ():
            here = root / path.relative_to(start)  # type: ignore[arg-type]
            data = None if path.is_dir() else path.read_bytes()
            self._names[here] = None if data is None else _File(data=bytearray(data), flushed=data)
            self._durable.setdefault(here.parent, {})[here.name] = self._names[here]

    def play(self, call: Call) -> None:
        """Let one call happen; those outside the root do nothing."""
        if not call.paths or not all(path.is_relative_to(self.root) for path in call.paths):
            return
        path = call.paths[-1]
        if call.name == "open":
            self._open(path, call)
        elif call.name in ("write", "pwrite64"):
            self._write(self._file(path), call)
        elif call.name == "ftruncate":
            file = self._file(path)
            del file.data[call.size :]
            file.waiting = [(at, data) for at, data in file.waiting if at < call.size]
        elif call.name == "fsync":
            self._flush(path)
        elif call.name == "mkdir":
            self._names[path] = None
            self._durable[path] = {}
        elif call.name == "link":
            self._names[path] = self._file(call.paths[0])
        elif call.name == "rename":
            self._names[path] = self._names.pop(call.paths[0])
        elif call.name in ("unlink", "rmdir"):
            gone = self._names.pop(path)
            if gone is not None:
                self._gone[path] = gone

    def _open(self, path: Path, call: Call) -> None:
        if call.creates and path not in self._names:
            self._names[path] = _File()
        elif call.truncates:
            file = self._file(path)
            file.data.clear()
            file.waiting.clear()

    def _file(self, path: Path) -> _File:
        file = self._names.get(path) or self._gone.get(path)
        assert file is not None, f"{path} was never made"
        return file

    @staticmethod
    def _write(file: _File, call: Call) -> None:
        at = len(file.data) if call.offset is None else call.offset
        file.data.extend(bytes(max(0, at + len(call.data) - len(file.data))))
        file.data[at : at + len(call.data)] = call.data
        file.waiting.append((at, call.data))

    def _flush(self, path: Path) -> None:
        file = self._names.get(path) or self._gone.get(path)
        if file is not None:
            file.flushed = bytes(file.data)
            file.waiting.clear()
            return
        self._durable[path] = {
            name.name: entry for name, entry in self._names.items() if name.parent == path and name != path
        }

    def rebuild(self, target: Path, kept: Kept) -> None:
        """Write what a cut now would leave into an empty folder."""
        self._rebuild(self.root, target, kept)

    def _rebuild(self, folder: Path, target: Path, kept: Kept) -> None:
        entries = dict(self._durable.get(folder, {}))
        if kept is not Kept.NOTHING:
            entries |= {n.name: one for n, one in self._names.items() if n.parent == folder and n != folder}
        target.mkdir(exist_ok=True)
        for name, file in entries.items():
            if file is None:
                self._rebuild(folder / name, target / name, kept)
            else:
                (target / name).write_bytes(_survives(file, kept))


def _survives(file: _File, kept: Kept) -> bytes:
    data = bytearray(file.flushed)
    for at, written in file.waiting if kept is Kept.HALF else ():
        half = written[: len(written) // 2]
        data.extend(bytes(max(0, at + len(half) - len(data))))
        data[at : at + len(half)] = half
    return bytes(data)


def cuts(
    log: Path, root: Path, matters: Callable[[Call], bool], start: Path | None = None
) -> Iterator[tuple[Disk, list[Call]]]:
    """The disk after each call that matters, and the calls up to there; start: see `Disk`."""
    disk, before = Disk(root, start), list[Call]()
    for call in calls(log):
        before.append(call)
        disk.play(call)
        if matters(call):
            yield disk, before
