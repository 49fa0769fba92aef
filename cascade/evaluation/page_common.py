"""What every section of the page asks: who is main, who is trivial, how figures print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cascade.evaluation.charts import number
from cascade.evaluation.scoring import Evaluation
from cascade.evaluation.significance import Difference, Figure
from cascade.evaluation.statistics import METRICS, NEITHER_IS_BETTER, sign, verdict
from cascade.evaluation.systems import System

EARLIER_STYLES = ("c1", "c2", "c3", "c4")
"""The class of the system before the main one, of the one before that, and so on."""


class Look:
    """An evaluation as the page shows it.

    Attributes:
        evaluation: of ``evaluate``.
        main: the system that the page is about.
        own: every system that is not trivial, in order.
        trivial: the others.
        styles: system -> class of its colour and mark: ``c0`` main, ``c1``... earlier, ``ct``.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        """Sort the systems and give each its class."""
        self.evaluation, self.main = evaluation, evaluation.main
        self.own = [system for system in evaluation.systems if not system.trivial]
        self.trivial = [system for system in evaluation.systems if system.trivial]
        self.styles = {system.name: "ct" for system in self.trivial}
        self.styles[self.main.name] = "c0"
        earlier = [system for system in reversed(self.own) if system.name not in self.styles]
        for place, system in enumerate(earlier):
            self.styles[system.name] = EARLIER_STYLES[place % len(EARLIER_STYLES)]

    @property
    def before(self) -> str | None:
        """The name of the system before the main one."""
        return self.own[-2].name if len(self.own) > 1 else None

    def figure(self, system: str, metric: str) -> Figure:
        """A figure, NaN where that system has none."""
        return self.evaluation.figure(system, metric)

    def has(self, metric: str) -> bool:
        """Whether some system has the figure."""
        systems = self.evaluation.systems
        return any(not math.isnan(self.figure(s.name, metric).value) for s in systems)

    def best_trivial(self, metric: str) -> System | None:
        """The trivial system of the best figure, or None."""
        scored = [
            (value, system)
            for system in self.trivial
            if not math.isnan(value := self.figure(system.name, metric).value)
        ]
        return max(scored, key=lambda pair: sign(metric) * pair[0])[1] if scored else None

    def named(self, system: System | str) -> dict[str, str]:
        """A system's name and class, as the template's macros take them."""
        name = system if isinstance(system, str) else system.name
        return {"name": name, "style": self.styles[name]}

    def legend(self) -> list[dict[str, str]]:
        """Each system that has a colour of its own, and one line for the trivial ones."""
        own = [self.named(system) for system in self.own]
        return [*own, {"name": "trivial systems", "style": "ct"}] if self.trivial else own

    def scores(self, metrics: Sequence[str], extra: Sequence[str] = ()) -> dict[str, Any] | None:
        """A table of systems by figures, the best of each column marked; None without a figure.

        Args:
            metrics: of ``METRICS``; those that no system has are left out, as is a system that has
                none of them.
            extra: counts to print behind: distinct, empty.
        """
        metrics = [metric for metric in metrics if self.has(metric)]
        rows = []
        for system in self.evaluation.systems if metrics else ():
            figures = [self.figure(system.name, metric) for metric in metrics]
            if all(math.isnan(value.value) for value in figures):
                continue
            cells = [
                cell(value, best=self._is_best(metric, value))
                for metric, value in zip(metrics, figures, strict=True)
            ]
            counts = [self.figure(system.name, name).value for name in extra]
            cells += [plain_cell(value, number(value, 0)) for value in counts]
            rows.append({"system": self.named(system), "cells": cells})
        columns = [METRICS[metric] for metric in metrics] + [name.capitalize() for name in extra]
        return {"columns": columns, "rows": rows} if rows else None

    def _is_best(self, metric: str, value: Figure) -> bool:
        return metric not in NEITHER_IS_BETTER and value.value == self.evaluation.best(metric)


def cell(value: Figure, digits: int = 3, best: bool = False) -> dict[str, Any]:
    """A figure with its interval as a table's cell."""
    found = plain_cell(value.value, number(value.value, digits), interval_text(value))
    return found | {"best": best}


def plain_cell(value: float, text: str | None = None, below: str = "") -> dict[str, Any]:
    """A table's cell: what it sorts by, what it prints, and a smaller line below."""
    shown = f"{value:g}" if text is None else text
    return {"sort": value, "text": shown, "below": below, "best": False}


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
