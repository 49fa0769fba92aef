"""DICOM files to radiographs: one picture, bone bright, in [0, 1], with what the header says of it.

The order is fixed: modality LUT or rescale, VOI LUT or window, scale to [0, 1], then one inversion
for MONOCHROME1 or PresentationLUTShape INVERSE. Without a VOI LUT or window the darkest pixel
becomes 0 and the brightest 1, pixel padding left out; padding itself is always black. A broken or
missing tag that can be got over becomes a note; what speaks against a chest radiograph a doubt.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cascade.errors import InputError

MAX_PIXELS = 10**8
"""Pictures of more pixels are refused before they are decoded: no chest radiograph is so large."""

RADIOGRAPHY = ("CR", "DX", "RG", "DR")
"""Modalities that are radiographs; DR is no defined term but is written by old systems."""
CARRIERS = ("SC", "OT")
"""Modalities that may hold a digitised film: believed if the header speaks of a chest."""

_CHEST = re.compile(r"chest|thora[xck]|torax|lung|\bcxr\b", re.IGNORECASE)
_LATERAL = re.compile(r"\b(lateral|lat|ll|rl)\b", re.IGNORECASE)
_FRONTAL = re.compile(r"\b(frontal|ap|pa|postero-?anterior|antero-?posterior)\b", re.IGNORECASE)
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_quiet_lock = threading.RLock()


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the file says of itself; None where it says nothing.

    The identifiers are for joining rows. They are left out of ``repr`` so that no log line or
    error message can carry them by accident.
    """

    modality: str | None = None
    body_part: str | None = None
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
        facts: what the header says.
        notes: oddities that were got over.
        doubts: why, by the header, this may be no chest radiograph; empty where nothing says so.
    """

    pixels: np.ndarray = dataclasses.field(repr=False)
    view: str = "unknown"
    facts: Facts = dataclasses.field(default_factory=Facts)
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def read_dicom(
    source: str | Path | BinaryIO | Dataset, *, max_pixels: int = MAX_PIXELS
) -> Radiograph:
    """Read one DICOM file or data set.

    Colour becomes luminance (ITU-R BT.601), a palette is looked up first, and of several frames
    the first is taken. The data set handed in is not changed.

    Args:
        source: a path, an open binary file, or a pydicom data set.
        max_pixels: refuse rows x columns above this, before decoding.

    Raises:
        InputError: not DICOM, no pixel data, too large, or pixel data that cannot be decoded.
    """
    name = str(source) if isinstance(source, (str, Path)) else "the DICOM data set"
    notes: list[str] = []
    with _quiet():
        dataset = copy.copy(source) if isinstance(source, Dataset) else _load(source, name, notes)
        rows, columns = _size(dataset, name, max_pixels)
        _settle_transfer_syntax(dataset, notes)
        stored = _decode(dataset, name, notes)
        try:
            pixels = _render(dataset, stored, notes)
            view = _view(dataset, notes)
            doubts = _doubts(dataset)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"{name}: the header cannot be applied: {_reason(error)}") from error
        facts = _facts(dataset, rows, columns)
    return Radiograph(pixels, view, facts, tuple(notes), doubts)


# --- reading ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence pydicom's warnings and log: they may quote values that identify a patient.

    The switches are global to the process, hence the lock.
    """
    logger = logging.getLogger("pydicom")
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level, mode = logger.level, pydicom_config.settings.reading_validation_mode
        logger.setLevel(logging.CRITICAL)
        pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
        try:
            yield
        finally:
            logger.setLevel(level)
            pydicom_config.settings.reading_validation_mode = mode


def _reason(error: BaseException) -> str:
    """The first line of an error, short: decoders list every plugin they tried."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}{': ' + lines[0][:160] if lines else ''}"


def _load(source: str | Path | BinaryIO, name: str, notes: list[str]) -> Dataset:
    if isinstance(source, (str, Path)):
        if not Path(source).exists():
            raise InputError(f"{name} does not exist")
        if not Path(source).is_file():
            raise InputError(f"{name} is not a file")
    try:
        try:
            dataset: Dataset = pydicom.dcmread(source)
        except InvalidDicomError:
            if not isinstance(source, (str, Path)):
                source.seek(0)
            dataset = pydicom.dcmread(source, force=True)
            if "Rows" not in dataset and "SOPClassUID" not in dataset:
                raise InputError(f"{name} is not a DICOM file") from None
            notes.append("no DICOM preamble")
    except InputError:
        raise
    except Exception as error:  # pydicom raises whatever a broken file makes it stumble over
        raise InputError(f"{name} cannot be read as DICOM: {_reason(error)}") from error
    return dataset


def _value(dataset: Dataset, keyword: str) -> Any:
    """A value, the first of several; None where missing, empty or not readable as its type."""
    try:
        value = dataset.get(keyword)
        if value is None or isinstance(value, (str, bytes)):
            return value or None
        if isinstance(value, (list, pydicom.multival.MultiValue, pydicom.sequence.Sequence)):
            return value[0] if len(value) else None
        return value
    except Exception:  # conversion is lazy, so a wrong value shows only here
        return None


def _number(dataset: Dataset, keyword: str) -> float | None:
    try:
        number = float(_value(dataset, keyword))
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _text(dataset: Dataset, keyword: str) -> str | None:
    value = _value(dataset, keyword)
    return (str(value).strip() or None) if value is not None else None


def _size(dataset: Dataset, name: str, max_pixels: int) -> tuple[int, int]:
    if not any(k in dataset for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"{name} holds no pixel data")
    rows, columns = _number(dataset, "Rows"), _number(dataset, "Columns")
    if not rows or not columns or rows < 1 or columns < 1:
        raise InputError(f"{name} gives no rows or columns")
    if rows * columns > max_pixels:
        raise InputError(
            f"{name} is {int(rows)} x {int(columns)} pixels, more than the limit of {max_pixels}"
        )
    return int(rows), int(columns)


def _settle_transfer_syntax(dataset: Dataset, notes: list[str]) -> None:
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and meta.get("TransferSyntaxUID"):
        return
    implicit, little = dataset.original_encoding
    if implicit is None:
        implicit, little = False, True
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    if not little:
        syntax = ExplicitVRBigEndian
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    notes.append(f"no transfer syntax: taken as {syntax.name}")


def _decode(dataset: Dataset, name: str, notes: list[str]) -> np.ndarray:
    """Stored values, ``(H, W)`` or ``(H, W, 3)``; YBR has become RGB."""
    frames = _number(dataset, "NumberOfFrames") or 1
    if frames > 1:
        notes.append(f"{int(frames)} frames: the first is taken")
    try:
        stored = pixel_array(dataset, index=0)
    except Exception as error:  # every plugin has its own errors
        raise InputError(f"{name}: pixel data cannot be decoded: {_reason(error)}") from error
    if stored.ndim not in (2, 3) or (stored.ndim == 3 and stored.shape[-1] not in (3, 4)):
        raise InputError(f"{name}: pixel data of shape {stored.shape} is no picture")
    return stored


# --- rendering ----------------------------------------------------------------------------------


def _render(dataset: Dataset, stored: np.ndarray, notes: list[str]) -> np.ndarray:
    """Stored values to ``(H, W)`` float32 in [0, 1], bone bright."""
    photometric = _text(dataset, "PhotometricInterpretation")
    if photometric is None:
        notes.append("no photometric interpretation: taken as MONOCHROME2")
    if photometric == "PALETTE COLOR" and stored.ndim == 2:
        stored = apply_color_lut(stored, dataset)
        notes.append("palette colour converted to luminance")
    elif stored.ndim == 3:
        notes.append("colour converted to luminance")
    if stored.ndim == 3:
        return stretch(luminance(stored))

    padding = _padding(dataset, stored, notes)
    values = _modality(dataset, stored, notes)
    shown = _voi(dataset, values, padding, notes)
    if shown is None:
        shown = stretch(values, None if padding is None else ~padding)
    if photometric == "MONOCHROME1" or _text(dataset, "PresentationLUTShape") == "INVERSE":
        shown = 1 - shown
    if padding is not None:
        shown[padding] = 0
    if shown.min() == shown.max():
        notes.append("the picture is of one shade")
    return shown


def luminance(colour: np.ndarray) -> np.ndarray:
    """``(H, W, 3 or 4)`` colour to ``(H, W)`` float32 luminance; an alpha channel is dropped."""
    return colour[..., :3].astype(np.float32) @ _LUMINANCE


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
    if high == low:
        return np.zeros(values.shape, dtype=np.float32)
    # subtract in float64: large float32 values a hair apart would collapse
    wide = np.float64 if values.dtype.itemsize > 2 else np.float32
    scaled = np.subtract(values, low, dtype=wide) / (high - low)
    if used is not None:
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
    return scaled.clip(0, 1).astype(np.float32)


def _padding(dataset: Dataset, stored: np.ndarray, notes: list[str]) -> np.ndarray | None:
    """Where the stored values are padding; None where nothing is."""
    value = _number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = _number(dataset, "PixelPaddingRangeLimit")
    bounds = []
    for bound in (value, value if limit is None else limit):
        # VR US or SS: an unsigned reading of a negative number, and the reverse
        if stored.dtype.kind == "i" and bound > np.iinfo(stored.dtype).max:
            bound -= 2**16
        elif stored.dtype.kind == "u" and bound < 0:
            bound += 2**16
        bounds.append(bound)
    mask = (stored >= min(bounds)) & (stored <= max(bounds))
    if mask.all():
        notes.append("pixel padding covers the whole picture: ignored")
        return None
    return mask if mask.any() else None


def _lut(item: Dataset, signed: bool) -> tuple[int, float, np.ndarray]:
    """First mapped value, top of the output range, and the entries of a LUT item."""
    entries, first, bits = (int(x) for x in item.LUTDescriptor)
    entries = entries or 2**16
    if signed and first >= 2**15:
        first -= 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, dtype="<u2" if len(data) >= 2 * entries else "u1")
    table = np.atleast_1d(np.asarray(data)).astype(np.int64)[:entries] & 0xFFFF
    if not len(table):
        raise ValueError("a lookup table without entries")
    return first, float(2**bits - 1), table


def _look_up(values: np.ndarray, first: int, table: np.ndarray) -> np.ndarray:
    index = values if values.dtype.kind in "iu" else np.rint(values)
    return table[np.clip(index.astype(np.int64) - first, 0, len(table) - 1)]


def _modality(dataset: Dataset, stored: np.ndarray, notes: list[str]) -> np.ndarray:
    """Stored values to what the modality measured (PS3.3 C.11.1)."""
    item = _value(dataset, "ModalityLUTSequence")
    if item is not None:
        first, _, table = _lut(item, stored.dtype.kind == "i")
        return _look_up(stored, first, table)
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope == 0:
        notes.append("rescale slope of 0: ignored")
        return stored
    slope, intercept = 1 if slope is None else slope, intercept or 0
    if (slope, intercept) == (1, 0):
        return stored
    return stored.astype(np.float64) * slope + intercept


def _voi(
    dataset: Dataset, values: np.ndarray, padding: np.ndarray | None, notes: list[str]
) -> np.ndarray | None:
    """Values of interest in [0, 1] (PS3.3 C.11.2); None where the header names none of use."""
    item = _value(dataset, "VOILUTSequence")
    if item is not None:
        first, top, table = _lut(item, values.dtype.kind != "u")
        peak = float(table.max())
        if peak > top or (0 < peak < top / 2):
            notes.append("VOI LUT entries do not fill their declared range: scaled by their own")
            top = peak
        shown = (_look_up(values, first, table) / (top or 1)).astype(np.float32)
    else:
        center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
        if center is None or width is None:
            return None
        function = (_text(dataset, "VOILUTFunction") or "LINEAR").upper()
        if width <= 0 or (function == "LINEAR" and width < 1):
            notes.append("window of no width: ignored")
            return None
        shown = window(values, center, width, function)
    seen, given = (shown, values) if padding is None else (shown[~padding], values[~padding])
    if seen.min() == seen.max() and given.min() != given.max():
        notes.append("the window or VOI LUT shows nothing of the picture: ignored")
        return None
    return shown


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


# --- the header's word --------------------------------------------------------------------------

_DESCRIPTIONS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "StudyDescription",
)


def _view(dataset: Dataset, notes: list[str]) -> str:
    """The view by ViewPosition, else the view code, the descriptions, the patient's orientation."""
    position = (_text(dataset, "ViewPosition") or "").upper()
    if position:
        if re.match(r"(AP|PA)\b", position.replace("_", " ")):
            return "frontal"
        if position in ("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"):
            return "lateral"
    code = _value(dataset, "ViewCodeSequence")
    meaning = (_text(code, "CodeMeaning") or "") if isinstance(code, Dataset) else ""
    described = [text for keyword in _DESCRIPTIONS if (text := _text(dataset, keyword))]
    for text, where in ((meaning, "view code"), *((text, "description") for text in described)):
        text = text.replace("_", " ")
        lateral, frontal = bool(_LATERAL.search(text)), bool(_FRONTAL.search(text))
        if lateral != frontal and "decub" not in text.lower():
            notes.append(f"view taken from the {where}")
            return "lateral" if lateral else "frontal"
    row = (_text(dataset, "PatientOrientation") or "").upper()[:1]
    if row and row in "LRAP":
        notes.append("view taken from the patient orientation")
        return "frontal" if row in "LR" else "lateral"
    return "unknown"


def _doubts(dataset: Dataset) -> tuple[str, ...]:
    modality, part = _text(dataset, "Modality"), _text(dataset, "BodyPartExamined")
    described = any(_CHEST.search(_text(dataset, keyword) or "") for keyword in _DESCRIPTIONS)
    chest = bool(_CHEST.search(part)) if part else described
    doubts = []
    if modality is None or modality.upper() in CARRIERS:
        if not chest:
            named = f"modality {modality}" if modality else "no modality"
            doubts.append(f"{named} and nothing in the header says chest")
    elif modality.upper() not in RADIOGRAPHY:
        doubts.append(f"modality {modality[:16]} is not radiography")
    if part and not chest:
        doubts.append(f"body part {part[:32]} is not the chest")
    return tuple(doubts)


def _facts(dataset: Dataset, rows: int, columns: int) -> Facts:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    names: Mapping[str, str] = {
        "modality": "Modality",
        "body_part": "BodyPartExamined",
        "photometric": "PhotometricInterpretation",
        "sop_instance_uid": "SOPInstanceUID",
        "study_instance_uid": "StudyInstanceUID",
        "series_instance_uid": "SeriesInstanceUID",
        "patient_id": "PatientID",
    }
    texts = {field: _text(dataset, keyword) for field, keyword in names.items()}
    return Facts(**texts, transfer_syntax=str(syntax), rows=rows, columns=columns)
