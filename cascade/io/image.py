"""PNG, JPEG and TIFF files to radiographs, by the contract of DICOM, and the one resizing rule.

Values are stretched so that the darkest pixel is 0 and the brightest 1, as for a DICOM file
without a window: the same picture gives the same pixels in either format and at any bit depth.
Such files say nothing of a view; docs/dicom.md has the table of what is read how.
"""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cascade.errors import InputError
from cascade.io.dicom import read_dicom
from cascade.io.dicom.photometry import grey, stretch
from cascade.io.radiograph import MAX_BYTES, MAX_PIXELS, Facts, Notes, Radiograph, check_size

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM_SUFFIXES = (".dcm", ".dicom", ".dic")
RADIOGRAPH_SUFFIXES = IMAGE_SUFFIXES + DICOM_SUFFIXES
"""What ``read_radiograph`` reads, in lower case; DICOM files may also have no suffix at all."""

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # nothing that calls another program to decode
_MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"BM")
_TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


_EXIF_ORIENTATION = 0x0112
# clockwise degrees that bring the picture upright, and whether it is then mirrored
_TURNS = {2: (0, 1), 3: (180, 0), 4: (180, 1), 5: (90, 1), 6: (90, 0), 7: (270, 1), 8: (270, 0)}


def read_radiograph(
    source: str | Path | BinaryIO, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> Radiograph:
    """Read a radiograph of any supported format, told by its content and not by its name.

    Args:
        source: a path or an open binary file.
        max_pixels: refuse rows x columns above this, before decoding.
        max_bytes: refuse files above this, before reading.

    Raises:
        InputError: no such file, neither a picture nor DICOM, too large, or damaged.
    """
    if isinstance(source, str):
        source = Path(source)
    head = _head(source)
    if head[128:132] != b"DICM" and head.startswith(_MAGICS):
        return read_image(source, max_pixels=max_pixels, max_bytes=max_bytes)
    named = isinstance(source, Path) and source.suffix.lower() in IMAGE_SUFFIXES
    if head[128:132] != b"DICM" and named:
        raise InputError(f"{source} is not an image: its content is not what its suffix says")
    return read_dicom(source, max_pixels=max_pixels, max_bytes=max_bytes)


def _head(source: Path | BinaryIO) -> bytes:
    if not isinstance(source, Path):
        source.seek(0)
        head = source.read(132)
        source.seek(0)
    else:
        if not source.exists():
            raise InputError(f"{source} does not exist")
        if not source.is_file():
            raise InputError(f"{source} is not a file")
        try:
            with source.open("rb") as file:
                head = file.read(132)
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error.strerror}") from error
    if not head:
        raise InputError(f"{source if isinstance(source, Path) else 'the file'} is empty")
    return head


def read_image(
    source: str | Path | BinaryIO, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> Radiograph:
    """Read a PNG, JPEG, TIFF or BMP picture, 8 or 16 bits.

    EXIF orientation is applied, colour that looks grey becomes luminance (ITU-R BT.601) and true
    colour is refused, transparency is dropped, and of several pages the first is taken.

    Args:
        source: a path or an open binary file.
        max_pixels: refuse width x height above this, before decoding.
        max_bytes: refuse files above this, before reading.

    Raises:
        InputError: not such a picture, too large, in colour, or damaged.
    """
    name = str(source) if isinstance(source, (str, Path)) else "the image"
    notes = Notes()
    try:
        with warnings.catch_warnings(), contextlib.ExitStack() as stack:
            warnings.simplefilter("ignore")  # the bomb warning: the limit below is ours
            file = source
            if isinstance(file, (str, Path)):
                file = stack.enter_context(open(file, "rb"))
            check_size(file, name, max_bytes)
            with Image.open(file, formats=_FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise InputError(
                        f"{name} is {image.height} x {image.width} pixels, "
                        f"more than the limit of {max_pixels}"
                    )
                values = _values(image, name, notes)
                if image.format == "TIFF" and _has_more(image):
                    notes.add("pages")
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not a PNG, JPEG, TIFF or BMP image") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is larger than the limit of {max_pixels} pixels") from error
    except Exception as error:  # a damaged file can fail anywhere in a decoder
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else ""
        raise InputError(f"{name} cannot be decoded: {type(error).__name__}: {reason}") from error
    pixels = stretch(values)
    if not pixels.any():
        notes.add("one_shade")
    facts = Facts(rows=pixels.shape[0], columns=pixels.shape[1])
    return Radiograph(pixels, "unknown", facts, tuple(notes))


def _has_more(image: Image.Image) -> bool:
    """Whether a page follows the first; a hostile file may claim a million, so none is counted."""
    try:
        image.seek(1)
    except Exception:  # no page, or a broken one: the first is read already
        return False
    return True


def _values(image: Image.Image, name: str, notes: Notes) -> np.ndarray:
    """The picture's values upright, ``(H, W)``, colour as luminance."""
    # Pillow inverts 8-bit white-is-zero TIFF itself, 16-bit not
    inverted = (
        image.format == "TIFF"
        and image.mode.startswith("I;16")
        and getattr(image, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO
    )
    degrees, mirrored = _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1), (0, 0))
    if degrees:
        notes.add("turned", degrees=degrees, where="EXIF orientation")
    if mirrored:
        notes.add("mirrored", where="EXIF orientation")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("1", "LA"):
        image = image.convert("L")
    elif image.mode not in ("L", "I", "F", "RGB", "RGBA") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    values = np.asarray(image)
    if values.ndim == 3:
        return grey(values, 255, name, notes)  # Open-i's PNG files are grey saved as colour
    if inverted:
        notes.add("white_is_zero")
        return values.max() - values
    return values


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Letterbox: fit the picture into a square, aspect kept, the rest black.

    The one preprocessing rule of training, annotation and serving (``preprocessing.json`` calls it
    ``letterbox``). Shrinking averages over the area that a pixel covers, so nothing aliases.

    Args:
        pixels: ``(H, W)`` float32 in [0, 1].
        size: the side of the square in pixels.

    Returns:
        ``(size, size)`` float32 in [0, 1].

    >>> resize(np.ones((2, 4), dtype=np.float32), 4)[:, 0].tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    if pixels.ndim != 2 or not pixels.size:
        raise ValueError(f"expected a picture (H, W), not shape {pixels.shape}")
    height, width = pixels.shape
    scale = size / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    fitted = np.ascontiguousarray(pixels, dtype=np.float32)
    if (new_height, new_width) != (height, width):
        # reducing first by whole factors is three times faster, and 2.0 leaves no visible trace
        image = Image.fromarray(fitted).resize(
            (new_width, new_height), Image.Resampling.BILINEAR, reducing_gap=2.0
        )
        fitted = np.asarray(image)
    square = np.zeros((size, size), dtype=np.float32)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    square[top : top + new_height, left : left + new_width] = fitted
    return square
