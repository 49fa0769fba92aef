"""The Indiana University collection as its Kaggle copy has it: two CSV files in place of the XML.

The same studies as Open-i's (``openi``), by the same ids, so that collections of either can be
compared. ``indiana_reports.csv`` has one row a report (uid, MeSH, Problems, image, indication,
comparison, findings, impression) and ``indiana_projections.csv`` one row an image (uid, filename,
projection). ``Problems`` is not read: it repeats the first words of the MeSH terms and automatic
ones, unmarked. Neither are captions and automatic terms, which the copy does not have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from cascade.errors import InputError
from cascade.io.collection import Collection, Image, Study
from cascade.io.openi import NO_INDEXING
from cascade.io.openi_images import (
    beside,
    image_key,
    image_name,
    match_images,
    natural_order,
    read_splits,
    split_info,
    view_of,
)
from cascade.io.report import SECTIONS, clean_text
from cascade.io.table import read_csv

REPORTS = "indiana_reports.csv"
PROJECTIONS = "indiana_projections.csv"

_UID = re.compile(r"(?:CXR)?([0-9]{1,9})(?:\.0)?")
_Rejected = list[dict[str, str]]


def read_indiana(
    root: str | Path,
    *,
    reports: str | Path | None = None,
    projections: str | Path | None = None,
    images: str | Path | None = None,
    split_file: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Read the collection with whatever images are present; studies without images are kept.

    A study is ``CXR`` and its uid. Its MeSH cell is cut at semicolons (a term may hold a comma);
    ``normal`` is kept as a term and ``No Indexing`` is none, as in ``read_openi``.

    Args:
        root: the folder of the two files, or the reports' file itself.
        reports: the reports' file (default: ``indiana_reports.csv`` in the root).
        projections: the images' file (default: ``indiana_projections.csv`` in the root).
        images: the folder below which the images are (default: the root's).
        split_file: as for ``read_openi``.
        progress: called with the number of reports read.

    Returns:
        The collection; ``info`` is as of ``read_openi``, and ``info["rejected"]`` lists the rows
        left out of either file, each with its reason.

    Raises:
        InputError: a file or folder is missing, is no such CSV, or has no row that can be read.
    """
    root = Path(root)
    folder = root.parent if root.is_file() else root
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist: {_expected(folder)}")
    if reports is None and root.is_file():
        reports = root
    reports_path = _file(folder, reports, REPORTS, "reports")
    projections_path = _file(folder, projections, PROJECTIONS, "projections")
    image_root = Path(images) if images is not None else folder
    if not image_root.is_dir():
        raise InputError(f"the image folder {image_root} does not exist")
    rejected: _Rejected = []
    split_of = read_splits(split_file)
    studies = _read_reports(reports_path, split_of, rejected, progress)
    rows = _read_projections(projections_path, set(studies), rejected)

    names: dict[str, list[str]] = {study_id: [] for study_id in studies}
    for name, (study_id, _) in sorted(rows.items()):
        names[study_id].append(name)
    found, unused = match_images(names, image_root)
    return Collection.build(
        studies.values(),
        [
            Image(name, study_id, found.get(name), rows[name][1])
            for study_id, of_study in names.items()
            for name in of_study
        ],
        image_root,
        {
            "source": "indiana",
            "reports": reports_path.name,
            "images_named": len(rows),
            "images_found": len(found),
            "files_unused": {"count": len(unused), "first": unused[:10]},
            "unindexed": sum(not study.mesh for study in studies.values()),
            "rejected": rejected,
            **split_info(split_file, split_of, set(studies)),
        },
    )


def _expected(folder: Path) -> str:
    return f"{REPORTS} and {PROJECTIONS} of the collection's Kaggle copy belong into {folder}"


def _file(folder: Path, given: str | Path | None, name: str, option: str) -> Path:
    path = beside(folder, given, name)
    if path is None:
        raise InputError(
            f"{folder} holds no {name}: put it there, or name it with data.{option}=FILE "
            f"({_expected(folder)})"
        )
    return path


def _read_reports(
    path: Path,
    split_of: dict[str, str],
    rejected: _Rejected,
    progress: Callable[[int], None] | None,
) -> dict[str, Study]:
    """Study by id, in the order of the ids."""
    table = read_csv(path, required=("uid", "MeSH", *SECTIONS))
    columns = {name: table[name].tolist() for name in ("uid", "MeSH", *SECTIONS)}
    first = len(rejected)
    studies: dict[str, Study] = {}
    for number in range(len(table)):
        row = {name: values[number] for name, values in columns.items()}
        try:
            study_id = _study_id(row["uid"])
            if study_id in studies:
                raise InputError(f"study {study_id} stands in an earlier row already")
        except InputError as error:
            rejected.append({"file": f"{path.name}:{number + 2}", "reason": str(error)})
            continue
        terms = [clean_text(term) for term in row["MeSH"].split(";")]
        studies[study_id] = Study(
            study_id=study_id,
            patient_id=study_id,
            findings=clean_text(row["findings"]),
            impression=clean_text(row["impression"]),
            indication=clean_text(row["indication"]),
            comparison=clean_text(row["comparison"]),
            mesh=tuple(term for term in terms if term and term.lower() != NO_INDEXING),
            split=split_of.get(study_id),
        )
        if progress is not None:
            progress(len(studies))
    if not studies:
        raise InputError(f"no row of {path} can be read; the first: {rejected[first]['reason']}")
    return dict(sorted(studies.items(), key=lambda item: natural_order(item[0])))


def _read_projections(
    path: Path, study_ids: set[str], rejected: _Rejected
) -> dict[str, tuple[str, str]]:
    """Study and view by image name."""
    table = read_csv(path, required=("uid", "filename", "projection"))
    rows: dict[str, tuple[str, str]] = {}
    cells = zip(table["uid"], table["filename"], table["projection"], strict=True)
    for number, (uid, file, projection) in enumerate(cells, start=2):
        try:
            study_id = _study_id(uid)
            key = image_key(clean_text(file) or "")
            if not key:
                raise InputError("the row has no filename")
            if study_id not in study_ids:
                raise InputError(f"image {file.strip()!r} of study {study_id}, which has no report")
            name = image_name(key)
            if name in rows:
                raise InputError(f"image {file.strip()!r} stands in an earlier row already")
            if image_key(name).split("_")[0] != image_key(study_id):
                raise InputError(f"image {file.strip()!r} is not of study {study_id} by its name")
        except InputError as error:
            rejected.append({"file": f"{path.name}:{number}", "reason": str(error)})
            continue
        rows[name] = study_id, view_of(projection)
    return rows


def _study_id(uid: str) -> str:
    match = _UID.fullmatch(uid.strip())
    if match is None:
        raise InputError(f"uid {uid.strip()[:40]!r} is not a number" if uid.strip() else "no uid")
    return f"CXR{int(match[1])}"
