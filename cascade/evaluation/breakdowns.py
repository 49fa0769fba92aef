"""The tables of an evaluation that go into detail: by label, stratum, disease and slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cascade.evaluation.significance import Figure
from cascade.evaluation.statistics import METRICS, Kind, TextScores
from cascade.evaluation.systems import Rows, System
from cascade.metrics import annotation, classification


def label_table(
    rows: Rows, systems: Sequence[System], figures: Mapping[str, Mapping[str, Figure]]
) -> pd.DataFrame:
    """One row a system and label: counts, ranking and calibration, with intervals.

    ``prevalence`` is the share of positives: the average precision of a scorer that knows nothing.
    """
    metrics = ("auroc", "average_precision", "brier", "calibration_error")
    columns = [
        *("system", "trivial", "label", "positives", "negatives", "prevalence"),
        *(f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")),
    ]
    records = []
    for system in systems:
        scores = system.scores(rows)
        if scores is None or rows.truth is None:
            continue
        table = classification.label_scores(rows.truth.to_numpy(dtype=float), scores, rows.labels)
        for label, row in table.iterrows():
            record: dict[str, Any] = {"system": system.name, "trivial": system.trivial}
            record |= {"label": label, **{str(key): value for key, value in row.items()}}
            for metric in metrics:
                found = figures[system.name][f"{metric}:{label}"]
                record[metric] = found.value
                record |= {f"{metric}_low": found.low, f"{metric}_high": found.high}
            records.append(record)
    table = pd.DataFrame(records, columns=columns)
    return table.astype({"positives": int, "negatives": int})


def label_notes(labels: pd.DataFrame) -> list[str]:
    """A sentence that names the labels without an AUROC, if there are any."""
    first = labels.drop_duplicates("label")
    undefined = first.loc[(first["positives"] == 0) | (first["negatives"] == 0), "label"]
    if first.empty or undefined.empty:
        return []
    return [
        f"AUROC is undefined for {len(undefined)} of {len(first)} labels (no positive or no "
        f"negative among the rows), which enter no mean: {', '.join(undefined)}."
    ]


def strata_table(
    texts: Mapping[str, TextScores], normal: np.ndarray | None, count: int
) -> pd.DataFrame:
    """One row a system and stratum: studies, and text figures where there is a study.

    Args:
        texts: system -> its text.
        normal: which of the ``count`` rows are normal, or None for no strata but "all".
        count: how many rows.
    """
    strata: dict[str, np.ndarray] = {"all": np.ones(count, dtype=bool)}
    if normal is not None:
        strata |= {"normal": normal, "abnormal": ~normal}
    records = []
    for name, text in texts.items():
        for stratum, chosen in strata.items():
            record: dict[str, Any] = {
                "system": name,
                "stratum": stratum,
                "studies": int(chosen.sum()),
            }
            if chosen.any():
                values = text.figures(chosen[None, :].astype(float))
                record |= {k: float(v[0]) for k, v in values.items() if k in METRICS}
            records.append(record)
    return pd.DataFrame(records)


def disease_table(texts: Mapping[str, TextScores]) -> pd.DataFrame:
    """One row a system and disease, columns as ``annotation.disease_scores``."""
    tables = []
    for name, text in texts.items():
        if text.matrix is not None:
            table = annotation.disease_scores(text.matrix).reset_index()
            table.insert(0, "system", name)
            tables.append(table)
    columns = ["system", "disease", "support", "written", "hits", "precision", "recall", "f1"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def slot_table(rows: Rows, systems: Sequence[System], kind: Kind) -> pd.DataFrame:
    """One row a system and slot, columns as ``annotation.slot_scores``; empty for free text."""
    tables = []
    for system in systems:
        if kind == "annotation" and system.hypotheses is not None:
            table = annotation.slot_scores(system.hypotheses, rows.references).reset_index()
            table.insert(0, "system", system.name)
            tables.append(table)
    columns = ["system", "slot", "compared", "right", "accuracy", "stated", "stated_right"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
