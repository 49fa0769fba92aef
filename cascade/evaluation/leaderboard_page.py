"""The leaderboard as one HTML page that opens from disk: no network, light and dark."""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

import cascade
from cascade.evaluation import charts
from cascade.evaluation.charts import Mark, number
from cascade.evaluation.definitions import CHANCE, DEFINITIONS, MEANINGS
from cascade.evaluation.html import page_environment
from cascade.evaluation.leaderboard import (
    COSTS,
    NAMES,
    Configuration,
    Entry,
    Group,
    Leaderboard,
    beats_trivial,
    first_of,
    name_of,
    setting_text,
)
from cascade.evaluation.leaderboard_charts import curve_plot, pareto_plot, setting_plot, short
from cascade.evaluation.significance import Figure
from cascade.evaluation.statistics import sign

STYLES = ("c0", "c1", "c2", "c3", "c4")
OTHER = "cx"
"""The class of a configuration beyond the first five."""
MOST_DOTS = 30
MOST_SETTINGS = 12
UNBOUNDED = ("cider", "cider_plain")
TABLED = (
    *("macro_f1_abnormal", "clin_macro_f1_abnormal", "contradiction"),
    *("bleu1", "bleu4", "rouge_l", "meteor", "cider", "exact"),
    *("macro_auroc", "macro_average_precision", "validation_bleu", "validation_auroc"),
)
MOST_TABLED = 8
WORTH = 1.1
"""Costs nearer to each other than this factor get no chart."""
MOST_BEFORE = 4
"""More columns of settings than this stand behind the scores, which would else be out of sight."""


def render_leaderboard(board: Leaderboard, out: Path) -> str:
    """The page as HTML.

    Args:
        board: of ``build_leaderboard``.
        out: the folder that the page will lie in, for links to the runs' own pages.
    """
    return _template().render(
        board=board,
        groups=[_View(board, group, place, out) for place, group in enumerate(board.groups, 1)],
        unfinished=[_unfinished(entry, board) for entry in board.unfinished],
        notice=cascade.RESEARCH_NOTICE,
        definitions=DEFINITIONS,
        version=cascade.__version__,
    )


class _View:
    """One group as the template asks for it: plain values and finished SVG."""

    def __init__(self, board: Leaderboard, group: Group, place: int, out: Path) -> None:
        self.board, self.group, self.out = board, group, out
        self.id = f"table-{place}"
        self.rows, self.metric = group.rows, group.metric
        self.name, self.less = name_of(group.metric), sign(group.metric) < 0
        self.meaning = MEANINGS.get(group.metric, "")
        self.known = group.rows.sha256[:12] if group.rows.known else "unknown"
        self.notes = group.notes
        self.ranked = [c for c in group.configurations if c.rank is not None]
        self.styles = {id(c): (STYLES[n] if n < 5 else OTHER) for n, c in enumerate(self.ranked)}
        self.keys = board.differing
        self.wide = len(self.keys) > MOST_BEFORE
        best = group.trivial.get(group.metric)
        self.baseline = None if best is None else best[1]
        self.trivial = None if best is None else {"name": best[0], "value": number(best[1])}
        others = [m for m in TABLED if m in group.metrics and m != group.metric]
        self.others = others[:MOST_TABLED]
        self.has_costs = any(c.cost for c in group.configurations)

    def style(self, configuration: Configuration) -> str:
        return self.styles.get(id(configuration), OTHER)

    def summary(self) -> list[str]:
        """What the table says, in sentences."""
        leader = first_of(self.group)
        if leader is None:
            return [f"No run has {self.name}."]
        told = [f"First by {self.name}: {leader.label}, {number(leader.score(self.metric).value)}."]
        rest = [c for c in self.ranked if c is not leader and c.first is not None]
        behind = sum(c.first.holds for c in rest if c.first is not None)
        if rest:
            more = "the other" if len(rest) == 1 else f"{behind} of {len(rest)} others"
            verb = "is" if len(rest) == 1 and behind else "is not" if len(rest) == 1 else "are"
            told.append(f"By these rows {more} {verb} clearly worse.")
        if self.trivial is None:
            return told
        trivial = f"the best trivial system, {self.trivial['name']} ({self.trivial['value']})"
        above = sum(beats_trivial(self.group, c) is True for c in self.ranked)
        if not above:
            told.append(f"No configuration is above {trivial}: nothing here has won.")
        else:
            verdict = {
                "better": "and the difference holds",
                "worse": "but tests as worse beside its own trivial systems",
                "unclear": "but that difference is not clear",
                "": "which was not tested",
            }[leader.against_trivial]
            told.append(f"It stands above {trivial}, {verdict}.")
        return told

    def table(self) -> list[dict[str, Any]]:
        """Rows of the leaderboard, the trivial one at its place."""
        rows = [self._row(c) for c in self.group.configurations]
        if self.trivial is not None:
            above = sum(beats_trivial(self.group, c) is True for c in self.ranked)
            rows.insert(above, self._trivial_row())
        return rows

    def _row(self, c: Configuration) -> dict[str, Any]:
        rank = c.rank if c.rank is not None else math.nan
        seeds = [entry.seed for entry in c.entries if entry.seed is not None]
        return {
            "trivial": False,
            "style": self.style(c),
            "rank": _cell(rank, "–" if c.rank is None else str(c.rank)),
            "label": c.label,
            "settings": [_setting_cell(c.settings.get(key)) for key in self.keys],
            "seeds": _cell(
                c.seeds, str(c.seeds), f"seed {', '.join(map(str, seeds))}" if seeds else ""
            ),
            "score": self._figure(c, self.metric),
            "first": _first(c),
            "against": {"verdict": c.against_trivial, "tested": c.tested},
            "others": [self._figure(c, metric) for metric in self.others],
            "leads": c.rank == 1,
        }

    def _trivial_row(self) -> dict[str, Any]:
        trivial = self.group.trivial
        cells = [
            _cell(trivial[m][1], number(trivial[m][1]), trivial[m][0])
            if m in trivial
            else _cell(math.nan, "–")
            for m in (self.metric, *self.others)
        ]
        return {
            "trivial": True,
            "style": "ct",
            "rank": _cell(math.nan, ""),
            "label": "best trivial system of each figure",
            "settings": [],
            "seeds": _cell(math.nan, ""),
            "score": cells[0],
            "others": cells[1:],
            "leads": False,
        }

    def _figure(self, c: Configuration, metric: str) -> dict[str, Any]:
        figure = c.score(metric)
        deviation = c.deviation.get(metric, math.nan)
        text = "" if math.isnan(figure.low) else range_text(figure)
        spread = "" if math.isnan(deviation) else f"sd {deviation:.3f}"
        best = self.group.trivial.get(metric)
        value = figure.value
        beaten = best is not None and not sign(metric) * (value - best[1]) > 0
        return _cell(value, number(value), text, spread) | {"beaten": beaten}

    def other_names(self) -> list[str]:
        return [NAMES[metric] for metric in self.others]

    def dots(self) -> list[dict[str, Any]]:
        """A dot plot a metric, the ranking one first."""
        plots = []
        for metric in (self.metric, *self.others):
            marks = [
                self._mark(c, metric)
                for c in self.ranked[:MOST_DOTS]
                if not math.isnan(c.score(metric).value)
            ]
            if metric in self.group.trivial:
                name, value = self.group.trivial[metric]
                marks.append(Mark(name, "ct", Figure(value)))
            svg = charts.dot_plot(
                f"{name_of(metric)} of each configuration", marks, CHANCE.get(metric)
            )
            plots.append({"name": name_of(metric), "meaning": MEANINGS.get(metric, ""), "svg": svg})
        return plots

    def _mark(self, c: Configuration, metric: str) -> Mark:
        figure = c.score(metric)
        if metric not in UNBOUNDED:  # Student's t knows no bounds, the figure does
            figure = Figure(figure.value, _within(figure.low), _within(figure.high))
        return Mark(f"{c.rank}. {c.label}", self.style(c), figure)

    def legend(self) -> list[tuple[str, str]]:
        """Class and name of each configuration of its own colour."""
        named = [(self.style(c), f"{c.rank}. {c.label}") for c in self.ranked[: len(STYLES)]]
        more = len(self.ranked) - len(STYLES)
        return [*named, (OTHER, f"{more} more")] if more > 0 else named

    def settings(self) -> list[dict[str, Any]]:
        """A panel a setting that differs."""
        panels = []
        for key in self.keys[:MOST_SETTINGS]:
            points = [(c.settings[key], c) for c in self.ranked if key in c.settings]
            if len({setting_text(value) for value, _ in points}) < 2:
                continue
            numeric = all(_is_number(value) for value, _ in points)
            plotted: list[tuple[float | str, Mark]] = [
                (float(value) if numeric else setting_text(value), self._mark(c, self.metric))
                for value, c in points
            ]
            panels.append({"key": key, "svg": setting_plot(key, plotted, self.baseline)})
        return panels

    def curves(self) -> list[dict[str, Any]]:
        """A panel a stage and round, a line a run."""
        found: dict[tuple[int, str, str], list[tuple[str, str, Any, Any]]] = {}
        for c in self.ranked:
            for entry in c.entries:
                for curve in entry.curves:
                    key = (curve.round, curve.stage, curve.metric)
                    line = (self.style(c), f"{c.rank}. {entry.name}", curve.epochs, curve.values)
                    if curve.epochs:
                        found.setdefault(key, []).append(line)
        return [
            {
                "name": f"Round {number_}, {stage}",
                "meaning": f"{metric} by epoch",
                "svg": curve_plot(f"{metric} of the {stage} of round {number_} by epoch", lines),
            }
            for (number_, stage, metric), lines in sorted(found.items())
        ]

    def costs(self) -> dict[str, Any]:
        """What each configuration cost."""
        names = [name for name in COSTS if any(name in c.cost for c in self.ranked)]
        rows = [
            {
                "style": self.style(c),
                "label": f"{c.rank}. {c.label}",
                "cells": [
                    _cell(c.cost[name], _cost_text(name, c.cost[name]))
                    if name in c.cost
                    else _cell(math.nan, "–")
                    for name in names
                ],
            }
            for c in self.ranked
            if c.cost
        ]
        return {"names": [COSTS[name] for name in names], "rows": rows if names else []}

    def paretos(self) -> list[dict[str, Any]]:
        """The score against each cost that differs."""
        plots = []
        for cost in ("training_seconds", "parameters", "bundle_mb"):
            points = [
                (c.cost[cost], c.rank or 0, self._mark(c, self.metric))
                for c in self.ranked
                if cost in c.cost
            ]
            spent = [value for value, *_ in points]
            if len(points) < 2 or max(spent) < WORTH * min(spent):
                continue
            name = COSTS[cost]
            svg = pareto_plot(name, points, sign(self.metric), self.baseline)
            plots.append({"name": name, "svg": svg})
        return plots[:2]

    def runs(self) -> list[dict[str, Any]]:
        """Every run that was pooled."""
        return [
            {
                "name": entry.name,
                "style": self.style(c),
                "label": c.label,
                "seed": "–" if entry.seed is None else str(entry.seed),
                "system": entry.system,
                "score": number(entry.figures.get(self.metric, Figure(math.nan)).value),
                "commit": entry.commit or "–",
                "link": entry.page and _link(entry.page, self.out),
            }
            for c in self.group.configurations
            for entry in c.entries
        ]


def _within(value: float) -> float:
    return value if math.isnan(value) else min(max(value, 0.0), 1.0)


def _cell(sort: float, text: str, small: str = "", spread: str = "") -> dict[str, Any]:
    shown = "" if math.isnan(sort) else f"{sort:.9g}"
    return {"sort": shown, "text": text, "small": small, "spread": spread, "beaten": False}


def _setting_cell(value: Any) -> dict[str, Any]:
    text = setting_text(value)
    return {"text": text, "sort": f"{float(value):.9g}" if _is_number(value) else ""}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def range_text(figure: Figure) -> str:
    """An interval for print, also of a figure whose Student's t interval leaves [0, 1].

    >>> range_text(Figure(0.5, 0.4, 0.6)), range_text(Figure(0.1, -0.1, 0.3))
    ('0.400–0.600', '−0.100 to 0.300')
    """
    between = "–" if figure.low >= 0 else " to "
    return f"{number(figure.low)}{between}{number(figure.high)}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _first(c: Configuration) -> dict[str, Any]:
    if c.first is None:
        return {"text": "", "sort": "", "verdict": "", "lines": []}
    lines = []
    for ends, over in ((c.first.rows, "patients"), (c.first.seeds, "seeds")):
        if not math.isnan(ends[0]):
            lines.append(f"over {over} {_signed(ends[0])} to {_signed(ends[1])}")
    if not c.first.paired:
        lines.append(c.first.basis)
    return {
        "text": _signed(c.first.value),
        "sort": f"{c.first.value:.9g}",
        "verdict": "worse" if c.first.holds else "unclear",
        "lines": lines,
    }


def _cost_text(name: str, value: float) -> str:
    if name == "parameters":
        return short(value)
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}".replace(",", " ")


def _link(page: str, out: Path) -> str:
    """A link from a page in ``out`` to another page on the same disk.

    >>> _link("/a/run 1/evaluation/index.html", Path("/a/compare"))
    '../run%201/evaluation/index.html'
    """
    link = os.path.relpath(os.path.abspath(page), os.path.abspath(out))
    return re.sub(r"[?#%:\"'<> ]", lambda match: f"%{ord(match[0]):02X}", link)


def _unfinished(entry: Entry, board: Leaderboard) -> Mapping[str, str]:
    settings = entry.settings or {}
    told = entry.overrides or [
        f"{key}={setting_text(settings[key])}" for key in board.differing if key in settings
    ]
    return {
        "name": entry.name,
        "status": entry.status,
        "settings": ", ".join(told),
        "reason": entry.reason,
    }


@functools.cache
def _template() -> jinja2.Template:
    return page_environment("cascade.evaluation").get_template("leaderboard.html.j2")
