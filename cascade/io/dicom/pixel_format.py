"""How the pixels are stored, by the Image Pixel module (PS3.3 C.7.6.3), mended where wrong."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.dataset import Dataset

from cascade.errors import InputError
from cascade.io.dicom.header import number, text, whole
from cascade.io.radiograph import Notes

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PHOTOMETRICS = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
"""The photometric interpretations that are read, and the samples a pixel has in each."""

FRAMES_FACTOR = 16
"""All frames together may have so many times the pixels that one may have."""


class PixelFormat(NamedTuple):
    """How the pixels of one data set are stored.

    Attributes:
        rows, columns, frames: of the pixel data.
        samples: 1, or 3 for colour.
        photometric: a key of ``PHOTOMETRICS``.
        allocated, stored, high: bits of a cell, bits of it in use, the topmost of these.
        signed: two's complement.
        planar: 1 where the samples of colour stand plane by plane.
        keyword: the tag that holds the pixels.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool
    planar: int
    keyword: str

    @property
    def frame_bytes(self) -> float:
        """Bytes of one frame that is not compressed."""
        size = self.rows * self.columns * self.samples * self.allocated / 8
        return size * 2 / 3 if self.photometric == "YBR_FULL_422" else size


def pixel_format(dataset: Dataset, name: str, max_pixels: int, notes: Notes) -> PixelFormat:
    """The format by the header, each value that cannot be true replaced by the likeliest.

    Raises:
        InputError: no pixel data, no size, too large, or cells of a size that is not read.
    """
    keyword = next((k for k in PIXEL_KEYWORDS if k in dataset), None)
    if keyword is None:
        raise InputError(f"{name} holds no pixel data, or ends within it")
    rows, columns = whole(dataset, "Rows", notes), whole(dataset, "Columns", notes)
    if not rows or not columns or rows < 1 or columns < 1:
        raise InputError(f"{name} gives no rows or columns")
    if rows * columns > max_pixels:
        raise InputError(
            f"{name} is {rows} x {columns} pixels, more than the limit of {max_pixels}"
        )
    frames = whole(dataset, "NumberOfFrames", notes)
    if frames is None or frames < 1:
        if text(dataset, "NumberOfFrames") is not None:
            notes.add("number_of_frames")
        frames = 1
    if frames * rows * columns > FRAMES_FACTOR * max_pixels:
        raise InputError(
            f"{name} is {frames} frames of {rows} x {columns} pixels, "
            f"more than the limit of {FRAMES_FACTOR * max_pixels} in all"
        )
    samples, photometric = _photometric(dataset, notes)
    if keyword == "PixelData":
        values = rows * columns * frames * samples
        allocated, stored, high = _bits(dataset, name, values, notes)
        representation = whole(dataset, "PixelRepresentation", notes)
        if representation not in (0, 1):
            notes.add("pixel_representation")
        signed = representation == 1
    else:
        allocated = stored = 32 if keyword == "FloatPixelData" else 64
        high, signed = stored - 1, True
    return PixelFormat(
        rows,
        columns,
        frames,
        samples,
        photometric,
        allocated,
        stored,
        high,
        signed,
        int(whole(dataset, "PlanarConfiguration", notes) == 1),
        keyword,
    )


def _photometric(dataset: Dataset, notes: Notes) -> tuple[int, str]:
    given = whole(dataset, "SamplesPerPixel", notes)
    named = (text(dataset, "PhotometricInterpretation") or "").upper()
    named = (
        "PALETTE COLOR" if named.replace("_", " ") == "PALETTE COLOR" else named.replace(" ", "")
    )
    photometric = named if named in PHOTOMETRICS else None
    samples = given if given in (1, 3) else None
    if samples is None:
        samples = PHOTOMETRICS[photometric] if photometric else 1
        notes.add("samples", count=samples)
    if photometric is None or PHOTOMETRICS[photometric] != samples:
        photometric = "MONOCHROME2" if samples == 1 else "RGB"
        notes.add("photometric", name=photometric)
    return samples, photometric


def _bits(dataset: Dataset, name: str, values: int, notes: Notes) -> tuple[int, int, int]:
    allocated = whole(dataset, "BitsAllocated", notes)
    stored, high = whole(dataset, "BitsStored", notes), whole(dataset, "HighBit", notes)
    if allocated is None or allocated < 1:
        length = getattr(dataset.get_item("PixelData"), "length", 0) or len(dataset.PixelData)
        compressed = length == 0xFFFFFFFF
        allocated = 16 if compressed or length >= 2 * values or (stored or 0) > 8 else 8
        notes.add("bits_allocated", count=allocated)
    if allocated not in (1, 8, 16, 32):
        raise InputError(f"{name} allocates {allocated} bits a value: 1, 8, 16 and 32 are read")
    if stored is None or not 1 <= stored <= allocated:
        stored, high = allocated, allocated - 1
        notes.add("bits_stored", count=stored)
    elif high is None or not stored - 1 <= high < allocated:
        high = stored - 1
        notes.add("high_bit", count=high)
    return allocated, stored, high


def frame_number(dataset: Dataset, form: PixelFormat, notes: Notes) -> int:
    """The frame that is read, from 0: the one that the header names, or the first."""
    if form.frames == 1:
        return 0
    named = number(dataset, "RepresentativeFrameNumber")
    index = int(named) - 1 if named is not None and 1 <= named <= form.frames else 0
    notes.add("frames", count=form.frames, number=index + 1)
    return index
