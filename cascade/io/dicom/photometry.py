"""Stored values to grey in [0, 1]: modality LUT, VOI, scale, inversion (PS3.3 C.11).

Values of up to 16 bits are few, so the steps run once over all 256 or 65,536 of them and the
picture is looked up in the result.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from cascade.errors import InputError
from cascade.io.dicom.decode import Decoded
from cascade.io.dicom.header import as_number, number, text, value, values
from cascade.io.radiograph import Notes

COLOURED_BY = 1 / 8
"""A pixel is coloured if its channels lie further apart than this share of their range."""
COLOURED_SHARE = 1 / 20
"""A picture is in colour if more of its pixels are coloured; stamps and banners are less."""

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def render(dataset: Dataset, decoded: Decoded, name: str, notes: Notes) -> np.ndarray:
    """Stored values to ``(H, W)`` float32 in [0, 1], bone bright.

    Raises:
        InputError: true colour.
        ValueError: a lookup table that cannot be applied.
    """
    stored, padding = decoded.values, decoded.padding
    if decoded.photometric == "PALETTE COLOR":
        palette = apply_color_lut(stored, dataset)
        return _one_shade(stretch(grey(palette, np.iinfo(palette.dtype).max, name, notes)), notes)
    if stored.ndim == 3:
        return _one_shade(stretch(grey(stored, 2**decoded.bits - 1, name, notes)), notes)
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        index = stored.view(f"u{stored.dtype.itemsize}")
        levels = np.arange(2 ** (8 * index.itemsize)).astype(index.dtype).view(stored.dtype)
        seen = index if padding is None else index[~padding]
        used = np.bincount(seen.ravel(), minlength=len(levels)) > 0
        curve = _shade(dataset, levels.astype(np.int64), used, notes)
        _one_shade(curve[used], notes)
        shown = curve.take(index)
    else:
        used = np.ones(stored.shape, dtype=bool) if padding is None else ~padding
        shown = _shade(dataset, stored, used, notes)
        _one_shade(shown[used], notes)
    if padding is not None:
        shown[padding] = 0
    return shown


def _shade(dataset: Dataset, stored: np.ndarray, used: np.ndarray, notes: Notes) -> np.ndarray:
    """Grey of stored values; those ``used`` set the scale where the header sets none."""
    measured = _modality(dataset, stored, notes)
    shown = _voi(dataset, measured, used, notes)
    if shown is None:
        shown = stretch(measured, used)
    if inverted(dataset):
        shown = 1 - shown
    return shown


def inverted(dataset: Dataset) -> bool:
    """Whether low values are bright: MONOCHROME1, or a presentation LUT shape that says so.

    Either or both: DX files state the one inversion twice.
    """
    photometric = (text(dataset, "PhotometricInterpretation") or "").upper().replace(" ", "")
    shape = (text(dataset, "PresentationLUTShape") or "").upper()
    return photometric == "MONOCHROME1" or shape == "INVERSE"


def _one_shade(shown: np.ndarray, notes: Notes) -> np.ndarray:
    if not shown.size or shown.min() == shown.max():
        notes.add("one_shade")
    return shown


# --- colour -------------------------------------------------------------------------------------


def grey(colour: np.ndarray, top: int, name: str, notes: Notes) -> np.ndarray:
    """``(H, W, 3 or 4)`` colour that looks grey to ``(H, W)`` luminance.

    Where the channels are equal they are taken as they are, so no bit is lost.

    Args:
        colour: the picture.
        top: the largest value that a channel can have.
        name: of the file, for the message.
        notes: receives ``colour`` where the channels differ.

    Raises:
        InputError: true colour: no radiograph, or one that somebody has painted over.
    """
    channels = colour[..., :3]
    low, high = channels.min(axis=-1), channels.max(axis=-1)
    if (low == high).all():
        return low
    apart = np.subtract(high, low, dtype=np.float32)
    share = float((apart > COLOURED_BY * top).mean())
    if share > COLOURED_SHARE:
        raise InputError(
            f"{name} is in true colour ({share:.0%} of its pixels): radiographs are grey"
        )
    notes.add("colour")
    return luminance(colour)


def luminance(colour: np.ndarray) -> np.ndarray:
    """``(H, W, 3 or 4)`` colour to ``(H, W)`` float32 luminance; an alpha channel is dropped."""
    return colour[..., :3].astype(np.float32) @ _LUMINANCE


# --- scale --------------------------------------------------------------------------------------


def stretch(values: np.ndarray, used: np.ndarray | None = None) -> np.ndarray:
    """Scale so that the darkest value is 0 and the brightest 1; one shade becomes 0.

    Args:
        values: ``(H, W)``; what is not finite becomes 0.
        used: ``(H, W)`` bool, the pixels that set the scale (all by default).

    >>> stretch(np.array([[100, 200], [150, 100]])).tolist()
    [[0.0, 1.0], [0.5, 0.0]]
    """
    finite = np.isfinite(values) if values.dtype.kind == "f" else None
    if finite is not None and not finite.all():
        used = finite if used is None else used & finite
    chosen = values if used is None else values[used]
    if not chosen.size:
        return np.zeros(values.shape, dtype=np.float32)
    low, high = float(chosen.min()), float(chosen.max())
    if high == low or not np.isfinite(high - low):
        return np.zeros(values.shape, dtype=np.float32)
    # subtract in float64: large float32 values a hair apart would collapse
    wide = np.float64 if values.dtype.itemsize > 2 else np.float32
    scaled = np.subtract(values, low, dtype=wide) / (high - low)
    if used is not None:
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
    return scaled.clip(0, 1).astype(np.float32)


# --- the modality -------------------------------------------------------------------------------


def _lut(item: Dataset, signed: bool) -> tuple[int, float, np.ndarray]:
    """First mapped value, top of the output range, and the entries of a LUT item."""
    entries, first, bits = (int(x) for x in item.LUTDescriptor)
    entries = entries or 2**16
    if signed and first >= 2**15:
        first -= 2**16
    if not 1 <= bits <= 16:
        raise ValueError(f"a lookup table of {bits} bits")
    data = item.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, dtype="<u2" if len(data) >= 2 * entries else "u1")
    table = np.atleast_1d(np.asarray(data)).astype(np.int64)[:entries] & 0xFFFF
    if not len(table):
        raise ValueError("a lookup table without entries")
    return first, float(2**bits - 1), table


def _look_up(values: np.ndarray, first: int, table: np.ndarray) -> np.ndarray:
    index = values if values.dtype.kind in "iu" else np.rint(np.nan_to_num(values).clip(-1e9, 1e9))
    return table[np.clip(index.astype(np.int64) - first, 0, len(table) - 1)]


def _modality(dataset: Dataset, stored: np.ndarray, notes: Notes) -> np.ndarray:
    """Stored values to what the modality measured (PS3.3 C.11.1)."""
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    item = value(dataset, "ModalityLUTSequence")
    if item is not None:
        if slope is not None:
            notes.add("modality_twice")
        first, _, table = _lut(item, _signed(dataset))
        return _look_up(stored, first, table)
    if slope == 0:
        notes.add("rescale_slope")
        return stored
    slope, intercept = 1 if slope is None else slope, intercept or 0
    if (slope, intercept) == (1, 0):
        return stored
    return stored.astype(np.float64) * slope + intercept


def _signed(dataset: Dataset) -> bool:
    return number(dataset, "PixelRepresentation") == 1


# --- values of interest -------------------------------------------------------------------------


def _voi(
    dataset: Dataset, measured: np.ndarray, used: np.ndarray, notes: Notes
) -> np.ndarray | None:
    """Values of interest in [0, 1] (PS3.3 C.11.2); None where the header names none of use.

    A LUT goes before a window, and of several the first that shows anything of the picture.
    """
    luts = values(dataset, "VOILUTSequence")
    centers, widths = values(dataset, "WindowCenter"), values(dataset, "WindowWidth")
    windows = [
        (center, width)
        for pair in zip(centers, widths, strict=False)
        if (center := as_number(pair[0])) is not None and (width := as_number(pair[1])) is not None
    ]
    if len(luts or windows) > 1:
        notes.add("windows", count=len(luts or windows))
    flat = measured[used]
    varied = flat.size > 0 and flat.min() != flat.max()
    for item in luts:
        shown = _voi_lut(dataset, item, measured, notes)
        if not varied or shown[used].min() != shown[used].max():
            return shown
        notes.add("window_blank")
    function = _function(dataset, notes) if windows else "LINEAR"
    for center, width in windows:
        if width <= 0 or (function == "LINEAR" and width < 1):
            notes.add("window_width")
            continue
        shown = window(measured, center, width, function)
        if not varied or shown[used].min() != shown[used].max():
            return shown
        notes.add("window_blank")
    return None


def _voi_lut(dataset: Dataset, item: Dataset, measured: np.ndarray, notes: Notes) -> np.ndarray:
    # after a modality LUT values are unsigned, after a rescale they may be of either sign
    looked_up = value(dataset, "ModalityLUTSequence") is not None
    rescaled = measured.dtype.kind == "f"
    first, top, table = _lut(item, not looked_up and (rescaled or _signed(dataset)))
    peak = float(table.max())
    if peak > top or (0 < peak < top / 2):
        notes.add("lut_range")
        top = peak
    return (_look_up(measured, first, table) / (top or 1)).astype(np.float32)


def _function(dataset: Dataset, notes: Notes) -> str:
    function = (text(dataset, "VOILUTFunction") or "LINEAR").upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        notes.add("window_function")
        return "LINEAR"
    return function


def window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Window values into [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3), float32.

    >>> window(np.array([0.0, 127.5, 255.0, 300.0]), 128, 256).tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    values = np.asarray(values, dtype=np.float64)
    if function == "SIGMOID":
        # beyond +-500 the exponential has no more to say, and would overflow
        exponent = np.clip(-4 * (values - center) / width, -500, 500)
        return (1 / (1 + np.exp(exponent))).astype(np.float32)
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, width - 1
        if width == 0:
            return (values > center).astype(np.float32)
    return ((values - center) / width + 0.5).clip(0, 1).astype(np.float32)
