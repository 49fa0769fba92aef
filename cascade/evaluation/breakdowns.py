"""The tables of an evaluation that go into detail: by label, stratum, disease and slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cascade.evaluation.significance import Figure, Statistic
from cascade.evaluation.statistics import METRICS, Kind, TextScores
from cascade.evaluation.systems import Rows, System, Training
from cascade.labels import mesh
from cascade.labels.table import NORMAL
from cascade.metrics import annotation, classification, clinical
from cascade.metrics.nlg import Tokenizer

NORMAL_COLUMNS = (NORMAL, "no finding")
SMALLEST_STRATUM = 5
"""A label, view, number of findings or length of fewer studies makes no stratum of its own."""
MOST_FINDINGS = 3


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


def mined_truth(rows: Rows, kind: Kind) -> pd.DataFrame | None:
    """What the reports say by their words, ``(N, K)``, normal among them; for strata alone.

    None for annotations, and where no reference has a word. Detection is never scored against it:
    the truth of images is not the system's to read from the reference it is scored on.
    """
    if kind != "report" or not any(text.strip() for text in rows.references):
        return None
    counts = clinical.count_labels(rows.references, rows.references)
    return pd.DataFrame(counts.reference, columns=counts.names)


def finding_counts(rows: Rows, kind: Kind) -> np.ndarray | None:
    """How many abnormal findings each study has, ``(N,)``, NaN where nothing is known of it.

    As told, else the diseases of the annotation, else the labels that are 1, else what the words of
    the report say; None where there is none of these.
    """
    if rows.findings is not None:
        return np.asarray(rows.findings, dtype=float)
    if kind == "annotation" and any(rows.references):
        found = [set(mesh.annotation_diseases(text)) - {NORMAL} for text in rows.references]
        told = np.array([bool(text) for text in rows.references])
        return np.where(told, [float(len(names)) for names in found], np.nan)
    table = mined_truth(rows, kind) if rows.truth is None else rows.truth
    names = [] if table is None else [str(name) for name in table.columns]
    abnormal = [name for name in names if name.lower() not in NORMAL_COLUMNS]
    if table is None or not abnormal:
        return None
    truth = table.to_numpy(dtype=float)
    count = (table[abnormal].to_numpy(dtype=float) == 1).sum(axis=1)
    return np.where(classification.known(truth).any(axis=1), count.astype(float), np.nan)


def subgroup_masks(
    rows: Rows, kind: Kind, training: Training | None, tokenize: Tokenizer
) -> dict[str, np.ndarray]:
    """The strata besides normal and abnormal: ``KIND: NAME`` to ``(N,)`` bool.

    Kinds: ``label`` (studies that carry it; they overlap), ``view`` (what was looked at),
    ``findings`` (how many), ``length`` (of the reference, by the terciles of the training
    reports' words, so that nothing is cut to fit the rows scored). Strata of fewer than
    ``SMALLEST_STRATUM`` studies, and kinds that nothing is known of, are left out.
    """
    masks: dict[str, np.ndarray] = {}
    table = mined_truth(rows, kind) if rows.truth is None else rows.truth
    if table is not None:
        truth = table.to_numpy(dtype=float)
        masks |= {f"label: {name}": truth[:, at] == 1 for at, name in enumerate(table.columns)}
    elif kind == "annotation":
        matrix = annotation.disease_matrix(rows.references, rows.references)
        masks |= {f"label: {name}": matrix.reference[:, at] for at, name in enumerate(matrix.names)}
    if rows.views is not None:
        views = np.asarray(rows.views, dtype=object)
        masks |= {f"view: {name}": views == name for name in sorted(set(rows.views)) if name}
    counts = finding_counts(rows, kind)
    if counts is not None:
        masks |= {f"findings: {number}": counts == number for number in range(MOST_FINDINGS)}
        masks[f"findings: {MOST_FINDINGS}+"] = counts >= MOST_FINDINGS
    texts = [] if training is None else [text for text in training.texts if text]
    if texts and any(rows.references):
        lengths = [len(tokenize(text)) for text in texts]
        low, high = np.quantile(lengths, [1 / 3, 2 / 3], method="inverted_cdf")  # whole words
        words = np.array([len(tokenize(text)) for text in rows.references])
        masks[f"length: short (to {low:.0f} words)"] = (words > 0) & (words <= low)
        masks[f"length: middle (to {high:.0f} words)"] = (words > low) & (words <= high)
        masks["length: long"] = words > high
    return {name: mask for name, mask in masks.items() if mask.sum() >= SMALLEST_STRATUM}


def subgroup_table(
    statistics: Mapping[str, Statistic], masks: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """One row a system and stratum: kind, stratum, studies, labels, and the figures of ``METRICS``.

    ``labels`` counts those of the stratum that have an AUROC, over which its macro figures are
    taken: among the carriers of a label that label has none.
    """
    if not masks:
        return pd.DataFrame(columns=["system", "kind", "stratum", "studies", "labels"])
    weights = np.stack(list(masks.values())).astype(float)
    tables = []
    for name, statistic in statistics.items():
        values = statistic(weights)
        ranked = [column for key, column in values.items() if key.startswith("auroc:")]
        labels = sum((~np.isnan(column)).astype(int) for column in ranked) if ranked else 0
        tables.append(
            pd.DataFrame(
                {
                    "system": name,
                    "kind": [stratum.partition(":")[0] for stratum in masks],
                    "stratum": list(masks),
                    "studies": weights.sum(axis=1).astype(int),
                    "labels": labels,
                    **{metric: values[metric] for metric in METRICS if metric in values},
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


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


def clinical_notes(texts: Mapping[str, TextScores]) -> list[str]:
    """A sentence on how many findings the side errors rest on, for free text."""
    counts = {
        name: int(text.clinical.sides_compared.sum())
        for name, text in texts.items()
        if text.clinical is not None
    }
    if not counts:
        return []
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    return [f"Findings that hypothesis and reference both put on a side: {told}."]


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
