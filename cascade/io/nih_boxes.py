"""The boxes of ChestX-ray14 (``BBox_List_2017.csv``): where findings of some images are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cascade.errors import InputError
from cascade.io.nih import annotation
from cascade.io.table import read_csv

SIDE = 1024
"""Pixels of a side of the pictures on which the boxes were drawn."""

_NUMBERS = ("Bbox [x", "y", "w", "h]")
_OTHER_NAMES = {"Infiltrate": "Infiltration"}


class FindingBox(NamedTuple):
    """A box around a finding, in shares of the picture's width and height."""

    study_id: str
    label: str
    left: float
    top: float
    right: float
    bottom: float


def read_nih_boxes(path: str | Path) -> list[FindingBox]:
    """Read the list.

    Args:
        path: of ``BBox_List_2017.csv`` or a part of it: ``Image Index``, ``Finding Label`` and the
            four numbers of ``Bbox [x,y,w,h]`` in pixels of 1024.

    Raises:
        InputError: missing, not such a list, an unknown label, or a box that is none; the row is
            named.
    """
    columns = ["Image Index", "Finding Label", *_NUMBERS]
    table = read_csv(path, columns, columns)
    boxes = []
    for number, cells in zip(table.index, table[columns].itertuples(index=False), strict=True):
        image, label, *texts = (str(cell).strip() for cell in cells)
        try:
            x, y, width, height = (float(text) / SIDE for text in texts)
            (name,) = annotation(_OTHER_NAMES.get(label, label))
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}") from error
        if not (0 <= x < 1 and 0 <= y < 1 and 0 < width <= 1 and 0 < height <= 1):
            raise InputError(f"{path}, row {number}: no box within {SIDE} pixels: {texts}")
        boxes.append(FindingBox(Path(image).stem, name, x, y, x + width, y + height))
    return boxes
