"""A stream of reports to labels and mentions: in batches, in several processes, with flat memory.

Each worker process imports this module, so it stays clear of pandas: starting is most of what a
worker costs.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from cascade.errors import InputError
from cascade.labels.label_sets import LABEL_SETS, NORMAL, label_values
from cascade.labels.miner import SECTIONS, Mention, mine_sections

MENTION_SCHEMA = pa.schema(
    {
        "study_id": pa.string(),
        "finding": pa.string(),
        "status": pa.string(),
        "section": pa.string(),
        "start": pa.int32(),
        "end": pa.int32(),
        "text": pa.string(),
        "sentence_start": pa.int32(),
        "sentence_end": pa.int32(),
        "phrase": pa.string(),
        "rule": pa.string(),
        "cue": pa.string(),
    }
)
"""Columns of ``mentions.parquet``; offsets count characters of the section's text."""

_BATCH = 500
Report = tuple[str, Mapping[str, str | None]]
"""A study id and the sections of its report by name."""


class MinedBatch(NamedTuple):
    """What a batch of reports says.

    Attributes:
        study_ids: of its reports.
        values: by label set, ``(N, K)`` float32 with ``normal`` first.
        mentions: the rows of ``MENTION_SCHEMA``.
    """

    study_ids: list[str]
    values: dict[str, np.ndarray]
    mentions: pa.RecordBatch


def label_names(label_set: str) -> list[str]:
    """The columns of a label set, ``normal`` first.

    Raises:
        InputError: unknown set.
    """
    if label_set not in LABEL_SETS:
        raise InputError(
            f"unknown labels.label_set {label_set!r}, expected one of {sorted(LABEL_SETS)}"
        )
    return [NORMAL, *LABEL_SETS[label_set].labels]


def mine_reports(
    reports: Iterable[Report],
    *,
    label_sets: Sequence[str] = tuple(LABEL_SETS),
    lean: bool = True,
    workers: int = 1,
    batch_size: int = _BATCH,
) -> Iterator[MinedBatch]:
    """Mine a stream of reports, in their order.

    Never more than a few batches are held, however long the stream is.

    Args:
        reports: id and sections; only findings and impression are read.
        label_sets: names of ``LABEL_SETS``.
        lean: as in ``label_values``.
        workers: processes; 1 works in this one. Each takes a second to start and to fill its cache
            of sentences: more than one pays from some ten thousand reports on.
        batch_size: reports a batch.

    Raises:
        InputError: unknown label set.
    """
    for name in label_sets:
        label_names(name)
    stream = iter(reports)
    batches = iter(lambda: list(itertools.islice(stream, batch_size)), [])
    if workers <= 1:
        for batch in batches:
            yield mine_batch(batch, label_sets, lean)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending: deque[concurrent.futures.Future[MinedBatch]] = deque()
        for batch in batches:
            pending.append(pool.submit(mine_batch, batch, tuple(label_sets), lean))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def mine_batch(batch: Sequence[Report], label_sets: Sequence[str], lean: bool) -> MinedBatch:
    """Mine some reports; what a worker does."""
    columns = {
        name: {label: column for column, label in enumerate(label_names(name))}
        for name in label_sets
    }
    values = {
        name: np.full((len(batch), len(labels)), np.nan, dtype=np.float32)
        for name, labels in columns.items()
    }
    rows: list[tuple[str, Mention]] = []
    for row, (study_id, sections) in enumerate(batch):
        mentions = mine_sections(sections)
        rows += [(study_id, mention) for mention in mentions]
        has_text = any((sections.get(section) or "").strip() for section in SECTIONS)
        for name, column_of in columns.items():
            known = label_values(mentions, LABEL_SETS[name], lean=lean, has_text=has_text)
            for label, value in known.items():
                values[name][row, column_of[label]] = value
    return MinedBatch([study_id for study_id, _ in batch], values, _mention_rows(rows))


def _mention_rows(rows: Sequence[tuple[str, Mention]]) -> pa.RecordBatch:
    mentions = [mention for _, mention in rows]
    columns = [
        [study_id for study_id, _ in rows],
        [m.finding for m in mentions],
        [m.status for m in mentions],
        [m.section for m in mentions],
        [m.start for m in mentions],
        [m.end for m in mentions],
        [m.text for m in mentions],
        [m.sentence[0] for m in mentions],
        [m.sentence[1] for m in mentions],
        [m.phrase for m in mentions],
        [m.rule for m in mentions],
        [m.cue for m in mentions],
    ]
    arrays = [
        pa.array(column, type=field.type)
        for column, field in zip(columns, MENTION_SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=MENTION_SCHEMA)
