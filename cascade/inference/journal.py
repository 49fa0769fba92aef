"""What an interrupted archive run has done so far.

``annotations.journal.jsonl`` lies in the output directory while the work is under way. Its first
line says which work it is; each further line is a row, appended and synced a batch at a time. A
kill can at worst tear the last line: reading stops at the first line that is not whole, the rest is
cut off, and those images are done again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from cascade.errors import InputError
from cascade.inference.rows import dump_row
from cascade.io.files import explain_write_errors
from cascade.metrics.operating import DEFAULT_POINT

JOURNAL = "annotations.journal.jsonl"
SUMMARY = "annotations.json"
RESULTS = ("annotations.jsonl", "annotations.parquet", SUMMARY)
FORMAT_VERSION = 1


@contextlib.contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold the output directory against a second run.

    The lock is on the directory itself and dies with the process. A file system without locks is
    used without.

    Raises:
        InputError: another run holds it.
    """
    descriptor = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another run is writing to {out}: wait for it, or choose another out="
            ) from error
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)


def check_same_work(recorded: Any, work: dict[str, Any], out: Path) -> None:
    """Refuse to continue other work than ``work`` in ``out``.

    Args:
        recorded: the ``work`` that a journal or summary names.
        work: the work to be done, plain values by name.
        out: the output directory, for the message.

    Raises:
        InputError: they differ; names in what, and the remedy.
    """
    recorded = recorded if isinstance(recorded, dict) else {}
    recorded = {"operating_point": DEFAULT_POINT, **recorded}  # annotations of before name none
    for key, value in work.items():
        if recorded.get(key) != value:
            raise InputError(
                f"{out} holds annotations of another {key.replace('_', ' ')} "
                f"({recorded.get(key)!r}, now {value!r}): choose another out=, or delete it"
            )


class Journal:
    """The rows that are done, on disk and by path.

    Attributes:
        done: the position in the file of each path's row.
        instances: the first path of each image that has a SOP Instance UID, by its identity (hash
            of the UID, checksum of the pixels).
        labels: the label names of the rows' probabilities, in order.
        statuses: how many rows have each status.
        failures: how many rows failed for each reason.

    Raises:
        InputError: the journal is of other work, or ``out`` holds results without a journal, or
            may not be written.
        CascadeError: the disk is full.
    """

    def __init__(self, out: Path, work: dict[str, Any]) -> None:
        """Open the journal of ``out``, or begin one for ``work``."""
        self.path = out / JOURNAL
        self.done: dict[str, int] = {}
        self.instances: dict[str, str] = {}
        self.labels: dict[str, None] = {}
        self.statuses: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        with explain_write_errors(self.path):
            self._stream: BinaryIO = self.path.open("a+b")
        try:
            self._resume(out, work)
        except BaseException:
            self._stream.close()
            raise

    def _resume(self, out: Path, work: dict[str, Any]) -> None:
        self._stream.seek(0)
        header = _parse(self._stream.readline())
        if header is None:
            for name in RESULTS:
                if (out / name).exists():
                    self.path.unlink()
                    raise InputError(
                        f"{out} holds an {name} that is not of this work: choose another out=, "
                        "or delete it"
                    )
            with explain_write_errors(self.path):
                self._stream.truncate(0)
            self._write(dump_row({"format_version": FORMAT_VERSION, "work": work}) + "\n")
            return
        if header.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{self.path} has format {header.get('format_version')}, this program writes "
                f"{FORMAT_VERSION}: choose another out=, or delete it"
            )
        check_same_work(header.get("work"), work, out)
        position = self._stream.tell()
        while (record := _parse(self._stream.readline())) is not None and "row" in record:
            self._index(record, position)
            position = self._stream.tell()
        with explain_write_errors(self.path):
            self._stream.truncate(position)

    def _index(self, record: dict[str, Any], position: int) -> None:
        row = record["row"]
        self.done[row["path"]] = position
        self.labels.update(dict.fromkeys(row["probabilities"] or ()))
        self.statuses[row["status"]] += 1
        if row["status"] == "failed":
            self.failures[row["reason"]] += 1
        if record["instance"] is not None and row["status"] != "duplicate":
            self.instances.setdefault(record["instance"], row["path"])

    def _write(self, text: str) -> None:
        with explain_write_errors(self.path):
            self._stream.write(text.encode())
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def append(self, batch: Sequence[tuple[dict[str, Any], str | None]]) -> None:
        """Add rows, each with its image's identity (if any); return once they are on disk.

        Raises:
            CascadeError: the disk is full.
        """
        position = self._stream.seek(0, os.SEEK_END)
        lines = []
        for row, instance in batch:
            lines.append(dump_row({"instance": instance, "row": row}) + "\n")
            self._index({"instance": instance, "row": row}, position)
            position += len(lines[-1].encode())
        self._write("".join(lines))

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows, by path; only their places are held in memory.

        A duplicate has the probabilities of the image that it repeats.
        """
        for path in sorted(self.done):
            record = self._read(path)
            first = self.instances.get(record["instance"])
            if record["row"]["status"] == "duplicate" and first is not None:
                record["row"]["probabilities"] = self._read(first)["row"]["probabilities"]
            yield record["row"]

    def _read(self, path: str) -> dict[str, Any]:
        self._stream.seek(self.done[path])
        record: dict[str, Any] = json.loads(self._stream.readline())
        return record

    def remove(self) -> None:
        """Delete the journal, once the results stand on their own."""
        self.remove_from(self.path.parent)

    @staticmethod
    def remove_from(out: Path) -> None:
        """Delete the journal of a finished directory, if it is still there."""
        (out / JOURNAL).unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        """Use as a context."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; what was appended stays."""
        self._stream.close()


def _parse(line: bytes) -> dict[str, Any] | None:
    """A line that is whole, or None for one that is torn or missing."""
    if not line.endswith(b"\n"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
