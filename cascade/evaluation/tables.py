"""An evaluation as files and on the terminal: ``metrics.json``, CSV tables, the page, rich tables.

``evaluate`` and ``evaluate_predictions`` are the doors; they live beside this module.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cascade.evaluation.detection import curve_records
from cascade.evaluation.fingerprint import rows_sha256
from cascade.evaluation.page import render_page
from cascade.evaluation.predictions import evaluate_predictions, read_predictions
from cascade.evaluation.scoring import METRICS, Evaluation, evaluate
from cascade.evaluation.significance import Difference
from cascade.evaluation.statistics import verdict
from cascade.io.files import atomic_path, write_json, write_text
from cascade.metrics.hub import HUB_METRICS

__all__ = [
    "as_json",
    "console_tables",
    "difference_table",
    "evaluate",
    "evaluate_predictions",
    "format_tables",
    "hub_table",
    "read_predictions",
    "report_table",
    "write_evaluation",
]

FORMAT_VERSION = 1


def report_table(evaluation: Evaluation) -> pd.DataFrame:
    """One row a system: every text and macro figure with its interval, as ``reports_table.csv``."""
    records = []
    for system in evaluation.systems:
        record: dict[str, Any] = {"system": system.name, "trivial": system.trivial}
        for metric in METRICS:
            found = evaluation.figure(system.name, metric)
            record[metric] = found.value
            record[f"{metric}_low"], record[f"{metric}_high"] = found.low, found.high
        for metric in ("distinct", "empty"):
            record[metric] = evaluation.figure(system.name, metric).value
        records.append(record)
    return pd.DataFrame(records)


def difference_table(evaluation: Evaluation) -> pd.DataFrame:
    """One row a comparison, as ``differences_table.csv``."""
    columns = ["metric", "first", "second", "value", "low", "high", "holds", "verdict"]
    return pd.DataFrame(
        [
            {**dataclasses.asdict(d), "holds": d.holds, "verdict": verdict(d)}
            for d in evaluation.differences
        ],
        columns=columns,
    )


def hub_table(evaluation: Evaluation) -> pd.DataFrame:
    """One row a system and figure of RadEval, as ``hub.csv``; no rows where none was run."""
    return pd.DataFrame(
        [
            {"system": system.name, "metric": metric, "value": found.value}
            for system in evaluation.systems
            for metric, found in evaluation.figures[system.name].items()
            if metric.startswith("hub.")
        ],
        columns=["system", "metric", "value"],
    )


def strata_rows(evaluation: Evaluation) -> pd.DataFrame:
    """All, normal and abnormal, then the further strata, as ``strata_table.csv``.

    ``stratum`` of the latter is ``KIND: NAME``.
    """
    tables = [t for t in (evaluation.strata, evaluation.subgroups) if len(t)]
    if not tables:
        return evaluation.strata
    return pd.concat([t.drop(columns="kind", errors="ignore") for t in tables], ignore_index=True)


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything as plain values; null where a figure is undefined."""
    rows = evaluation.rows
    return {
        "format_version": FORMAT_VERSION,
        "meta": _plain(evaluation.meta)
        | {"rows_sha256": rows_sha256(rows.study_ids, rows.references)},
        "notes": list(evaluation.notes),
        "main": evaluation.main.name,
        "systems": [
            {
                "name": system.name,
                "trivial": system.trivial,
                "note": system.note,
                "figures": {
                    metric: _plain(dataclasses.asdict(found))
                    for metric, found in evaluation.figures[system.name].items()
                    if ":" not in metric
                },
            }
            for system in evaluation.systems
        ],
        **{
            name: [_plain(record) for record in table.to_dict(orient="records")]
            for name, table in (
                ("differences", difference_table(evaluation)),
                ("strata", strata_rows(evaluation)),
                ("labels", evaluation.labels),
                ("diseases", evaluation.diseases),
                ("slots", evaluation.slots),
                ("clinical", evaluation.clinical),
                ("operating_points", evaluation.operating),
                ("reliability", evaluation.calibration),
                ("mcnemar", evaluation.paired),
            )
        },
        "curves": _plain(curve_records(evaluation.curves)),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def write_evaluation(
    evaluation: Evaluation, directory: str | Path, *, show_ids: bool = False
) -> list[Path]:
    """Write ``metrics.json``, the CSV tables and ``index.html``; each whole or not at all.

    Args:
        evaluation: of ``evaluate``.
        directory: made if it is not there; files of those names are replaced.
        show_ids: print study ids on the page, instead of row numbers of ``reports.csv``.

    Returns:
        The files, the page last.

    Raises:
        InputError: the folder may not be written.
        CascadeError: the disk is full.
    """
    directory = Path(directory)
    write_json(directory / "metrics.json", as_json(evaluation))
    written = [directory / "metrics.json"]
    optional = (("clinical", evaluation.clinical), ("hub", hub_table(evaluation)))
    for name, table in (
        *((name, table) for name, table in optional if len(table)),
        ("reports_table", report_table(evaluation)),
        ("labels_table", evaluation.labels),
        ("diseases_table", evaluation.diseases),
        ("slots_table", evaluation.slots),
        ("strata_table", strata_rows(evaluation)),
        ("differences_table", difference_table(evaluation)),
        ("operating_points", evaluation.operating),
        ("reliability", evaluation.calibration),
        ("curves", evaluation.curves),
        ("mcnemar", evaluation.paired),
    ):
        path = directory / f"{name}.csv"
        with atomic_path(path) as partial:
            table.to_csv(partial, index=False, float_format="%.6g")
        written.append(path)
    page = directory / "index.html"
    write_text(page, render_page(evaluation, show_ids=show_ids))
    return [*written, page]


CONSOLE_METRICS = (
    "precision1",
    "precision2",
    "bleu1",
    "bleu4",
    "exact",
    "macro_f1_abnormal",
    "macro_auroc",
)


CAPTION_METRICS = ("rouge_l", "meteor", "cider", "sacrebleu")
"""What free text is shown by besides."""

CLINICAL_METRICS = (
    "clin_micro_f1",
    "clin_macro_f1",
    "clin_macro_f1_abnormal",
    "clin5_micro_f1",
    "contradiction",
    "side_errors",
)


def console_tables(evaluation: Evaluation) -> list[Table]:
    """Compact tables for the terminal: systems beside trivial ones, and which differences hold.

    Free text has a table of clinical figures besides. The best figure of a column is bold; a column
    that no system has is left out.
    """
    wanted: tuple[str, ...] = CONSOLE_METRICS
    if evaluation.kind == "report":
        wanted = tuple(m for m in wanted if m != "precision2") + CAPTION_METRICS
    metrics = [m for m in wanted if _any_figure(evaluation, m)]
    clinical = [m for m in CLINICAL_METRICS if _any_figure(evaluation, m)]
    meta = evaluation.meta
    title = f"{meta['studies']} studies of split {meta['split']}, {meta['patients']} patients"
    tables = [_score_table(evaluation, metrics, title, _caption(evaluation, metrics))]
    if clinical:
        caption = (
            "labels mined from both texts (docs/miner.md); abnormal: normal left out, which "
            "rewards silence; ↓ lower is better"
        )
        tables.append(_score_table(evaluation, clinical, "What the reports say", caption))
    tables.extend(_hub_tables(evaluation))
    shown = [d for d in evaluation.differences if d.metric in (*metrics, *clinical)]
    return [*tables, _paired_table(shown)] if shown else tables


def _score_table(evaluation: Evaluation, metrics: list[str], title: str, caption: str) -> Table:
    scores = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    scores.add_column("system", overflow="fold")
    for metric in metrics:
        scores.add_column(METRICS[metric], justify="right")
    best = {metric: evaluation.best(metric) for metric in metrics}
    for number, system in enumerate(evaluation.systems):
        cells = []
        for metric in metrics:
            value = evaluation.figure(system.name, metric).value
            text = "" if math.isnan(value) else f"{value:.3f}"
            cells.append(f"[bold]{text}[/bold]" if text and value == best[metric] else text)
        following = evaluation.systems[number + 1 :][:1]
        ends = bool(following) and following[0].trivial and not system.trivial
        style = "dim" if system.trivial else None
        scores.add_row(escape(system.name), *cells, style=style, end_section=ends)
    return scores


def _hub_tables(evaluation: Evaluation) -> list[Table]:
    """A table for each metric of RadEval that was run, its figures by RadEval's own names."""
    found = hub_table(evaluation)
    tables = []
    for name, title in HUB_METRICS.items():
        rows = found[found["metric"].str.startswith(f"hub.{name}.")]
        if rows.empty:
            continue
        caption = "of all rows at once, without intervals"
        table = Table(title=f"{title}, by RadEval", caption=caption)
        table.title_justify = table.caption_justify = "left"
        table.add_column("system", overflow="fold")
        metrics = list(dict.fromkeys(rows["metric"]))
        for metric in metrics:
            text = metric.removeprefix(f"hub.{name}.")
            table.add_column(escape(text.replace("_", " ")), justify="right", overflow="fold")
        values = rows.set_index(["system", "metric"])["value"]
        for system in evaluation.systems:
            cells = [values.get((system.name, metric), math.nan) for metric in metrics]
            texts = ["" if math.isnan(value) else f"{value:.3f}" for value in cells]
            style = "dim" if system.trivial else None
            if any(texts):
                table.add_row(escape(system.name), *texts, style=style)
        tables.append(table)
    return tables


def _paired_table(differences: list[Difference]) -> Table:
    paired = Table(title="Differences, by paired bootstrap over patients", title_justify="left")
    for name in ("metric", "from", "to"):
        paired.add_column(name, overflow="fold")
    paired.add_column("difference", justify="right")
    paired.add_column("95% interval", justify="right")
    paired.add_column("holds")
    told = {"better": "yes", "worse": "yes, worse", "unclear": "no", "": ""}
    for d in differences:
        paired.add_row(
            METRICS[d.metric],
            escape(d.first),
            escape(d.second),
            f"{d.value:+.3f}",
            "" if math.isnan(d.low) else f"{d.low:+.3f} to {d.high:+.3f}",
            told[verdict(d)],
        )
    return paired


def _caption(evaluation: Evaluation, metrics: list[str]) -> str:
    if "exact" not in metrics:
        return "higher is better"
    gone = evaluation.meta["not_run"].keys() & {"METEOR", "sacreBLEU"}
    told = f"; not run: {', '.join(sorted(gone))}" if gone else ""
    return (
        f"tokeniser {evaluation.meta['tokenizer']}; P-n mean n-gram precision, "
        f"BLEU-n corpus BLEU, higher is better{told}"
    )


def _any_figure(evaluation: Evaluation, metric: str) -> bool:
    return any(
        not math.isnan(evaluation.figure(system.name, metric).value)
        for system in evaluation.systems
    )


def format_tables(evaluation: Evaluation, width: int = 100) -> str:
    """The console tables as plain text of at most ``width`` columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        for table in console_tables(evaluation):
            console.print(table)
    return capture.get()
