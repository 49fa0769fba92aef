"""Pixel data to stored values: one frame, its size checked before a decoder sees it."""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from cascade.errors import InputError
from cascade.io.dicom.codestreams import Codestream, bare, read_codestream
from cascade.io.dicom.header import number, raw_bytes, reason
from cascade.io.dicom.pixel_format import PixelFormat, frame_number
from cascade.io.dicom.transfer_syntaxes import (
    TRANSFER_SYNTAXES,
    is_encapsulated,
    require_decoder,
    true_syntax,
)
from cascade.io.radiograph import Notes

SHORT = 0.01
"""Share of a frame that may be missing at its end; it is then padding."""

_ITEM = b"\xfe\xff\x00\xe0"


class Decoded(NamedTuple):
    """A frame.

    Attributes:
        values: ``(H, W)`` or ``(H, W, 3)`` as stored, unused bits cleared, YBR turned into RGB.
        padding: ``(H, W)`` bool, True where no pixel was measured; None where every one was.
        photometric: a key of ``PHOTOMETRICS``.
        bits: those in use.
        doubts: what makes the frame doubtful.
    """

    values: np.ndarray
    padding: np.ndarray | None
    photometric: str
    bits: int
    doubts: tuple[str, ...] = ()


def decode(
    dataset: Dataset,
    form: PixelFormat,
    syntax: UID | None,
    name: str,
    notes: Notes,
) -> Decoded:
    """One frame of the pixel data.

    Raises:
        InputError: it cannot be decoded, or its codestream contradicts the header.
    """
    content = raw_bytes(dataset, form.keyword)
    if not content:
        raise InputError(f"{name} holds no pixel data")
    index = frame_number(dataset, form, notes)
    family = TRANSFER_SYNTAXES[syntax].family if syntax is not None else ""
    doubts: tuple[str, ...] = ()
    missing = 0
    if syntax is not None and family == "native" and not is_encapsulated(dataset):
        content, missing, doubts = _fit(content, form, index, name, notes)
        raw = _run(content, form, syntax, index, form.frames, name, _vr(dataset, form.keyword))
    else:
        if not content.startswith(_ITEM):
            raise InputError(
                f"{name}: pixel data cannot be decoded: it is not in fragments, "
                "as its transfer syntax asks"
            )
        frame = bare(_frame(dataset, content, form, index, name))
        stream = read_codestream(frame)
        syntax = true_syntax(syntax, stream, name, notes)
        if stream is not None:
            form = _agree(form, stream, name, notes)
        else:
            _check_rle(frame, form, name)
        require_decoder(syntax, name)
        raw = _run(encapsulate([frame], has_bot=False), form, syntax, 0, 1, name)
    values = _used_bits(raw, form) if form.keyword == "PixelData" else raw
    padding = _padding(dataset, raw, values, missing, notes) if values.ndim == 2 else None
    return Decoded(values, padding, form.photometric, form.stored, doubts)


def _vr(dataset: Dataset, keyword: str) -> str:
    vr = getattr(dataset.get_item(keyword), "VR", None)
    return vr if vr in ("OB", "OW") else "OW"


def _fit(
    content: bytes, form: PixelFormat, index: int, name: str, notes: Notes
) -> tuple[bytes, int, tuple[str, ...]]:
    """Native pixel data as long as the frame needs, the pixels missing, and doubts."""
    needed = math.ceil((index + 1) * form.frame_bytes)
    doubts: tuple[str, ...] = ()
    if (missing := needed - len(content)) > 0:
        if missing > SHORT * form.frame_bytes:
            raise InputError(
                f"{name}: pixel data cannot be decoded: {len(content)} of {needed} bytes are there"
            )
        notes.add("pixel_data_short", missing=missing)
        pixel = form.samples * max(1, form.allocated // 8)
        return content + bytes(missing), math.ceil(missing / pixel), doubts
    declared = math.ceil(form.frames * form.frame_bytes)
    if (excess := len(content) - declared) > 1:
        notes.add("pixel_data_long", excess=excess)
        if len(content) >= 2 * declared:
            doubts = ("pixel data holds at least twice what the header declares",)
    return content, 0, doubts


def _frame(dataset: Dataset, content: bytes, form: PixelFormat, index: int, name: str) -> bytes:
    extended = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        tables = [raw_bytes(dataset, f"ExtendedOffsetTable{end}") for end in ("", "Lengths")]
        if tables[0] and tables[1] and len(tables[0]) == len(tables[1]):
            extended = (tables[0], tables[1])
    try:
        return get_frame(content, index, number_of_frames=form.frames, extended_offsets=extended)
    except (ValueError, EOFError, OSError, StopIteration, struct.error) as error:
        raise InputError(f"{name}: pixel data cannot be decoded: {reason(error)}") from error


def _check_rle(frame: bytes, form: PixelFormat, name: str) -> None:
    """See that the head of an RLE frame (PS3.5 G.5) is sound: a decoder may panic or swell."""
    count = form.samples * form.allocated // 8
    if len(frame) > 2 * form.frame_bytes + 4096:  # runs could make a hundredfold of it
        raise InputError(f"{name}: the compressed frame is longer than any of its size")
    offsets = [int.from_bytes(frame[4 * i : 4 * i + 4], "little") for i in range(1, count + 1)]
    segments = [*offsets, len(frame)]
    rising = all(here + 1 < there for here, there in pairwise(segments))
    if int.from_bytes(frame[:4], "little") != count or offsets[0] < 64 or not rising:
        raise InputError(f"{name}: pixel data cannot be decoded: no RLE header for its pixels")


def _agree(form: PixelFormat, stream: Codestream, name: str, notes: Notes) -> PixelFormat:
    """The format that the codestream has; a decoder allocates by it, not by the header."""
    if (stream.rows, stream.columns) != (form.rows, form.columns):
        raise InputError(
            f"{name}: the compressed picture is {stream.rows} x {stream.columns} pixels, "
            f"the header says {form.rows} x {form.columns}"
        )
    if stream.samples not in (1, 3):
        raise InputError(f"{name}: the compressed picture has {stream.samples} samples a pixel")
    if stream.bits > 16:
        raise InputError(f"{name}: the compressed picture has {stream.bits} bits a sample")
    samples, photometric = form.samples, form.photometric
    if stream.samples != samples:
        samples = stream.samples
        notes.add("samples", count=samples)
        colour = "YBR_FULL_422" if stream.kind == "jpeg" else "RGB"
        photometric = "MONOCHROME2" if samples == 1 else colour
        notes.add("photometric", name=photometric)
    stored, high = stream.bits, stream.bits - 1
    if stream.bits < form.stored:
        notes.add("codestream_bits", count=stream.bits)
    elif stream.bits == form.allocated and stream.kind == "jpeg-lossless":
        # some encoders copy whole cells: only the header says which of their bits are in use
        stored, high = form.stored, form.high
    return form._replace(
        samples=samples,
        photometric=photometric,
        allocated=8 if stream.bits <= 8 else 16,
        stored=stored,
        high=high,
    )


def _run(
    content: bytes,
    form: PixelFormat,
    syntax: UID,
    index: int,
    frames: int,
    name: str,
    vr: str = "OB",
) -> np.ndarray:
    """A frame by pydicom's decoders; the values are as stored, but for colour, which is RGB."""
    options: dict[str, Any] = {
        "rows": form.rows,
        "columns": form.columns,
        "number_of_frames": frames,
        "samples_per_pixel": form.samples,
        "photometric_interpretation": form.photometric,
        "bits_allocated": form.allocated,
        "bits_stored": form.stored,
        "pixel_keyword": form.keyword,
        "pixel_vr": vr,
        "planar_configuration": form.planar,
        "pixel_representation": int(form.signed),
        "correct_unused_bits": False,
    }
    if not syntax.is_encapsulated:
        options["view_only"] = True  # what is never written to need not be copied
    decoder = get_decoder(syntax)
    if "pyjpegls" in decoder.available_plugins:
        options["decoding_plugin"] = "pyjpegls"  # JPEG-LS; four times as fast as pylibjpeg's
    try:
        values, _ = decoder.as_array(
            content, index=index, validate=False, raw=form.samples == 1, **options
        )
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # every plugin has its own; a panic of Rust is no Exception
        raise InputError(f"{name}: pixel data cannot be decoded: {reason(error)}") from error
    expected = (form.rows, form.columns) + ((3,) if form.samples == 3 else ())
    if values.shape != expected:
        raise InputError(f"{name}: pixel data of shape {values.shape} is no picture")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _used_bits(raw: np.ndarray, form: PixelFormat) -> np.ndarray:
    """The bits in use moved to the bottom, the others cleared, the sign extended (PS3.5 8.1.1)."""
    cell = raw.dtype.itemsize * 8
    above, unused = cell - 1 - form.high, cell - form.stored
    if form.allocated == 1 or above < 0 or unused <= 0:
        return raw
    # up to the top, then down: an arithmetic shift on signed values, so the sign comes along
    return np.right_shift(np.left_shift(raw, above), unused)


def _padding(
    dataset: Dataset, raw: np.ndarray, values: np.ndarray, missing: int, notes: Notes
) -> np.ndarray | None:
    """Where a frame is padding; None where nothing is, or everything."""
    mask = np.zeros(values.shape, dtype=bool)
    if missing:
        mask.ravel()[-missing:] = True
    padding = number(dataset, "PixelPaddingValue")
    if padding is not None:
        limit = number(dataset, "PixelPaddingRangeLimit")
        bounds = (padding, padding if limit is None else limit)
        low, high = sorted(_as_stored(bound, values) for bound in bounds)
        # a value beyond the bits in use is one of whole cells
        for array in {id(raw): raw, id(values): values}.values():
            mask |= (array >= low) & (array <= high)
    if mask.all():
        notes.add("padding_everywhere")
        return None
    return mask if mask.any() else None


def _as_stored(bound: float, values: np.ndarray) -> float:
    """A bound of padding in the sign of the pixels: VR US or SS may have been read as the other."""
    if values.dtype.kind == "i" and bound > np.iinfo(values.dtype).max:
        return bound - 2**16
    if values.dtype.kind == "u" and bound < 0:
        return bound + 2**16
    return bound
