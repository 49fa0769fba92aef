"""PadChest's label list to a collection: Spanish reports, and label lists by hand or by program.

``PADCHEST_chest_x_ray_images_labels_*.csv`` has one row an image. The labels that a physician gave
are the annotation (``mesh``), those of the recurrent network ``mesh_automatic``; either kind is
also among the study's given labels, as present, since the list names only what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import Collection
from cascade.io.rows import gather, image_files
from cascade.io.table import read_csv

_PATTERN = "PADCHEST_chest_x_ray_images_labels_*.csv*"
_REQUIRED = ("ImageID", "StudyID", "PatientID", "Labels")
_OPTIONAL = ("ImageDir", "Projection", "Report", "MethodLabel")
_BY_HAND = "physician"
_NOTE = (
    "the reports are Spanish, as stems without accents: do not mine them with the English miner; "
    "the labels are mined with labels=terms or labels=given"
)


def read_padchest(
    root: str | Path,
    *,
    images: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Read PadChest with whatever images are present.

    The report is kept as the findings. PadChest has no official split.

    Args:
        root: the folder of the label list (the last by name, where there are several), or the list
            itself, gzipped or not.
        images: where the image files are (default: anywhere below the list's folder).
        progress: called with the number of rows read.

    Returns:
        The collection; ``info["rejected"]`` lists the rows left out, each with its reason, and
        ``info["language"]`` is ``es``.

    Raises:
        InputError: no list, a column missing, or no row that can be read.
    """
    path = _label_list(Path(root))
    image_root = Path(images) if images is not None else path.parent
    if not image_root.is_dir():
        raise InputError(f"the image folder {image_root} does not exist")
    table = read_csv(path, _REQUIRED, _OPTIONAL)
    places = [f"{path.name}:{number + 1}" for number in table.index]
    # without the column nobody says that a person gave them
    method = table.get("MethodLabel", pd.Series("", index=table.index)).str.strip().str.lower()
    by_hand = method == _BY_HAND
    labels = table["Labels"].str.strip()
    labels = labels.mask(labels.str.lower() == "nan", "")
    rows = pd.DataFrame(
        {
            "image": table["ImageID"],
            "path": _located(table, image_files(image_root)),
            "study_id": table["StudyID"],
            "patient_id": table["PatientID"],
            "labels": labels.where(by_hand, ""),
            "labels_automatic": labels.mask(by_hand, ""),
        }
    )
    for role, column in (("view", "Projection"), ("findings", "Report")):
        if column in table.columns:
            rows[role] = table[column]
    info = {
        "source": "padchest",
        "label_list": path.name,
        "language": "es",
        "note": _NOTE,
        "rows_labelled_by_hand": int(by_hand.sum()),
        "columns_missing": [column for column in _OPTIONAL if column not in table.columns],
    }
    collection = gather(rows, places, root=image_root, info=info, progress=progress)
    studies = collection.studies
    studies["labels"] = pd.Series(
        [_given([*m, *a]) for m, a in zip(studies["mesh"], studies["mesh_automatic"], strict=True)],
        index=studies.index,
        dtype=object,
    )
    return collection


def _label_list(root: Path) -> Path:
    if root.is_file():
        return root
    if not root.is_dir():
        raise InputError(f"the folder {root} does not exist")
    lists = [path for path in sorted(root.glob(_PATTERN)) if path.name.endswith((".csv", ".gz"))]
    if not lists:
        raise InputError(
            f"{root} holds no {_PATTERN}: download the label list of PadChest from BIMCV into it"
        )
    return lists[-1]


def _located(table: pd.DataFrame, files: Mapping[str, str]) -> list[str]:
    """Where each image is below the root, ``""`` for nowhere."""
    return [files.get(name, "") for name in table["ImageID"].str.strip()]


def _given(labels: list[str]) -> dict[str, float] | None:
    return dict.fromkeys(labels, 1.0) or None
