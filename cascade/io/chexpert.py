"""CheXpert's label lists to a collection: ``train.csv``, ``valid.csv`` and ``test.csv``.

The lists name each image by a path that says its patient and study, and give the 14 labels of the
study as 1, 0, -1 (uncertain) or nothing. The images may lie below the folder of the lists, as
unpacked, or below the folder that the paths begin with. The reports are not part of this release.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import Collection
from cascade.io.rows import gather, given_labels
from cascade.io.table import read_csv

CHEXPERT_LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The 14 labels in the order of the files; MIMIC-CXR-JPG's are the same."""

_LISTS = {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}
_PATH, _VIEW, _PROJECTION = "Path", "Frontal/Lateral", "AP/PA"
_PARTS = (
    r"^(?:.+?/)??(?P<path>(?:[^/]+/)?(?P<patient>patient\d+)/(?P<study>study\d+)"
    r"/view\d+(?:_(?P<view>[a-z]+))?\.\w+)$"
)


def read_chexpert(
    root: str | Path,
    *,
    images: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Read CheXpert with whatever images are present.

    ``train.csv`` becomes train, ``valid.csv`` val and ``test.csv`` test; where only one list is
    there, nobody has a split (``assign_splits`` draws one).

    Args:
        root: the folder of the lists, or one list.
        images: the folder that the images are below (default: the lists' folder).
        progress: called with the number of rows read.

    Returns:
        The collection; ``info["rejected"]`` lists the rows left out, each with its reason.

    Raises:
        InputError: no list there, a list without paths or labels, or no row that can be read.
    """
    lists = _lists(Path(root))
    folder = next(iter(lists.values())).parent
    image_root = Path(images) if images is not None else folder
    if not image_root.is_dir():
        raise InputError(f"the image folder {image_root} does not exist")
    tables = {split: _read_list(path) for split, path in lists.items()}
    places = [
        f"{lists[split].name}:{number + 1}"
        for split, table in tables.items()
        for number in table.index
    ]
    # a list that lacks one of the labels, as test.csv may, leaves it unmentioned
    table = pd.concat(
        [part.assign(split=split if len(lists) > 1 else "") for split, part in tables.items()],
        ignore_index=True,
    ).fillna("")
    labels = [label for label in CHEXPERT_LABELS if label in table.columns]
    info: dict[str, Any] = {
        "source": "chexpert",
        "lists": [path.name for path in lists.values()],
        "labels": labels,
        "labels_missing": [label for label in CHEXPERT_LABELS if label not in labels],
    }
    if _PROJECTION in table.columns:
        shown = table[_PROJECTION].str.strip().value_counts()
        info["projections"] = {str(name): int(count) for name, count in shown.items() if name}
    rows = _rows(table, image_root)
    given = given_labels(table, labels)
    for number in np.flatnonzero(rows["study_id"] == "").tolist():
        given[number] = f"the path {rows['image'].iloc[number][:80]!r} names no patient and study"
    return gather(
        rows,
        places,
        given=given,
        root=image_root,
        info=info,
        progress=progress,
    )


def _lists(root: Path) -> dict[str, Path]:
    """The lists by split."""
    if root.is_file():
        return {"train": root}
    if not root.is_dir():
        raise InputError(f"the folder {root} does not exist")
    lists = {split: root / name for split, name in _LISTS.items() if (root / name).is_file()}
    if not lists:
        raise InputError(
            f"{root} holds none of {', '.join(_LISTS.values())}: download CheXpert (or "
            "CheXpert-small) from the Stanford AIMI Center, and name the folder of train.csv"
        )
    return lists


def _read_list(path: Path) -> pd.DataFrame:
    table = read_csv(path, [_PATH], [_VIEW, _PROJECTION, *CHEXPERT_LABELS])
    if not set(CHEXPERT_LABELS) & set(table.columns):
        raise InputError(f"{path} has none of CheXpert's label columns ({CHEXPERT_LABELS[0]} ...)")
    return table


def _rows(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The rows by role; those whose path names no patient and study have no study."""
    written = table[_PATH].str.strip()
    parts = written.str.extract(_PARTS)
    view = parts["view"].fillna("")
    if _VIEW in table.columns:
        given = table[_VIEW].str.strip()
        view = given.where(given != "", view)
    known = parts["path"].notna()
    image = parts["path"].where(known, written)
    return pd.DataFrame(
        {
            "image": image,
            "path": _located(image, written, root),
            "study_id": (parts["patient"] + "_" + parts["study"]).fillna(""),
            "patient_id": parts["patient"].fillna(""),
            "view": view,
            "split": table["split"],
        }
    )


def _located(inside: pd.Series, written: pd.Series, root: Path) -> list[str]:
    """Where each image is below the root, ``""`` for nowhere: within, or under the path's name."""
    return [
        next((p for p in paths if ".." not in p and os.path.isfile(os.path.join(root, p))), "")
        for paths in zip(inside, written, strict=True)
    ]
