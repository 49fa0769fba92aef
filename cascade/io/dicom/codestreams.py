"""What a compressed frame says of itself, looked up before a decoder may see it."""

from __future__ import annotations

from typing import NamedTuple

_EOI, _SOS = 0xD9, 0xDA
_NO_LENGTH = {0x01, *range(0xD0, 0xDA)}
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # Huffman tables, reserved, arithmetic conditioning
_JPEG_LS = 0xF7
_SOC, _SIZ = b"\xff\x4f", b"\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP"
_HIGH_THROUGHPUT = 1 << 14  # in Rsiz: a CAP marker follows, as ISO/IEC 15444-15 asks


class Codestream(NamedTuple):
    """The head of a compressed picture.

    Attributes:
        kind: ``jpeg`` (with ``jpeg-extended`` and ``jpeg-lossless``), ``jpeg-ls``, ``jpeg2000``
            or ``htj2k``.
        rows, columns: of the picture.
        samples: components a pixel.
        bits: of a sample.
    """

    kind: str
    rows: int
    columns: int
    samples: int
    bits: int


def read_codestream(frame: bytes) -> Codestream | None:
    """The head of a JPEG, JPEG-LS or JPEG 2000 codestream; None where there is none.

    >>> read_codestream(b"not a picture") is None
    True
    """
    if frame.startswith(b"\xff\xd8"):
        return _jpeg(frame)
    return _jpeg2000(frame, 4) if frame.startswith(_SOC + _SIZ) else None


def bare(frame: bytes) -> bytes:
    """A frame without the boxes of a .jp2 file around its codestream, which DICOM does not allow.

    pydicom walks along such boxes and does not end at one of length 0.
    """
    if not frame.startswith(_JP2):
        return frame
    start = frame[:4096].find(_SOC + _SIZ)
    return frame[start:] if start >= 0 else frame


def _jpeg(frame: bytes) -> Codestream | None:
    at = 2
    while at + 4 <= len(frame):
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in _NO_LENGTH:
            if marker == _EOI:
                return None
            at += 2
            continue
        if marker == _SOS:
            return None
        if marker == _JPEG_LS or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME):
            return _frame_header(marker, frame[at + 4 : at + 10])
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _frame_header(marker: int, head: bytes) -> Codestream | None:
    if len(head) < 6:
        return None
    kind = {0xC0: "jpeg", 0xC3: "jpeg-lossless", _JPEG_LS: "jpeg-ls"}.get(marker, "jpeg-extended")
    rows, columns = int.from_bytes(head[1:3], "big"), int.from_bytes(head[3:5], "big")
    return Codestream(kind, rows, columns, head[5], head[0])


def _jpeg2000(frame: bytes, at: int) -> Codestream | None:
    head = frame[at : at + 39]
    if len(head) < 39:
        return None
    capabilities = int.from_bytes(head[2:4], "big")
    right, bottom, left, top = (int.from_bytes(head[i : i + 4], "big") for i in (4, 8, 12, 16))
    kind = "htj2k" if capabilities & _HIGH_THROUGHPUT else "jpeg2000"
    samples, bits = int.from_bytes(head[36:38], "big"), (head[38] & 0x7F) + 1
    return Codestream(kind, bottom - top, right - left, samples, bits)
