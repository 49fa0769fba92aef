"""Studies as batches: images from the cache, labels from the table, text as it is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cascade.data.cache import ImageCache
from cascade.errors import InputError
from cascade.io.collection import Collection
from cascade.labels.mesh import annotation_text
from cascade.labels.table import LabelTable

TARGETS = ("annotation", "impression", "findings", "both")
SECTIONS = {"findings": "Findings:", "impression": "Impression:"}
"""The headings of ``both``; a section that a report lacks goes with its heading."""


class Batch(NamedTuple):
    """What the networks see of some studies.

    Shape:
        - images: ``(B, V, 1, H, W)``, uint8 as loaded, float32 in [0, 1] once on the device
        - views: ``(B, V)`` bool, which of the V places hold an image
        - labels: ``(B, K)`` 1, 0, -1 uncertain, NaN unknown
        - study_ids: B names
    """

    images: Tensor
    views: Tensor
    labels: Tensor
    study_ids: list[str]


@dataclasses.dataclass
class StudyRecords:
    """The studies of one split that have an image, in the collection's order.

    Attributes:
        study_ids: N names.
        patient_ids: N names.
        texts: N targets as written; empty where the study has none.
        image_rows: for each study the cache rows of its images, frontal views first.
        indications: N, as written; empty where the study has none.
        laterals: cache rows of every picture of the split that is known to be lateral, read or not.
    """

    study_ids: list[str]
    patient_ids: list[str]
    texts: list[str]
    image_rows: list[list[int]]
    indications: list[str] = dataclasses.field(default_factory=list)
    laterals: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        """Without indications no study has one."""
        self.indications = self.indications or [""] * len(self.study_ids)

    def __len__(self) -> int:
        """Number of studies."""
        return len(self.study_ids)

    def select(self, keep: Sequence[int]) -> StudyRecords:
        """Some of the studies, in the order given."""
        return StudyRecords(
            [self.study_ids[i] for i in keep],
            [self.patient_ids[i] for i in keep],
            [self.texts[i] for i in keep],
            [self.image_rows[i] for i in keep],
            [self.indications[i] for i in keep],
            self.laterals,
        )


def target_texts(collection: Collection, target: str) -> list[str]:
    """The text that the decoder learns, one a study in the collection's order.

    Raises:
        ValueError: unknown target.
    """
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}, expected one of {list(TARGETS)}")
    studies = collection.studies
    if target == "annotation":
        return [annotation_text(mesh) for mesh in studies["mesh"]]
    if target == "both":
        parts = [
            [f"{heading} {text}" if text else "" for text in _plain(studies[section])]
            for section, heading in SECTIONS.items()
        ]
        return [" ".join(filter(None, sections)) for sections in zip(*parts, strict=True)]
    return _plain(studies[target])


def _plain(texts: Iterable[str | None]) -> list[str]:
    return [" ".join(str(text or "").split()) for text in texts]


_VIEW_ORDER = {"frontal": 0, "unknown": 1, "lateral": 2}


def study_records(
    collection: Collection,
    cache: ImageCache,
    split: str,
    target: str = "annotation",
    views: int = 1,
) -> StudyRecords:
    """Collect the studies of a split that have a readable image.

    Args:
        collection: the studies.
        cache: the decoded images.
        split: ``train``, ``val`` or ``test``.
        target: which text.
        views: at most so many images a study; frontal ones first. A study whose only images are
            known to be lateral is left out while ``views`` is 1, since one view means the frontal.

    Raises:
        InputError: no study of the split has an image.
    """
    images = collection.images[collection.images["image_id"].isin(cache.rows)]
    order = images["view"].map(_VIEW_ORDER)
    parts = dict(zip(collection.studies["study_id"], collection.studies["split"], strict=True))
    laterals = images[(order == 2) & (images["study_id"].map(parts) == split)]["image_id"]
    if views == 1:
        images, order = images[order < 2], order[order < 2]
    images = images.assign(order=order).sort_values("order", kind="stable")
    rows: dict[str, list[int]] = {}
    for study_id, image_id in zip(images["study_id"], images["image_id"], strict=True):
        rows.setdefault(study_id, []).append(cache.rows[image_id])
    texts = target_texts(collection, target)
    chosen = [
        (study_id, patient_id, text, rows[study_id][:views], indication)
        for study_id, patient_id, text, indication, part in zip(
            collection.studies["study_id"],
            collection.studies["patient_id"],
            texts,
            _plain(collection.studies["indication"]),
            collection.studies["split"],
            strict=True,
        )
        if part == split and study_id in rows
    ]
    if not chosen:
        raise InputError(f"no study of the {split} split has a readable image")
    found = StudyRecords(*map(list, zip(*chosen, strict=True)))
    found.laterals = [cache.rows[image_id] for image_id in laterals]
    return found


class StudyDataset(Dataset[Batch]):
    """Reads whole batches at once: one indexed copy out of the memory map."""

    def __init__(self, records: StudyRecords, cache: ImageCache, table: LabelTable) -> None:
        """Join records, pixels and labels."""
        self.records, self.cache = records, cache
        self.labels = torch.from_numpy(table.rows(records.study_ids).copy())
        self.places = max(map(len, records.image_rows))
        self.rows = np.zeros((len(records), self.places), dtype=np.int64)
        self.present = np.zeros((len(records), self.places), dtype=bool)
        for index, rows in enumerate(records.image_rows):
            self.rows[index, : len(rows)] = rows
            self.present[index, : len(rows)] = True

    def __len__(self) -> int:
        """Number of studies."""
        return len(self.records)

    def __getitem__(self, index: int) -> Batch:
        """A batch of one study."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch of some studies."""
        chosen = np.asarray(indices)
        pixels = np.asarray(self.cache.pixels[self.rows[chosen]])
        pixels[~self.present[chosen]] = 0
        return Batch(
            torch.from_numpy(pixels).unsqueeze(2),
            torch.from_numpy(self.present[chosen]),
            self.labels[chosen],
            [self.records.study_ids[i] for i in indices],
        )

    def batches(self, size: int) -> Iterator[Batch]:
        """Every study once, in order, at most ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.__getitems__(range(start, min(start + size, len(self))))


def pass_batch(batch: Any) -> Batch:
    """The collate function, which is given what ``__getitems__`` made: a whole batch already."""
    return batch
