"""Stored values of one frame, whatever its transfer syntax, with its size checked first.

Decoders are those with permissive licences: GDCM, OpenJPEG, CharLS and an RLE decoder behind
pydicom, and GDCM directly for 12-bit JPEG extended, which pydicom declines to hand to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gdcm
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from qagate.dicom.codestream import Codestream, bare, examine
from qagate.dicom.source import READ_ERRORS, PixelError, Source, integer, is_present, text, value

MAXIMUM_PIXELS = 64 * 1024**2  #: rows x columns of one frame
MINIMUM_SIDE = 16  #: pixels; less is no image a model could judge
MAXIMUM_FRAMES = 20_000

HTJ2K_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.20{n}" for n in (1, 2, 3))
# Fastest first; pydicom's other decoders of the syntax are tried after it.
_PREFERRED = {RLELossless: "pylibjpeg"} | dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls")
_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
ENCAPSULATED = (*_JPEG, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes, *HTJ2K_SYNTAXES, RLELossless)
SUPPORTED_SYNTAXES = frozenset(str(uid) for uid in (*NATIVE, *ENCAPSULATED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """(0028,eeee) of the pixel module, checked for sense."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    planar: int
    allocated: int
    stored: int
    high: int
    signed: bool
    is_float: bool = False

    @property
    def frame_bits(self) -> int:
        """Uncompressed size of one frame in bits, PS3.5 section 8.1.1 and PS3.3 C.7.6.3.1.2."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.allocated


def size_problem(rows: int | None, columns: int | None) -> str | None:
    """Why an image of this size is not decoded, or None."""
    if rows is None or columns is None:
        return "Rows or Columns is missing or no number"
    if rows <= 0 or columns <= 0:
        return f"the image is empty ({rows} x {columns})"
    if min(rows, columns) < MINIMUM_SIDE:
        return f"the image is too small ({rows} x {columns}; at least {MINIMUM_SIDE} x {MINIMUM_SIDE})"
    if rows * columns > MAXIMUM_PIXELS:
        return f"the image is too large ({rows} x {columns}; at most {MAXIMUM_PIXELS} pixels a frame)"
    return None


def syntax_problem(transfer_syntax: UID) -> str | None:
    """Why pixels of this transfer syntax are not decoded, or None."""
    if transfer_syntax in SUPPORTED_SYNTAXES:
        return None
    if not transfer_syntax.is_valid:
        return "the transfer syntax UID is not valid"
    kind = "private transfer syntax" if transfer_syntax.is_private else "transfer syntax"
    name = "" if transfer_syntax.name == transfer_syntax else f" ({transfer_syntax.name})"
    return f"{kind} {transfer_syntax}{name} cannot be decoded"


def frame_count(data: Dataset) -> int:
    """(0028,0008) *Number of Frames*; 1 when absent or empty. Raises PixelError."""
    if not is_present(data, "NumberOfFrames"):
        return 1
    frames = integer(data, "NumberOfFrames")
    if frames is None or not 0 <= frames <= MAXIMUM_FRAMES:
        raise PixelError(f"NumberOfFrames is no number from 1 to {MAXIMUM_FRAMES}")
    return frames or 1


def layout_of(source: Source) -> Layout:
    """Check and collect what decoding needs; raises PixelError naming the element at fault."""
    data = source.data
    rows, columns = integer(data, "Rows"), integer(data, "Columns")
    if problem := size_problem(rows, columns) or syntax_problem(source.transfer_syntax):
        raise PixelError(problem)
    if source.pixels is None:
        raise PixelError("the file holds no pixel data")
    is_float = source.pixels.keyword != "PixelData"
    allocated = integer(data, "BitsAllocated") or 0
    if allocated not in ((32, 64) if is_float else (1, 8, 16, 32)):
        raise PixelError(f"BitsAllocated {allocated} is not supported")
    stored = integer(data, "BitsStored")
    stored = allocated if stored is None or is_float else stored
    if not 1 <= stored <= allocated:
        raise PixelError(f"BitsStored {stored} does not fit BitsAllocated {allocated}")
    high = integer(data, "HighBit")
    samples = integer(data, "SamplesPerPixel") or 1
    if samples not in (1, 3):
        raise PixelError(f"SamplesPerPixel {samples} is not supported")
    layout = Layout(
        rows=rows or 0,
        columns=columns or 0,
        frames=frame_count(data),
        samples=samples,
        photometric=text(data, "PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB"),
        planar=integer(data, "PlanarConfiguration") or 0,
        allocated=allocated,
        stored=stored,
        high=high if high is not None and stored - 1 <= high < allocated else stored - 1,
        signed=integer(data, "PixelRepresentation") == 1,
        is_float=is_float,
    )
    _check_length(source, layout)
    return layout


def _check_length(source: Source, layout: Layout) -> None:
    pixels = source.pixels
    assert pixels is not None
    if source.transfer_syntax in ENCAPSULATED:
        if pixels.length is not None:
            raise PixelError("the transfer syntax is compressed but the pixel data is not encapsulated")
        return
    if pixels.length is None:
        raise PixelError("the pixel data is encapsulated but the transfer syntax is not compressed")
    expected = -(-layout.frame_bits * layout.frames // 8)
    there = min(pixels.length, pixels.available)
    if there < expected:
        raise PixelError(f"the pixel data is truncated: {there} of {expected} bytes")


def stored_values(source: Source, layout: Layout, index: int) -> tuple[npt.NDArray[Any], str]:
    """Decode frame `index` (from 0) alone.

    Returns the array, (rows, columns) or (rows, columns, 3), and its photometric interpretation
    after decoding. Unused high bits of uncompressed and RLE frames are still in it. PixelError.
    """
    if not 0 <= index < layout.frames:
        raise PixelError(f"there is no frame {index + 1} of {layout.frames}")
    try:
        if source.transfer_syntax in ENCAPSULATED:
            return _decompress(_frame(source, layout, index), source.transfer_syntax, layout)
        return _native(source, layout, index)
    except PixelError:
        raise
    except BaseException as error:
        # A panic of the RLE decoder, written in Rust, is no Exception: it would end the worker.
        if not isinstance(error, (*READ_ERRORS, RuntimeError)) and type(error).__module__ != "pyo3_runtime":
            raise
        raise PixelError(f"the pixel data cannot be decoded ({source.transfer_syntax.name})") from error


def _options(layout: Layout, photometric: str | None = None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": photometric or layout.photometric,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
    }
    if layout.samples > 1:
        options["planar_configuration"] = layout.planar
    return options


def _native(source: Source, layout: Layout, index: int) -> tuple[npt.NDArray[Any], str]:
    assert source.pixels is not None
    options = _options(layout) | {
        "number_of_frames": layout.frames,
        "pixel_keyword": source.pixels.keyword,
        "pixel_vr": source.pixels.vr,
        "correct_unused_bits": False,
    }
    if layout.is_float:
        del options["pixel_representation"]
    with source.open() as stream:
        stream.seek(source.pixels.offset)
        decoder = get_decoder(source.transfer_syntax)
        array, properties = decoder.as_array(stream, index=index, raw=True, **options)
    native_order = array.astype(array.dtype.newbyteorder("="), copy=False)
    return native_order, str(properties["photometric_interpretation"])


def _frame(source: Source, layout: Layout, index: int) -> bytes:
    assert source.pixels is not None
    table = value(source.data, "ExtendedOffsetTable"), value(source.data, "ExtendedOffsetTableLengths")
    offsets = (table[0], table[1]) if isinstance(table[0], bytes) and isinstance(table[1], bytes) else None
    with source.open() as stream:
        stream.seek(source.pixels.offset)
        return get_frame(stream, index, number_of_frames=layout.frames, extended_offsets=offsets)


def _decompress(frame: bytes, syntax: UID, layout: Layout) -> tuple[npt.NDArray[Any], str]:
    frame = bare(frame)
    stream = examine(frame, syntax)
    if stream is not None:
        _check_codestream(stream, layout)
    if syntax == JPEGExtended12Bit and stream is not None and stream.precision == 12:
        return _extended_12_bit(frame, layout), layout.photometric
    options = _options(layout)
    if stream is not None and syntax in _JPEG:  # GDCM's container follows the stream, not the header
        options["bits_allocated"] = 8 if stream.precision <= 8 else 16
        options["bits_stored"] = min(layout.stored, options["bits_allocated"])
    if syntax not in (*JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes, *HTJ2K_SYNTAXES):
        options["correct_unused_bits"] = False
    decoder = get_decoder(syntax)
    preferred = _PREFERRED.get(syntax, "")
    options |= {"number_of_frames": 1, "pixel_keyword": "PixelData"}
    array, properties = decoder.as_array(
        encapsulate([frame]), index=0, raw=True, decoding_plugin=preferred, **options
    )
    return array, str(properties["photometric_interpretation"])


def _check_codestream(stream: Codestream, layout: Layout) -> None:
    """A stream larger than its header would overrun what was reserved for it."""
    if (stream.rows, stream.columns) != (layout.rows, layout.columns):
        raise PixelError(
            f"the compressed frame is {stream.rows} x {stream.columns}, "
            f"the header says {layout.rows} x {layout.columns}"
        )
    if stream.components != layout.samples:
        raise PixelError(
            f"the compressed frame has {stream.components} components, the header says {layout.samples}"
        )
    if stream.precision > layout.allocated:
        raise PixelError(
            f"the compressed frame has {stream.precision} bits a sample, BitsAllocated is {layout.allocated}"
        )


def _extended_12_bit(frame: bytes, layout: Layout) -> npt.NDArray[np.uint16]:
    """JPEG process 4 through GDCM; allocating 12 bits selects its 12-bit codec at once."""
    if layout.samples != 1:
        raise PixelError("12-bit JPEG in colour is not supported")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    monochrome = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(monochrome))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 12, 12, 11, 0))
    decoded = image.GetBuffer()
    buffer = b"" if decoded is None else decoded.encode("utf-8", "surrogateescape")
    if len(buffer) != layout.rows * layout.columns * 2:
        raise PixelError("the JPEG extended frame cannot be decoded")
    return np.frombuffer(buffer, dtype="<u2").reshape(layout.rows, layout.columns)
