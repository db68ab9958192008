"""What a compressed frame says of itself, read before any decoder allocates for it.

ISO 10918-1 (JPEG), ISO 14495-1 (JPEG-LS) and ISO 15444-1 (JPEG 2000, HTJ2K) headers only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, RLELossless

from qagate.dicom.source import PixelError

_SOI, _EOI, _SOS, _SOF_LS = 0xD8, 0xD9, 0xDA, 0xF7
_STANDALONE = frozenset((0x01, _SOI, *range(0xD0, 0xD8)))
#: segments that may stand before the frame header; libjpeg passes over anything else to the next marker
_SEGMENTS = frozenset((0xC4, 0xCC, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xF8, 0xFE))
_SCANS = 32  #: of one frame; a sequential or lossless one has as many as components, at most
_FRAME_STARTS = frozenset((*range(0xC0, 0xD0), _SOF_LS)) - {0xC4, 0xC8, 0xCC}
_J2K_START = b"\xff\x4f\xff\x51"
MAXIMUM_TILES = 65535  #: ISO 15444-1 table A.9


@dataclass(frozen=True, slots=True)
class Codestream:
    """Size and depth of one compressed frame."""

    rows: int
    columns: int
    components: int
    precision: int  #: bits a sample


def examine(frame: bytes, transfer_syntax: UID) -> Codestream | None:
    """Header of one frame; None for RLE, which has no size of its own.

    Raises PixelError when the frame is not of its syntax or ends before its end marker.
    """
    if transfer_syntax == RLELossless:
        if len(frame) < 64 or not 1 <= struct.unpack("<L", frame[:4])[0] <= 15:
            raise PixelError("the RLE frame has no valid header")
        return None
    try:
        if (
            transfer_syntax in JPEG2000TransferSyntaxes
            or "HTJ2K" in transfer_syntax.name
            or ("High-Throughput" in transfer_syntax.name)
        ):
            return _jpeg2000(frame)
        return _jpeg(frame, "JPEG-LS" if transfer_syntax in JPEGLSTransferSyntaxes else "JPEG")
    except (struct.error, IndexError) as error:
        raise PixelError("the compressed frame ends inside its header") from error


def _require_end(frame: bytes, name: str) -> None:
    # Decoders fill what is missing with grey and only warn, so a cut frame must be found here.
    if b"\xff\xd9" not in frame[-16:].rstrip(b"\0") and not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise PixelError(f"the {name} frame has no end marker: it is truncated")


def _jpeg(frame: bytes, name: str) -> Codestream:
    if frame[:2] != b"\xff\xd8":
        raise PixelError(f"the frame is not a {name} stream")
    position = 2
    while position < len(frame):
        if frame[position] != 0xFF:
            raise PixelError(f"the {name} frame has a corrupt header")
        marker = frame[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _STANDALONE:
            position += 2
        elif marker in _FRAME_STARTS:
            precision, rows, columns, components = struct.unpack(">BHHB", frame[position + 4 : position + 10])
            _require_end(frame, name)
            if (scans := frame.count(b"\xff\xda", position)) > _SCANS:
                raise PixelError(f"the {name} frame has {scans} scans, each of which costs a whole image")
            return Codestream(rows, columns, components, precision)
        elif marker in (_SOS, _EOI):
            break
        elif marker not in _SEGMENTS:
            # A decoder would find its next marker inside what is passed over here, and another size there.
            raise PixelError(f"the {name} frame has a corrupt header")
        else:
            position += 2 + struct.unpack(">H", frame[position + 2 : position + 4])[0]
    raise PixelError(f"the {name} frame names no image size")


def bare(frame: bytes) -> bytes:
    """The codestream of a JP2 file, which PS3.5 A.4.4 forbids; any other frame as it is.

    What is examined must be what is decoded: a decoder that looks for the codestream itself may find another.
    """
    return frame[max(frame.find(_J2K_START), 0) :] if frame[4:8] == b"jP  " else frame


def _jpeg2000(frame: bytes) -> Codestream:
    if frame[:4] != _J2K_START:
        raise PixelError("the frame is not a JPEG 2000 codestream")
    sizes = struct.unpack(">8L", frame[8:40])
    width, height, left, top, tile_width, tile_height, tile_left, tile_top = sizes
    components, depth = struct.unpack(">HB", frame[40:43])
    if not tile_width or not tile_height or width <= left or height <= top:
        raise PixelError("the JPEG 2000 frame has an impossible size")
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    if tiles > MAXIMUM_TILES:
        raise PixelError(f"the JPEG 2000 frame has {tiles} tiles, more than {MAXIMUM_TILES}")
    _require_end(frame, "JPEG 2000")
    return Codestream(height - top, width - left, components, (depth & 0x7F) + 1)
