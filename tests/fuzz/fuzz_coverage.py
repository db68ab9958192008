"""Coverage-guided fuzzing, with Atheris, of what walks bytes in Python: elements, file meta, codestreams.

`python tests/fuzz/fuzz_coverage.py -max_total_time=300 CORPUS` (libFuzzer's options). The decoders are C and
Rust from wheels without instrumentation, so nothing would guide it there; `fuzz_mutate` does those.
"""

from __future__ import annotations

import sys
from io import BufferedReader, BytesIO
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["qagate.dicom"]):
    from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

    from qagate.dicom.codestream import examine
    from qagate.dicom.elements import ElementError, check_size, read_elements
    from qagate.dicom.headers import _WANTED
    from qagate.dicom.part10 import Part10Error, read_file_meta
    from qagate.dicom.source import PixelError

FRAMES = (JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless, RLELossless)
SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")


def one(data: bytes) -> None:
    """The first byte chooses what the rest is taken for; only the gate's own errors may come."""
    which, rest = (data[0] if data else 0) % 13, data[1:]
    try:
        if which < 4:
            examine(rest, UID(FRAMES[which]))
        elif which < 8:
            read_elements(BufferedReader(BytesIO(rest)), SYNTAXES[which - 4], _WANTED)  # type: ignore[arg-type]
        elif which < 12:
            check_size(BufferedReader(BytesIO(rest)), SYNTAXES[which - 8])  # type: ignore[arg-type]
        else:
            read_file_meta(BytesIO(bytes(128) + b"DICM" + rest))
    except (ElementError, Part10Error, PixelError):
        pass


def corpus(folder: Path) -> None:
    """Write the seeds as they are for each of the ways."""
    from fuzz_seeds import seeds

    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        for which in range(4, 13):
            (folder / f"{number}-{which}").write_bytes(bytes((which,)) + seed[132:4000])
        for which, mark in enumerate((b"\xff\xd8\xff", b"\xff\xd8\xff", b"\xff\x4f\xff\x51")):
            if (at := seed.find(mark)) >= 0:
                (folder / f"{number}-frame-{which}").write_bytes(bytes((which,)) + seed[at:])


if __name__ == "__main__":
    for word in sys.argv[1:]:
        if not word.startswith("-"):
            corpus(Path(word))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
