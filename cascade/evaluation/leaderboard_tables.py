"""The leaderboard as ``leaderboard.csv``, on the terminal, and as files."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cascade.evaluation.charts import number
from cascade.evaluation.leaderboard import (
    COSTS,
    NAMES,
    Configuration,
    Group,
    Leaderboard,
    beats_trivial,
    name_of,
    setting_text,
)
from cascade.evaluation.leaderboard_page import range_text, render_leaderboard
from cascade.evaluation.significance import Figure
from cascade.evaluation.statistics import sign
from cascade.io.files import atomic_path, write_text

CONSOLE_METRICS = ("macro_f1_abnormal", "bleu4", "macro_auroc")
"""The first of them that is not ranked by stands in a column of its own."""
MOST_CONSOLE_ROWS = 30
OTHER_COLUMNS = 90
"""Width of all columns but the configuration's."""


def leaderboard_table(board: Leaderboard) -> pd.DataFrame:
    """A row a configuration, one of the best trivial figures, and one a run that is not ranked."""
    records = []
    for place, group in enumerate(board.groups, start=1):
        shared = {"table": place, "rows": group.rows.sha256[:16], "split": group.rows.split}
        shared |= {"studies": group.rows.studies, "metric": group.metric}
        for c in group.configurations:
            record: dict[str, Any] = shared | {"rank": c.rank, "status": "done"}
            record |= {"configuration": c.label, "seeds": c.seeds}
            record |= {"runs": "; ".join(entry.name for entry in c.entries)}
            record |= {key: c.settings.get(key) for key in board.differing}
            for metric in group.metrics:
                figure = c.score(metric)
                record[metric] = figure.value
                record[f"{metric}_low"], record[f"{metric}_high"] = figure.low, figure.high
                record[f"{metric}_sd"] = c.deviation.get(metric, math.nan)
            record["against_trivial"] = c.against_trivial
            if c.first is not None:
                record["to_first"] = c.first.value
                record["to_first_rows_low"], record["to_first_rows_high"] = c.first.rows
                record["to_first_seeds_low"], record["to_first_seeds_high"] = c.first.seeds
                record["to_first_holds"] = c.first.holds
                record["to_first_basis"] = c.first.basis
            records.append(record | c.cost)
        best = {m: value for m, (_, value) in group.trivial.items() if m in group.metrics}
        if best:
            named = {"status": "trivial", "configuration": "best trivial system of each figure"}
            records.append(shared | named | best)
    for entry in board.unfinished:
        told = {"status": entry.status, "configuration": entry.name, "reason": entry.reason}
        settings = entry.settings or {}
        records.append(told | {key: settings.get(key) for key in board.differing} | entry.cost)
    columns = ["table", "rank", "status", "configuration", *board.differing, "seeds", "runs"]
    columns += ["reason", "split", "studies", "rows", "metric"]
    table = pd.DataFrame(records, columns=list(dict.fromkeys(k for r in records for k in r)))
    for key in board.differing:  # whole numbers stay whole beside what lacks the setting
        values = [record.get(key) for record in records]
        texts = [setting_text(v) if isinstance(v, list | bool) else v for v in values]
        table[key] = pd.Series(texts, dtype=object)
    rest = [column for column in table.columns if column not in columns]
    costs = [name for name in COSTS if name in rest]
    table = table.reindex(columns=[*columns, *(c for c in rest if c not in costs), *costs])
    whole = ["table", "rank", "seeds", "studies"]
    return table.astype(dict.fromkeys(whole, "Int64"))


def write_leaderboard(board: Leaderboard, out: str | Path) -> list[Path]:
    """Write ``leaderboard.csv`` and ``index.html``; each whole or not at all.

    Raises:
        InputError: the folder may not be written.
        CascadeError: the disk is full.
    """
    out = Path(out)
    with atomic_path(out / "leaderboard.csv") as partial:
        leaderboard_table(board).to_csv(partial, index=False, float_format="%.6g")
    write_text(out / "index.html", render_leaderboard(board, out))
    return [out / "leaderboard.csv", out / "index.html"]


def figure_text(figure: Figure) -> str:
    """A figure and its interval.

    >>> figure_text(Figure(0.5, 0.4, 0.6)), figure_text(Figure(0.5))
    ('0.500 (0.400–0.600)', '0.500')
    """
    return number(figure.value) + (f" ({range_text(figure)})" if figure.low == figure.low else "")


def format_leaderboard(board: Leaderboard, width: int = 110) -> str:
    """The leaderboard as plain text of at most ``width`` columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        for part in console_parts(board, width):
            console.print(part)
    return capture.get()


def console_parts(board: Leaderboard, width: int) -> list[Table | str]:
    """A table a group, then what is not in them, then the notes."""
    parts: list[Table | str] = []
    if len(board.groups) > 1:
        parts.append(
            f"[bold]{len(board.groups)} tables: the runs were scored on different rows[/bold], and "
            "figures of different tables cannot be compared."
        )
    for group in board.groups:
        parts.append(_group_table(group, width))
        parts += [escape(note) for note in group.notes]
    if board.unfinished:
        left = Table(title=f"{len(board.unfinished)} not ranked", title_justify="left")
        for column in ("run", "status", "why"):
            left.add_column(column, overflow="fold")
        for entry in board.unfinished:
            name = " ".join(
                [entry.name, *(entry.overrides and [f"({', '.join(entry.overrides)})"])]
            )
            left.add_row(escape(name), entry.status, escape(entry.reason))
        parts.append(left)
    parts += [escape(note) for note in board.notes]
    return parts


def _group_table(group: Group, width: int) -> Table:
    rows, metric = group.rows, group.metric
    known = f"rows {rows.sha256[:8]}" if rows.known else "rows unknown"
    direction = "less is better" if sign(metric) < 0 else "higher is better"
    table = Table(
        show_lines=any(len(_lines(c)) > 1 for c in group.configurations),
        title=f"by {name_of(metric)}, {direction}: {rows.studies} studies of {rows.split}, {known}",
        caption="(95%: over seeds, of one seed over patients); unclear: a difference does not hold",
        title_justify="left",
        caption_justify="left",
    )
    others = [m for m in CONSOLE_METRICS if m in group.metrics and m != metric][:1]
    table.add_column("", justify="right")
    widest = max((len(part) for c in group.configurations for part in _lines(c)), default=0)
    table.add_column(
        "configuration", overflow="fold", min_width=max(12, min(widest, width - OTHER_COLUMNS))
    )
    table.add_column("seeds", justify="right")
    table.add_column(name_of(metric), justify="right")
    table.add_column("to first", max_width=12)
    table.add_column("to trivial", max_width=15)
    for other in others:
        table.add_column(NAMES[other], justify="right", max_width=9)
    trivial = _trivial_row(group, others)
    shown = group.configurations[:MOST_CONSOLE_ROWS]
    for c in shown:
        if trivial is not None and not beats_trivial(group, c):
            table.add_row(*trivial, style="dim")
            trivial = None
        table.add_row(
            str(c.rank or "–"),
            escape("\n".join(_lines(c))),
            str(c.seeds),
            figure_text(c.score(metric)),
            first_text(c),
            against_text(c),
            *(number(c.score(other).value) for other in others),
        )
    if trivial is not None:
        table.add_row(*trivial, style="dim")
    if len(group.configurations) > len(shown):
        more = len(group.configurations) - len(shown)
        table.add_row("", f"{more} more: leaderboard.csv", *[""] * (4 + len(others)))
    return table


def _lines(c: Configuration) -> list[str]:
    """The label, a setting a line."""
    told = [
        f"{key}={setting_text(value)}" for key, value in c.settings.items() if value is not None
    ]
    return told or [c.label]


def _trivial_row(group: Group, others: list[str]) -> list[str] | None:
    best = group.trivial.get(group.metric)
    if best is None:
        return None
    cells = [number(group.trivial[m][1]) if m in group.trivial else "" for m in others]
    return ["", f"best trivial: {escape(best[0])}", "", number(best[1]), "", "", *cells]


def first_text(configuration: Configuration) -> str:
    """What the difference to the leader comes to, in words."""
    if configuration.first is None:
        return ""
    verdict = "worse" if configuration.first.holds else "unclear"
    unpaired = "" if configuration.first.paired else " (not paired)"
    return verdict + unpaired


def against_text(configuration: Configuration) -> str:
    """The verdict against the best trivial system and what is behind it."""
    verdict = configuration.against_trivial
    return ", ".join(part for part in (verdict, configuration.tested) if part)
