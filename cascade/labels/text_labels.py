"""Many reports to labels and mentions: in batches, in several processes, with flat memory."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cascade.errors import InputError
from cascade.io.collection import SPLITS, Collection
from cascade.io.files import atomic_path
from cascade.labels.choosing import check_choice
from cascade.labels.label_sets import LABEL_SETS, NORMAL, PRESENT, label_values
from cascade.labels.miner import SECTIONS, Mention, mine_sections
from cascade.labels.table import Label, LabelTable

UNMENTIONED = ("unknown", "absent")
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
_ROW_GROUP = 2**16
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
            yield _mine_batch(batch, label_sets, lean)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending: deque[concurrent.futures.Future[MinedBatch]] = deque()
        for batch in batches:
            pending.append(pool.submit(_mine_batch, batch, tuple(label_sets), lean))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _mine_batch(batch: Sequence[Report], label_sets: Sequence[str], lean: bool) -> MinedBatch:
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


def mine_text_labels(
    collection: Collection,
    mentions_path: str | Path | None = None,
    *,
    label_set: str = "chestxray14",
    lean: bool = True,
    unmentioned: str = "unknown",
    min_studies: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> LabelTable:
    """The label table of a collection's reports; the mentions behind it go to a file.

    Args:
        collection: studies with findings or an impression.
        mentions_path: where ``mentions.parquet`` is written, if at all.
        label_set: a name of ``LABEL_SETS``.
        lean: a doubt that leans towards the finding counts as present; otherwise as uncertain.
        unmentioned: ``unknown``, or ``absent`` for the reading in which a report that says nothing
            of a finding denies it (a report without text stays unknown).
        min_studies: leave out labels present in fewer training studies than this.
        workers: processes.
        progress: called with reports done and in all.

    Raises:
        InputError: unknown label set or reading, no report with text, no label left.
    """
    names = label_names(label_set)
    check_choice("unmentioned", unmentioned, UNMENTIONED)
    language = collection.info.get("language", "en")
    if language != "en":
        raise InputError(
            f"the reports are in the language {language!r} and the lexicon is English: use "
            "labels=given or labels=terms"
        )
    studies = collection.studies
    ids: list[str] = studies["study_id"].tolist()
    texts = {section: studies[section].tolist() for section in SECTIONS}
    if not any(text for column in texts.values() for text in column):
        raise InputError(
            "no study has findings or an impression to mine: use labels=terms, labels=patterns or "
            "labels=given for a collection of labels alone"
        )
    reports = (
        (study_id, {section: texts[section][row] for section in SECTIONS})
        for row, study_id in enumerate(ids)
    )
    batches = mine_reports(reports, label_sets=(label_set,), lean=lean, workers=workers)
    parts = []
    with mention_writer(mentions_path) as write:
        done = 0
        for batch in batches:
            parts.append(batch.values[label_set])
            write(batch.mentions)
            done += len(batch.study_ids)
            if progress is not None:
                progress(done, len(ids))
    values = np.concatenate(parts)
    if unmentioned == "absent":
        read = ~np.isnan(values).all(axis=1, keepdims=True)
        values = np.where(np.isnan(values) & read, np.float32(0), values)
    train = (studies["split"] == SPLITS[0]).to_numpy(dtype=bool)
    if not train.any():  # nobody has a split yet
        train = np.ones_like(train)
    present = (values[train] == PRESENT).sum(axis=0)
    kept = [column for column in range(len(names)) if present[column] >= min_studies]
    if not kept:
        raise InputError(
            f"no label is present in {min_studies} training studies: lower labels.min_studies"
        )
    described = LABEL_SETS[label_set].labels
    labels = [
        Label(names[c], names[c], ", ".join(described.get(names[c], ("nothing was found",))))
        for c in kept
    ]
    frame = pd.DataFrame(
        values[:, kept],
        index=pd.Index(ids, name="study_id"),
        columns=[names[c] for c in kept],
    )
    rule = {
        "name": "text",
        "text": "the strongest mention in findings or impression decides; see mentions.parquet",
        "label_set": label_set,
        "source": LABEL_SETS[label_set].source,
        "lean": lean,
        "unmentioned": unmentioned,
        "min_studies": min_studies,
    }
    return LabelTable(frame, labels, False, rule)


@contextlib.contextmanager
def mention_writer(path: str | Path | None) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """A function that appends rows to a Parquet file, which appears whole or not at all."""
    if path is None:
        yield lambda batch: None
        return
    held: list[pa.RecordBatch] = []
    with atomic_path(path) as partial, pq.ParquetWriter(partial, MENTION_SCHEMA) as writer:

        def flush() -> None:
            if held:
                writer.write_table(pa.Table.from_batches(held))
                held.clear()

        def write(batch: pa.RecordBatch) -> None:
            # a row group is compressed by itself: one for each batch would be 500 in 250,000
            # reports, each with its own copy of the words
            held.append(batch)
            if sum(each.num_rows for each in held) >= _ROW_GROUP:
                flush()

        yield write
        flush()
