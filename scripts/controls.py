"""Time the demo, run the controls of its second round, and write the page."""

from __future__ import annotations

import datetime
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cascade.pipeline.collecting import current_commit

CASCADE = str(Path(sys.executable).with_name("cascade"))
CONTROLS = {
    "contexts at random": ["relabel.shuffle=true"],
    "contexts in place of the disease": ["relabel.keep_whole=false"],
    "the old labels again": ["relabel.min_cases=1000000"],
}
METRICS = {
    "precision1": "P-1",
    "precision2": "P-2",
    "bleu1": "BLEU-1",
    "bleu4": "BLEU-4",
    "exact": "exact",
    "macro_f1_abnormal": "F1 abnormal",
    "macro_auroc": "AUROC",
}


def call(*words: str) -> float:
    print("$ cascade", *words, file=sys.stderr, flush=True)
    began = time.monotonic()
    subprocess.run([CASCADE, *words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def system(folder: Path, name: str) -> dict[str, Any]:
    systems = json.loads((folder / "evaluation" / "metrics.json").read_text())["systems"]
    return next(entry for entry in systems if entry["name"] == name)


def row(title: str, found: dict[str, Any]) -> str:
    cells = []
    for metric in METRICS:
        figure = found["figures"].get(metric) or {}
        value, low, high = (figure.get(key) for key in ("value", "low", "high"))
        if value is None:
            cells.append("")
        else:
            cells.append(f"{value:.3f}" + (f" ({low:.3f}-{high:.3f})" if low is not None else ""))
    return f"| {title} | {' | '.join(cells)} |"


def differences(folder: Path) -> str:
    rows = json.loads((folder / "evaluation" / "metrics.json").read_text())["differences"]
    kept = [r for r in rows if r["first"] == "round 1" and r["metric"] in METRICS]
    return "; ".join(
        f"{METRICS[r['metric']]} {r['value']:+.3f} ({r['low']:+.3f} to {r['high']:+.3f}"
        f"{', holds' if r['holds'] else ''})"
        for r in kept
    )


ADDED = """\
The true contexts stand above the old labels' interval: here they add what longer training does
not."""
NOT_ADDED = """\
Read against the old labels, the true contexts add nothing that this run can show: none of the
figures stands above the old labels' interval, and contexts dealt at random do as well. What the
second round gains over the first comes of its further training."""


def verdict(demo: Path, old_labels: Path) -> str:
    """Whether any main figure of the true contexts leaves the interval of the old labels."""
    true, old = (system(folder, "round 2")["figures"] for folder in (demo, old_labels))
    above = [name for name in METRICS if true[name]["value"] > old[name]["high"]]
    return ADDED if above else NOT_ADDED


def main() -> None:
    work = Path(os.environ.get("CASCADE_WORK", "outputs/controls")).resolve()
    demo = work / "demo"
    seconds = call("demo", f"out={demo}")
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    variants = {}
    for title, words in CONTROLS.items():
        folder = work / title.replace(" ", "-")
        if not folder.exists():
            (folder / "round-1").parent.mkdir(parents=True)
            shutil.copytree(demo / "round-1", folder / "round-1")
            shutil.copytree(demo / "cache", folder / "cache")
            for settings in folder.rglob("config.yaml"):  # of another relabelling: claimed anew
                settings.unlink()
        call("run", f"collection={demo / 'collection'}", *words, f"out={folder}")
        variants[title] = folder
    meta = json.loads((demo / "evaluation" / "metrics.json").read_text())["meta"]
    systems = json.loads((demo / "evaluation" / "metrics.json").read_text())["systems"]
    table = [
        f"| system | {' | '.join(METRICS.values())} |",
        f"| --- | {' | '.join('---' for _ in METRICS)} |",
        row("round 1", system(demo, "round 1")),
        row("**round 2: the true contexts**", system(demo, "round 2")),
        *(
            row(f"round 2: {title}", system(folder, "round 2"))
            for title, folder in variants.items()
        ),
        *(row(entry["name"], entry) for entry in systems if entry["trivial"]),
    ]
    page = f"""\
# Does the second round help, and is it the contexts?

Written by `scripts/controls` on {datetime.date.today()}, commit {current_commit()},
{os.cpu_count()} CPU cores. Phantom collection, test split: {meta["studies"]} studies of
{meta["patients"]} patients;
{meta["training studies"]} training and {meta["validation studies"]} validation studies;
seed {meta["seed"]}. 95% bootstrap intervals by patient, {meta["resamples"]} resamples;
tokeniser {meta["tokenizer"]}.

`cascade demo` took {seconds:.0f} s; the largest of its processes held {memory:.2f} GiB.

Four second rounds start from the same first round and train as long: on the diseases with the
contexts that the decoder's states gave, on diseases with contexts of the same sizes dealt at
random, on the contexts in place of the diseases as in the paper, and on the old labels alone. The
last is what a second round must beat: it trains as long and is told nothing new.

{chr(10).join(table)}

P-n: mean n-gram precision (how the paper's figures read); BLEU-n: corpus BLEU; exact: share of
annotations right in every word; F1 abnormal: macro over findings, read from the drafts; AUROC:
macro over the labels of round 1, contexts merged. `docs/evaluation.md` defines them.

Round 2 less round 1, paired bootstrap:

- the true contexts: {differences(demo)}
{chr(10).join(f"- {title}: {differences(folder)}" for title, folder in variants.items())}

{verdict(demo, variants["the old labels again"])}

One seed on drawn radiographs, which says nothing about real ones; `docs/real-data.md` has two
rounds on NIH.
"""
    Path(sys.argv[1]).write_text(page, encoding="utf-8")
    print(f"wrote {sys.argv[1]}")


if __name__ == "__main__":
    main()
