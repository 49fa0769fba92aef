"""A plain CSV table of image paths, reports and labels to a collection, by declared columns."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import Collection
from cascade.io.rows import ROLES, gather, given_labels
from cascade.io.rows import VIEW_NAMES as VIEW_NAMES

_CHUNK = 50_000  # rows that are held with all their columns, while those of no use are dropped


def read_csv(
    path: str | Path, required: Sequence[str] = (), keep: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read a CSV file as text, empty cells as ``""``, UTF-8 with or without a mark, or gzipped.

    The index counts the rows, the header being row 0.

    Args:
        path: the file.
        required: columns that have to be there.
        keep: the columns to keep, those of them that are there (default: all).

    Raises:
        InputError: missing, not UTF-8, not a table, without rows, without a required column, or
            with two columns of the name of one that is kept.
    """
    path = Path(path)
    header: list[str] = []
    parts: list[pd.DataFrame] = []
    try:
        # the header is read as a row: pandas would take the first column of longer rows as index
        with pd.read_csv(
            path,
            header=None,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            chunksize=_CHUNK,
        ) as chunks:
            for chunk in chunks:
                if not header:
                    header = [str(name).strip() for name in chunk.iloc[0]]
                    wanted = _wanted(path, header, required, keep)
                    chunk = chunk.iloc[1:]
                part = chunk.iloc[:, wanted]
                part.columns = pd.Index([header[number] for number in wanted])
                parts.append(part)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8{_undecodable(path)}: save it as UTF-8") from error
    except InputError:
        raise
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is not a CSV table: {reason}") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read: {reason}") from error
    table = pd.concat(parts)
    if not len(table):  # not table.empty, which is true of rows without a wanted column as well
        raise InputError(f"{path} holds no rows")
    return table


def _wanted(
    path: Path, header: list[str], required: Sequence[str], keep: Sequence[str] | None
) -> list[int]:
    """The numbers of the columns to keep."""
    missing = [column for column in required if column not in header]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(map(repr, missing))}; "
            f"its columns are {_shown(header)}"
        )
    wanted = [name for name in header if name in required or keep is None or name in keep]
    for name in wanted:
        if name and wanted.count(name) > 1:
            raise InputError(f"{path} has two columns {name!r}: rename one of them")
    return [number for number, name in enumerate(header) if name in wanted]


def _undecodable(path: Path) -> str:
    """Where a file stops being UTF-8."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError:
                    return f" (line {number})"
    except (OSError, EOFError, zlib.error):
        pass  # a damaged archive: what it gave before was not UTF-8 either
    return ""


def _shown(header: Sequence[str]) -> str:
    """Column names for an error of one line."""
    names = (" ".join(name.split())[:60] for name in header)
    return ", ".join(name if name.isprintable() else repr(name) for name in names)


def read_table(
    csv_path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    label_columns: Sequence[str] = (),
    separator: str = "|",
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Read a table with one row an image.

    Rows of one ``study_id`` are one study: its first text of each kind counts and its labels are
    joined. Without that column each image is a study; without ``patient_id`` each study a patient.
    ``report`` is sorted into sections; a column of a section itself wins over it. Empty labels
    mean that nobody labelled the study; ``No Finding`` is read as ``normal``. Image paths are
    relative to the CSV file; a row whose image is missing is kept, its path empty.

    Args:
        csv_path: the table.
        columns: column name by role (``ROLES``), for those that are not named like their role.
        label_columns: columns that are a label each and hold 1, 0, -1 (uncertain) or nothing: the
            study's ``labels``. All the rows of a study have to agree.
        separator: between the labels of a cell; a cell that is a list (``['mass', 'nodule']``) is
            read as one.
        progress: called with the number of rows read.

    Returns:
        The collection; ``info["rejected"]`` lists the rows left out, each with its reason.

    Raises:
        InputError: no such table, an unknown role, a declared column that is not there, neither
            image nor study_id, or no row that can be read.
    """
    path = Path(csv_path)
    columns = dict(columns or {})
    unknown = [role for role in columns if role not in ROLES]
    if unknown:
        raise InputError(f"unknown column role {unknown[0]!r}, expected one of {list(ROLES)}")
    declared = list(dict.fromkeys([*columns.values(), *label_columns]))
    table = read_csv(path, declared, [*ROLES, *declared])
    for role in ROLES:
        if role not in columns and role in table.columns and role not in label_columns:
            columns[role] = role
    if "image" not in columns and "study_id" not in columns:
        header = read_csv(path).columns
        raise InputError(
            f"{path} has no column 'image' (nor 'study_id'); declare it with columns.image=NAME. "
            f"Its columns are {_shown(list(header))}"
        )
    rows = pd.DataFrame({role: table[column] for role, column in columns.items()})
    info = {"source": "table", "table": path.name, "columns": columns}
    if label_columns:
        info["label_columns"] = list(label_columns)
    return gather(
        rows,
        [f"{path.name}:{number + 1}" for number in table.index],
        given=given_labels(table, label_columns),
        root=path.resolve().parent,
        separator=separator,
        info=info,
        progress=progress,
    )
