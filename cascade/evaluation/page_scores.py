"""The page's sections "In short", "Reports" and "Strata": systems by figures."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from cascade.evaluation import charts
from cascade.evaluation.charts import Mark, number
from cascade.evaluation.definitions import CHANCE, CHARTED, HEADLINE, MEANINGS
from cascade.evaluation.page_common import Look, difference_view, interval_text, plain_cell
from cascade.evaluation.significance import Difference
from cascade.evaluation.statistics import METRICS
from cascade.metrics.hub import HUB_METRICS

OVERLAP = tuple(m for m in METRICS if m.startswith(("precision", "bleu")))
WORDS = (
    *("exact", "rouge_l", "meteor", "cider", "cider_plain", "sacrebleu"),
    *("length_ratio", "copied"),
)
STRATA_METRICS = (
    *("bleu4", "exact", "rouge_l", "macro_f1_abnormal", "clin_micro_f1_abnormal"),
    *("contradiction", "macro_auroc"),
)
KINDS = {
    "normal": "normal or abnormal",
    "label": "label of the reference",
    "view": "view",
    "findings": "number of findings",
    "length": "length of the reference",
}
"""The kinds of strata, and what the page calls them."""


def summary(look: Look) -> dict[str, Any]:
    """Key figures against the best trivial system, every system by figure, all differences."""
    return {
        "headline": _headline(look),
        "before": look.before,
        "plots": _plots(look),
        "differences": [
            {
                "metric": METRICS[d.metric],
                "first": d.first,
                "second": d.second,
                **difference_view(d),
            }
            for d in look.evaluation.differences
        ],
    }


def _headline(look: Look) -> list[dict[str, Any]]:
    trivial = {system.name for system in look.trivial}
    found = []
    for metric in HEADLINE:
        value = look.figure(look.main.name, metric)
        if math.isnan(value.value):
            continue
        against = [
            d
            for d in look.evaluation.differences
            if (d.metric, d.second) == (metric, look.main.name)
        ]
        best = next((d for d in against if d.first in trivial), None)
        before = next((d for d in against if d.first not in trivial), None)
        rivals = [best, before] if look.before else [best]
        found.append(
            {
                "name": METRICS[metric],
                "meaning": MEANINGS[metric],
                "value": number(value.value),
                "range": interval_text(value),
                "rivals": [one and _rival(look, one) for one in rivals],
            }
        )
    return found


def _rival(look: Look, d: Difference) -> dict[str, Any]:
    first = look.figure(d.first, d.metric)
    return {"name": d.first, "value": number(first.value), **difference_view(d)}


def _plots(look: Look) -> list[dict[str, Any]]:
    found = []
    for metric in CHARTED:
        if look.has(metric):
            marks = [
                Mark(system.name, look.styles[system.name], look.figure(system.name, metric))
                for system in look.evaluation.systems
            ]
            title = f"{METRICS[metric]} of each system"
            svg = charts.dot_plot(title, marks, CHANCE.get(metric))
            found.append({"name": METRICS[metric], "meaning": MEANINGS[metric], "svg": svg})
    return found


def reports(look: Look) -> dict[str, Any] | None:
    """The tables of the text; None where nobody writes."""
    if not look.has("exact"):
        return None
    cuts: dict[str, list[str]] = {}
    for name, cut in look.evaluation.meta.get("tokenizers", {}).items():
        cuts.setdefault(cut, []).append(name)
    return {
        "overlap": look.scores(OVERLAP),
        "words": look.scores(WORDS, ("distinct", "empty")),
        "hub": _hub(look),
        "tokenizers": "; ".join(f"{', '.join(names)}: {cut}" for cut, names in cuts.items()),
    }


def _hub(look: Look) -> list[dict[str, Any]]:
    """A table for each metric of RadEval that was run; its figures have no interval."""
    tables = []
    for name, title in HUB_METRICS.items():
        prefix = f"hub.{name}."
        found = {
            system: {m: f.value for m, f in figures.items() if m.startswith(prefix)}
            for system, figures in look.evaluation.figures.items()
        }
        metrics = list(dict.fromkeys(metric for values in found.values() for metric in values))
        rows = []
        for system in look.evaluation.systems:
            values = [found[system.name].get(metric, math.nan) for metric in metrics]
            if found[system.name]:
                cells = [plain_cell(value, number(value)) for value in values]
                rows.append({"system": look.named(system), "cells": cells})
        if rows:
            columns = [metric.removeprefix(prefix).replace("_", " ") for metric in metrics]
            tables.append({"title": title, "columns": columns, "rows": rows})
    return tables


def strata(look: Look) -> dict[str, Any] | None:
    """The main system in each stratum, beside the best trivial one of each figure."""
    table = _strata_table(look)
    metrics = [m for m in STRATA_METRICS if m in table and table[m].notna().any()]
    table = table[table["system"].isin({look.main.name, *(s.name for s in look.trivial)})]
    if table["stratum"].nunique() < 2 or not metrics:
        return None
    rivals = {metric: look.best_trivial(metric) for metric in metrics}
    keyed = table.set_index(["stratum", "system"])
    rows = []
    for kind in [kind for kind in KINDS if (table["kind"] == kind).any()]:
        for stratum in dict.fromkeys(table.loc[table["kind"] == kind, "stratum"]):
            own = keyed.loc[stratum]
            cells = []
            for metric in metrics:
                value, other = (
                    math.nan if system is None else _value(look, own, stratum, system.name, metric)
                    for system in (look.main, rivals[metric])
                )
                cells.append(plain_cell(value, number(value), number(other)))
            rows.append(
                {
                    "kind": kind,
                    "name": str(stratum).removeprefix(f"{kind}:").strip(),
                    "studies": int(own["studies"].iloc[0]),
                    "cells": cells,
                }
            )
    kinds = {kind: KINDS[kind] for kind in KINDS if any(row["kind"] == kind for row in rows)}
    return {
        "columns": [METRICS[metric] for metric in metrics],
        "rivals": [
            f"{METRICS[metric]}: {rival.name}"
            for metric, rival in rivals.items()
            if rival is not None
        ],
        "kinds": kinds,
        "rows": rows,
    }


def _strata_table(look: Look) -> pd.DataFrame:
    """All strata with their kind; those of the text, all studies first, are of kind normal."""
    tables = [look.evaluation.strata.assign(kind="normal"), look.evaluation.subgroups]
    tables = [table for table in tables if len(table)]
    if not tables:
        return pd.DataFrame(columns=["system", "kind", "stratum", "studies"])
    return pd.concat(tables, ignore_index=True)


def _value(look: Look, own: pd.DataFrame, stratum: str, system: str, metric: str) -> float:
    if stratum == "all":  # its table holds the figures of the text alone
        return look.figure(system, metric).value
    return float(own.loc[system, metric]) if system in own.index else math.nan  # type: ignore[arg-type]
