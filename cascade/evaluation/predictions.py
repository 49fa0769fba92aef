"""Predictions of any system, from a CSV of study_id, reference, hypothesis; no model needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cascade.errors import InputError
from cascade.evaluation.scoring import Evaluation, Kind, evaluate
from cascade.evaluation.significance import RESAMPLES
from cascade.evaluation.systems import Rows, System, Training
from cascade.metrics.caption import METEOR_SECONDS
from cascade.metrics.hub import HubOptions

_NO_HUB = HubOptions()

COLUMNS = ("study_id", "reference", "hypothesis")


def read_predictions(path: str | Path, references: str | Path | None = None) -> pd.DataFrame:
    """Read a predictions file, every cell as text; an empty cell is an empty string.

    Args:
        path: a CSV file of study_id, reference, hypothesis.
        references: a CSV file of study_id, reference, which then take the place of the first
            file's; every study must stand in both.

    Raises:
        InputError: missing, not UTF-8, not CSV, or no row; studies that stand in one file only.
    """
    table = _read_csv(Path(path), "the predictions file")
    if references is None:
        return table
    other = _read_csv(Path(references), "the references file")
    for name, found, needed in (
        (path, table, ("study_id", "hypothesis")),
        (references, other, ("study_id", "reference")),
    ):
        _need_columns(found, needed, str(name))
        _need_ids(found, str(name))
    for what, one, two in (
        (f"{path} has no row for", other, table),
        (f"{references} has no row for", table, other),
    ):
        strangers = sorted(set(one["study_id"]) - set(two["study_id"]))
        if strangers:
            raise InputError(
                f"{what} {len(strangers)} study_id(s) of the other file, the first "
                f"{strangers[0]!r}: both must list the same studies (a hypothesis may be empty)"
            )
    table = table.drop(columns="reference", errors="ignore")
    return table.merge(other[["study_id", "reference"]], on="study_id", validate="one_to_one")


def _read_csv(path: Path, what: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{what} {path} does not exist") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {error.start}): save it as CSV in UTF-8"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise InputError(
            f"{path} is empty: it needs the columns {', '.join(COLUMNS)} and a row a study"
        ) from error
    except (pd.errors.ParserError, OSError) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from error
    return table


def check_predictions(table: pd.DataFrame, name: str = "the predictions") -> None:
    """Check columns and ids.

    Raises:
        InputError: a missing column, no row, an empty or repeated id, a missing reference.
    """
    _need_columns(table, COLUMNS, name)
    _need_ids(table, name)
    ids = table["study_id"]
    gone = table["reference"].isna() | (table["reference"].astype(str).str.strip() == "")
    if gone.any():
        raise InputError(
            f"{name}: {int(gone.sum())} row(s) have no reference (the first is study_id "
            f"{ids[gone].iloc[0]!r}): a study without a reference cannot be scored, leave it out"
        )


def _need_columns(table: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns)) or "none"
        raise InputError(
            f"{name}: no column {', '.join(missing)} (found: {found}): rename or add it; "
            f"needed are {', '.join(columns)}"
        )


def _need_ids(table: pd.DataFrame, name: str) -> None:
    if table.empty:
        raise InputError(f"{name}: no row; one row a study is needed")
    ids = table["study_id"]
    blank = ids.isna() | (ids.astype(str).str.strip() == "")
    if blank.any():
        raise InputError(f"{name}: {int(blank.sum())} row(s) have no study_id: fill them in")
    twice = ids[ids.duplicated()]
    if len(twice):
        raise InputError(
            f"{name}: study_id {twice.iloc[0]!r} occurs twice ({len(twice)} repeated): "
            "keep one row a study"
        )


def evaluate_predictions(
    predictions: pd.DataFrame,
    *,
    kind: Kind = "report",
    name: str = "predictions",
    split: str = "unnamed",
    training: Training | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    tokenizer: str | None = None,
    meta: Mapping[str, Any] | None = None,
    meteor: str = "never",
    meteor_seconds: float = METEOR_SECONDS,
    hub: HubOptions = _NO_HUB,
) -> Evaluation:
    """Score a predictions table; an empty or missing hypothesis counts as zero and is counted.

    Args:
        predictions: columns study_id, reference, hypothesis; ``patient_id`` where it is known (else
            each study counts as a patient of its own, which is said).
        kind: "report" (free text) or "annotation".
        name: what tables call the system.
        split: what the page calls the rows.
        training: for the trivial systems; None makes them of the references.
        seed: as ``evaluate``.
        resamples: as ``evaluate``.
        tokenizer: as ``evaluate``.
        meta: as ``evaluate``.
        meteor: as ``evaluate``.
        meteor_seconds: as ``evaluate``.
        hub: as ``evaluate``.

    Raises:
        InputError: as ``check_predictions``.
    """
    check_predictions(predictions)
    ids = predictions["study_id"].astype(str).tolist()
    by_patient = "patient_id" in predictions.columns
    patients = predictions["patient_id"].astype(str).tolist() if by_patient else ids
    rows = Rows(ids, patients, predictions["reference"].astype(str).tolist(), split=split)
    system = System(name, predictions["hypothesis"].fillna("").astype(str).tolist())
    evaluation = evaluate(
        rows,
        [system],
        training,
        kind=kind,
        seed=seed,
        resamples=resamples,
        tokenizer=tokenizer,
        meta=meta,
        meteor=meteor,
        meteor_seconds=meteor_seconds,
        hub=hub,
    )
    if not by_patient:
        evaluation.notes.append(
            "No patient_id column: each study counts as its own patient, so intervals may be too "
            "narrow."
        )
    return evaluation
