"""The evaluation as one HTML page that opens from disk: no network, light and dark.

Everything is inline: style, charts (``cascade.evaluation.charts``), pictures, and a few lines of
script for sorting and filtering. Texts of reports are escaped by the template. Studies are named by
their row in ``reports.csv``, unless ids are asked for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

import cascade
from cascade.evaluation import charts
from cascade.evaluation.charts import Mark, number
from cascade.evaluation.definitions import CHANCE, CHARTED, DEFINITIONS, HEADLINE, MEANINGS
from cascade.evaluation.examples import choose_rows, example
from cascade.evaluation.scoring import METRICS, Evaluation
from cascade.evaluation.significance import Difference, Figure
from cascade.evaluation.statistics import NEITHER_IS_BETTER, sign, verdict
from cascade.evaluation.systems import System
from cascade.metrics import classification

MOST_CURVES = 24
MOST_DISEASES = 16
EARLIER_STYLES = ("c1", "c2", "c3", "c4")
"""The class of the system before the main one, of the one before that, and so on."""


class _View:
    """What the template asks for; every method gives plain values or finished SVG."""

    def __init__(self, evaluation: Evaluation, show_ids: bool) -> None:
        self.evaluation, self.show_ids = evaluation, show_ids
        self.rows = evaluation.rows
        self.own = [system for system in evaluation.systems if not system.trivial]
        self.trivial = [system for system in evaluation.systems if system.trivial]
        self.styles = self._styles()

    def _styles(self) -> dict[str, str]:
        styles = {system.name: "ct" for system in self.trivial}
        styles[self.evaluation.main.name] = "c0"
        earlier = [system for system in reversed(self.own) if system.name not in styles]
        for place, system in enumerate(earlier):
            styles[system.name] = EARLIER_STYLES[place % len(EARLIER_STYLES)]
        return styles

    def has(self, metric: str) -> bool:
        """Whether some system has the figure."""
        systems = self.evaluation.systems
        return any(not math.isnan(self.evaluation.figure(s.name, metric).value) for s in systems)

    def best_trivial(self, metric: str) -> System | None:
        """The trivial system of the best figure, or None."""
        scored = [
            (value, system)
            for system in self.trivial
            if not math.isnan(value := self.evaluation.figure(system.name, metric).value)
        ]
        return max(scored, key=lambda pair: sign(metric) * pair[0])[1] if scored else None

    def headline(self) -> list[dict[str, Any]]:
        """Key figures of the main system beside the best trivial system and the one before it."""
        main = self.evaluation.main
        found = []
        for metric in HEADLINE:
            value = self.evaluation.figure(main.name, metric)
            if math.isnan(value.value):
                continue
            against = [
                d
                for d in self.evaluation.differences
                if (d.metric, d.second) == (metric, main.name)
            ]
            trivial = {system.name for system in self.trivial}
            record: dict[str, Any] = {
                "name": METRICS[metric],
                "meaning": MEANINGS[metric],
                "value": number(value.value),
                "range": interval_text(value),
                "rivals": [],
            }
            for wanted in (True, False):
                one = next((d for d in against if (d.first in trivial) is wanted), None)
                record["rivals"].append(one and self._rival(one))
            found.append(record)
        return found

    def _rival(self, d: Difference) -> dict[str, Any]:
        first = self.evaluation.figure(d.first, d.metric)
        return {"name": d.first, "value": number(first.value), **difference_view(d)}

    def before(self) -> str | None:
        """The name of the system before the main one."""
        return self.own[-2].name if len(self.own) > 1 else None

    def plots(self) -> list[dict[str, Any]]:
        """The dot plots."""
        found = []
        for metric in CHARTED:
            if self.has(metric):
                marks = [
                    Mark(
                        system.name,
                        self.styles[system.name],
                        self.evaluation.figure(system.name, metric),
                    )
                    for system in self.evaluation.systems
                ]
                title = f"{METRICS[metric]} of each system"
                svg = charts.dot_plot(title, marks, CHANCE.get(metric))
                found.append({"name": METRICS[metric], "meaning": MEANINGS[metric], "svg": svg})
        return found

    def legend(self) -> list[tuple[str, str]]:
        """Class and name of each system that has a colour of its own."""
        named = [(self.styles[system.name], system.name) for system in self.own]
        return [*named, ("ct", "trivial systems")] if self.trivial else named

    def report_metrics(self, overlap: bool) -> list[str]:
        """Metrics of the table of n-gram overlap, or of the other report table, that are there."""
        ngrams = tuple(m for m in METRICS if m.startswith(("precision", "bleu")))
        others = tuple(m for m in METRICS if m not in ngrams and not m.startswith("macro_a"))
        return [m for m in (ngrams if overlap else others) if self.has(m)]

    def detection_metrics(self) -> list[str]:
        """Metrics of the detection table that some system has."""
        return [m for m in METRICS if m.startswith("macro_a") and self.has(m)]

    def score_rows(self, metrics: Sequence[str], extra: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Table rows: a cell a metric, best of each marked; systems without any left out."""
        best = {metric: self.evaluation.best(metric) for metric in metrics}
        found = []
        for system in self.evaluation.systems:
            figures = [self.evaluation.figure(system.name, metric) for metric in metrics]
            if all(math.isnan(value.value) for value in figures):
                continue
            cells = [
                {
                    "sort": value.value,
                    "text": number(value.value),
                    "range": interval_text(value),
                    "best": value.value == best[metric] and metric not in NEITHER_IS_BETTER,
                }
                for metric, value in zip(metrics, figures, strict=True)
            ]
            counts = [self.evaluation.figure(system.name, name).value for name in extra]
            cells += [
                {"sort": value, "text": number(value, 0), "range": "", "best": False}
                for value in counts
            ]
            found.append({"system": system, "style": self.styles[system.name], "cells": cells})
        return found

    def differences(self) -> list[dict[str, Any]]:
        """Every paired comparison."""
        return [
            {
                "metric": METRICS[d.metric],
                "first": d.first,
                "second": d.second,
                **difference_view(d),
            }
            for d in self.evaluation.differences
        ]

    def strata(self) -> dict[str, Any]:
        """The strata table: metrics, and rows of the strata normal and abnormal."""
        table = self.evaluation.strata
        if table.empty or table["stratum"].nunique() < 2:
            return {"metrics": [], "rows": []}
        metrics = [m for m in ("precision1", "bleu1", "bleu4", "exact", "rouge_l") if m in table]
        rows = []
        for system in self.evaluation.systems:
            own = table[table["system"] == system.name].set_index("stratum")
            if own.empty:
                continue
            cells = [
                number(float(own.loc[stratum, metric]))  # type: ignore[arg-type]
                for metric in metrics
                for stratum in ("normal", "abnormal")
            ]
            rows.append({"system": system, "style": self.styles[system.name], "cells": cells})
        sizes = table.drop_duplicates("stratum").set_index("stratum")["studies"].to_dict()
        return {"metrics": [METRICS[m] for m in metrics], "rows": rows, "sizes": sizes}

    def label_rows(self) -> dict[str, Any]:
        """AUROC of each label: systems as columns, labels as rows, most positives first."""
        table = self.evaluation.labels
        if table.empty:
            return {"systems": [], "rows": []}
        names = list(dict.fromkeys(table["system"]))
        figures = self.evaluation.figures
        first = table.drop_duplicates("label").sort_values(
            "positives", ascending=False, kind="stable"
        )
        rows = []
        for label, positives, negatives in zip(
            first["label"], first["positives"], first["negatives"], strict=True
        ):
            cells = []
            for name in names:
                value = figures[name][f"auroc:{label}"]
                cells.append(
                    {
                        "sort": value.value,
                        "text": number(value.value),
                        "range": interval_text(value),
                    }
                )
            rows.append(
                {"label": label, "positives": positives, "negatives": negatives, "cells": cells}
            )
        styled = [{"name": name, "style": self.styles[name]} for name in names]
        return {"systems": styled, "rows": rows}

    def curves(self) -> list[dict[str, Any]]:
        """ROC small multiples, most positives first; labels without AUROC are left out."""
        if self.rows.truth is None:
            return []
        rival = self.best_trivial("macro_auroc")
        shown = ([rival] if rival else []) + [s for s in self.own if s.probabilities is not None]
        truth = self.rows.truth.to_numpy(dtype=float)
        positives = (truth == 1).sum(axis=0)
        found: list[dict[str, Any]] = []
        for place in np.argsort(-positives, kind="stable").tolist():
            label = self.rows.labels[place]
            lines = []
            for system in shown:
                scores = system.scores(self.rows)
                if scores is not None:
                    rates = classification.curve(truth[:, place], scores[:, place])
                    lines.append((self.styles[system.name], *rates))
            if not any(len(line[1]) for line in lines):
                continue
            main = self.evaluation.figure(self.evaluation.main.name, f"auroc:{label}")
            found.append(
                {
                    "label": label,
                    "positives": int(positives[place]),
                    "auroc": number(main.value, 2),
                    "range": interval_text(main),
                    "svg": charts.roc_plot(f"ROC curves of {label}", lines),
                }
            )
        return found[:MOST_CURVES]

    def curve_rival(self) -> str | None:
        """The name of the grey curve."""
        rival = self.best_trivial("macro_auroc")
        return rival.name if rival else None

    def _disease_systems(self) -> list[System]:
        rival = self.best_trivial("macro_recall_abnormal")
        return [s for s in self.own if s.hypotheses is not None] + ([rival] if rival else [])

    def disease_bars(self) -> Markup | None:
        """Recall by disease, the commonest first."""
        table = self.evaluation.diseases
        table = table[table["support"] > 0] if len(table) else table
        if table.empty:
            return None
        keyed = table.set_index(["disease", "system"])["recall"]
        names = list(dict.fromkeys(table["disease"]))[:MOST_DISEASES]
        support = table.drop_duplicates("disease").set_index("disease")["support"]
        groups = [
            (
                f"{disease} ({support[disease]})",
                [
                    Mark(s.name, self.styles[s.name], Figure(float(keyed[(disease, s.name)])))
                    for s in self._disease_systems()
                ],
            )
            for disease in names
        ]
        return charts.bar_chart("Recall of each disease by system", groups)

    def disease_table(self) -> dict[str, Any]:
        """Recall, precision and times written of each disease."""
        table = self.evaluation.diseases
        if table.empty:
            return {"systems": [], "rows": []}
        keyed = table.set_index(["disease", "system"])
        systems = self._disease_systems()
        rows = []
        support = table.groupby("disease", sort=False)["support"].max()
        for disease, count in support.items():
            cells = []
            for system in systems:
                key = (str(disease), system.name)
                if key in keyed.index:
                    row: pd.Series = keyed.loc[key]  # type: ignore[assignment]
                    values = [float(row["recall"]), float(row["precision"]), int(row["written"])]
                else:  # this system and the references never name it
                    values = [math.nan, math.nan, 0]
                texts = [number(values[0], 2), number(values[1], 2), str(values[2])]
                cells += [{"sort": v, "text": t} for v, t in zip(values, texts, strict=True)]
            rows.append({"disease": disease, "support": int(count), "cells": cells})
        styled = [{"name": s.name, "style": self.styles[s.name]} for s in systems]
        return {"systems": styled, "rows": rows}

    def slots(self) -> list[dict[str, Any]]:
        """Slot accuracy, systems that compared something."""
        found = []
        table = self.evaluation.slots
        for system in self.evaluation.systems:
            own = table[table["system"] == system.name]
            if len(own) and own["compared"].iloc[0]:
                cells = [
                    {
                        "text": number(accuracy),
                        "sort": accuracy,
                        "stated": f"{right} of {stated} stated",
                    }
                    for accuracy, right, stated in zip(
                        own["accuracy"], own["stated_right"], own["stated"], strict=True
                    )
                ]
                compared = int(own["compared"].iloc[0])
                found.append(
                    {
                        "system": system,
                        "style": self.styles[system.name],
                        "compared": compared,
                        "cells": cells,
                    }
                )
        return found

    def examples(self) -> list[dict[str, Any]]:
        """Best, worst and random rows of the main system, beside the best trivial writer."""
        rival = self.best_trivial("rouge_l")
        writers = [s for s in self.own if s.hypotheses is not None] + ([rival] if rival else [])
        return [
            example(self.evaluation, kind, row, writers, self.styles, self.show_ids)
            for kind, rows in choose_rows(self.evaluation).items()
            for row in rows
        ]

    def tokenizers(self) -> str:
        """How the words of each figure are cut, figures of one cut together."""
        names: dict[str, list[str]] = {}
        for name, cut in self.evaluation.meta.get("tokenizers", {}).items():
            names.setdefault(cut, []).append(name)
        return "; ".join(f"{', '.join(found)}: {cut}" for cut, found in names.items())

    def not_run(self) -> list[tuple[str, str]]:
        """A definition of what is not there, with the reasons, or none."""
        told = [f"{n}: {reason}" for n, reason in self.evaluation.meta["not_run"].items()]
        return [("Not run", f"{'. '.join(told)}.")] if told else []

    def meta(self) -> list[tuple[str, str]]:
        """Facts for the foot of the page."""
        known = self.evaluation.meta
        names = {
            "split": "Split",
            "studies": "Studies",
            "patients": "Patients",
            "normal_studies": "Of these normal",
            "tokenizer": "Tokeniser",
            "seed": "Seed",
            "resamples": "Bootstrap resamples",
            "commit": "Commit",
        }
        hidden = {*names, "kind", "confidence", "not_run", "tokenizers"}
        facts = [(names[k], known[k]) for k in names if known.get(k) is not None]
        facts += [
            (k.replace("_", " ").capitalize(), v) for k, v in known.items() if k not in hidden
        ]
        facts.append(("Cascade", cascade.__version__))
        return [(name, str(value)) for name, value in facts]


def interval_text(value: Figure) -> str:
    """An interval for print, empty where there is none.

    >>> interval_text(Figure(0.5, 0.4, 0.612))
    '0.40–0.61'
    """
    return "" if math.isnan(value.low) else f"{value.low:.2f}–{value.high:.2f}"


def difference_view(d: Difference) -> dict[str, Any]:
    """A difference for print: its text, interval, and verdict better, worse, unclear or ''."""
    return {
        "difference": signed(d.value),
        "sort": d.value,
        "range": "" if math.isnan(d.low) else f"{signed(d.low)} to {signed(d.high)}",
        "verdict": verdict(d),
    }


def signed(value: float) -> str:
    """A difference with its sign, a true minus.

    >>> signed(-0.25)
    '−0.250'
    """
    return f"{value:+.3f}".replace("-", "−")


@functools.cache
def _template() -> jinja2.Template:
    source = resources.files("cascade.evaluation") / "templates" / "evaluation.html.j2"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source.read_text(encoding="utf-8"))


def render_page(evaluation: Evaluation, *, show_ids: bool = False) -> str:
    """The page as HTML.

    Args:
        evaluation: of ``evaluate``.
        show_ids: print study ids in the examples; by default the row of ``reports.csv`` (the first
            study is row 1) stands for the study.
    """
    view = _View(evaluation, show_ids)
    return _template().render(
        view=view,
        evaluation=evaluation,
        metric_names=METRICS,
        notice=cascade.RESEARCH_NOTICE,
        definitions=[*DEFINITIONS, *view.not_run()],
        isnan=lambda value: isinstance(value, float) and math.isnan(value),
    )
