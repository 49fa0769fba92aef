"""How well mined labels agree with labels by hand, and every place where they do not.

Counts are of studies that the hand labels judge: a label is found where the table says 1, and not
found where it says 0, -1 or nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascade.errors import InputError
from cascade.evaluation.significance import Figure, bootstrap
from cascade.io.table import read_csv
from cascade.labels.table import NORMAL, LabelTable

_NORMAL_NAMES = ("normal", "no finding", "no findings")
_TRUE, _FALSE = ("1", "1.0", "true"), ("0", "0.0", "false")


@dataclasses.dataclass(frozen=True)
class Agreement:
    """One system against the hand labels.

    Attributes:
        name: of the system.
        rows: label to ``cases``, ``found``, ``tp``, ``fp``, ``fn``, ``precision``, ``recall``,
            ``f1``; a score that has no case to count is NaN.
        figures: ``micro`` and ``macro`` precision, recall and F1 by name (``micro f1``), each with
            its interval, over all labels and over ``findings`` alone (``micro f1, findings``).
            Macro is over the labels with at least one case.
    """

    name: str
    rows: pd.DataFrame
    figures: dict[str, Figure]


def read_hand_labels(path: str | Path) -> pd.DataFrame:
    """Read a CSV of hand labels: the first column names the study, the others a label each.

    ``1`` is present, ``0`` absent, an empty cell not judged. Underscores of a label's name are
    read as spaces and ``No Finding`` as ``normal``.

    Returns:
        Float32, NaN where not judged, indexed by study.

    Raises:
        InputError: no table, a study twice, another value, or no label column.
    """
    table = read_csv(path)
    ids = table[table.columns[0]].str.strip()
    if ids.duplicated().any():
        raise InputError(f"{path}: study {ids[ids.duplicated()].iloc[0]!r} stands in two rows")
    values = {}
    for column in table.columns[1:]:
        cells = table[column].str.strip().str.lower()
        strangers = set(cells) - {*_TRUE, *_FALSE, ""}
        if strangers:
            raise InputError(
                f"{path}: column {column!r} holds {min(strangers)!r}; hand labels are 1, 0 or empty"
            )
        number = np.select([cells.isin(_TRUE), cells.isin(_FALSE)], [1.0, 0.0], np.nan)
        values[label_name(column)] = number.astype(np.float32)
    if not values:
        raise InputError(f"{path} has no column beside its first: one a label is needed")
    return pd.DataFrame(values, index=pd.Index(ids.tolist(), name="study_id"))


def label_name(written: str) -> str:
    """A label's name as tables have it.

    >>> label_name("Pleural_Thickening"), label_name("No Finding")
    ('Pleural Thickening', 'normal')
    """
    name = " ".join(written.replace("_", " ").split())
    return NORMAL if name.lower() in _NORMAL_NAMES else name


def align(
    table: LabelTable, hand: pd.DataFrame, left_out: Sequence[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Found or not (bool) and the hand labels, on the studies and labels that both have.

    Args:
        table: the mined labels.
        hand: of ``read_hand_labels``.
        left_out: labels that were looked for and are no column of the table; they count as never
            found, for a rare label not to go unscored.

    Raises:
        InputError: no study or no label in common.
    """
    names = {name.lower(): name for name in hand.columns}
    mined = [*table.names, *(name for name in left_out if name not in table.names)]
    shared = [name for name in mined if name.lower() in names]
    if not shared:
        raise InputError(
            f"the hand labels ({', '.join(hand.columns)}) name none of the mined ones "
            f"({', '.join(table.names)}): choose another labels.label_set"
        )
    studies = [study for study in hand.index if study in table.values.index]
    if not studies:
        raise InputError(
            f"no study of the hand labels (such as {hand.index[0]!r}) is in the collection "
            f"(such as {table.values.index[0]!r})"
        )
    found = table.values.reindex(index=studies, columns=shared) == 1
    judged = hand.loc[studies, [names[name.lower()] for name in shared]]
    return found, judged.set_axis(shared, axis=1)


def agreement(
    name: str,
    found: pd.DataFrame,
    hand: pd.DataFrame,
    patient_ids: Sequence[str],
    *,
    resamples: int = 1000,
) -> Agreement:
    """Score one system; intervals by bootstrap over patients.

    Args:
        name: of the system.
        found: bool, studies by labels.
        hand: of the same shape, 1, 0 or NaN.
        patient_ids: one a row.
        resamples: of the bootstrap; 0 for no intervals.
    """
    says, truth = found.to_numpy(dtype=bool), hand.to_numpy()
    cells = {
        "tp": says & (truth == 1),
        "fp": says & (truth == 0),
        "fn": ~says & (truth == 1),
    }
    counts = {key: value.sum(axis=0) for key, value in cells.items()}
    rows = pd.DataFrame(
        {"cases": (truth == 1).sum(axis=0), "found": counts["tp"] + counts["fp"], **counts},
        index=pd.Index(found.columns, name="label"),
    )
    for key, values in _scores(counts["tp"], counts["fp"], counts["fn"]).items():
        rows[key] = values
    findings = np.array([label != NORMAL for label in found.columns])
    has_cases = rows["cases"].to_numpy() > 0
    figures: dict[str, Figure] = {}
    for part, chosen in (("", np.ones_like(findings)), (", findings", findings)):
        if not chosen.any():
            continue
        drawn = {key: value[:, chosen].astype(np.float64) for key, value in cells.items()}
        macro = has_cases[chosen]

        def statistic(
            weights: np.ndarray,
            drawn: dict[str, np.ndarray] = drawn,
            macro: np.ndarray = macro,
            part: str = part,
        ) -> dict[str, np.ndarray]:
            sums = [weights @ drawn[key] for key in ("tp", "fp", "fn")]
            micro = _scores(*(each.sum(axis=1) for each in sums))
            by_label = _scores(*(each[:, macro] for each in sums))
            scores = {f"micro {key}{part}": value for key, value in micro.items()}
            for key, value in by_label.items():
                # a label that nobody finds has no precision; its F1 is 0
                scores[f"macro {key}{part}"] = np.nan_to_num(value).mean(axis=1)
            return scores

        figures |= bootstrap(statistic, patient_ids, resamples)
    return Agreement(name, rows, figures)


def _scores(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of counts; NaN where nothing was found, or there was no case."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
        }


def disagreements(found: pd.DataFrame, hand: pd.DataFrame) -> pd.DataFrame:
    """Every study and label on which the two differ.

    Returns:
        ``study_id``, ``label`` and ``kind``: ``extra`` where only the table has the label,
        ``missed`` where only the hand labels have it; by label, then in the order of the studies.
    """
    says, truth = found.to_numpy(dtype=bool), hand.to_numpy()
    rows: list[dict[str, Any]] = []
    for column, label in enumerate(found.columns):
        for row, study_id in enumerate(found.index):
            if says[row, column] and truth[row, column] == 0:
                rows.append({"study_id": study_id, "label": label, "kind": "extra"})
            elif not says[row, column] and truth[row, column] == 1:
                rows.append({"study_id": study_id, "label": label, "kind": "missed"})
    return pd.DataFrame(rows, columns=["study_id", "label", "kind"])
