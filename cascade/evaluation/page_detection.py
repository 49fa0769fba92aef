"""The page's section "Detection": curves, reliability, decisions and operating points by label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from cascade.evaluation import charts
from cascade.evaluation.charts import number
from cascade.evaluation.detection import BEST_F1, DECISION_METRICS
from cascade.evaluation.page_common import Look, cell, interval_text, plain_cell
from cascade.evaluation.significance import Figure
from cascade.evaluation.statistics import METRICS
from cascade.evaluation.systems import System
from cascade.metrics.operating import OPERATING_POINTS

MOST_PANELS = 24
"""So many labels have curves on the page, those with the most positives; the tables have all."""


def section(look: Look) -> dict[str, Any] | None:
    """Everything on label probabilities; None where nobody gives any."""
    labels = look.evaluation.labels
    if labels.empty:
        return None
    first = labels.drop_duplicates("label").sort_values("positives", ascending=False, kind="stable")
    order = [str(label) for label in first["label"]]
    rival = look.best_trivial("macro_auroc")
    having = [s for s in look.own if s.probabilities is not None]
    shown = ([rival] if rival else []) + having
    return {
        "scores": look.scores([m for m in METRICS if m.startswith("macro_a")]),
        "legend": [look.named(system) for system in reversed(shown)],
        "panels": _panels(look, order, shown),
        "labels": _label_table(look, first, shown),
        "operating": _operating(look, order),
        "paired": _paired(look),
    }


def _panels(look: Look, order: list[str], shown: list[System]) -> list[dict[str, Any]]:
    """The grids of small multiples: a name, what is drawn, and a figure a label."""
    two = [s for s in shown if s.trivial or s is look.main]
    grids: list[dict[str, Any]] = []
    for name, about, draw, systems in (
        ("ROC", _ROC, _roc, shown),
        ("Precision and recall", _PR, _pr, shown),
        ("Reliability", _RELIABILITY, _reliability, two),
        ("Decisions", _DECISIONS, _decisions, two),
    ):
        figures = [draw(look, label, systems) for label in order]
        kept = [
            {"label": label, "rows": [], **f} for label, f in zip(order, figures, strict=True) if f
        ]
        if kept:
            more = len(kept) - MOST_PANELS
            grids.append(
                {"name": name, "about": about, "figures": kept[:MOST_PANELS], "more": max(more, 0)}
            )
    return grids


_ROC = (
    "Across: false positive rate; up: sensitivity. Below each: AUROC of the main system and its "
    "95% interval. The diagonal is chance."
)
_PR = (
    "Across: recall; up: precision. Below each: average precision of the main system. The "
    "dotted line is the share of positives, which a system that knows nothing gets."
)
_RELIABILITY = (
    "Across: the probability given, up: how often the label was present, in bins of as many "
    "studies each, with 95% intervals. On the diagonal a probability means what it says; below it "
    "the system says too much. ECE is the mean gap in ten equal bins, 0 is best."
)
_DECISIONS = (
    "Studies of the main system at the threshold of best F1 on the validation studies. Rows: the "
    "reference; columns: what the system calls. Deeper colour: a larger share of the row."
)


def _curves(look: Look, label: str, systems: list[System], kind: str) -> list[charts.Curve]:
    table = look.evaluation.curves
    table = table[(table["label"] == label) & (table["curve"] == kind)]
    found = []
    for system in systems:
        own = table[table["system"] == system.name]
        if len(own):
            points = own[["x", "y"]].to_numpy(dtype=float)
            found.append((look.styles[system.name], points[:, 0], points[:, 1]))
    return found


def _figure_of(look: Look, metric: str, label: str) -> Figure:
    return look.figure(look.main.name, f"{metric}:{label}")


def _facts(look: Look, label: str) -> pd.Series:
    labels = look.evaluation.labels
    return labels[labels["label"] == label].iloc[0]


def _roc(look: Look, label: str, systems: list[System]) -> dict[str, Any] | None:
    curves = _curves(look, label, systems, "ROC")
    if not curves:
        return None
    facts = _facts(look, label)
    below = f"{facts['positives']} of {facts['positives'] + facts['negatives']} positive"
    svg = charts.unit_plot(f"ROC curves of {label}", curves, diagonal=True)
    return {"svg": svg, "figure": _figure_of(look, "auroc", label), "name": "", "below": below}


def _pr(look: Look, label: str, systems: list[System]) -> dict[str, Any] | None:
    curves = _curves(look, label, systems, "PR")
    if not curves:
        return None
    share = float(_facts(look, label)["prevalence"])
    svg = charts.unit_plot(f"Precision-recall curves of {label}", curves, level=share)
    figure = _figure_of(look, "average_precision", label)
    return {"svg": svg, "figure": figure, "name": "", "below": f"{share:.2f} positive"}


def _reliability(look: Look, label: str, systems: list[System]) -> dict[str, Any] | None:
    table = look.evaluation.calibration
    table = table[table["label"] == label]
    curves, ranges = [], np.empty((0, 3))
    for system in systems:
        own = table[table["system"] == system.name]
        if len(own):
            points = own[["probability", "share", "low", "high"]].to_numpy(dtype=float)
            curves.append((look.styles[system.name], points[:, 0], points[:, 1]))
            if system is look.main:
                ranges = points[:, [0, 2, 3]]
    if not len(ranges):
        return None
    svg = charts.unit_plot(
        f"Reliability of {label}", curves, diagonal=True, dots=True, ranges=ranges
    )
    brier = number(_figure_of(look, "brier", label).value, 2)
    figure = _figure_of(look, "calibration_error", label)
    return {"svg": svg, "figure": figure, "name": "ECE ", "below": f"Brier {brier}"}


def _decisions(look: Look, label: str, _: list[System]) -> dict[str, Any] | None:
    table = look.evaluation.operating
    table = table[(table["label"] == label) & (table["point"] == BEST_F1)]
    own = table[table["system"] == look.main.name]
    if own.empty or math.isnan(own["threshold"].iloc[0]):
        return None
    row = own.iloc[0]
    hits, decided = int(row["hits"]), int(row["decided"])
    positives, negatives = int(row["positives"]), int(row["negatives"])
    alarms = decided - hits
    counts = [("present", hits, positives - hits), ("absent", alarms, negatives - alarms)]
    rows = [
        {
            "name": name,
            "cells": [
                {
                    "count": count,
                    "share": count / total if total else 0.0,
                    "right": (name == "present") == (place == 0),
                }
                for place, count in enumerate(pair)
            ],
        }
        for name, *pair in counts
        for total in [sum(pair)]
    ]
    figure = _figure_of(look, f"f1@{BEST_F1}", label)
    return {
        "svg": Markup(),
        "rows": rows,
        "figure": figure,
        "name": "F1 ",
        "below": _threshold(row["threshold"]),
    }


def _threshold(value: float) -> str:
    if math.isinf(value):
        return "nothing is called"
    return f"called from {value:.2f}" if value >= 0.01 else f"called from {value:.1e}"


def _label_table(look: Look, first: pd.DataFrame, shown: list[System]) -> dict[str, Any]:
    """AUROC of each label by system, then what else is known of the main one."""
    names = [system.name for system in reversed(shown)]
    more = {"average_precision": "AP", "calibration_error": "ECE ↓", "brier": "Brier ↓"}
    rows = []
    for label, positives, negatives in zip(
        first["label"], first["positives"], first["negatives"], strict=True
    ):
        cells = [cell(look.figure(name, f"auroc:{label}")) for name in names]
        cells += [cell(_figure_of(look, metric, label)) for metric in more]
        counts = [plain_cell(positives), plain_cell(negatives)]
        rows.append({"label": label, "cells": counts + cells})
    return {
        "systems": [look.named(name) for name in names],
        "more": list(more.values()),
        "rows": rows,
    }


def _operating(look: Look, order: list[str]) -> dict[str, Any] | None:
    """Each label at each operating point: the main system, then the best trivial one."""
    table = look.evaluation.operating
    rival = look.best_trivial(f"macro_f1@{BEST_F1}")
    systems = [look.main.name] + ([rival.name] if rival else [])
    table = table[table["system"].isin(systems)]
    if table.empty:
        return None
    records = table.to_dict("records")
    keyed = {(each["point"], each["label"], each["system"]): each for each in records}
    rows = []
    for point in OPERATING_POINTS:
        for system in systems:
            if (point, order[0], system) not in keyed:
                continue
            means = [
                cell(look.figure(system, f"macro_{metric}@{point}"), 2)
                for metric in DECISION_METRICS
            ]
            rows.append(_operating_row(look, point, "mean over labels", system, None, means))
        for label in order:
            for system in systems:
                row = keyed.get((point, label, system))
                if row is not None:
                    cells = [
                        cell(Figure(*(float(row[f"{m}{end}"]) for end in ("", "_low", "_high"))), 2)
                        for m in DECISION_METRICS
                    ]
                    rows.append(_operating_row(look, point, label, system, row, cells))
    return {
        "points": dict(OPERATING_POINTS),
        "columns": [name.capitalize() if name != "f1" else "F1" for name in DECISION_METRICS],
        "rows": rows,
    }


def _operating_row(
    look: Look,
    point: str,
    label: str,
    system: str,
    row: Mapping[Any, Any] | None,
    cells: list[dict[str, Any]],
) -> dict[str, Any]:
    threshold = math.nan if row is None else float(row["threshold"])
    return {
        "point": point,
        "label": label,
        "system": look.named(system),
        "threshold": plain_cell(threshold, "∞" if math.isinf(threshold) else number(threshold)),
        "validation": "" if row is None else f"{row['val_positives']} pos.",
        "reason": "" if row is None else row["reason"],
        "cells": cells,
    }


def _paired(look: Look) -> list[dict[str, Any]]:
    """McNemar's tests."""
    return [
        {
            **{key: row[key] for key in ("first", "second", "what")},
            "cells": [
                plain_cell(row["studies"]),
                plain_cell(row["first_only"]),
                plain_cell(row["second_only"]),
                plain_cell(row["p"], _p_text(row["p"])),
                plain_cell(row["p_adjusted"], _p_text(row["p_adjusted"])),
            ],
        }
        for row in look.evaluation.paired.to_dict("records")
    ]


def _p_text(p: float) -> str:
    return "<0.001" if p < 0.001 else number(p)


def figure_text(figure: Figure) -> str:
    """A figure below a small plot: ``0.91 (0.85–0.96)``."""
    low = interval_text(figure)
    return number(figure.value, 2) + (f" ({low})" if low else "")
