"""Run the real-data walk-through and write it down with the commands' own output."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd

from cascade import RESEARCH_NOTICE
from cascade.inference.tables import read_table
from cascade.pipeline.collecting import current_commit

CASCADE = str(Path(sys.executable).with_name("cascade"))
WEIGHTS = "$DATA/weights/squeezenet1_1_imagenet_features.safetensors"


def main() -> None:
    data, page = Path(sys.argv[1]), Path(sys.argv[2])
    work = Path(os.environ.get("CASCADE_WORK", "outputs/real-data")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    parts = [
        "# On real data\n",
        f"Written by `scripts/real_data` on {datetime.date.today()}, commit {current_commit()}, "
        f"{os.cpu_count()} CPU cores, Python {platform.python_version()}. `$DATA` is the folder "
        "that `CASCADE_REAL_DATA` names; its files stay where they are and are not part of this "
        "repository.\n",
        f"**{RESEARCH_NOTICE}**\n",
    ]

    def step(command: str, status: int = 0) -> str:
        began = time.monotonic()
        words = [word.replace("$DATA", str(data)) for word in command.split()]
        print(f"$ {command}", file=sys.stderr, flush=True)
        done = subprocess.run([CASCADE, *words[1:]], cwd=work, capture_output=True, text=True)
        text = (done.stderr + done.stdout).replace(str(data), "$DATA").replace(str(work), ".")
        text = "\n".join(line.rstrip() for line in text.splitlines() if "Epoch" not in line)
        if done.returncode not in (0, status):
            sys.exit(f"{command} ended with {done.returncode}:\n{text}")
        seconds = time.monotonic() - began
        shown = f"```console\n$ {command}\n{text.strip()}\n```\n"
        return f"{shown}\n{seconds:.0f} s, exit status {done.returncode}.\n"

    parts += [
        "## (a) Open-i: every report, whatever images are there\n",
        step("cascade prepare data=openi data.root=$DATA/openi out=openi"),
        step("cascade mine collection=openi labels=patterns labels.fit_on=all out=openi-labels"),
        "`docs/labels.md` sets these counts beside the paper's.\n",
        "## (b) NIH: two rounds on the radiographs at hand\n",
        "The annotation of an image is its label set, in the order of ChestX-ray14's own list; "
        "the official train, validation and test membership is kept. The test rows are read once, "
        "by the last step.\n",
        step(
            "cascade run data=nih data.root=$DATA/nih experiment=nih14_squeezenet "
            f"encoder.weights={WEIGHTS} out=nih"
        ),
        "## (c) Drafts for DICOM files and Open-i views\n",
        step("cascade annotate source=$DATA/dicom model=nih/model out=dicom-drafts", status=1),
        rows_table(work / "dicom-drafts"),
        step("cascade annotate source=$DATA/openi model=nih/model out=openi-drafts", status=1),
        rows_table(work / "openi-drafts"),
        READING,
    ]
    page.write_text("\n".join(parts), encoding="utf-8")
    print(f"wrote {page}")


READING = """\
A row whose header or picture speaks against a frontal chest radiograph is `doubtful`: its draft
is withheld and the reason stands beside it; the probabilities stay in the row. `unlike` is the
distance from the space that the training pictures span, in units of the limit that 99.5% of the
validation pictures keep with a tenth to spare. It finds test patterns. It does not tell the
lateral Open-i views, which have no header to say so, from the frontal ones that NIH has, nor the
film whose tag alone was flipped; they are drafted. `test1.dcm` repeats `dx_no_view.dcm` and its
row says so, with the same probabilities. The network saw 778 radiographs of 320 pixels: read its
drafts as a test of the plumbing, and its scores as what so little data gives.
"""


def rows_table(folder: Path) -> str:
    rows = read_table(folder, "images")
    table = [
        "| file | status | draft | likeliest labels | doubts or reason |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        likely = pd.Series(row["probabilities"] or {}, dtype=float).nlargest(3)
        shown = ", ".join(f"{name} {value:.2f}" for name, value in likely.items())
        why = "; ".join([*(row["doubts"] or []), *([row["reason"]] if row["reason"] else [])])
        table.append(
            f"| {row['path']} | {row['status']} | {row['annotation'] or ''} | {shown} | {why} |"
        )
    counts = Counter(row["status"] for row in rows)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    return "\n".join([*table, "", f"{len(rows)} rows: {summary}.", ""])


if __name__ == "__main__":
    main()
