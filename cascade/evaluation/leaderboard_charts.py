"""The leaderboard's charts as inline SVG: settings, learning curves, score against cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from cascade.evaluation.charts import Mark, _shape, number, shorten, ticks

WIDTH, HEIGHT = 350, 210
LEFT, RIGHT, TOP, BOTTOM = 42, 342, 10, 168
LOG_FROM = 20
"""Values whose largest is so many times their smallest are drawn on a logarithmic axis."""
MOST_WORDS = 12
TICK_LENGTH = 14


def short(value: float) -> str:
    """A value for an axis.

    >>> [short(v) for v in (0.0001, 0.003, 12, 1500, 1_165_430, 0)]
    ['0.0001', '0.003', '12', '1.5k', '1.2M', '0']
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return (
                f"{value / size:.2g}{unit}"
                if abs(value) < 100 * size
                else f"{value / size:.0f}{unit}"
            )
    return f"{value:.3g}"


class Axis:
    """Values to places on a line, linear or logarithmic, with its ticks."""

    def __init__(
        self, values: Sequence[float], start: float, end: float, *, log: bool = False
    ) -> None:
        """Cover the values.

        Args:
            values: finite ones.
            start: the place of the lowest.
            end: the place of the highest.
            log: logarithmic where all are above 0 and far apart.
        """
        values = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(values), max(values)
        self.log = log and low > 0 and high / low >= LOG_FROM
        self.start, self.end = start, end
        if self.log:
            first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
            self.ticks = [10.0**power for power in range(first, last + 1)]
            self.low, self.high = math.log10(low) - 0.05, math.log10(high) + 0.05
            within = [t for t in self.ticks if self.low <= math.log10(t) <= self.high]
            self.ticks = within[:: math.ceil(len(within) / 5)] if len(within) > 1 else [low, high]
        else:
            if high == low:
                low, high = low - abs(low) / 2 - 1e-3, high + abs(high) / 2 + 1e-3
            steps = ticks(low, high, 4)
            whole = all(value == int(value) for value in values)
            self.ticks = [step for step in steps if step == int(step)] if whole else steps
            self.low, self.high = steps[0], steps[-1]

    def __call__(self, value: float) -> float:
        """The place of a value."""
        at = math.log10(value) if self.log else value
        return self.start + (self.end - self.start) * (at - self.low) / (self.high - self.low)


def _open(title: str, kind: str = "") -> list[str]:
    return [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="chart{kind}">'
        f"<title>{escape(title)}</title>"
    ]


def _y_axis(y: Axis) -> list[str]:
    return [
        f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y(step):.1f}" y2="{y(step):.1f}"/>'
        f'<text class="axis" x="{LEFT - 7}" y="{y(step) + 3.5:.1f}" text-anchor="end">'
        f"{step:g}</text>"
        for step in y.ticks
    ]


def _x_axis(x: Axis, name: str) -> list[str]:
    parts = [_x_tick(x(value), short(value)) for value in x.ticks]
    middle = (LEFT + RIGHT) / 2
    log = ", logarithmic" if x.log else ""
    return [
        *parts,
        f'<text class="axis" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(name)}{log}</text>",
    ]


def _x_tick(place: float, text: str, full: str | None = None) -> str:
    hover = "" if full is None else f"<title>{escape(full)}</title>"
    return (
        f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{BOTTOM}" y2="{BOTTOM + 4}"/>'
        f'<text class="axis" x="{place:.1f}" y="{BOTTOM + 17}" text-anchor="middle">'
        f"{escape(text)}{hover}</text>"
    )


def _baseline(y: Axis, value: float | None) -> str:
    if value is None:
        return ""
    return f'<line class="best" x1="{LEFT}" x2="{RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'


def _ends(marks: Sequence[Mark], baseline: float | None) -> list[float]:
    ends = [e for m in marks for e in (m.figure.value, m.figure.low, m.figure.high)]
    return ends if baseline is None else [*ends, baseline]


def _point(mark: Mark, x: float, y: Axis) -> str:
    interval = ""
    if not math.isnan(mark.figure.low):
        interval = (
            f'<line class="range {mark.style}" x1="{x:.1f}" x2="{x:.1f}" '
            f'y1="{y(mark.figure.low):.1f}" y2="{y(mark.figure.high):.1f}"/>'
        )
    return (
        f"<g>{interval}{_shape(mark.style, x, y(mark.figure.value))}"
        f"<title>{escape(mark.name)}: {number(mark.figure.value)}</title></g>"
    )


def setting_plot(
    key: str, points: Sequence[tuple[float | str, Mark]], baseline: float | None
) -> Markup:
    """The score by one setting: a dot a configuration, dotted the best trivial system.

    Args:
        key: the setting.
        points: its value (a number, or a word where it has no order) and the score.
        baseline: of the best trivial system.
    """
    y = Axis(_ends([mark for _, mark in points], baseline), BOTTOM, TOP)
    parts = [*_open(f"score by {key}"), *_y_axis(y), _baseline(y, baseline)]
    numbers = [value for value, _ in points if not isinstance(value, str)]
    if len(numbers) == len(points):
        x = Axis(numbers, LEFT + 20, RIGHT - 20, log=True)
        parts += _x_axis(x, key)
        places = [x(value) for value in numbers]
    else:
        words = list(dict.fromkeys(str(value) for value, _ in points))
        width = (RIGHT - LEFT) / len(words)
        middles = {word: LEFT + width * (at + 0.5) for at, word in enumerate(words)}
        most = max(3, int(TICK_LENGTH * 4 / max(4, len(words))))
        for word in words[:: max(1, math.ceil(len(words) / MOST_WORDS))]:
            parts.append(_x_tick(middles[word], shorten(word, most), word))
        parts.append(
            f'<text class="axis" x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
            f"{escape(key)}</text>"
        )
        places = [middles[str(value)] for value, _ in points]
    seen: dict[float, int] = {}
    drawn = []
    for place, (_, mark) in zip(places, points, strict=True):
        at = seen[place] = seen.get(place, -1) + 1
        aside = 9 * ((at + 1) // 2) * (-1) ** at  # beside each other, not on each other
        drawn.append(_point(mark, min(max(place + aside, LEFT + 6), RIGHT - 6), y))
    return Markup("".join([*parts, *reversed(drawn), "</svg>"]))


def curve_plot(
    title: str, lines: Sequence[tuple[str, str, Sequence[int], Sequence[float]]]
) -> Markup:
    """Learning curves: each a class, a name, epochs and values; the leader's on top."""
    y = Axis([value for *_, values in lines for value in values], BOTTOM, TOP)
    x = Axis([float(epoch) for *_, epochs, _ in lines for epoch in epochs], LEFT + 10, RIGHT - 10)
    parts = [*_open(title), *_y_axis(y), *_x_axis(x, "epoch")]
    for style, name, epochs, values in reversed(lines):
        if len(epochs) == 1:
            body = f'<g class="{style}">{_shape(style, x(epochs[0]), y(values[0]))}'
        else:
            points = " ".join(
                f"{x(epoch):.1f},{y(value):.1f}"
                for epoch, value in zip(epochs, values, strict=True)
            )
            body = f'<g><polyline class="curve {style}" points="{points}"/>'
        parts.append(f"{body}<title>{escape(name)}</title></g>")
    return Markup("".join([*parts, "</svg>"]))


def front(points: Sequence[tuple[float, float]], sign: int) -> list[int]:
    """Which points no other beats in both cost and score, the cheapest first.

    >>> front([(1, 0.5), (2, 0.4), (3, 0.9)], 1)
    [0, 2]
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -sign * points[i][1]))
    best, kept = -math.inf, []
    for index in order:
        score = sign * points[index][1]
        if score > best:
            best = score
            kept.append(index)
    return kept


def pareto_plot(
    name: str,
    points: Sequence[tuple[float, int, Mark]],
    sign: int,
    baseline: float | None,
) -> Markup:
    """Score against a cost: cost, rank and mark of each; a line along those that none beats."""
    y = Axis(_ends([mark for *_, mark in points], baseline), BOTTOM, TOP)
    x = Axis([cost for cost, *_ in points], LEFT + 20, RIGHT - 20, log=True)
    parts = [
        *_open(f"score against {name}"),
        *_y_axis(y),
        *_x_axis(x, name),
        _baseline(y, baseline),
    ]
    best = front([(cost, mark.figure.value) for cost, _, mark in points], sign)
    corners: list[str] = []
    for index in best:
        cost, _, mark = points[index]
        if corners:
            corners.append(f"{x(cost):.1f},{corners[-1].partition(',')[2]}")
        corners.append(f"{x(cost):.1f},{y(mark.figure.value):.1f}")
    if len(corners) > 1:
        parts.append(f'<polyline class="curve front" points="{" ".join(corners)}"/>')
    for cost, rank, mark in reversed(points):
        parts.append(_point(mark, x(cost), y))
        if rank <= MOST_WORDS:
            parts.append(
                f'<text class="small" x="{x(cost) + 8:.1f}" y="{y(mark.figure.value) - 6:.1f}">'
                f"{rank}</text>"
            )
    return Markup("".join([*parts, "</svg>"]))
