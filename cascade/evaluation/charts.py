"""The page's charts as inline SVG: no library, no network, colours from the page's style sheet.

A mark's class (``c0`` the main system, ``c1``... the earlier ones, ``ct`` trivial ones) gives its
colour; its shape repeats what the colour says.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from cascade.evaluation.significance import Figure

Curve = tuple[str, np.ndarray, np.ndarray]
"""A class, and the points' x and y."""
LABEL_LENGTH = 28
"""Longer names are cut in charts (and whole on hovering): wide system fonts must fit too."""


@dataclasses.dataclass(frozen=True)
class Mark:
    """One line of a dot plot, one curve or one bar: what it is called, its class, its figure."""

    name: str
    style: str
    figure: Figure


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values from ``low`` to ``high``, at most ``most`` steps apart.

    >>> ticks(0, 0.43)
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    """
    span = max(high - low, 1e-3)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1, 2, 5, 10) if span / (s * power) <= most + 1e-9)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * n, 10) for n in range(first, last + 1)]


def shorten(text: str, most: int) -> str:
    """At most ``most`` characters, an ellipsis for the rest.

    >>> shorten("nearest neighbour", 9)
    'nearest …'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def number(value: float, digits: int = 3) -> str:
    """A figure for print; a dash where there is none.

    >>> number(0.25), number(float("nan"))
    ('0.250', '–')
    """
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _shape(style: str, x: float, y: float) -> str:
    if style == "c0":
        return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    if style == "ct":
        return f'<circle class="{style} hollow" cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>'
    return (
        f'<rect class="{style}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" '
        f'transform="rotate(45 {x:.1f} {y:.1f})"/>'
    )


def dot_plot(title: str, marks: Sequence[Mark], chance: float | None = None) -> Markup:
    """One metric: a dot a system with its interval, a line at the best trivial one.

    Args:
        title: read out by screen readers.
        marks: top to bottom.
        chance: what a system that knows nothing gets; the axis then begins near it, not at 0.
    """
    marks = [mark for mark in marks if not math.isnan(mark.figure.value)]
    ends = [e for m in marks for e in (m.figure.value, m.figure.low, m.figure.high)]
    ends = [end for end in ends if not math.isnan(end)] or [0.0, 1.0]
    low = 0.0 if chance is None else min(chance - 0.1, min(ends))
    steps = ticks(low, max(max(ends), low + 0.05), 5)
    low, high = steps[0], steps[-1]
    left, right, row, top = 204, 438, 21, 6
    height = top + row * len(marks) + 22

    def x_of(value: float) -> float:
        return left + (right - left) * (min(max(value, low), high) - low) / (high - low)

    bottom = top + row * len(marks)
    parts = [
        f'<svg viewBox="0 0 490 {height}" role="img" class="chart"><title>{escape(title)}</title>'
    ]
    for step in steps:
        x = x_of(step)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
            f'<text class="axis" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{step:g}</text>'
        )
    rivals = [m.figure.value for m in marks if m.style == "ct"]
    if rivals:
        x = x_of(max(rivals))
        parts.append(f'<line class="best" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
    for place, mark in enumerate(marks):
        y = top + row * (place + 0.5)
        value = mark.figure
        weight = " strong" if mark.style == "c0" else ""
        muted = " muted" if mark.style == "ct" else ""
        parts.append(
            f'<text class="name{weight}{muted}" x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(shorten(mark.name, LABEL_LENGTH))}<title>{escape(mark.name)}</title></text>"
        )
        if not math.isnan(value.low):
            parts.append(
                f'<line class="range {mark.style}" x1="{x_of(value.low):.1f}" '
                f'x2="{x_of(value.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        parts.append(_shape(mark.style, x_of(value.value), y))
        parts.append(
            f'<text class="value{weight}{muted}" x="486" y="{y + 4:.1f}" text-anchor="end">'
            f"{number(value.value)}</text>"
        )
    parts.append("</svg>")
    return Markup("".join(parts))


def unit_plot(
    title: str,
    curves: Sequence[Curve],
    *,
    diagonal: bool = False,
    level: float | None = None,
    dots: bool = False,
    ranges: np.ndarray | None = None,
) -> Markup:
    """Curves of one label in the unit square: ROC, precision and recall, or reliability.

    Args:
        title: read out by screen readers.
        curves: each a class, x and y in [0, 1]; the last one lies on top.
        diagonal: draw the line from (0, 0) to (1, 1).
        level: draw a line at this height.
        dots: mark each point of the curves that are not trivial.
        ranges: ``(P, 3)``: x, and the ends of an interval of y; NaN for none.
    """
    left, top, inner = 20, 6, 134
    side_x, side_y = left + inner + 6, top + inner + 18

    def at(x: float, y: float) -> tuple[float, float]:
        return left + inner * x, top + inner * (1 - y)

    def line(style: str, start: tuple[float, float], end: tuple[float, float]) -> str:
        (x1, y1), (x2, y2) = at(*start), at(*end)
        return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'

    parts = [
        f'<svg viewBox="0 0 {side_x} {side_y}" role="img" class="chart unit">'
        f"<title>{escape(title)}</title>"
        f'<rect class="frame" x="{left}" y="{top}" width="{inner}" height="{inner}"/>'
    ]
    for tick in (0, 0.5, 1):
        x, y = at(tick, tick)
        parts.append(
            f'<text class="axis" x="{x:.1f}" y="{side_y - 5}" text-anchor="middle">{tick:g}</text>'
            f'<text class="axis" x="{left - 4}" y="{y + 3.5:.1f}" text-anchor="end">{tick:g}</text>'
        )
    parts += [line("grid", (0.5, 0), (0.5, 1)), line("grid", (0, 0.5), (1, 0.5))]
    if diagonal:
        parts.append(line("diagonal", (0, 0), (1, 1)))
    if level is not None:
        parts.append(line("diagonal", (0, level), (1, level)))
    for x, low, high in [] if ranges is None else ranges.tolist():
        if not math.isnan(low):
            parts.append(line("range c0", (x, low), (x, high)))
    for style, xs, ys in curves:
        points = [at(x, y) for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]
        if points:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline class="curve {style}" points="{path}"/>')
        if dots and style != "ct":
            parts += [
                f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in points
            ]
    parts.append("</svg>")
    return Markup("".join(parts))


def score_bars(title: str, rows: Sequence[tuple[str, Figure, float]]) -> Markup:
    """One bar a label from 0 to 1 with its interval, and a hollow mark at what a rival gets.

    Args:
        title: read out by screen readers.
        rows: a name, the figure, and the rival's (NaN for none).
    """
    left, right, row, top = 204, 690, 22, 4
    bottom = top + row * len(rows)
    parts = [
        f'<svg viewBox="0 0 740 {bottom + 20}" role="img" class="chart wide">'
        f"<title>{escape(title)}</title>",
        *_unit_axis(left, right, top, bottom),
    ]
    for place, (name, value, rival) in enumerate(rows):
        y = top + row * (place + 0.5)
        parts.append(_name(left - 10, y + 4, name))
        if not math.isnan(value.value):
            width = max(1.0, (right - left) * value.value)
            parts.append(
                f'<rect class="bar c0" x="{left}" y="{y - 5:.1f}" width="{width:.1f}" height="10">'
                f"<title>{escape(name)}: {number(value.value)}</title></rect>"
            )
        if not math.isnan(value.low):
            ends = [left + (right - left) * end for end in (value.low, value.high)]
            parts.append(
                f'<line class="whisker" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/>'
            )
        if not math.isnan(rival):
            x = left + (right - left) * rival
            parts.append(
                f'<circle class="ct hollow" cx="{x:.1f}" cy="{y:.1f}" r="4.4"><title>'
                f"best trivial system: {number(rival)}</title></circle>"
            )
        parts.append(
            f'<text class="value small" x="736" y="{y + 4:.1f}" text-anchor="end">'
            f"{number(value.value, 2)}</text>"
        )
    parts.append("</svg>")
    return Markup("".join(parts))


def _unit_axis(left: float, right: float, top: float, bottom: float) -> list[str]:
    parts = []
    for step in (0, 0.25, 0.5, 0.75, 1):
        x = left + (right - left) * step
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
            f'<text class="axis" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{step:g}</text>'
        )
    return parts


def _name(x: float, y: float, name: str) -> str:
    return (
        f'<text class="name" x="{x}" y="{y:.1f}" text-anchor="end">'
        f"{escape(shorten(name, LABEL_LENGTH))}<title>{escape(name)}</title></text>"
    )


def bar_chart(title: str, groups: Sequence[tuple[str, Sequence[Mark]]]) -> Markup:
    """Horizontal bars from 0 to 1, a group a disease, a bar a system."""
    left, right, bar, gap, top = 204, 690, 9, 12, 4
    heights = [max(1, len(marks)) * (bar + 1) + gap for _, marks in groups]
    bottom = top + sum(heights)
    parts = [
        f'<svg viewBox="0 0 740 {bottom + 20}" role="img" class="chart wide">'
        f"<title>{escape(title)}</title>"
    ]
    parts += _unit_axis(left, right, top, bottom)
    y = float(top)
    for (name, marks), height in zip(groups, heights, strict=True):
        middle = y + (height - gap) / 2 + gap / 2
        parts.append(_name(left - 10, middle + 4, name))
        at = y + gap / 2
        for mark in marks:
            value = mark.figure.value
            if not math.isnan(value):
                width = max(1.0, (right - left) * value)
                parts.append(
                    f'<rect class="bar {mark.style}" x="{left}" y="{at:.1f}" width="{width:.1f}" '
                    f'height="{bar}"><title>{escape(mark.name)}: {number(value)}</title></rect>'
                )
                if mark.style == "c0":
                    parts.append(
                        f'<text class="value small" x="{left + width + 5:.1f}" y="{at + 8:.1f}">'
                        f"{number(value, 2)}</text>"
                    )
            at += bar + 1
        y += height
    parts.append("</svg>")
    return Markup("".join(parts))
