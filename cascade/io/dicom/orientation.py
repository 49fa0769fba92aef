"""What the header says of the view, of how the picture lies, and against its being a chest film."""

from __future__ import annotations

import re

import numpy as np
from pydicom.dataset import Dataset

from cascade.io.dicom.header import text, value, values
from cascade.io.radiograph import Notes

RADIOGRAPHY = ("CR", "DX", "RG", "DR")
"""Modalities that are radiographs; DR is no defined term but is written by old systems."""
CARRIERS = ("SC", "OT")
"""Modalities that may hold a digitised film: believed if the header speaks of a chest."""

_CHEST = re.compile(r"chest|thora[xck]|torax|poumon|pulm[oã]|lung|\bcxr\b", re.IGNORECASE)
_LATERAL = re.compile(
    r"\b(lateral[ei]?|lat|l-?lat|r-?lat|ll|rl|profile?|profil|perfil|seitlich|seite)\b",
    re.IGNORECASE,
)
_FRONTAL = re.compile(
    r"\b(frontal[e]?|ap|pa|a\.p|p\.a|de face|frente|postero-?anterior|antero-?posterior)\b",
    re.IGNORECASE,
)
_DESCRIPTIONS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "StudyDescription",
)

_VIEW_CODES = {
    **dict.fromkeys(("399348003", "272479007", "399033003"), "frontal"),  # AP, PA, frontal
    **dict.fromkeys(("R-10206", "R-10214", "R-40888", "R-10202"), "frontal"),
    **dict.fromkeys(("399067008", "399173006", "399198007"), "lateral"),  # lateral, left, right
    **dict.fromkeys(("R-102CD", "R-10236", "R-10232"), "lateral"),
}
"""Codes of CID 4010 (DX View) that stand for a view of a chest, SNOMED CT and the older SRT."""


# --- the view -----------------------------------------------------------------------------------


def view(dataset: Dataset, notes: Notes) -> str:
    """The view by ViewPosition, else the view code, the descriptions, the patient's orientation."""
    told = list(_views(dataset))
    if not told:
        return "unknown"
    seen, where = told[0]
    if where != "view position":
        notes.add("view", where=where)
    if any(other != seen for other, _ in told[1:]):
        notes.add("view_disagrees", where=where)
    return seen


def _views(dataset: Dataset) -> list[tuple[str, str]]:
    """What each source says, the most trusted first; a source that says nothing is left out."""
    told = []
    position = (text(dataset, "ViewPosition") or "").upper()
    if re.match(r"(AP|PA)\b", position.replace("_", " ")):
        told.append(("frontal", "view position"))
    elif position in ("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"):
        told.append(("lateral", "view position"))
    code = value(dataset, "ViewCodeSequence")
    if isinstance(code, Dataset):
        coded = _VIEW_CODES.get(text(code, "CodeValue") or "") or _by_words(
            text(code, "CodeMeaning") or ""
        )
        if coded:
            told.append((coded, "view code"))
    for keyword in _DESCRIPTIONS:
        if described := _by_words(text(dataset, keyword) or ""):
            told.append((described, "description"))
    if lying := _by_orientation(dataset):
        told.append((lying, "patient orientation"))
    return told


def _by_words(described: str) -> str | None:
    described = described.replace("_", " ")
    lateral, frontal = bool(_LATERAL.search(described)), bool(_FRONTAL.search(described))
    if lateral == frontal or re.search("decub|obli", described.lower()):
        return None
    return "lateral" if lateral else "frontal"


def _by_orientation(dataset: Dataset) -> str | None:
    axes = {direction[:1] for direction in _directions(dataset)} & set("LRAP")
    if not axes or (axes & set("LR") and axes & set("AP")):
        return None
    return "frontal" if axes & set("LR") else "lateral"


def _directions(dataset: Dataset) -> list[str]:
    """Where the rows and the columns run: letters of L, R, A, P, H, F (PS3.3 C.7.6.1.1.1)."""
    return [str(each).strip().upper() for each in values(dataset, "PatientOrientation")]


# --- how it lies --------------------------------------------------------------------------------

_OPPOSITE = dict(zip("LRAPHF", "RLPAFH", strict=True))


def upright(dataset: Dataset, pixels: np.ndarray, seen: str, notes: Notes) -> np.ndarray:
    """The picture with the feet down and, if frontal, the patient's left on the right.

    Only by a PatientOrientation of two single letters, one of them H or F; anything oblique,
    partial or contradicting the view leaves the picture as it is. A lateral view is turned but
    never mirrored: both sides are usual. FieldOfViewRotation and FieldOfViewHorizontalFlip tell
    what has been done to the detector's picture before it was stored, so nothing is left to do.

    Args:
        dataset: the header.
        pixels: ``(H, W)``.
        seen: the view.
        notes: receives what was done.
    """
    directions = _directions(dataset)
    if len(directions) != 2 or not all(len(each) == 1 for each in directions):
        return pixels
    row, column = directions
    across = set(directions) & set("LRAP")
    if len(across) != 1 or not set(directions) & set("HF"):
        return pixels
    frontal = bool(across & set("LR"))
    if seen == ("lateral" if frontal else "frontal"):
        return pixels
    turns = 0
    while column != "F":
        # np.rot90 turns anticlockwise: what ran along the rows then runs up the columns
        row, column = column, _OPPOSITE[row]
        turns += 1
    if turns:
        pixels = np.rot90(pixels, turns)
        notes.add("turned", degrees=(360 - 90 * turns), where="patient orientation")
    if frontal and row == "R":
        pixels = pixels[:, ::-1]
        notes.add("mirrored", where="patient orientation")
    return pixels


# --- doubts -------------------------------------------------------------------------------------


def doubts(dataset: Dataset) -> tuple[str, ...]:
    """Why, by the header, this may be no chest radiograph fit to be read."""
    modality, part = text(dataset, "Modality"), text(dataset, "BodyPartExamined")
    described = any(_CHEST.search(text(dataset, keyword) or "") for keyword in _DESCRIPTIONS)
    chest = bool(_CHEST.search(part)) if part else described
    found = []
    if modality is None or modality.upper() in CARRIERS:
        if not chest:
            named = f"modality {modality}" if modality else "no modality"
            found.append(f"{named} and nothing in the header says chest")
    elif modality.upper() not in RADIOGRAPHY:
        found.append(f"modality {modality[:16]} is not radiography")
    if part and not chest:
        found.append(f"body part {part[:32]} is not the chest")
    if (text(dataset, "PresentationIntentType") or "").upper() == "FOR PROCESSING":
        found.append("raw data for processing, not a picture for presentation")
    return tuple(found)
