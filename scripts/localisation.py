"""Maps of heads that saw labels alone, scored on boxes beside trivial guesses; writes a page.

No patient with a box takes part in training or selection, so that every box at hand can be scored.
The frozen stages are a fixed function of the picture: their maps are computed once and kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from finetune_depth import (
    DROPOUT,
    STAGES,
    Split,
    area,
    encoder_of,
    frozen_maps,
    logits_of,
    output_of,
    split_of,
    train,
)
from localisation_page import Case, Score, page
from torch import Tensor
from torch.nn import functional as F

from cascade.data.cache import build_cache
from cascade.data.splits import assign_splits
from cascade.io.nih import read_nih
from cascade.io.nih_boxes import read_nih_boxes
from cascade.labels.patterns import mine_terms
from cascade.metrics.localisation import (
    Box,
    detected_boxes,
    pointing,
)
from cascade.models.heads import StudyClassifier
from cascade.models.pooling import POOLINGS
from cascade.models.saliency import class_activation
from cascade.training.trainer import seed_everything

ROOT = Path(__file__).resolve().parent.parent
MIN_STUDIES = 10


def heat_of(network: StudyClassifier, maps: Tensor, cut: int, column: int) -> Tensor:
    """The map of one label of one picture ``(H', W')``: the head's own, else Grad-CAM."""
    with torch.no_grad():
        _, evidence, last = output_of(network, maps, cut)
    if evidence is not None:
        return evidence[0, column]
    last = last.detach().requires_grad_()
    score = network.read_maps(last, torch.ones(1, 1, dtype=torch.bool)).logits[0, column]
    (gradients,) = torch.autograd.grad(score, last)
    return class_activation(last.detach(), gradients)[0]


def enlarge(heat: Tensor, side: int) -> np.ndarray:
    """To the picture's pixels, as the evaluation page shows it."""
    big = F.interpolate(heat[None, None], (side, side), mode="bilinear", align_corners=False)
    return big[0, 0].double().numpy()


def unit(heat: Tensor) -> Tensor:
    span = heat.max() - heat.min()
    return (heat - heat.min()) / span if span > 0 else torch.zeros_like(heat)


def score_maps(heats: list[np.ndarray], cases: list[Case]) -> Score:
    points = [pointing(heat, case.box) for heat, case in zip(heats, cases, strict=True)]
    return Score.of(points, [detected_boxes(heat) for heat in heats], cases)


def measure(options: argparse.Namespace, work: Path) -> dict[str, object]:
    """Train and score each pooling, those of ``results.jsonl`` as they are."""
    collection = assign_splits(read_nih(options.data / "nih"))
    listed = read_nih_boxes(options.data / "nih" / "boxes_1024.csv")
    studies = collection.studies.set_index("study_id")
    marked = set(studies.loc[[b.study_id for b in listed], "patient_id"])
    official = studies.loc[[b.study_id for b in listed], "split"].value_counts().to_dict()
    cache = build_cache(collection, options.size, work / "cache", workers=1)
    aside = studies["patient_id"].isin(marked)
    shown = collection.studies["study_id"].map(aside)
    kept = dataclasses.replace(collection)
    kept.studies = collection.studies.assign(
        split=collection.studies["split"].mask(
            shown & (collection.studies["split"] != "test"), None
        )
    )
    table = mine_terms(kept, min_studies=MIN_STUDIES)
    parts = {n: split_of(kept, cache, table, n, options.limit) for n in ("train", "val", "test")}
    columns = {name.lower(): at for at, name in enumerate(table.names)}
    cases = [
        Case(
            cache.rows[b.study_id],
            columns[b.label.lower()],
            b.label,
            studies.loc[b.study_id, "patient_id"],
            Box(*b[2:]),
        )
        for b in listed
    ]
    assert not {c.row for c in cases} & {*parts["train"].rows, *parts["val"].rows}
    cut = STAGES - options.depth
    maps: Tensor | None = None
    setting = [
        options.size,
        options.epochs,
        options.lr,
        options.depth,
        options.lse_r,
        options.limit,
    ]
    log = work / "results.jsonl"
    done = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        row = json.loads(line)
        if row["setting"] == setting:
            done[row["pooling"], row["seed"]] = row
    for pooling in options.poolings:
        for seed in range(1, options.seeds + 1):
            if (pooling, seed) in done:
                continue
            if maps is None:
                maps = frozen_maps(encoder_of("imagenet", 0, options.data), cache.pixels, cut)
            clock = time.monotonic()
            encoder = encoder_of("imagenet", seed, options.data)
            seed_everything(seed)
            network = StudyClassifier(
                encoder, len(table.labels), DROPOUT, pooling=pooling, lse_r=options.lse_r
            )
            val, epoch = train(
                network, maps, parts, options.depth, seed, options.epochs, options.lr
            )
            heats = [heat_of(network, maps[[c.row]], cut, c.column) for c in cases]
            own = score_maps([enlarge(heat, options.size) for heat in heats], cases)
            average = average_maps(network, maps, cut, parts["train"], cases)
            usual = score_maps([enlarge(average[c.column], options.size) for c in cases], cases)
            done[pooling, seed] = {
                "setting": setting,
                "pooling": pooling,
                "seed": seed,
                "val": val,
                "epoch": epoch,
                "test": logits_of(network, maps, cut, parts["test"].rows).tolist(),
                "own": own.to_json(),
                "usual": usual.to_json(),
                "map": list(heats[0].shape),
                "seconds": round(time.monotonic() - clock, 1),
            }
            with open(log, "a") as file:
                file.write(json.dumps(done[pooling, seed]) + "\n")
            test = area(parts["test"], np.array(done[pooling, seed]["test"]))
            print(
                pooling,
                seed,
                f"epoch {epoch} val {val:.3f} test {test:.3f} pointing "
                f"{own.pointing.mean():.3f} average map {usual.pointing.mean():.3f} "
                f"{done[pooling, seed]['seconds']} s",
                file=sys.stderr,
                flush=True,
            )
    patient_of_row = {row: studies.loc[name, "patient_id"] for name, row in cache.rows.items()}
    return {
        "done": done,
        "cases": cases,
        "parts": parts,
        "official": official,
        "table": table,
        "test_patients": [patient_of_row[row] for row in parts["test"].rows.tolist()],
    }


def average_maps(
    network: StudyClassifier, maps: Tensor, cut: int, learn: Split, cases: list[Case]
) -> dict[int, Tensor]:
    """For each label the mean map of the training pictures that have it: a map of no picture."""
    found = {}
    for column in sorted({case.column for case in cases}):
        rows = learn.rows[learn.labels[:, column].numpy() == 1]
        heats = [unit(heat_of(network, maps[[row]], cut, column)) for row in rows]
        found[column] = torch.stack(heats).mean(dim=0)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--poolings", nargs="+", default=list(POOLINGS), choices=list(POOLINGS))
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--epochs", type=int, default=8)
    arguments.add_argument("--depth", type=int, default=2, help="stages that are fine-tuned")
    arguments.add_argument("--lr", type=float, default=0.001)
    arguments.add_argument("--lse-r", type=float, default=10.0)
    arguments.add_argument("--size", type=int, default=224)
    arguments.add_argument("--limit", type=int, help="images a split, to try the script")
    arguments.add_argument("--out", default=str(ROOT / "docs" / "localisation.md"))
    options = arguments.parse_args()
    work = Path(os.environ.get("CASCADE_WORK", ROOT / "outputs" / "localisation")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    text = page(measure(options, work), options)
    Path(options.out).write_text(text, encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
