"""What every reader of pictures gives back: the pixels, what the file says, what was got over."""

from __future__ import annotations

import dataclasses
import io
from typing import BinaryIO

import numpy as np

from cascade.errors import InputError

MAX_PIXELS = 10**8
"""Pictures of more pixels are refused before they are decoded: no chest radiograph is so large."""

MAX_BYTES = 2**31
"""Files of more bytes are refused before they are read."""


def check_size(file: BinaryIO, name: str, max_bytes: int) -> None:
    """Leave an open file at its beginning, if it is no larger than ``max_bytes``.

    Raises:
        InputError: it is.
    """
    if (size := file.seek(0, io.SEEK_END)) > max_bytes:
        raise InputError(f"{name} is of {size} bytes, more than the limit of {max_bytes}")
    file.seek(0)


NOTES = {
    # the file
    "no_preamble": "no DICOM preamble",
    "no_transfer_syntax": "no transfer syntax: taken as {name}",
    "codestream_syntax": "the pixel data contradicts its transfer syntax: read as {name}",
    "frames": "{count} frames: frame {number} is taken",
    "pages": "several pages: the first is taken",
    "pixel_data_short": "pixel data is {missing} bytes short: the rest is taken as padding",
    "pixel_data_long": "pixel data is {excess} bytes longer than declared: the rest is left",
    # the description of the pixels
    "wrong_vr": "{keyword} is of the wrong value representation: read as a number",
    "photometric": "no photometric interpretation of use: taken as {name}",
    "samples": "samples per pixel do not fit: taken as {count}",
    "bits_allocated": "no bits allocated of use: taken as {count}",
    "bits_stored": "bits stored do not fit: taken as {count}",
    "high_bit": "the high bit does not fit: taken as {count}",
    "pixel_representation": "no pixel representation of use: taken as unsigned",
    "number_of_frames": "no number of frames of use: taken as 1",
    "codestream_bits": "the compressed data holds {count} bits a sample, fewer than declared",
    # from stored values to grey
    "colour": "colour that looks grey: taken as luminance",
    "padding_everywhere": "pixel padding covers the whole picture: ignored",
    "modality_twice": "modality LUT and rescale: the LUT is applied",
    "rescale_slope": "rescale slope of 0: ignored",
    "window_function": "unknown VOI LUT function: taken as LINEAR",
    "window_width": "window of no width: ignored",
    "window_blank": "the window or VOI LUT shows nothing of the picture: ignored",
    "windows": "{count} windows or VOI LUTs: the first of use is applied",
    "lut_range": "VOI LUT entries do not fill their declared range: scaled by their own",
    "white_is_zero": "white is zero: inverted",
    "one_shade": "the picture is of one shade",
    # the view
    "view": "view taken from the {where}",
    "view_disagrees": "the header names more than one view: the {where} is believed",
    "turned": "turned by {degrees} degrees clockwise, by the {where}",
    "mirrored": "mirrored, by the {where}",
}
"""Every note that a reader may make: its code, and its sentence."""


class Notes(list[str]):
    """Oddities that were got over, each once, as ``code: sentence``.

    >>> notes = Notes()
    >>> notes.add("frames", count=3, number=1)
    >>> notes
    ['frames: 3 frames: frame 1 is taken']
    """

    def add(self, code: str, **values: object) -> None:
        """Note ``code`` of ``NOTES``; values are numbers or our own words, never the header's."""
        text = f"{code}: {NOTES[code].format(**values)}"
        if text not in self:
            self.append(text)


def note_code(note: str) -> str:
    """The code of a note.

    >>> note_code("one_shade: the picture is of one shade")
    'one_shade'
    """
    return note.partition(":")[0]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the file says of itself; None where it says nothing.

    The identifiers are for joining rows. They are left out of ``repr`` so that no log line or
    error message can carry them by accident.
    """

    modality: str | None = None
    body_part: str | None = None
    laterality: str | None = None
    photometric: str | None = None
    transfer_syntax: str | None = None
    rows: int = 0
    columns: int = 0
    sop_instance_uid: str | None = dataclasses.field(default=None, repr=False)
    study_instance_uid: str | None = dataclasses.field(default=None, repr=False)
    series_instance_uid: str | None = dataclasses.field(default=None, repr=False)
    patient_id: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Radiograph:
    """One picture, whatever file it came from.

    Attributes:
        pixels: ``(H, W)`` float32 in [0, 1], bone bright.
        view: ``frontal``, ``lateral`` or ``unknown``.
        facts: what the header says; rows and columns are those of the file, before any turning.
        notes: oddities that were got over, each ``code: sentence`` with a code of ``NOTES``.
        doubts: why, by the header, this may be no chest radiograph fit to be read; empty where
            nothing says so.
    """

    pixels: np.ndarray = dataclasses.field(repr=False)
    view: str = "unknown"
    facts: Facts = dataclasses.field(default_factory=Facts)
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
