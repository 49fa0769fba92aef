"""A plain CSV table of image paths, reports and labels to a collection, by declared columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import SPLITS, Collection, Image, Study
from cascade.io.report import SECTIONS, clean_text, parse_report

ROLES = ("image", "study_id", "patient_id", "report", *SECTIONS, "labels", "view", "split")
"""What a column may be; a column of the same name is taken where ``columns`` says nothing."""

VIEW_NAMES = {
    **dict.fromkeys(("frontal", "pa", "ap", "f"), "frontal"),
    **dict.fromkeys(("lateral", "ll", "rl", "lat", "l"), "lateral"),
}
"""The view by the names that collections use, lower case; any other name is ``unknown``."""

_SPLIT_NAMES = {"training": "train", "valid": "val", "validate": "val", "validation": "val"}
_NORMAL_NAMES = ("normal", "no finding", "no findings")
_Fields = dict[str, Any]


def read_csv(path: str | Path, required: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV file as text, empty cells as ``""``, UTF-8 with or without a mark.

    Raises:
        InputError: missing, not UTF-8, not a table, without rows, or without a required column.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is not a CSV table: {reason}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    table.columns = [str(column).strip() for column in table.columns]
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(map(repr, missing))}; "
            f"its columns are {', '.join(table.columns)}"
        )
    if table.empty:
        raise InputError(f"{path} holds no rows")
    return table.fillna("")


def read_table(
    csv_path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    separator: str = "|",
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Read a table with one row an image.

    Rows of one ``study_id`` are one study: its first text of each kind counts and its labels are
    joined. Without that column each image is a study; without ``patient_id`` each study a patient.
    ``report`` is sorted into sections; a column of a section itself wins over it. Empty labels
    mean that nobody labelled the study; ``No Finding`` is read as ``normal``. Image paths are
    relative to the CSV file; a row whose image is missing is kept, its path empty.

    Args:
        csv_path: the table.
        columns: column name by role (``ROLES``), for those that are not named like their role.
        separator: between the labels of a cell.
        progress: called with the number of rows read.

    Returns:
        The collection; ``info["rejected"]`` lists the rows left out, each with its reason.

    Raises:
        InputError: no such table, an unknown role, a declared column that is not there, neither
            image nor study_id, or no row that can be read.
    """
    path = Path(csv_path)
    columns = dict(columns or {})
    unknown = [role for role in columns if role not in ROLES]
    if unknown:
        raise InputError(f"unknown column role {unknown[0]!r}, expected one of {list(ROLES)}")
    table = read_csv(path, required=list(columns.values()))
    for role in ROLES:
        if role not in columns and role in table.columns:
            columns[role] = role
    if "image" not in columns and "study_id" not in columns:
        raise InputError(
            f"{path} has no column 'image' (nor 'study_id'); declare it with columns.image=NAME. "
            f"Its columns are {', '.join(table.columns)}"
        )
    root = path.resolve().parent
    studies: dict[str, _Fields] = {}
    images: dict[str, Image] = {}
    rejected: list[dict[str, str]] = []
    cells = {role: table[column].str.strip().tolist() for role, column in columns.items()}
    for number in range(len(table)):
        row = {role: values[number] for role, values in cells.items()}
        try:
            image = _image(row, root)
            if image is not None and image.image_id in images:
                raise InputError(f"image {image.image_id!r} stands in two rows")
            study_id = _study_id(row)
            studies[study_id] = _joined(studies.get(study_id, {}), row, separator)
        except InputError as error:
            rejected.append({"file": f"{path.name}:{number + 2}", "reason": str(error)})
            continue
        if image is not None:
            images[image.image_id] = image
        if progress is not None:
            progress(number + 1)
    if not studies:
        raise InputError(f"no row of {path} can be read; the first: {rejected[0]['reason']}")
    found = sum(image.path is not None for image in images.values())
    return Collection.build(
        [_study(study_id, fields) for study_id, fields in studies.items()],
        images.values(),
        root,
        {
            "source": "table",
            "table": path.name,
            "columns": columns,
            "images_missing": len(images) - found,
            "rejected": rejected,
        },
    )


def _study_id(row: Mapping[str, str]) -> str:
    study_id = row.get("study_id") or ("" if "study_id" in row else row["image"])
    if not study_id:
        raise InputError("the row has no study_id")
    return study_id


def _image(row: Mapping[str, str], root: Path) -> Image | None:
    written = row.get("image", "")
    if not written:
        if "study_id" not in row:
            raise InputError("the row names no image")
        return None
    pure = PurePosixPath(PureWindowsPath(written).as_posix() if "\\" in written else written)
    if pure.is_absolute() and pure.is_relative_to(root):
        pure = pure.relative_to(root)
    if pure.is_absolute() or ".." in pure.parts:
        raise InputError(f"image path {written!r} leaves the folder of the table")
    relative = pure.as_posix()
    view = VIEW_NAMES.get(row.get("view", "").lower(), "unknown")
    exists = (root / relative).is_file()
    return Image(relative, _study_id(row), relative if exists else None, view)


def _joined(study: _Fields, row: Mapping[str, str], separator: str) -> _Fields:
    """The study with one more row."""
    joined = dict(study)
    split = row.get("split", "").lower()
    split = _SPLIT_NAMES.get(split, split)
    if split and split not in SPLITS:
        raise InputError(f"unknown split {split!r}, expected one of {list(SPLITS)}")
    for name, value in (("split", split), ("patient_id", row.get("patient_id", ""))):
        if value and joined.setdefault(name, value) != value:
            raise InputError(f"the study has another {name} in an earlier row")
    for name in ("report", *SECTIONS):
        if row.get(name):
            joined.setdefault(name, row[name])
    labels = [label.strip() for label in row.get("labels", "").split(separator)]
    named = ["normal" if label.lower() in _NORMAL_NAMES else label for label in labels if label]
    joined["labels"] = list(dict.fromkeys([*joined.get("labels", []), *named]))
    return joined


def _study(study_id: str, fields: _Fields) -> Study:
    report = parse_report(fields["report"]) if "report" in fields else None
    sections = {
        name: clean_text(fields.get(name)) or (getattr(report, name) if report else None)
        for name in SECTIONS
    }
    return Study(
        study_id=study_id,
        patient_id=fields.get("patient_id", study_id),
        mesh=tuple(fields["labels"]),
        split=fields.get("split"),
        **sections,
    )
