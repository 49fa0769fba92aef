"""What an archive holds and what is done of it: a SQLite file, ``OUT/index.sqlite``.

Files are written down as they are listed and sorted into studies; then each batch of studies is
marked done in one transaction, together with the lengths of the shards that hold its rows. What a
kill leaves beyond these lengths is cut off. So the index and the shards never disagree, and only
the page of studies under way is in memory, whatever the archive's size.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cascade.errors import CascadeError, InputError
from cascade.inference.shards import ShardState
from cascade.inference.sources import Entry
from cascade.io.dicom.keys import Keys
from cascade.metrics.operating import DEFAULT_POINT

INDEX = "index.sqlite"
FORMAT_VERSION = 2
_PAGE = 64
_WAIT = 60.0  # seconds for one who reads beside the one who writes

_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    study TEXT,         -- a hash, null where the file is a study of its own
    series TEXT,        -- a hash
    filtered TEXT,      -- why it is left out
    rank INTEGER,       -- of its study
    status TEXT,        -- once it is done
    reason TEXT
);
CREATE TABLE entries (id INTEGER PRIMARY KEY, entry TEXT NOT NULL);
CREATE TABLE studies (
    rank INTEGER PRIMARY KEY,   -- studies in the order of their first path
    name TEXT NOT NULL UNIQUE,
    study TEXT,
    status TEXT                 -- once it is done
);
CREATE TABLE instances (
    uid TEXT NOT NULL,          -- a hash of the SOP Instance UID
    checksum INTEGER NOT NULL,  -- of the pixels
    path TEXT NOT NULL,
    probabilities TEXT,
    PRIMARY KEY (uid, checksum)
);
CREATE TABLE shards (
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    length INTEGER NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (kind, number)
);
"""
_NAME = "CASE WHEN files.study IS NULL THEN 'file ' || files.path ELSE 'study ' || files.study END"


class FileWork(NamedTuple):
    """A file to be read."""

    id: int
    path: str
    series: str | None
    entry: Entry


class StudyWork(NamedTuple):
    """A study to be read: its place in the order, its hash (if it has one) and its files."""

    rank: int
    study: str | None
    files: tuple[FileWork, ...]


class Instance(NamedTuple):
    """An image as it is told from others: hash of its SOP Instance UID, checksum of its pixels."""

    uid: str
    checksum: int


class Done(NamedTuple):
    """What is marked done of a study.

    Attributes:
        rank: which study.
        status: of its row.
        files: (id, status, reason) of each file.
        instances: (which, path, probabilities) of the images that came for the first time.
    """

    rank: int
    status: str
    files: list[tuple[int, str, str | None]]
    instances: list[tuple[Instance, str, dict[str, float] | None]]


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
        recorded: the ``work`` that an index or summary names.
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


class Index:
    """The files, studies and shards of one output directory.

    Raises:
        InputError: it is of other work or another format, or damaged.
        CascadeError: the disk is full.
    """

    def __init__(self, out: Path, work: dict[str, Any]) -> None:
        """Open the index of ``out``, or begin one for ``work``."""
        self.path = out / INDEX
        with self._explained():
            self._base = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
        try:
            with self._explained():
                # Not WAL: a network disk has no shared memory. What is deleted is overwritten.
                self._base.execute("PRAGMA synchronous = FULL")
                self._base.execute("PRAGMA secure_delete = ON")
                self._begin(out, work)
        except BaseException:
            self._base.close()
            raise

    def _begin(self, out: Path, work: dict[str, Any]) -> None:
        if self._base.execute("SELECT 1 FROM sqlite_master WHERE name = 'facts'").fetchone():
            if (version := self.fact("format_version")) != FORMAT_VERSION:
                raise InputError(
                    f"{self.path} has format {version}, this program writes {FORMAT_VERSION}: "
                    "choose another out=, or delete it"
                )
            check_same_work(self.fact("work"), work, out)
            return
        with self._transaction():
            for statement in _TABLES.split(";"):
                self._base.execute(statement)
            self._put("format_version", FORMAT_VERSION)
            self._put("work", work)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error) or "disk I/O" in str(error):
                raise CascadeError(
                    f"no space left on the disk that holds {self.path}, or it fails: free some, "
                    "or choose another out="
                ) from error
            raise InputError(f"cannot write {self.path}: {error}; choose another out=") from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.path} is damaged ({error}): delete {self.path.parent}, or choose another "
                "out="
            ) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._base.execute("ROLLBACK")
                raise

    def _put(self, name: str, value: Any) -> None:
        self._base.execute("REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def fact(self, name: str) -> Any:
        """A fact by name; None where there is none."""
        found = self._base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def secret(self, fresh: str) -> str:
        """The secret that keys this output's hashes: ``fresh``, unless an earlier run left one."""
        if (stored := self.fact("secret")) is not None:
            return str(stored)
        with self._transaction():
            self._put("secret", fresh)
        return fresh

    # what the archive holds

    @property
    def listed(self) -> bool:
        """Whether the listing has ended."""
        return self.fact("listed") is not None

    def unknown(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that an interrupted listing has not written down."""
        marks = ",".join("?" * len(entries))
        query = f"SELECT path FROM files WHERE path IN ({marks})"
        known = {path for (path,) in self._base.execute(query, [e.path for e in entries])}
        return [entry for entry in entries if entry.path not in known]

    def add(self, found: Iterable[tuple[Entry, Keys | None, str | None]]) -> None:
        """Write down entries, each with its hashed keys and why it is filtered out, if it is."""
        with self._transaction():
            for entry, keys, filtered in found:
                study, series = (keys.study_uid, keys.series_uid) if keys else (None, None)
                done = self._base.execute(
                    "INSERT OR IGNORE INTO files (path, study, series, filtered) "
                    "VALUES (?, ?, ?, ?)",
                    (entry.path, study, series, filtered),
                )
                if done.rowcount and filtered is None:
                    self._base.execute(
                        "INSERT INTO entries VALUES (?, ?)",
                        (done.lastrowid, json.dumps(entry.to_json())),
                    )

    def counts(self) -> tuple[int, int]:
        """How many files are to be read, and how many are filtered out."""
        query = "SELECT count(*) - count(filtered), count(filtered) FROM files"
        kept, filtered = self._base.execute(query).fetchone()
        return int(kept), int(filtered)

    def end_listing(self, ignored: int) -> None:
        """Sort the files into studies, in the order of their first paths."""
        with self._transaction():
            self._base.execute(
                f"INSERT INTO studies (name, study) SELECT {_NAME} AS name, study FROM files "
                "WHERE filtered IS NULL GROUP BY name ORDER BY min(path)"
            )
            self._base.execute(
                f"UPDATE files SET rank = (SELECT rank FROM studies WHERE name = {_NAME}) "
                "WHERE filtered IS NULL"
            )
            self._base.execute("CREATE INDEX by_rank ON files (rank, path)")
            self._put("listed", {"ignored": ignored})

    def last_rank(self) -> int:
        """The rank of the last study; ranks begin with 1."""
        return int(self._base.execute("SELECT max(rank) FROM studies").fetchone()[0] or 0)

    def work(self) -> Iterator[StudyWork]:
        """The studies that are not done, in order, a page of them in memory."""
        last = 0
        while True:
            page = self._base.execute(
                "SELECT rank, study FROM studies WHERE rank > ? AND status IS NULL "
                f"ORDER BY rank LIMIT {_PAGE}",
                (last,),
            ).fetchall()
            if not page:
                return
            for rank, study in page:
                yield _study_work(self._base, rank, study)
            last = page[-1][0]

    # what is done of it

    def first(self, instance: Instance) -> tuple[str, dict[str, float] | None] | None:
        """Path and probabilities of an image that is done; None where it has not come before."""
        found = self._base.execute(
            "SELECT path, probabilities FROM instances WHERE uid = ? AND checksum = ?", instance
        ).fetchone()
        return None if found is None else (found[0], json.loads(found[1]))

    def namesake(self, uid: str) -> str | None:
        """Path of the first image of a SOP Instance UID that is done."""
        query = "SELECT path FROM instances WHERE uid = ? ORDER BY rowid LIMIT 1"
        found = self._base.execute(query, (uid,)).fetchone()
        return None if found is None else str(found[0])

    def commit(self, studies: Iterable[Done], shards: Iterable[ShardState]) -> None:
        """Mark studies done whose rows lie in the shards, up to the lengths given."""
        with self._transaction():
            for study in studies:
                self._base.execute(
                    "UPDATE studies SET status = ? WHERE rank = ?", (study.status, study.rank)
                )
                self._base.executemany(
                    "UPDATE files SET status = ?, reason = ? WHERE id = ?",
                    [(status, reason, number) for number, status, reason in study.files],
                )
                self._base.executemany(
                    "INSERT OR IGNORE INTO instances VALUES (?, ?, ?, ?)",
                    [(*key, path, json.dumps(found)) for key, path, found in study.instances],
                )
            self._base.executemany("REPLACE INTO shards VALUES (?, ?, ?, ?, ?)", shards)

    def shards(self) -> list[ShardState]:
        """The shards as they were committed."""
        return [
            ShardState(*row)
            for row in self._base.execute("SELECT * FROM shards ORDER BY kind, number")
        ]

    def done(self) -> tuple[int, int]:
        """How many files are done, and how many of these failed."""
        query = "SELECT count(*), count(CASE status WHEN 'failed' THEN 1 END) FROM files "
        count, failed = self._base.execute(query + "WHERE status IS NOT NULL").fetchone()
        return int(count), int(failed)

    def count(self, table: str, column: str) -> Counter[str]:
        """How often each value stands in a column of ``files`` or ``studies``; null is left out."""
        query = f"SELECT {column}, count(*) FROM {table} WHERE {column} IS NOT NULL GROUP BY 1"
        return Counter(dict(self._base.execute(query).fetchall()))

    def failures(self) -> Counter[str]:
        """How many files failed for each reason."""
        query = "SELECT reason, count(*) FROM files WHERE status = 'failed' GROUP BY 1"
        return Counter(dict(self._base.execute(query).fetchall()))

    def finish(self) -> None:
        """Forget where the files lie, once all is done; what each became stays."""
        with self._transaction():
            self._base.execute("DELETE FROM entries")
            self._base.execute("DELETE FROM facts WHERE name = 'secret'")

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._base.close()

    def __enter__(self) -> Index:
        """Use as a context."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Close the file."""
        self.close()


class WorkReader:
    """Looks up what is to be done, beside the one that writes the index.

    Args:
        path: of the index.
    """

    def __init__(self, path: Path) -> None:
        """Open it to read."""
        self._base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_WAIT)

    def studies(self, ranks: Sequence[int]) -> list[StudyWork]:
        """Those of the given studies that are not done."""
        marks = ",".join("?" * len(ranks))
        query = f"SELECT rank, study FROM studies WHERE rank IN ({marks}) AND status IS NULL"
        rows = self._base.execute(f"{query} ORDER BY rank", list(ranks)).fetchall()
        return [_study_work(self._base, rank, study) for rank, study in rows]


def _study_work(base: sqlite3.Connection, rank: int, study: str | None) -> StudyWork:
    files = base.execute(
        "SELECT id, path, series, entry FROM files JOIN entries USING (id) "
        "WHERE rank = ? ORDER BY path",
        (rank,),
    ).fetchall()
    return StudyWork(
        rank,
        study,
        tuple(
            FileWork(number, path, series, Entry.from_json(json.loads(entry)))
            for number, path, series, entry in files
        ),
    )
