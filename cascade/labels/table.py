"""The label table: what is known of each study, one column a label.

On disk a directory of ``labels.parquet`` (study_id and one column a label: 1 present, 0 absent,
-1 uncertain, NaN unknown) and ``labels.json`` (name, rule, counts, order).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascade.errors import InputError
from cascade.io.files import atomic_directory, atomic_path, read_json, write_json

FORMAT_VERSION = 1
NORMAL = "normal"
"""The label of a study in which nothing was found."""


@dataclasses.dataclass(frozen=True)
class Label:
    """One column of a label table.

    Attributes:
        name: the column.
        disease: the disease it belongs to: itself in the first round; in later rounds a label is
            one context of a disease (``opacity#2`` of ``opacity``).
        description: what it means in words, for pages and model cards.
    """

    name: str
    disease: str
    description: str = ""


def disease_owners(labels: Sequence[Label]) -> list[int]:
    """For each label the index of the disease that it speaks for, in order of first appearance.

    Where a disease stands beside its contexts, it speaks for itself and they for nothing (-1).

    >>> opacity = Label("opacity", "opacity")
    >>> contexts = [Label("opacity#1", "opacity"), Label("nodule#1", "nodule")]
    >>> disease_owners([opacity, *contexts])
    [0, -1, 1]
    """
    diseases = list(dict.fromkeys(label.disease for label in labels))
    whole = {label.disease for label in labels if label.name == label.disease}
    return [
        -1
        if label.disease in whole and label.name != label.disease
        else diseases.index(label.disease)
        for label in labels
    ]


@dataclasses.dataclass
class LabelTable:
    """Labels of studies.

    Attributes:
        values: index ``study_id``, one float32 column a label in {1, 0, -1, NaN}.
        labels: the columns in order.
        exclusive: True where each study carries at most one label (softmax), False for many.
        rule: how the labels were made, in words and plain values.
    """

    values: pd.DataFrame
    labels: list[Label]
    exclusive: bool
    rule: dict[str, Any]

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            InputError: no label, columns that differ from the labels, a study twice, another value,
                or two labels on one study of an exclusive table.
        """
        if not self.labels:
            raise InputError("no label was found: lower the threshold, or look at the collection")
        if list(self.values.columns) != self.names:
            raise InputError("the label table's columns and its labels.json differ")
        if self.values.index.has_duplicates:
            raise InputError("a study stands twice in the label table")
        array = self.values.to_numpy()
        if not (np.isnan(array) | np.isin(array, (1, 0, -1))).all():
            raise InputError("a label table holds only 1, 0, -1 and empty values")
        if self.exclusive and ((array == 1).sum(axis=1) > 1).any():
            raise InputError("a study carries two labels in a table of exclusive labels")

    @property
    def names(self) -> list[str]:
        """The label names in column order."""
        return [label.name for label in self.labels]

    @property
    def diseases(self) -> list[str]:
        """The diseases in order of first appearance."""
        return list(dict.fromkeys(label.disease for label in self.labels))

    def rows(self, study_ids: Sequence[str]) -> np.ndarray:
        """The values of some studies, ``(N, K)`` float32; NaN for a study that has no row."""
        return self.values.reindex(list(study_ids)).to_numpy(dtype=np.float32)

    def counts(self) -> pd.DataFrame:
        """Present, absent, uncertain and unknown studies of each label."""
        array = self.values.to_numpy()
        return pd.DataFrame(
            {
                "present": (array == 1).sum(axis=0),
                "absent": (array == 0).sum(axis=0),
                "uncertain": (array == -1).sum(axis=0),
                "unknown": np.isnan(array).sum(axis=0),
            },
            index=pd.Index(self.names, name="label"),
        )


def write_label_table(table: LabelTable, directory: str | Path) -> None:
    """Write the table as a directory, whole or not at all.

    Raises:
        InputError: the directory is not empty.
        CascadeError: the disk is full.
    """
    with atomic_directory(directory) as partial:
        write_label_files(table, partial)


def write_label_files(table: LabelTable, directory: Path) -> None:
    """Write the table's two files into a directory that is being written."""
    with atomic_path(directory / "labels.parquet") as file:
        frame = table.values.astype(np.float32).rename_axis("study_id").reset_index()
        frame.to_parquet(file, index=False)
    counts = table.counts()
    write_json(
        directory / "labels.json",
        {
            "format_version": FORMAT_VERSION,
            "rule": table.rule,
            "exclusive": table.exclusive,
            "labels": [
                {**dataclasses.asdict(label), **counts.loc[label.name].astype(int).to_dict()}
                for label in table.labels
            ],
        },
    )


def labels_from_json(entries: Sequence[dict[str, Any]]) -> list[Label]:
    """Labels from the entries of ``labels.json`` (a table's or a bundle's)."""
    return [Label(e["name"], e["disease"], e.get("description", "")) for e in entries]


def read_label_table(directory: str | Path) -> LabelTable:
    """Read a label table and check it.

    Raises:
        InputError: not a label table, another format version, or an invalid one.
    """
    directory = Path(directory)
    if not (directory / "labels.json").is_file():
        raise InputError(
            f"{directory} is not a label table (no labels.json): "
            "`cascade mine collection=DIR out=DIR` writes one"
        )
    info = read_json(directory / "labels.json")
    if info.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{directory} has label table format {info.get('format_version')}, "
            f"this program reads {FORMAT_VERSION}: mine it again"
        )
    try:
        frame = pd.read_parquet(directory / "labels.parquet").set_index("study_id")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{directory}/labels.parquet cannot be read: {error}") from error
    labels = labels_from_json(info["labels"])
    return LabelTable(frame.astype(np.float32), labels, bool(info["exclusive"]), info["rule"])
