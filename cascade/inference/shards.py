"""Rows in numbered files of a bounded size: ``part-00000.jsonl`` and its Parquet and CSV twins.

JSONL is what rows are appended to and what a kill can tear; the index knows how long each shard is,
and what lies beyond is cut off. A shard that is full is closed, and its twins are written, whole or
not at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cascade.errors import InputError
from cascade.inference.tables import dump_row, write_csv, write_parquet
from cascade.io.files import explain_write_errors

OPEN, CLOSED, FINISHED = "open", "closed", "finished"


class ShardState(NamedTuple):
    """A shard as the index knows it.

    Attributes:
        kind: ``images`` or ``studies``.
        number: from 0.
        rows: in it.
        length: bytes of its JSONL file.
        state: ``open``; ``closed``: full, its twins are due; ``finished``: they are written.
    """

    kind: str
    number: int
    rows: int
    length: int
    state: str


class Shards:
    """The shards of one kind of rows.

    Args:
        out: the output directory; they lie in ``out/kind``.
        kind: ``images`` or ``studies``.
        states: of the shards that are committed.
        shard_rows: rows after which a shard is full.
        formats: of ``writers.TABLES``; without ``jsonl`` that file goes once its twins are written.
        labels: of the probabilities, in order; those of the rows where it is None.
    """

    def __init__(
        self,
        out: Path,
        kind: str,
        states: Sequence[ShardState],
        shard_rows: int,
        formats: Sequence[str],
        labels: Sequence[str] | None,
    ) -> None:
        """Bring the files to what is committed.

        Raises:
            InputError: a committed file is missing, or shorter than it should be.
        """
        self.folder, self.kind = out / kind, kind
        self._shard_rows, self._formats, self._labels = shard_rows, formats, labels
        with explain_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        ours = [state for state in states if state.kind == kind]
        known = {state.number for state in ours if state.state != OPEN}
        last = ours[-1] if ours else None
        for file in self.folder.iterdir():
            digits = file.stem.removeprefix("part-")
            if (
                digits.isdigit()
                and int(digits) not in known
                and (last is None or file != self._file(last.number))
            ):
                file.unlink()
        self._changed: dict[int, ShardState] = {}
        self._stream: BinaryIO | None = None
        if last is not None and last.state == OPEN:
            self._state = last
            self._cut(last)
        else:
            number = 0 if last is None else last.number + 1
            self._state = ShardState(kind, number, 0, 0, OPEN)
        self._due = [state for state in ours if state.state == CLOSED]

    def _file(self, number: int, suffix: str = "jsonl") -> Path:
        return self.folder / f"part-{number:05}.{suffix}"

    def _cut(self, state: ShardState) -> None:
        file = self._file(state.number)
        size = file.stat().st_size if file.exists() else 0
        if size < state.length:
            raise InputError(
                f"{file} is shorter than it was ({size} bytes of {state.length}): choose another "
                "out=, or delete it"
            )
        if state.length or file.exists():
            with explain_write_errors(file), file.open("r+b") as stream:
                stream.truncate(state.length)

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows that belong together; the shard is closed after them once it is full.

        Raises:
            CascadeError: the disk is full.
        """
        data = b"".join(dump_row(row).encode() + b"\n" for row in rows)
        state = self._state
        with explain_write_errors(self._file(state.number)):
            if self._stream is None:
                self._stream = self._file(state.number).open("ab")
            self._stream.write(data)
        state = state._replace(rows=state.rows + len(rows), length=state.length + len(data))
        if state.rows >= self._shard_rows:
            self.close_shard(state)
        else:
            self._changed[state.number] = self._state = state

    def close_shard(self, state: ShardState | None = None) -> None:
        """Close the open shard; its twins are due once that is committed."""
        state = state or self._state
        if not state.rows:
            return
        state = state._replace(state=CLOSED)
        self._sync()
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        self._changed[state.number] = state
        self._due.append(state)
        self._state = ShardState(self.kind, state.number + 1, 0, 0, OPEN)

    def _sync(self) -> None:
        if self._stream is not None:
            with explain_write_errors(self._file(self._state.number)):
                self._stream.flush()
                os.fsync(self._stream.fileno())

    def sync(self) -> list[ShardState]:
        """Put what was appended on disk; returns the states to be committed."""
        self._sync()
        changed = list(self._changed.values())
        self._changed = {}
        return changed

    def finish_due(self) -> list[ShardState]:
        """Write the twins of the closed shards that are committed; returns their new states.

        Raises:
            CascadeError: the disk is full.
        """
        finished = []
        for state in self._due:
            file = self._file(state.number)
            if file.exists():  # else a kill came after the last of these steps
                if "parquet" in self._formats:
                    twin = self._file(state.number, "parquet")
                    write_parquet(file, twin, self.kind, self._labels)
                if "csv" in self._formats:
                    write_csv(file, self._file(state.number, "csv"), self.kind, self._labels)
                if "jsonl" not in self._formats:
                    file.unlink()
            finished.append(state._replace(state=FINISHED))
        self._due = []
        return finished

    def close(self) -> None:
        """Close the open file."""
        if self._stream is not None:
            self._stream.close()
