"""The summary page's charts of counts: inline SVG, as ``cascade.evaluation.charts`` draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from cascade.evaluation.charts import LABEL_LENGTH, shorten, ticks


class Bin(NamedTuple):
    """A column of a histogram: its name below the axis, and how much falls into it."""

    name: str
    size: int


def bins_of(values: Sequence[int], most_bins: int = 24) -> list[Bin]:
    """Whole numbers in equally wide bins; the few largest share a last one.

    >>> [tuple(each) for each in bins_of([1, 2, 2, 4])]
    [('1', 1), ('2', 2), ('3', 0), ('4', 1)]
    """
    if not len(values):
        return []
    ordered = sorted(values)
    low = ordered[0]
    usual = ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)))]
    least = (usual - low + 1) / most_bins
    width = next(
        w for power in range(9) for w in (10**power, 2 * 10**power, 5 * 10**power) if w >= least
    )
    first = low // width * width if width > 1 else low
    count = (usual - first) // width + 1
    counts = [0] * count
    beyond = 0
    for value in ordered:
        place = (value - first) // width
        if place < count:
            counts[place] += 1
        else:
            beyond += 1
    names = [
        str(first + width * n)
        if width == 1
        else f"{first + width * n}–{first + width * (n + 1) - 1}"
        for n in range(count)
    ]
    bins = [Bin(*pair) for pair in zip(names, counts, strict=True)]
    return [*bins, Bin(f"≥ {first + width * count}", beyond)] if beyond else bins


def histogram(title: str, bins: Sequence[Bin], unit: str) -> Markup:
    """Columns side by side, a count axis on the left, every column's numbers on hovering.

    Args:
        title: read out by screen readers.
        bins: left to right.
        unit: what the names of the bins count.
    """
    width, left, right, top, bottom = 440, 44, 432, 8, 150
    highest = max([each.size for each in bins], default=0)
    steps = [step for step in ticks(0, max(highest, 1), 4) if step == int(step)]
    high = steps[-1]
    parts = [
        f'<svg viewBox="0 0 {width} {bottom + 34}" role="img" class="chart">'
        f"<title>{escape(title)}</title>"
    ]
    for step in steps:
        y = bottom - (bottom - top) * step / high
        parts.append(
            f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="axis" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{step:,.0f}</text>"
        )
    place = (right - left) / max(1, len(bins))
    every = math.ceil(max(len(each.name) for each in bins) * 6.2 / place) if bins else 1
    for number, (name, count) in enumerate(bins):
        x, tall = left + place * number, (bottom - top) * count / high
        if count:
            gap = min(2.0, place / 6)
            parts.append(
                f'<rect class="bar c0" x="{x + gap / 2:.1f}" y="{bottom - tall:.1f}" '
                f'width="{place - gap:.1f}" height="{max(tall, 0.8):.1f}">'
                f"<title>{escape(name)} {escape(unit)}: {count:,}</title></rect>"
            )
        last = number == len(bins) - 1
        if last or (number % every == 0 and number + every <= len(bins) - 1 + every // 2):
            parts.append(
                f'<text class="axis" x="{x + place / 2:.1f}" y="{bottom + 15}" '
                f'text-anchor="middle">{escape(name)}</text>'
            )
    parts.append(
        f'<line class="base" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
        f'<text class="axis" x="{(left + right) / 2}" y="{bottom + 30}" text-anchor="middle">'
        f"{escape(unit)}</text></svg>"
    )
    return Markup("".join(parts))


def count_bars(title: str, rows: Sequence[tuple[str, int]], whole: int) -> Markup:
    """Horizontal bars, a row a name, with the count and its share of the whole behind each.

    Args:
        title: read out by screen readers.
        rows: name and count, top to bottom.
        whole: what a share is taken of.
    """
    left, right, row, top = 204, 620, 21, 4
    steps = [
        step for step in ticks(0, max([1, *(count for _, count in rows)]), 5) if step == int(step)
    ]
    high, bottom = steps[-1], top + row * len(rows)
    parts = [
        f'<svg viewBox="0 0 740 {bottom + 22}" role="img" class="chart wide">'
        f"<title>{escape(title)}</title>"
    ]
    for step in steps:
        x = left + (right - left) * step / high
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
            f'<text class="axis" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">'
            f"{step:,.0f}</text>"
        )
    for number, (name, count) in enumerate(rows):
        y = top + row * number
        long = max(1.0, (right - left) * count / high) if count else 0
        short = shorten(name, LABEL_LENGTH)
        parts.append(
            f'<text class="name" x="{left - 10}" y="{y + 14.5}" text-anchor="end">{escape(short)}'
            f'</text><rect class="bar c0" x="{left}" y="{y + 4}" width="{long:.1f}" height="13"/>'
            f'<text class="value small" x="{left + long + 6:.1f}" y="{y + 14.5}">{count:,}'
            f'<tspan class="muted"> · {share(count, whole)}</tspan></text>'
        )
    parts.append("</svg>")
    return Markup("".join(parts))


def share(count: int, whole: int) -> str:
    """A share for print.

    >>> share(1, 3), share(1, 1000), share(0, 0), share(999, 1000)
    ('33%', '0.1%', '–', '99.9%')
    """
    if not whole:
        return "–"
    percent = 100 * count / whole
    near = 0 < percent < 1 or 99 < percent < 100
    return f"{percent:.1f}%" if near else f"{percent:.0f}%"
