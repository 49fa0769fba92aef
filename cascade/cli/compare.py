"""``cascade compare``: runs, evaluations and sweeps become one leaderboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

POSITIONAL = "runs"
"""The setting that words without ``=`` belong to."""

HELP = """\
cascade compare DIR... [metric=NAME] [strict=true] [out=DIR]

Ranks runs on the rows that they were scored on. Each DIR is the out= folder of `cascade run`, of
`cascade evaluate`, or of a sweep (all its jobs). Runs that differ only by their seed are one row:
the mean over seeds, with its interval and spread. The best trivial system of the same rows stands
among them, and a difference to the first counts only where it holds: paired over patients, and
over seeds where there are several. Writes leaderboard.csv and index.html: settings that differ,
score by setting, learning curves, cost, and the jobs that failed with their reason.

Runs that were scored on different rows (other studies or references, another split, kind of text
or tokeniser; for detection, other labels) are never ranked together: each has a table of its own.

  metric=NAME     to rank by: bleu4, auroc, brier, exact, validation_bleu, ... (default: macro F1 of
                  the abnormal; for free text that of the mined labels)
  strict=true     refuse runs of different rows
  resamples=N     of the paired bootstrap

Examples:
  cascade compare outputs/sweep
  cascade compare runs/lstm runs/gru metric=bleu4 out=compared
  cascade compare runs="[runs/lstm,runs/gru]" strict=true
"""


def run(config: DictConfig) -> None:
    """Read, rank, write and print."""
    from cascade.cli.support import output_directory, plain
    from cascade.errors import InputError

    if _is_one(config.runs):
        config.runs = [str(config.runs)]
    settings = plain(config)
    folders = [str(folder) for folder in settings["runs"]]
    if not folders:
        raise InputError(
            "compare needs a folder: cascade compare DIR... (`cascade compare --help`)"
        )
    out = output_directory()
    if (out / "metrics.json").exists() or (out / "config.yaml").exists():
        raise InputError(
            f"{out} is a run or an evaluation: choose another out= for the leaderboard"
        )
    import shutil

    from cascade.evaluation.leaderboard import build_leaderboard
    from cascade.evaluation.leaderboard_tables import format_leaderboard, write_leaderboard
    from cascade.pipeline.comparing import read_entries

    board = build_leaderboard(
        read_entries(folders),
        settings["metric"],
        resamples=settings["resamples"],
        seed=settings["seed"],
        strict=settings["strict"],
    )
    table, page = write_leaderboard(board, out)
    print(format_leaderboard(board, max(100, shutil.get_terminal_size((120, 40)).columns)))
    print(f"leaderboard: {page} and {table.name}")


def _is_one(value: object) -> bool:
    """Whether ``runs=`` is a single folder; one named 2017 is a number to Hydra."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)
