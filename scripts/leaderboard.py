"""Sweep encoders and decoders over seeds on phantom and NIH, compare, write docs/leaderboard.md."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import subprocess
import sys
from pathlib import Path

from cascade.evaluation.charts import Mark, dot_plot
from cascade.evaluation.leaderboard import (
    Configuration,
    Group,
    Leaderboard,
    beats_trivial,
    build_leaderboard,
    name_of,
    setting_text,
)
from cascade.evaluation.leaderboard_tables import against_text, first_text, write_leaderboard
from cascade.evaluation.significance import Figure
from cascade.pipeline.comparing import read_entries

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "leaderboard.md"
WEIGHTS = "weights/squeezenet1_1_imagenet_features.safetensors"
LESSONS = "## What we learned"
PHANTOM = ["data=phantom", "data.seed=11", "data.studies=1600", "rounds=1"]
DECODERS = ["decoder=lstm,attention_lstm,transformer", "seed=1,2,3"]
NIH = ["data=nih", "data.root=DATA/nih", "experiment=nih14_squeezenet", "rounds=1", "seed=1,2"]
SWEEPS: dict[str, list[list[str]]] = {
    "phantom": [
        [*PHANTOM, "encoder=tiny,nin", *DECODERS],
        [
            *PHANTOM,
            "encoder=squeezenet1_1",
            "encoder.weights=DATA/" + WEIGHTS,
            "classifier.optimizer.lr=0.001",
            *DECODERS,
        ],
    ],
    "nih": [
        [*NIH, "encoder=tiny,nin,squeezenet1_1", "encoder.unfreeze=null"],
        [*NIH, "encoder.weights=DATA/" + WEIGHTS],
    ],
}
SHOWN = {
    "phantom": ("macro_f1_abnormal", "bleu4", "exact", "macro_auroc"),
    "nih": ("macro_auroc", "macro_average_precision", "macro_f1_abnormal", "exact"),
}
COSTS = {"parameters": "parameters"}  # seconds tell of the machine, which ran other work beside
STYLE = """<style>svg{background:#fff;font:13px sans-serif}.name,.value{font-size:12px;fill:#171717}
.axis{font-size:10.5px;fill:#555}.grid{stroke:#e5e5e5}.best{stroke:#777;stroke-dasharray:2 3}
.range{stroke-width:2;stroke-opacity:.5}.c0,.c1{fill:#0b5fa5;stroke:#0b5fa5}
.ct{fill:#777;stroke:#777}.hollow{fill:#fff;stroke-width:1.6}.muted{fill:#555}</style>"""


def sweep_folders(name: str, work: Path) -> list[Path]:
    """A folder a sweep; a group of one sweep has the group's own name."""
    count = len(SWEEPS[name])
    return [work / (name if count == 1 else f"{name}-{index + 1}") for index in range(count)]


def run_sweeps(data: Path, work: Path, jobs: int) -> None:
    """Those that are not done; a failed job is a row of the leaderboard, not the end."""
    for name, sweeps in SWEEPS.items():
        for folder, words in zip(sweep_folders(name, work), sweeps, strict=True):
            command = [sys.executable, "-m", "cascade", "run", "-m"]
            command += [word.replace("DATA", str(data)) for word in words]
            command += ["launcher=joblib", f"launcher.jobs={jobs}", "callbacks=none"]
            subprocess.run([*command, f"out={folder}", "resume=true"], check=False)


def ordered(group: Group, shown: tuple[str, ...]) -> list[str]:
    """The ranking metric first."""
    return [group.metric, *(m for m in shown if m != group.metric and m in group.metrics)]


def cell(c: Configuration, metric: str) -> str:
    """Mean over seeds and the deviation between them."""
    figure, deviation = c.score(metric), c.deviation.get(metric, math.nan)
    if math.isnan(figure.value):
        return ""
    return f"{figure.value:.3f}" + ("" if math.isnan(deviation) else f" ± {deviation:.3f}")


def label(c: Configuration) -> str:
    """The settings that make the difference, weight files by whether there are any."""
    told = []
    for key, value in c.settings.items():
        if value is None or key in ("encoder.unfreeze", "data.root"):
            continue
        text = "ImageNet" if key == "encoder.weights" else setting_text(value)
        told.append(text if key in ("encoder.name", "decoder.name") else f"{key}={text}")
    names = [c.settings.get("encoder.name"), c.settings.get("decoder.name")]
    if c.settings.get("encoder.weights"):
        names.insert(1, "(ImageNet)")
    named = " ".join(str(name) for name in names if name)
    return named or " ".join(told) or c.label


def table(group: Group, shown: tuple[str, ...]) -> list[str]:
    """The group as Markdown, the best trivial figures at their rank."""
    metrics = ordered(group, shown)
    heads = [
        "",
        "configuration",
        "seeds",
        *map(name_of, metrics),
        "to first",
        "to trivial",
        *COSTS.values(),
    ]
    rows = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    trivial: list[str] | None = [
        "",
        "*best trivial system of each figure*",
        "",
        *(
            f"{group.trivial[m][1]:.3f} ({group.trivial[m][0]})" if m in group.trivial else ""
            for m in metrics
        ),
        *[""] * (2 + len(COSTS)),
    ]
    for c in group.configurations:
        if trivial and beats_trivial(group, c) is False:
            rows.append("| " + " | ".join(trivial) + " |")
            trivial = None
        cost = [f"{c.cost[key]:,.0f}" if key in c.cost else "" for key in COSTS]
        figures = [cell(c, metric) for metric in metrics]
        rows.append(
            "| "
            + " | ".join(
                [
                    str(c.rank or ""),
                    label(c),
                    str(c.seeds),
                    *figures,
                    first_text(c),
                    against_text(c),
                    *cost,
                ]
            )
            + " |"
        )
    if trivial:
        rows.append("| " + " | ".join(trivial) + " |")
    return rows


def plot(group: Group) -> str:
    """The ranking metric, an interval over seeds a configuration."""
    marks = [Mark(label(c), "c0", c.score(group.metric)) for c in group.configurations]
    if group.metric in group.trivial:
        name, value = group.trivial[group.metric]
        marks.append(Mark(name, "ct", Figure(value)))
    svg = str(dot_plot(name_of(group.metric), marks))
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        "</title>", f"</title>{STYLE}", 1
    )


def section(name: str, title: str, board: Leaderboard, page: Path) -> list[str]:
    """One collection: what was run, table, figure, what failed."""
    lines = [f"## {title}", ""]
    for words in SWEEPS[name]:
        lines += ["    cascade run -m " + " ".join(words), ""]
    for number, group in enumerate(board.groups):
        rows = group.rows
        lines += [
            f"{rows.studies} studies of the {rows.split} split, rows `{rows.sha256[:12]}`, "
            f"tokeniser {rows.tokenizer}; commits of the runs: "
            + ", ".join(
                sorted({e.commit or "unknown" for c in group.configurations for e in c.entries})
            )
            + ".",
            "",
            *table(group, SHOWN[name]),
            "",
        ]
        figure = page.with_name(f"{page.stem}-{name}{number or ''}.svg")
        figure.write_text(plot(group) + "\n", encoding="utf-8")
        lines += [f"![{name_of(group.metric)} by configuration]({figure.name})", ""]
        lines += [*(f"- {note}" for note in group.notes), ""] if group.notes else []
    if board.unfinished:
        left = [f"{entry.name} ({entry.reason or entry.status})" for entry in board.unfinished]
        lines += [f"Not ranked: {', '.join(left)}.", ""]
    return lines


def lessons(page: Path) -> str:
    """What people wrote below the figures stays."""
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    return LESSONS + old.split(LESSONS, 1)[1] if LESSONS in old else f"{LESSONS}\n\nNothing yet.\n"


def seconds_of(work: Path) -> float:
    """Of all jobs, as their records state."""
    return sum(
        float(json.loads(f.read_text()).get("seconds") or 0) for f in work.glob("*/*/job.json")
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--page-only", action="store_true")
    arguments.add_argument("--out", type=Path, default=PAGE)
    options = arguments.parse_args()
    work = Path(os.environ.get("CASCADE_WORK", ROOT / "outputs" / "leaderboard")).resolve()
    if not options.page_only:
        run_sweeps(options.data, work, options.jobs)
    kept = lessons(options.out)
    parts: list[str] = []
    for name, title in (("phantom", "Phantom"), ("nih", "NIH ChestX-ray14")):
        folders = [folder for folder in sweep_folders(name, work) if folder.is_dir()]
        if not folders:
            continue
        board = build_leaderboard(read_entries(folders), None if name == "phantom" else "auroc")
        write_leaderboard(board, work / f"board-{name}")
        parts += section(name, title, board, options.out)
    options.out.write_text(
        f"""\
# Leaderboard: encoders and decoders, over seeds

Written by `scripts/leaderboard` on {datetime.date.today()}: sweeps by `cascade run -m`, ranked by
`cascade compare` ([compare.md](compare.md) says how). {os.cpu_count()} CPU cores,
{seconds_of(work) / 3600:.1f} hours of jobs in all. Scores are of the test split, read once a job
after its epoch was chosen on validation: mean ± standard deviation over seeds. *unclear*: the
difference does not hold. Figures draw Student's t intervals over seeds, the dashed line is the best
trivial system.

**Research software, not a medical device.**

{chr(10).join(parts)}
{kept}""",
        encoding="utf-8",
    )
    print(f"wrote {options.out}; pages in {work}/board-*")


if __name__ == "__main__":
    main()
