"""The label table of a collection's reports, and the mentions behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cascade.errors import InputError
from cascade.io.collection import SPLITS, Collection
from cascade.io.files import atomic_path
from cascade.labels.choosing import check_choice
from cascade.labels.label_sets import LABEL_SETS, PRESENT
from cascade.labels.mined_batches import MENTION_SCHEMA, label_names, mine_reports
from cascade.labels.miner import SECTIONS
from cascade.labels.table import Label, LabelTable

UNMENTIONED = ("unknown", "absent")
_ROW_GROUP = 2**16


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
