"""One annotated image as a row of ``annotations.jsonl`` and ``annotations.parquet``.

=================  ======================================================================
path               relative to the source; ``archive.zip!member`` inside a zip
study              16 hex digits, a hash of the Study Instance UID; null where there is none
view               frontal, lateral, unknown; null where the image was not read
status             ``draft``, ``doubtful``, ``failed`` or ``duplicate``
doubtful           true where the image or the network gave cause for doubt
annotation         the draft in annotation text; null unless status is ``draft``
sentences          the draft as report sentences; null unless status is ``draft``
confidence         of the draft, in [0, 1]
findings           the labels called present at the operating point, a list; null unless status is
                   ``draft``, and of a model without operating points
operating_point    at which they are called; null where findings is
probabilities      in JSON an object, label to probability; in Parquet one float32 column a
                   label, ``p_LABEL``: columns can be filtered and averaged where they lie
doubts, notes      lists of phrases: why it is doubtful, what the reader had to assume
reason             why it failed, or which image it duplicates
model_id           hash of the bundle
model_version      version of the program that trained it
program_version    version of the program that annotated
notice             that the draft is machine-made and unverified
=================  ======================================================================

A doubtful image keeps its probabilities and its confidence and loses its draft and its findings: a
description of something that may be no chest radiograph would read as if somebody had looked. No
row holds a header value as it stood in the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import cascade
from cascade.inference.prediction import Prediction
from cascade.io.files import atomic_path

STATUSES = ("draft", "doubtful", "failed", "duplicate")
_ROW_GROUP = 4096

_BEFORE = [
    ("path", pa.string()),
    ("study", pa.string()),
    ("view", pa.string()),
    ("status", pa.string()),
    ("doubtful", pa.bool_()),
    ("annotation", pa.string()),
    ("sentences", pa.string()),
    ("confidence", pa.float32()),
    ("findings", pa.list_(pa.string())),
    ("operating_point", pa.string()),
]
_AFTER = [
    ("doubts", pa.list_(pa.string())),
    ("notes", pa.list_(pa.string())),
    ("reason", pa.string()),
    ("model_id", pa.string()),
    ("model_version", pa.string()),
    ("program_version", pa.string()),
    ("notice", pa.string()),
]
COLUMNS = tuple(name for name, _ in _BEFORE) + ("probabilities",) + tuple(n for n, _ in _AFTER)
"""The keys of a row in JSON, in order."""


def _row(path: str, status: str, model: tuple[str, str], **values: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"path": path, "status": status, "doubtful": status == "doubtful"}
    row |= {"doubts": [], "notes": [], "model_id": model[0], "model_version": model[1]}
    return row | {
        "program_version": cascade.__version__,
        "notice": cascade.RESEARCH_NOTICE,
        **values,
    }


def failed_row(path: str, model: tuple[str, str], reason: str, **values: Any) -> dict[str, Any]:
    """The row of an image that could not be read or annotated; ``model`` is its id and version."""
    return _row(path, "failed", model, reason=reason, **values)


def duplicate_row(path: str, model: tuple[str, str], first: str, **values: Any) -> dict[str, Any]:
    """The row of an image whose UID and pixels came before, under the path ``first``."""
    return _row(path, "duplicate", model, reason=f"same SOP Instance UID as {first}", **values)


def predicted_row(
    path: str,
    model: tuple[str, str],
    prediction: Prediction,
    doubts: Sequence[str],
    **values: Any,
) -> dict[str, Any]:
    """The row of an image that was annotated; any doubt withholds draft and findings.

    Args:
        path: the row's path.
        model: the model's id and version.
        prediction: what the network says.
        doubts: what the reader doubts; the prediction's own doubts are added.
        values: ``study``, ``view`` and ``notes``.

    Raises:
        ValueError: a confidence or probability that is not finite.
    """
    numbers = [prediction.confidence, *prediction.probabilities.values()]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("the network gave a number that is not finite")
    every_doubt = list(dict.fromkeys([*doubts, *prediction.doubts]))
    row = _row(path, "doubtful" if every_doubt else "draft", model, **values)
    if not every_doubt:
        row |= {"annotation": prediction.annotation, "sentences": prediction.sentences}
        if prediction.findings is not None:
            row |= {"findings": list(prediction.findings)}
            row |= {"operating_point": prediction.operating_point}
    return row | {
        "confidence": round(float(prediction.confidence), 6),
        "probabilities": {k: round(float(p), 6) for k, p in prediction.probabilities.items()},
        "doubts": every_doubt,
    }


def dump_row(row: dict[str, Any]) -> str:
    """A row as one line of JSON, without its line end."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_tables(
    rows: Callable[[], Iterable[dict[str, Any]]], labels: Sequence[str], directory: Path
) -> None:
    """Write ``annotations.jsonl`` and ``annotations.parquet``, each whole or not at all.

    Args:
        rows: called twice; gives the rows in their final order, a few thousand held at a time.
        labels: the label names, in order, of all rows' probabilities.
        directory: an existing folder.

    Raises:
        CascadeError: the disk is full.
    """
    with (
        atomic_path(directory / "annotations.jsonl") as partial,
        partial.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        for row in rows():
            stream.write(dump_row(row) + "\n")
    columns = [(f"p_{label}", pa.float32()) for label in labels]
    schema = pa.schema([*_BEFORE, *columns, *_AFTER])
    with (
        atomic_path(directory / "annotations.parquet") as partial,
        pq.ParquetWriter(partial, schema) as writer,
    ):
        for group in _groups(rows()):
            writer.write_table(pa.Table.from_pylist([_flat(row) for row in group], schema=schema))


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(rows)
    while group := list(islice(iterator, _ROW_GROUP)):
        yield group


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **{f"p_{k}": p for k, p in (row["probabilities"] or {}).items()}}
