"""NIH ChestX-ray14 label lists to a collection: one study an image, its label set the annotation.

Two layouts: the original (``Data_Entry_2017*.csv`` with ``train_val_list.txt`` and
``test_list.txt``) and a reduced one (``labels.csv``: image, patient_id, view, labels, official).
The terms of an annotation stand in the fixed order of ``FINDINGS`` whatever order the source has.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import SPLITS, Collection, Image, Study
from cascade.io.image import IMAGE_SUFFIXES
from cascade.io.table import VIEW_NAMES, read_csv

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural Thickening",
    "Hernia",
)
"""The 14 labels in the order of the collection's own paper and file."""

_ORIGINAL = {
    "image": "Image Index",
    "labels": "Finding Labels",
    "patient_id": "Patient ID",
    "view": "View Position",
}
_REDUCED = {name: name for name in ("image", "labels", "patient_id", "view")}
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}


def read_nih(
    root: str | Path,
    *,
    images: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Read ChestX-ray14 with whatever images are present.

    The official membership is kept: ``official`` of the reduced layout, else the two lists of the
    original, whose train and validation part becomes ``train`` (``assign_splits`` draws ``val``
    from it). The reports were never released, so the texts are empty.

    Args:
        root: the folder of the label list, or the CSV file itself.
        images: where the image files are (default: anywhere below the root).
        progress: called with the number of rows read.

    Returns:
        The collection; ``info["rejected"]`` lists the rows left out, each with its reason.

    Raises:
        InputError: no label list, a column missing, or no row that can be read.
    """
    path = _label_list(Path(root))
    table = read_csv(path)
    columns = _ORIGINAL if _ORIGINAL["image"] in table.columns else _REDUCED
    table = read_csv(path, required=list(columns.values()))
    image_root = Path(images) if images is not None else path.parent
    if not image_root.is_dir():
        raise InputError(f"the image folder {image_root} does not exist")
    files = _files(image_root)
    official = _official(path.parent, table, table[columns["image"]])
    studies: dict[str, Study] = {}
    rows: list[Image] = []
    rejected: list[dict[str, str]] = []
    cells = zip(*(table[column].str.strip() for column in columns.values()), strict=True)
    for number, (name, labels, patient, view) in enumerate(cells):
        study_id = Path(name).stem
        try:
            if not name or not patient:
                raise InputError("the row has no image or no patient")
            if study_id in studies:
                raise InputError(f"image {name!r} stands in two rows")
            split = official.get(name)
            if split is not None and split not in SPLITS:
                raise InputError(f"unknown split {split!r}, expected one of {list(SPLITS)}")
            study = Study(study_id, patient, mesh=annotation(labels), split=split)
        except InputError as error:
            rejected.append({"file": f"{path.name}:{number + 2}", "reason": str(error)})
            continue
        studies[study_id] = study
        shown = VIEW_NAMES.get(view.lower(), "unknown")
        rows.append(Image(study_id, study_id, files.get(name), shown))
        if progress is not None:
            progress(number + 1)
    if not studies:
        raise InputError(f"no row of {path} can be read; the first: {rejected[0]['reason']}")
    info = {"source": "nih", "label_list": path.name, "rejected": rejected}
    return Collection.build(studies.values(), rows, image_root, info)


def annotation(labels: str) -> tuple[str, ...]:
    """The terms of a label cell in the fixed order; ``No Finding`` is ``normal``.

    >>> annotation("Pleural_Thickening|Atelectasis")
    ('Atelectasis', 'Pleural Thickening')
    >>> annotation("No Finding")
    ('normal',)

    Raises:
        InputError: a label of another name, or ``No Finding`` beside a finding.
    """
    named = {label.strip().replace("_", " ") for label in labels.split("|") if label.strip()}
    if named == {"No Finding"}:
        return ("normal",)
    strangers = sorted(named - set(FINDINGS))
    if strangers == ["No Finding"]:
        raise InputError("'No Finding' stands beside a finding")
    if strangers:
        raise InputError(f"unknown label {strangers[0]!r}, expected No Finding or {FINDINGS}")
    return tuple(finding for finding in FINDINGS if finding in named)


def _label_list(root: Path) -> Path:
    if root.is_file():
        return root
    if not root.is_dir():
        raise InputError(f"the folder {root} does not exist")
    lists = [*sorted(root.glob("Data_Entry_2017*.csv")), root / "labels.csv"]
    if not lists[0].is_file():
        raise InputError(
            f"{root} holds no Data_Entry_2017*.csv and no labels.csv: download the label list of "
            "ChestX-ray14 (Data_Entry_2017_v2020.csv) from the NIH Clinical Center into it"
        )
    return lists[0]


def _files(root: Path) -> dict[str, str]:
    """Path relative to the root by file name, of every image below it; the first of a name."""
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(IMAGE_SUFFIXES):
                found.setdefault(name, Path(folder, name).relative_to(root).as_posix())
    return found


def _official(folder: Path, table: pd.DataFrame, names: pd.Series) -> dict[str, str]:
    """The official split by image name; images without one are left out."""
    if "official" in table.columns:
        splits = table["official"].str.strip()
        return {name: split for name, split in zip(names, splits, strict=True) if split}
    official: dict[str, str] = {}
    for split, file in _LISTS.items():
        if (folder / file).is_file():
            lines = (folder / file).read_text(encoding="utf-8").split()
            official.update(dict.fromkeys(lines, split))
    return official
