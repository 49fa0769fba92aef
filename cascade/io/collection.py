"""A collection: studies and their images as two tables, whatever the source was.

On disk it is a directory of ``studies.parquet``, ``images.parquet`` and ``collection.json``. Image
files are not copied: ``images.path`` is relative to the collection's image root, which
``collection.json`` names (relative to the collection where it lies inside or beside it).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cascade.errors import InputError
from cascade.io.files import atomic_directory, atomic_path, read_json, write_json

FORMAT_VERSION = 1
SPLITS = ("train", "val", "test")
VIEWS = ("frontal", "lateral", "unknown")
LABEL_VALUES = (1, 0, -1)
"""What a label given by the source may be: present, absent, uncertain."""
_TERMS = pa.list_(pa.string())
STUDY_SCHEMA = {
    "study_id": pa.string(),
    "patient_id": pa.string(),
    "findings": pa.string(),
    "impression": pa.string(),
    "indication": pa.string(),
    "comparison": pa.string(),
    "mesh": _TERMS,
    "mesh_automatic": _TERMS,
    "labels": pa.map_(pa.string(), pa.float32()),
    "split": pa.string(),
}
IMAGE_SCHEMA = {
    "image_id": pa.string(),
    "study_id": pa.string(),
    "path": pa.string(),
    "view": pa.string(),
    "caption": pa.string(),
}
STUDY_COLUMNS = tuple(STUDY_SCHEMA)
IMAGE_COLUMNS = tuple(IMAGE_SCHEMA)
_EMPTY: dict[str, Any] = {"mesh_automatic": (), "labels": None, "caption": None}
"""What a column holds where a collection, written by an earlier program, lacks it."""


@dataclasses.dataclass(frozen=True)
class Study:
    """One examination as a reader yields it; texts are None where the source has none.

    Attributes:
        mesh: the annotation's terms in the source's order and spelling; an empty tuple means that
            nobody annotated the study, which is not the same as normal.
        mesh_automatic: terms that a program, not a person, gave the report; nothing is mined from
            them.
        labels: labels that the source itself gives by name, as CheXpert's do: 1 present, 0 absent,
            -1 uncertain; a name left out is unmentioned. None where the source gives none.
    """

    study_id: str
    patient_id: str
    findings: str | None = None
    impression: str | None = None
    indication: str | None = None
    comparison: str | None = None
    mesh: tuple[str, ...] = ()
    split: str | None = None
    mesh_automatic: tuple[str, ...] = ()
    labels: Mapping[str, float] | None = None


@dataclasses.dataclass(frozen=True)
class Image:
    """One image of a study; ``path`` is None where the source names it but the file is missing.

    ``caption`` is what the source prints below the image, None for nothing.
    """

    image_id: str
    study_id: str
    path: str | None
    view: str = "unknown"
    caption: str | None = None


@dataclasses.dataclass
class Collection:
    """Studies and images.

    Attributes:
        studies: one row a study, columns ``STUDY_COLUMNS``; ``mesh`` and ``mesh_automatic`` are
            lists of strings, ``labels`` a dict by name, or None.
        images: one row an image, columns ``IMAGE_COLUMNS``; ``path`` is None where missing.
        image_root: the folder that ``images.path`` is relative to.
        info: what ``collection.json`` says: source, counts, how it was made.
    """

    studies: pd.DataFrame
    images: pd.DataFrame
    image_root: Path
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def build(
        cls,
        studies: Iterable[Study],
        images: Iterable[Image],
        image_root: str | Path,
        info: Mapping[str, Any] | None = None,
    ) -> Collection:
        """Make the tables from plain objects and validate them.

        Raises:
            InputError: as ``validate``.
        """
        study_rows = [[getattr(study, name) for name in STUDY_COLUMNS] for study in studies]
        image_rows = [[getattr(image, name) for name in IMAGE_COLUMNS] for image in images]
        study_table = pd.DataFrame(study_rows, columns=list(STUDY_COLUMNS), dtype=object)
        image_table = pd.DataFrame(image_rows, columns=list(IMAGE_COLUMNS), dtype=object)
        _plain(study_table)
        collection = cls(study_table, image_table, Path(image_root), dict(info or {}))
        collection.validate()
        return collection

    def validate(self) -> None:
        """Check the contract.

        Raises:
            InputError: no study; a missing column; an id twice; an image of no study; a split or
                view of another name; a patient in two splits; a given label that is not 1, 0 or -1;
                a path that leaves the image root.
        """
        for name, table, columns in (
            ("studies", self.studies, STUDY_COLUMNS),
            ("images", self.images, IMAGE_COLUMNS),
        ):
            missing = [column for column in columns if column not in table.columns]
            if missing:
                raise InputError(f"{name}.parquet lacks the column(s) {', '.join(missing)}")
        if self.studies.empty:
            raise InputError("the collection is empty: no study was found in the source")
        for table, key in ((self.studies, "study_id"), (self.images, "image_id")):
            twice = table[key][table[key].duplicated()]
            if len(twice):
                raise InputError(f"{key} {twice.iloc[0]!r} occurs twice ({len(twice)} repeated)")
        strangers = set(self.images["study_id"]) - set(self.studies["study_id"])
        if strangers:
            raise InputError(
                f"image of an unknown study {min(strangers)!r} ({len(strangers)} such)"
            )
        self._validate_names(self.images["view"], VIEWS, "view")
        splits = self.studies["split"].dropna()
        self._validate_names(splits, SPLITS, "split")
        by_patient = self.studies.loc[splits.index].groupby("patient_id")["split"].nunique()
        if (by_patient > 1).any():
            count = int((by_patient > 1).sum())
            raise InputError(
                f"{count} patient(s) stand in more than one split: split by patient, not by study"
            )
        for study_id, given in zip(self.studies["study_id"], self.studies["labels"], strict=True):
            for name, value in (given or {}).items():
                if value not in LABEL_VALUES:
                    raise InputError(
                        f"study {study_id!r} gives the label {name!r} as {value}, "
                        f"expected one of {list(LABEL_VALUES)}"
                    )
        for path in self.images["path"].dropna():
            pure = PurePosixPath(path)
            if pure.is_absolute() or ".." in pure.parts:
                raise InputError(f"image path {path!r} leaves the image root")

    @staticmethod
    def _validate_names(values: pd.Series, allowed: tuple[str, ...], what: str) -> None:
        wrong = set(values) - set(allowed)
        if wrong:
            first = min(map(str, wrong))
            raise InputError(f"unknown {what} {first!r}, expected one of {list(allowed)}")

    @property
    def counts(self) -> dict[str, int]:
        """How many studies, patients, images named and images found."""
        return {
            "studies": len(self.studies),
            "patients": int(self.studies["patient_id"].nunique()),
            "images_named": len(self.images),
            "images_found": int(self.images["path"].notna().sum()),
        }

    def image_path(self, path: str) -> Path:
        """The file of an ``images.path`` entry."""
        return self.image_root / path


def write_collection(collection: Collection, directory: str | Path) -> None:
    """Write the collection as a directory, whole or not at all.

    Raises:
        InputError: the directory is not empty, or the collection is invalid.
        CascadeError: the disk is full.
    """
    collection.validate()
    directory = Path(directory)
    with atomic_directory(directory) as partial:
        write_tables(collection, partial, final=directory)


def write_tables(collection: Collection, directory: Path, final: Path | None = None) -> None:
    """Write the three files into an existing directory that will be known as ``final``."""
    root = os.path.relpath(collection.image_root.resolve(), (final or directory).resolve())
    if root.count("..") > 3:  # far away: an absolute path survives moving the collection better
        root = str(collection.image_root.resolve())
    for name, table, columns in (
        ("studies", collection.studies, STUDY_SCHEMA),
        ("images", collection.images, IMAGE_SCHEMA),
    ):
        written = pa.table(
            {
                column: pa.array([_stored(value) for value in table[column]], type=kind)
                for column, kind in columns.items()
            }
        )
        with atomic_path(directory / f"{name}.parquet") as partial:
            pq.write_table(written, partial)
    info = {**collection.info, "format_version": FORMAT_VERSION, "image_root": root}
    write_json(directory / "collection.json", {**info, "counts": collection.counts})


def read_collection(directory: str | Path) -> Collection:
    """Read a collection and check it.

    Raises:
        InputError: not a collection, another format version, or invalid tables.
    """
    directory = Path(directory)
    if not (directory / "collection.json").is_file():
        hint = "`cascade prepare data=NAME out=DIR` writes one"
        if not directory.exists():
            raise InputError(f"the collection {directory} does not exist: {hint}")
        raise InputError(f"{directory} is not a collection (no collection.json): {hint}")
    info = read_json(directory / "collection.json")
    version = info.get("format_version") if isinstance(info, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{directory} has collection format {version}, this program reads {FORMAT_VERSION}: "
            "prepare it again"
        )
    tables = []
    for name in ("studies", "images"):
        try:
            table = pd.read_parquet(directory / f"{name}.parquet")
        except (OSError, ValueError) as error:
            raise InputError(f"{directory / name}.parquet cannot be read: {error}") from error
        tables.append(table.astype(object).where(table.notna(), None))
    studies, images = tables
    for table, columns in ((studies, STUDY_COLUMNS), (images, IMAGE_COLUMNS)):
        for column in columns:
            if column not in table and column in _EMPTY:
                table[column] = [_EMPTY[column]] * len(table)
    _plain(studies)
    collection = Collection(studies, images, (directory / info["image_root"]).resolve(), info)
    collection.validate()
    return collection


def _stored(value: Any) -> Any:
    """A cell as Arrow takes it: a dict as its items, NaN as nothing."""
    if isinstance(value, Mapping):
        return list(value.items())
    return None if isinstance(value, float) and value != value else value


def _plain(studies: pd.DataFrame) -> None:
    """Terms as lists and labels as dicts, in place, whatever Arrow or a reader made of them."""
    for column in ("mesh", "mesh_automatic"):
        if column in studies:
            terms = [[] if cell is None else list(cell) for cell in studies[column]]
            studies[column] = pd.Series(terms, index=studies.index, dtype=object)
    if "labels" in studies:
        labels = [None if cell is None else dict(cell) for cell in studies["labels"]]
        studies["labels"] = pd.Series(labels, index=studies.index, dtype=object)
