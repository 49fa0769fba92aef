"""NIH ChestX-ray14 label lists to a collection: one study an image, its label set the annotation.

Two layouts: the original (``Data_Entry_2017.csv`` or its correction ``Data_Entry_2017_v2020.csv``,
with ``train_val_list.txt`` and ``test_list.txt``) and a reduced one (``labels.csv``: image,
patient_id, view, labels, official).
The terms of an annotation stand in the fixed order of ``FINDINGS`` whatever order the source has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cascade.errors import InputError
from cascade.io.collection import SPLITS, Collection, Image, Study
from cascade.io.rows import VIEW_NAMES, image_files
from cascade.io.table import read_csv

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
        root: the folder of the label list (of several the last by name, which is the corrected
            one), or the CSV file itself.
        images: where the image files are (default: anywhere below the root).
        progress: called with the number of rows read.

    Returns:
        The collection. ``info`` says what did not fit: ``rejected`` (the rows left out, each with
        its reason), ``images_in_no_list`` and, by list, ``not_in_the_table`` (names without a row),
        ``files_unused`` (image files that no row names).

    Raises:
        InputError: no label list, a column missing, no row that can be read, or a list that is not
            UTF-8 or has a name of the other.
    """
    path = _label_list(Path(root))
    kept = [*_ORIGINAL.values(), *_REDUCED, "official"]
    table = read_csv(path, keep=kept)
    columns = _ORIGINAL if _ORIGINAL["image"] in table.columns else _REDUCED
    table = read_csv(path, list(columns.values()), kept)
    image_root = Path(images) if images is not None else path.parent
    if not image_root.is_dir():
        raise InputError(f"the image folder {image_root} does not exist")
    files = image_files(image_root)
    names = table[columns["image"]].str.strip()
    lists = {} if "official" in table.columns else _lists(path.parent)
    official = {name: split for split, listed in lists.items() for name in listed}
    if "official" in table.columns:
        splits = table["official"].str.strip()
        official = {name: split for name, split in zip(names, splits, strict=True) if split}
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
    named = set(names)
    info: dict[str, Any] = {
        "source": "nih",
        "label_list": path.name,
        "files_unused": len(set(files) - named),
        "rejected": rejected,
    }
    if columns is _ORIGINAL:
        info["lists"] = {
            _LISTS[split]: {"names": len(listed), "not_in_the_table": len(listed - named)}
            for split, listed in lists.items()
        }
        info["lists_missing"] = [file for split, file in _LISTS.items() if split not in lists]
        info["images_in_no_list"] = len(named - set(official))
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
    lists = [*sorted(root.glob("Data_Entry_2017*.csv"), reverse=True), root / "labels.csv"]
    if not lists[0].is_file():
        raise InputError(
            f"{root} holds no Data_Entry_2017*.csv and no labels.csv: download the label list of "
            "ChestX-ray14 (Data_Entry_2017_v2020.csv) from the NIH Clinical Center into it"
        )
    return lists[0]


def _lists(folder: Path) -> dict[str, set[str]]:
    """The names of the official lists by split, of those that are there."""
    lists: dict[str, set[str]] = {}
    for split, file in _LISTS.items():
        if not (folder / file).is_file():
            continue
        try:
            lists[split] = set((folder / file).read_text(encoding="utf-8-sig").split())
        except UnicodeDecodeError as error:
            raise InputError(f"{folder / file} is not UTF-8: download it again") from error
        except OSError as error:
            raise InputError(f"{folder / file} cannot be read: {error.strerror}") from error
    both = set.intersection(*lists.values()) if len(lists) > 1 else set()
    if both:
        raise InputError(
            f"{len(both)} image(s) stand in both lists of {folder}, the first {min(both)}: "
            "download the lists again"
        )
    return lists
