"""The page's section on what the text says: diseases of annotations, clinical labels of reports."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from cascade.evaluation import charts
from cascade.evaluation.charts import Mark, number
from cascade.evaluation.page_common import Look, cell, plain_cell
from cascade.evaluation.significance import Figure
from cascade.evaluation.statistics import METRICS
from cascade.evaluation.systems import System
from cascade.metrics import annotation, clinical

MOST_DISEASES = 16
MOST_CONFUSED = 12
DISEASE_METRICS = ("micro_f1_abnormal", "macro_f1_abnormal", "macro_recall_abnormal")
STANDS = ("contradiction", "contradicted_assertions", "side_errors")
CLINICAL_METRICS = tuple(m for m in METRICS if m.startswith("clin"))


def diseases(look: Look) -> dict[str, Any] | None:
    """For annotations: figures, recall bars, the table by disease, slots, confusion."""
    table = look.evaluation.diseases
    if table.empty:
        return None
    rival = look.best_trivial("macro_recall_abnormal")
    systems = [s for s in look.own if s.hypotheses is not None] + ([rival] if rival else [])
    return {
        "scores": look.scores(DISEASE_METRICS),
        "systems": [look.named(system) for system in systems],
        "bars": _recall_bars(look, systems),
        "rows": _disease_rows(table, systems),
        "slots": _slots(look),
        "confusion": _disease_confusion(look),
    }


def _disease_confusion(look: Look) -> dict[str, Any] | None:
    if look.main.hypotheses is None:
        return None
    matrix = annotation.disease_matrix(look.main.hypotheses, look.evaluation.rows.references)
    return confusion_table(matrix.names, matrix.reference, matrix.hypothesis)


def _recall_bars(look: Look, systems: list[System]) -> Markup | None:
    table = look.evaluation.diseases
    table = table[table["support"] > 0]
    if table.empty:
        return None
    keyed = table.set_index(["disease", "system"])["recall"]
    support = table.drop_duplicates("disease").set_index("disease")["support"]
    groups = [
        (
            f"{disease} ({support[disease]})",
            [
                Mark(s.name, look.styles[s.name], Figure(float(keyed[(disease, s.name)])))
                for s in systems
            ],
        )
        for disease in list(dict.fromkeys(table["disease"]))[:MOST_DISEASES]
    ]
    return charts.bar_chart("Recall of each disease by system", groups)


def _disease_rows(table: pd.DataFrame, systems: list[System]) -> list[dict[str, Any]]:
    """Recall, precision and times written of each disease."""
    records = table.to_dict("records")
    keyed = {(each["disease"], each["system"]): each for each in records}
    rows = []
    for disease, count in table.groupby("disease", sort=False)["support"].max().items():
        cells = [plain_cell(int(count))]
        for system in systems:
            recall, precision, written = math.nan, math.nan, 0
            row = keyed.get((disease, system.name))
            if row is not None:
                recall, precision = float(row["recall"]), float(row["precision"])
                written = int(row["written"])
            cells += [plain_cell(v, number(v, 2)) for v in (recall, precision)]
            cells.append(plain_cell(written))
        rows.append({"name": disease, "cells": cells})
    return rows


def _slots(look: Look) -> list[dict[str, Any]]:
    """Slot accuracy, systems that compared something."""
    found = []
    table = look.evaluation.slots
    for system in look.evaluation.systems:
        own = table[table["system"] == system.name]
        if len(own) and own["compared"].iloc[0]:
            cells = [plain_cell(int(own["compared"].iloc[0]))]
            cells += [
                plain_cell(accuracy, number(accuracy), f"{right} of {stated} stated")
                for accuracy, right, stated in zip(
                    own["accuracy"], own["stated_right"], own["stated"], strict=True
                )
            ]
            found.append({"system": look.named(system), "cells": cells})
    return found


def clinical_section(look: Look) -> dict[str, Any] | None:
    """For free text: clinical figures, F1 by label, contradictions and sides, confusion."""
    table = look.evaluation.clinical
    if table.empty:
        return None
    own = table[table["system"] == look.main.name].set_index("label")
    own = own[(own["support"] > 0) | (own["written"] > 0)]
    if own.empty:
        return None
    own = own.sort_values("support", ascending=False, kind="stable")
    counts = clinical.count_labels(look.main.hypotheses or [], look.evaluation.rows.references)
    rivals = {str(label): _best_trivial_f1(look, str(label)) for label in own.index}
    bars = [
        (
            f"{label} ({row['support']})",
            Figure(float(row["f1"]), float(row["f1_low"]), float(row["f1_high"])),
            rivals[str(label)][0],
        )
        for label, row in own.iterrows()
    ]
    return {
        "scores": look.scores(CLINICAL_METRICS),
        "bars": charts.score_bars("F1 of each clinical label", bars),
        "rows": [
            _clinical_row(str(label), row, rivals[str(label)]) for label, row in own.iterrows()
        ],
        "stands": _stands(look, counts),
        "confusion": confusion_table(counts.names, counts.reference == 1, counts.hypothesis == 1),
    }


def _best_trivial_f1(look: Look, label: str) -> tuple[float, str]:
    """The best F1 of a trivial system on one label, and whose it is; NaN without one."""
    scored = [
        (value, system.name)
        for system in look.trivial
        if not math.isnan(value := look.figure(system.name, f"clin_f1:{label}").value)
    ]
    return max(scored, key=lambda pair: pair[0], default=(math.nan, ""))


def _clinical_row(label: str, row: pd.Series, rival: tuple[float, str]) -> dict[str, Any]:
    counts = [plain_cell(int(row[name])) for name in ("support", "written", "hits")]
    shares = [plain_cell(float(row[m]), number(float(row[m]), 2)) for m in ("precision", "recall")]
    f1 = cell(Figure(float(row["f1"]), float(row["f1_low"]), float(row["f1_high"])), 2)
    wrong = [plain_cell(int(row[name])) for name in ("false_findings", "false_denials")]
    other = plain_cell(rival[0], number(rival[0], 2), rival[1] if rival[0] else "")
    return {"name": label, "cells": [*counts, *shares, f1, other, *wrong]}


def _stands(look: Look, counts: clinical.ClinicalCounts) -> dict[str, Any] | None:
    """Contradictions and side errors of every system, with the counts behind them."""
    found = look.scores(STANDS)
    if found is None:
        return None
    table = look.evaluation.clinical
    sums = table.groupby("system")[["false_findings", "false_denials"]].sum()
    wrong, compared = counts.sides_wrong.sum(), counts.sides_compared.sum()
    for row in found["rows"]:
        name, sides = row["system"]["name"], row["cells"][-1]
        if name == look.main.name and len(row["cells"]) == len(STANDS):
            sides["below"] = " · ".join(filter(None, (sides["below"], f"{wrong} of {compared}")))
        row["cells"] += [
            plain_cell(int(sums.loc[name, key])) for key in ("false_findings", "false_denials")
        ]
    found["columns"] = [*found["columns"], "False findings", "False denials"]
    return found


def confusion_table(
    names: list[str], reference: np.ndarray, hypothesis: np.ndarray, most: int = MOST_CONFUSED
) -> dict[str, Any] | None:
    """Counts of studies: the reference's label by row, what the text says by column.

    The diagonal holds the hits. Elsewhere the reference has the row's label, the text does not, and
    has the column's, which the reference has not: a study with two such columns counts in both.
    ``another`` is any label without a column; ``nothing`` no such label at all. The last row,
    ``nothing missed``, holds labels that were added to a study without a miss, and at its end the
    studies that say neither too much nor too little.

    Args:
        names: K labels.
        reference: ``(N, K)`` bool.
        hypothesis: likewise.
        most: the labels with the most studies on either side are shown.
    """
    support = reference.sum(axis=0)
    order = np.lexsort((-hypothesis.sum(axis=0), -support))
    shown = [place for place in order.tolist() if support[place] or hypothesis[:, place].any()]
    shown, rest = shown[:most], shown[most:]
    if not shown:
        return None
    missed, added = reference & ~hypothesis, hypothesis & ~reference
    hits = (reference & hypothesis).sum(axis=0)
    swapped = missed.astype(int).T @ added.astype(int)
    columns = [names[place] for place in shown]
    tail = [added[:, rest].any(axis=1), ~added.any(axis=1)]
    kept = [True, True] if rest else [False, True]
    rows = []
    for place in [at for at in shown if support[at]]:
        counts = [int(hits[at] if at == place else swapped[place, at]) for at in shown]
        counts += [
            int((missed[:, place] & t).sum()) for t, keep in zip(tail, kept, strict=True) if keep
        ]
        cells = [
            {"count": n, "share": n / support[place], "hit": at == columns.index(names[place])}
            for at, n in enumerate(counts)
        ]
        rows.append({"name": names[place], "support": int(support[place]), "cells": cells})
    free = ~missed.any(axis=1)
    counts = [int((added[:, place] & free).sum()) for place in shown]
    counts += [int((added[:, rest].any(axis=1) & free).sum())] if rest else []
    counts.append(int((free & ~added.any(axis=1)).sum()))
    last = [{"count": n, "share": 0.0, "hit": at == len(counts) - 1} for at, n in enumerate(counts)]
    rows.append({"name": "nothing missed", "support": None, "cells": last})
    return {
        "columns": columns + (["another"] if rest else []) + ["nothing"],
        "rows": rows,
        "hidden": len(rest),
    }
