"""The tables of an evaluation that go into detail: by label, stratum, disease and slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cascade.evaluation.significance import Figure
from cascade.evaluation.statistics import METRICS, Kind, TextScores
from cascade.evaluation.systems import Rows, System
from cascade.metrics import annotation, classification, clinical


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


def clinical_table(
    texts: Mapping[str, TextScores], figures: Mapping[str, Mapping[str, Figure]]
) -> pd.DataFrame:
    """One row a system and mined label, as ``clinical.label_scores``, with intervals of F1.

    Empty for annotations, whose diseases stand in their own table.
    """
    columns = ["system", "label", "support", "written", "hits", "precision", "recall"]
    columns += ["f1", "f1_low", "f1_high", "false_findings", "false_denials"]
    tables = [pd.DataFrame(columns=columns)]
    for name, text in texts.items():
        if text.clinical is not None:
            table = clinical.label_scores(text.clinical).reset_index().assign(system=name)
            found = [figures[name][f"clin_f1:{label}"] for label in table["label"]]
            table["f1_low"] = [each.low for each in found]
            table["f1_high"] = [each.high for each in found]
            tables.append(table[columns])
    return pd.concat(tables[1:] or tables, ignore_index=True)


def slot_table(
    rows: Rows,
    systems: Sequence[System],
    kind: Kind,
    figures: Mapping[str, Mapping[str, Figure]],
) -> pd.DataFrame:
    """One row a system and slot, as ``annotation.slot_scores``, with intervals of the accuracies.

    Empty for free text.
    """
    tables = []
    for system in systems:
        if kind == "annotation" and system.hypotheses is not None:
            table = annotation.slot_scores(system.hypotheses, rows.references).reset_index()
            table.insert(0, "system", system.name)
            for name in ("accuracy", "stated_accuracy"):
                found = [figures[system.name][f"slot_{name}:{slot}"] for slot in table["slot"]]
                table[f"{name}_low"] = [each.low for each in found]
                table[f"{name}_high"] = [each.high for each in found]
            tables.append(table)
    columns = ["system", "slot", "compared", "right", "accuracy", "stated", "stated_right"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
