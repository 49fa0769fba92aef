"""Rows as JSON lines, Parquet and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cascade.inference.rows import COLUMNS, IDENTIFYING
from cascade.io.files import atomic_path

_ROW_GROUP = 4096


def dump_row(row: dict[str, Any]) -> str:
    """A row as one line of JSON, without its line end."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file."""
    with file.open("rb") as stream:
        for line in stream:
            yield json.loads(line)


def read_table(out: Path, kind: str) -> list[dict[str, Any]]:
    """All rows of a finished archive, for archives that fit into memory.

    Args:
        out: the output directory, with ``jsonl`` among its formats.
        kind: ``images`` or ``studies``.
    """
    return [row for file in sorted((out / kind).glob("part-*.jsonl")) for row in read_rows(file)]


def write_parquet(file: Path, twin: Path, kind: str, labels: Sequence[str] | None) -> None:
    """Write a JSONL file's rows as Parquet, whole or not at all.

    Args:
        file: the rows.
        twin: what is written.
        kind: ``images`` or ``studies``.
        labels: the names of the probabilities, in order; those of the rows where it is None.

    Raises:
        CascadeError: the disk is full.
    """
    schema = _schema(file, kind, labels)
    with atomic_path(twin) as partial, pq.ParquetWriter(partial, schema) as writer:
        rows = read_rows(file)
        while group := list(islice(rows, _ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist([_flat(row) for row in group], schema=schema))


def write_csv(file: Path, twin: Path, kind: str, labels: Sequence[str] | None) -> None:
    """Write a JSONL file's rows as CSV, lists joined by ``; ``; as ``write_parquet``."""
    schema = _schema(file, kind, labels)
    with atomic_path(twin) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, schema.names, extrasaction="ignore")
        writer.writeheader()
        for row in read_rows(file):
            writer.writerow({key: _cell(value) for key, value in _flat(row).items()})


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join("" if item is None else str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else value


def _schema(file: Path, kind: str, labels: Sequence[str] | None) -> pa.Schema:
    if labels is None:
        labels = list(
            dict.fromkeys(k for row in read_rows(file) for k in row["probabilities"] or ())
        )
    fields: list[tuple[str, pa.DataType]] = []
    for name, kind_of in COLUMNS[kind].items():
        if kind_of is None:
            fields += [(f"p_{label}", pa.float32()) for label in labels]
        else:
            fields.append((name, kind_of))
    first = next(read_rows(file), {})
    return pa.schema([*fields, *((key, pa.string()) for key in IDENTIFYING if key in first)])


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **{f"p_{k}": p for k, p in (row["probabilities"] or {}).items()}}
