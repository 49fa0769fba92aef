"""Losses, class weights and sampling on validation, and calibrations by cross-fitting; the page."""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _common
import numpy as np
import torch

from cascade.data.datasets import StudyDataset
from cascade.io.collection import Collection, read_collection
from cascade.labels.table import LabelTable, disease_owners
from cascade.metrics.calibration import brier, calibration_error
from cascade.metrics.classification import auroc, average_precision, known, macro
from cascade.models.calibration import METHODS
from cascade.models.heads import disease_probabilities
from cascade.pipeline.collecting import current_commit, prepare
from cascade.pipeline.mining import mine
from cascade.pipeline.stages import Context, open_images
from cascade.training.calibrate import cross_fitted, label_logits
from cascade.training.classifier import disease_truth
from cascade.training.fit_classifier import fit_classifier

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = "weights/squeezenet1_1_imagenet_features.safetensors"
CHOICES: dict[str, list[str]] = {
    "bce": [],
    "bce, inverse": ["classifier.class_weights=inverse"],
    "bce, effective": ["classifier.class_weights=effective"],
    "focal": ["classifier.loss=focal"],
    "asymmetric": ["classifier.loss=asymmetric"],
    "bce, other sampling": [],
}


class Data(NamedTuple):
    """A collection, how it is read, and the sampling that it ships with and the other one."""

    name: str
    options: list[str]
    shipped: str
    other: str


def collections(options: argparse.Namespace) -> list[Data]:
    phantom = [
        "data=phantom",
        f"data.seed={options.phantom_seed}",
        f"data.studies={options.studies}",
        "data.image_size=64",
        "split.fractions=[0.6,0.3,0.1]",
    ]
    nih = [
        "experiment=nih14_squeezenet",
        f"data.root={options.data / 'nih'}",
        f"encoder.weights={options.data / WEIGHTS}",
    ]
    return [Data("phantom", phantom, "labels", "none"), Data("nih", nih, "none", "labels")]


def settings_of(overrides: list[str]) -> dict[str, Any]:
    quiet = ["trainer=cpu", "callbacks=none", "trainer.enable_progress_bar=false"]
    return _common.settings_of("run", *overrides, *quiet)


def means(truth: np.ndarray, said: np.ndarray, score: Callable[..., float]) -> float:
    pairs = [
        (true, column)
        for true, column in zip(truth.T, said.T, strict=True)
        if len(np.unique(true[known(true)])) == 2
    ]
    return macro([score(true, column) for true, column in pairs])[0]


def larger_validation(collection: Collection) -> None:
    """Three tenths of the patients outside of test as validation: the official part has 86 images.

    So few say nothing of calibration: one label has ten positive ones. Test stays as it is, unread.
    """
    studies = collection.studies
    patients = sorted(set(studies.loc[studies["split"] != "test", "patient_id"]))
    drawn = np.random.default_rng(0).permutation(patients)[: round(0.3 * len(patients))]
    rest = studies["split"] != "test"
    studies.loc[rest, "split"] = "train"
    studies.loc[rest & studies["patient_id"].isin(drawn), "split"] = "val"


def score(
    context: Context, table: LabelTable, settings: dict[str, Any], folder: Path, limit: int | None
) -> dict[str, Any]:
    """Train one detector and look at it on validation."""
    began = time.monotonic()
    train, val = context.records("train"), context.records("val")
    if limit is not None:
        train, val = train.select(range(limit)), val.select(range(min(limit, len(val))))
    reader, area = fit_classifier(folder, train, val, context.cache, table, settings)
    seconds = time.monotonic() - began
    select = StudyDataset(val, context.cache, table)
    logits = label_logits(reader.classifier, select, 64)
    owners, count = disease_owners(table.labels), len(table.diseases)
    truth = disease_truth(select.labels, owners, count).double().numpy()
    found: dict[str, Any] = {"auroc": area, "seconds": round(seconds, 1)}
    for method in METHODS:
        said = cross_fitted(
            method,
            logits.double().numpy(),
            select.labels.double().numpy(),
            table.names,
            table.exclusive,
            val.patient_ids,
        )
        assert said is not None
        merged = disease_probabilities(said, owners, count, table.exclusive).double().numpy()
        found[method] = {
            "auroc": means(truth, merged, auroc),
            "precision": means(truth, merged, average_precision),
            "error": means(truth, merged, calibration_error),
            "brier": means(truth, merged, brier),
        }
    found |= {"train": len(train), "val": len(val), "labels": len(table.labels)}
    return found


def measure(options: argparse.Namespace, work: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    log = work / "results.jsonl"
    setting = [options.studies, options.phantom_seed, options.limit]
    done: dict[tuple[str, str, int], dict[str, Any]] = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        row = json.loads(line)
        if row["setting"] == setting:
            done[tuple(row["run"])] = row["found"]
    for data in collections(options):
        base = settings_of(data.options)
        folder = work / f"{data.name}-{options.studies}-{options.phantom_seed}"
        if not folder.is_dir():
            prepare(base, folder)
        collection = read_collection(folder)
        if data.name == "nih":
            larger_validation(collection)
        context = Context(collection, open_images(base, collection, work / "cache"), base)
        labels = work / "labels" / folder.name
        shutil.rmtree(labels, ignore_errors=True)
        table = mine(base, collection, labels)
        for seed in range(1, options.seeds + 1):
            for choice, words in CHOICES.items():
                run = (data.name, choice, seed)
                if run in done:
                    continue
                balance = data.other if choice == "bce, other sampling" else data.shipped
                settings = settings_of(
                    [*data.options, *words, f"seed={seed}", f"classifier.balance={balance}"]
                )
                scratch = work / "run"
                shutil.rmtree(scratch, ignore_errors=True)
                found = score(context, table, settings, scratch, options.limit)
                done[run] = found
                with open(log, "a") as file:
                    line = {"setting": setting, "run": run, "found": found}
                    file.write(json.dumps(line) + "\n")
                print(run, json.dumps(found), file=sys.stderr, flush=True)
    return done


def table_of(done: dict[Any, dict[str, Any]], data: Data) -> str:
    """One row a choice: ranking as trained, calibration error and Brier score by method."""
    heads = [f"error, {method}" for method in METHODS]
    lines = [
        f"| training | sampling | AUROC | average precision | {' | '.join(heads)} | Brier, none | "
        "Brier, platt |",
        "| " + " | ".join(["---"] * 2 + ["---:"] * (4 + len(METHODS))) + " |",
    ]
    for choice in CHOICES:
        rows = [found for run, found in sorted(done.items()) if run[:2] == (data.name, choice)]
        other = choice == "bce, other sampling"
        cells = [
            _common.mean_and_spread([row["none"]["auroc"] for row in rows]),
            _common.mean_and_spread([row["none"]["precision"] for row in rows]),
            *(
                _common.mean_and_spread([row[method]["error"] for row in rows])
                for method in METHODS
            ),
            *(
                _common.mean_and_spread([row[method]["brier"] for row in rows])
                for method in ("none", "platt")
            ),
        ]
        name = "bce" if other else choice
        balance = data.other if other else data.shipped
        lines.append(f"| {name} | {balance} | {' | '.join(cells)} |")
    return "\n".join(lines)


def gains(done: dict[Any, dict[str, Any]], data: Data) -> str:
    """How often each calibration lowered the error and the Brier score, over all trainings."""
    rows = [found for run, found in done.items() if run[0] == data.name]
    lines = []
    for method in METHODS[1:]:
        errors = [row[method]["error"] - row["none"]["error"] for row in rows]
        briers = [row[method]["brier"] - row["none"]["brier"] for row in rows]
        areas = [row[method]["auroc"] - row["none"]["auroc"] for row in rows]
        lines.append(
            f"- `{method}`: the error by {np.mean(errors):+.3f} in the mean (lower in "
            f"{sum(e < 0 for e in errors)} of {len(rows)} trainings), the Brier score by "
            f"{np.mean(briers):+.4f} (lower in {sum(b < 0 for b in briers)}), AUROC by "
            f"{np.mean(areas):+.3f}."
        )
    return "\n".join(lines)


def page(done: dict[Any, dict[str, Any]], options: argparse.Namespace) -> str:
    parts = []
    for data in collections(options):
        rows = [found for run, found in done.items() if run[0] == data.name]
        about = {
            "phantom": f"The drawn collection, `data.seed={options.phantom_seed}`, "
            f"{options.studies} studies at 64 px, the tiny encoder, otherwise as shipped.",
            "nih": "NIH ChestX-ray14, the images at hand at 160 px, `experiment=nih14_squeezenet` "
            "from ImageNet weights. Three tenths of the patients outside of the official test part "
            "are validation here: the official validation part has 86 images, too few to judge by.",
        }[data.name]
        parts.append(
            f"## {data.name}\n\n{about} {rows[0]['train']} training and {rows[0]['val']} "
            f"validation studies, {rows[0]['labels']} labels.\n\n"
            f"{table_of(done, data)}\n\nAgainst no calibration, by cross-fitting:\n\n"
            f"{gains(done, data)}\n"
        )
    words = "\n".join(parts)
    return f"""\
# Losses, class weights and calibration, measured

Written by `scripts/losses` on {datetime.date.today()}, commit {current_commit()}, seeds 1 to
{options.seeds}, {torch.get_num_threads()} thread(s) of {platform.machine()}.

Validation alone: the epoch is chosen there by AUROC and the figures are of the same studies, so all
rows flatter alike; no test study was read. Means over the labels that validation has both present
and absent, mean ± standard deviation over seeds. Error: expected calibration error in ten bins of
equal mass. Calibrations are fitted on four fifths of the validation patients and scored on the
last, five times; AUROC and average precision are of the scores as trained.

{words}
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--studies", type=int, default=1000, help="of the phantom")
    arguments.add_argument("--phantom-seed", type=int, default=21)
    arguments.add_argument("--limit", type=int, help="studies a split, to try the script")
    arguments.add_argument("--out", default=str(ROOT / "docs" / "losses.md"))
    options = arguments.parse_args()
    logging.getLogger("cascade").setLevel(logging.ERROR)
    work = Path(os.environ.get("CASCADE_WORK", ROOT / "outputs" / "losses")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    done = measure(options, work)
    Path(options.out).write_text(page(done, options), encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
