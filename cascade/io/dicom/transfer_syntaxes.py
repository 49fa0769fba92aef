"""The transfer syntaxes that are read, what each needs, and which one a file is truly in."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cascade.errors import InputError
from cascade.io.dicom.codestreams import Codestream
from cascade.io.radiograph import Notes


class TransferSyntax(NamedTuple):
    """One way to write a data set.

    Attributes:
        family: ``native``, ``rle``, ``jpeg``, ``jpeg-ls``, ``jpeg2000`` or ``htj2k``.
        packages: what must be installed to decode it; any one line of them will do.
    """

    family: str
    packages: tuple[str, ...] = ()


_LIBJPEG = "pylibjpeg pylibjpeg-libjpeg"
_OPENJPEG = "pylibjpeg pylibjpeg-openjpeg"

TRANSFER_SYNTAXES: dict[UID, TransferSyntax] = {
    ImplicitVRLittleEndian: TransferSyntax("native"),
    ExplicitVRLittleEndian: TransferSyntax("native"),
    ExplicitVRBigEndian: TransferSyntax("native"),
    DeflatedExplicitVRLittleEndian: TransferSyntax("native"),
    RLELossless: TransferSyntax("rle", ("pylibjpeg pylibjpeg-rle",)),
    JPEGBaseline8Bit: TransferSyntax("jpeg", (_LIBJPEG,)),
    JPEGExtended12Bit: TransferSyntax("jpeg", (_LIBJPEG,)),
    JPEGLossless: TransferSyntax("jpeg", (_LIBJPEG,)),
    JPEGLosslessSV1: TransferSyntax("jpeg", (_LIBJPEG,)),
    JPEGLSLossless: TransferSyntax("jpeg-ls", ("pyjpegls", _LIBJPEG)),
    JPEGLSNearLossless: TransferSyntax("jpeg-ls", ("pyjpegls", _LIBJPEG)),
    JPEG2000Lossless: TransferSyntax("jpeg2000", (_OPENJPEG,)),
    JPEG2000: TransferSyntax("jpeg2000", (_OPENJPEG,)),
    HTJ2KLossless: TransferSyntax("htj2k", (_OPENJPEG,)),
    HTJ2KLosslessRPCL: TransferSyntax("htj2k", (_OPENJPEG,)),
    HTJ2K: TransferSyntax("htj2k", (_OPENJPEG,)),
}
"""Every transfer syntax that is read."""

_BY_KIND = {
    "jpeg": JPEGBaseline8Bit,
    "jpeg-extended": JPEGExtended12Bit,
    "jpeg-lossless": JPEGLossless,
    "jpeg-ls": JPEGLSLossless,
    "jpeg2000": JPEG2000,
    "htj2k": HTJ2K,
}


def settle_transfer_syntax(dataset: Dataset, name: str, notes: Notes) -> UID | None:
    """The declared transfer syntax, else what the reading found.

    Returns:
        None where only the compressed data itself can tell.

    Raises:
        InputError: one that is not read.
    """
    meta = getattr(dataset, "file_meta", None)
    declared = str(meta.get("TransferSyntaxUID") or "").strip("\0 ") if meta is not None else ""
    if declared:
        syntax = UID(declared)
        if syntax not in TRANSFER_SYNTAXES:
            known = "a video" if "MPEG" in syntax.name or "HEVC" in syntax.name else "not read"
            # a name that pydicom knows is no identifier; anything else is not repeated
            told = syntax.name if syntax.name != syntax else "that this program does not know"
            raise InputError(f"{name} is of the transfer syntax {told}: {known}")
        return syntax
    if is_encapsulated(dataset):
        return None
    implicit, little = getattr(dataset, "original_encoding", (None, None))
    found = ExplicitVRLittleEndian
    if little is False:
        found = ExplicitVRBigEndian
    elif implicit:
        found = ImplicitVRLittleEndian
    notes.add("no_transfer_syntax", name=found.name)
    return found


def is_encapsulated(dataset: Dataset) -> bool:
    """Whether the pixel data stands in fragments."""
    item = dataset.get_item("PixelData") if "PixelData" in dataset else None
    if item is None:
        return False
    undefined = getattr(item, "is_undefined_length", False)
    return bool(undefined) or getattr(item, "length", 0) == 0xFFFFFFFF


def true_syntax(declared: UID | None, stream: Codestream | None, name: str, notes: Notes) -> UID:
    """The syntax to decode by: what the compressed data is, whatever the header says.

    Raises:
        InputError: the data is nothing that is read.
    """
    family = TRANSFER_SYNTAXES[declared].family if declared is not None else ""
    if stream is None:
        if declared is not None and family == "rle":
            return declared
        raise InputError(f"{name}: pixel data cannot be decoded: no JPEG codestream in it")
    found = _BY_KIND[stream.kind]
    if declared is None:
        notes.add("no_transfer_syntax", name=found.name)
        return found
    if family != TRANSFER_SYNTAXES[found].family:
        notes.add("codestream_syntax", name=found.name)
        return found
    return declared


def require_decoder(syntax: UID, name: str) -> None:
    """See that a plugin is installed.

    Raises:
        InputError: none is; the line names what to install.
    """
    if not get_decoder(syntax).is_available:
        ways = " or ".join(f"pip install {way}" for way in TRANSFER_SYNTAXES[syntax].packages)
        raise InputError(f"{name} is of the transfer syntax {syntax.name}: {ways}")
