"""Rows by role to a collection: what every collection that comes as a table is made with.

A row is one image (or one study); rows of a study are joined, and a row that cannot be taken is
kept aside with its reason.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import LABEL_VALUES, SPLITS, Collection, Image, Study
from cascade.io.image import RADIOGRAPH_SUFFIXES
from cascade.io.report import SECTIONS, clean_text, parse_report

_TEXTS = ("report", *SECTIONS)
_NAMES = ("image", "study_id", "patient_id", "view", "split")
ROLES = (*_NAMES, *_TEXTS, "labels", "labels_automatic", "caption")
"""What a column may be; a column of the same name is taken where ``columns`` says nothing."""

VIEW_NAMES = {
    **dict.fromkeys(("frontal", "pa", "ap", "f", "ap_horizontal"), "frontal"),
    **dict.fromkeys(("lateral", "ll", "rl", "lat", "l", "xtable lateral"), "lateral"),
}
"""The view by the names that collections use, lower case; any other name is ``unknown``."""

MAX_CELL = 4 * 2**20
"""Characters of a text; a longer cell is no report, and its row is rejected."""
MAX_NAME = 1024
"""Characters of an id, a path or another name."""

SPLIT_NAMES = {
    **dict(zip(SPLITS, SPLITS, strict=True)),
    "training": "train",
    **dict.fromkeys(("valid", "validate", "validation"), "val"),
}
"""The split by the names that collections use, lower case."""

_NORMAL_NAMES = ("normal", "no finding", "no findings")
_UNMENTIONED = ("", "nan")
_CONTROL = r"[\x00-\x1f\x7f]"
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_ITEM = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(nan|None))\s*(?:,|$)""")
_Fields = dict[str, Any]


def gather(
    rows: pd.DataFrame,
    places: Sequence[str],
    *,
    root: Path,
    given: Sequence[Mapping[str, float] | str | None] = (),
    separator: str = "|",
    info: Mapping[str, Any],
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Make a collection of rows by role.

    Args:
        rows: text, a column a role (``ROLES``), ``""`` for nothing. A column ``path`` says where
            the image ``image`` is below the root; without it ``image`` itself is the path.
        places: what to call each row where it is rejected.
        root: of the images.
        given: the labels of each row, or why it cannot be taken, as ``given_labels`` returns them.
        separator: between the labels of a cell.
        info: of the collection; what was counted is added.
        progress: called with the number of rows read.

    Raises:
        InputError: no row that can be read, or as ``Collection.validate``.
    """
    faults, cells = _faults(rows), {str(role): rows[role].str.strip().tolist() for role in rows}
    texts = [role for role in _TEXTS if role in cells]
    studies: dict[str, _Fields] = {}
    images: dict[str, Image] = {}
    rejected: list[dict[str, str]] = []
    texts_left_out = 0
    for number, values in enumerate(zip(*cells.values(), strict=True)):
        row: _Fields = dict(zip(cells, values, strict=True))
        try:
            labels = given[number] if given else None
            fault = labels if isinstance(labels, str) else faults.get(number)
            if fault is not None:
                raise InputError(fault)
            row["given"] = labels
            image = _image(row, root)
            if image is not None and image.image_id in images:
                raise InputError(f"image {image.image_id!r} stands in two rows")
            study_id = _study_id(row)
            before = studies.get(study_id, {})
            joined = _joined(before, row, separator)
        except InputError as error:
            rejected.append({"file": places[number], "reason": str(error)})
            continue
        texts_left_out += any(row[name] and row[name] != joined[name] for name in texts)
        studies[study_id] = joined
        if image is not None:
            images[image.image_id] = image
        if progress is not None:
            progress(number + 1)
    if not studies:
        first = f"{rejected[0]['file']}: {rejected[0]['reason']}"
        raise InputError(f"no row of the table can be read; the first: {first}")
    found = sum(image.path is not None for image in images.values())
    counted: dict[str, Any] = {"images_missing": len(images) - found, "rejected": rejected}
    if texts_left_out:
        counted["rows_of_another_text"] = texts_left_out
    made = (_study(study_id, fields) for study_id, fields in studies.items())
    return Collection.build(made, images.values(), root, {**info, **counted})


def given_labels(
    table: pd.DataFrame, columns: Sequence[str]
) -> list[Mapping[str, float] | str | None]:
    """The labels of each row by column name; None where it gives none, a text where it is wrong.

    >>> table = pd.DataFrame({"Edema": ["-1.0", "", "?"], "Mass": ["1", "", ""]})
    >>> given_labels(table, ["Edema", "Mass"])[:2]
    [{'Edema': -1.0, 'Mass': 1.0}, None]
    """
    result: list[Any] = [None] * len(table)
    wrong: dict[int, str] = {}
    for column in columns:
        cells = table[column].str.strip()
        values = {cell: _label_value(cell) for cell in cells.unique()}
        for cell, value in values.items():
            if value is None and cell.lower() not in _UNMENTIONED:
                shown = cell if len(cell) <= 40 else f"{cell[:40]}..."
                reason = f"the label {column!r} is {shown!r}, expected 1, 0, -1 or nothing"
                wrong.update(dict.fromkeys(np.flatnonzero(cells == cell).tolist(), reason))
        numbers = cells.map(values).to_numpy(dtype=float, na_value=math.nan)
        for row in np.flatnonzero(~np.isnan(numbers)).tolist():
            result[row] = result[row] or {}
            result[row][column] = float(numbers[row])
    for row, reason in wrong.items():
        result[row] = reason
    return result


def label_list(cell: str, separator: str = "|") -> list[str]:
    """The labels of a cell, separated or written as a list of quoted words, which is never run.

    >>> label_list("Mass | Nodule"), label_list("['mass', 'nodule', nan]")
    (['Mass', 'Nodule'], ['mass', 'nodule'])

    Raises:
        InputError: a list that is not one of quoted words.
    """
    if not cell.startswith("["):
        return [label.strip() for label in cell.split(separator) if label.strip()]
    inside, position, labels = cell[1:-1].strip(), 0, []
    while position < len(inside) and cell.endswith("]"):
        match = _ITEM.match(inside, position)
        if match is None:
            break
        label = re.sub(r"\\(.)", r"\1", match[1] or match[2] or "").strip()
        labels += [label] if label else []
        position = match.end()
    if position < len(inside) or not cell.endswith("]"):
        raise InputError(f"the labels {cell[:40]!r} are not a list of quoted words")
    return labels


def image_files(root: Path) -> dict[str, str]:
    """Path relative to the root by file name, of every radiograph below it; the first of a name."""
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name).relative_to(root).as_posix()
            # a name that is not UTF-8 cannot be written into a table, nor stand in one
            if name.lower().endswith(RADIOGRAPH_SUFFIXES) and path.isprintable():
                found.setdefault(name, path)
    return found


def _label_value(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if value in LABEL_VALUES else None


def _faults(rows: pd.DataFrame) -> dict[int, str]:
    """Why a row cannot be taken, by its number: a cell that is none of its kind."""
    faults: dict[int, str] = {}
    for role in rows.columns:
        limit = MAX_NAME if role in _NAMES else MAX_CELL
        found = [(rows[role].str.len() > limit, f"its {role} is longer than {limit} characters")]
        if role in _NAMES:
            hidden = rows[role].str.strip().str.contains(_CONTROL, regex=True)
            found += [(hidden, f"its {role} holds a control character")]
        for where, reason in found:
            for number in np.flatnonzero(where.to_numpy(dtype=bool)).tolist():
                faults.setdefault(number, reason)
    return faults


def _study_id(row: Mapping[str, str]) -> str:
    study_id = row.get("study_id") or ("" if "study_id" in row else row["image"])
    if not study_id:
        raise InputError("the row has no study_id")
    return study_id


def _image(row: Mapping[str, str], root: Path) -> Image | None:
    written = row.get("image", "")
    if not written:
        if "study_id" not in row or "path" in row:
            raise InputError("the row names no image")
        return None
    view = VIEW_NAMES.get(row.get("view", "").lower(), "unknown")
    caption = clean_text(row.get("caption"))
    if "path" in row:
        return Image(written, _study_id(row), row["path"] or None, view, caption)
    pure = PurePosixPath(PureWindowsPath(written).as_posix() if "\\" in written else written)
    if pure.is_absolute() and pure.is_relative_to(root):
        pure = pure.relative_to(root)
    if pure.is_absolute() or ".." in pure.parts or _DRIVE.match(written):
        raise InputError(f"image path {written!r} leaves the folder of the table")
    relative = pure.as_posix()
    path = relative if os.path.isfile(root / relative) else None
    return Image(relative, _study_id(row), path, view, caption)


def _joined(study: _Fields, row: _Fields, separator: str) -> _Fields:
    """The study with one more row."""
    joined = dict(study)
    written = row.get("split", "")
    split = SPLIT_NAMES.get(written.lower(), "")
    if written and not split:
        raise InputError(f"unknown split {written!r}, expected one of {list(SPLITS)}")
    for name, value in (("split", split), ("patient_id", row.get("patient_id", ""))):
        if value and joined.setdefault(name, value) != value:
            raise InputError(f"the study has another {name} in an earlier row")
    if row["given"] is not None and joined.setdefault("given", row["given"]) != row["given"]:
        raise InputError("the study has other labels in an earlier row")
    for name in _TEXTS:
        if row.get(name):
            joined.setdefault(name, row[name])
    for role in ("labels", "labels_automatic"):
        if not row.get(role):
            continue
        labels = label_list(row[role], separator)
        named = ["normal" if label.lower() in _NORMAL_NAMES else label for label in labels]
        joined[role] = list(dict.fromkeys([*joined.get(role, []), *named]))
    return joined


def _study(study_id: str, fields: _Fields) -> Study:
    report = parse_report(fields["report"]) if "report" in fields else None
    section = {
        name: clean_text(fields.get(name)) or (getattr(report, name) if report else None)
        for name in SECTIONS
    }
    return Study(
        study_id=study_id,
        patient_id=fields.get("patient_id", study_id),
        findings=section["findings"],
        impression=section["impression"],
        indication=section["indication"],
        comparison=section["comparison"],
        mesh=tuple(fields.get("labels", ())),
        split=fields.get("split"),
        mesh_automatic=tuple(fields.get("labels_automatic", ())),
        labels=fields.get("given"),
    )
