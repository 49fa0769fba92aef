"""Fine-tuning depth by share of training data, after Tajbakhsh et al. 2016; writes page and figure.

The frozen stages of a net are a fixed function of the picture: their maps are computed once a depth
and kept, so that a training only runs what it changes. That asks for pictures without augmentation.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _common import mean_and_spread
from torch import Tensor

from cascade.data.cache import build_cache
from cascade.data.datasets import StudyDataset, StudyRecords, study_records
from cascade.data.splits import assign_splits, take_training_share
from cascade.data.transforms import to_unit
from cascade.io.collection import Collection
from cascade.io.nih import read_nih
from cascade.labels.patterns import mine_terms
from cascade.metrics.classification import auroc, macro
from cascade.models.encoders import Encoder, create_encoder, load_weights
from cascade.models.heads import StudyClassifier
from cascade.models.losses import label_loss
from cascade.pipeline.collecting import current_commit
from cascade.training.optimizers import create_optimizer
from cascade.training.trainer import seed_everything

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = "weights/squeezenet1_1_imagenet_features.safetensors"
STAGES = 5
OPTIMIZER = {"name": "adamw", "weight_decay": 0.01, "schedule": "cosine", "warmup": 0.1}
BATCH, DROPOUT, MIN_STUDIES = 16, 0.3, 10
COLOURS = ("#0b5fa5", "#c2410c", "#15803d", "#7e22ce", "#525252")


class Run(NamedTuple):
    """One training: where the encoder began, its open stages, the data, the seed."""

    start: str
    depth: int
    share: float
    seed: int


class Split(NamedTuple):
    """Rows of the picture array, and their labels."""

    rows: np.ndarray
    labels: Tensor


def encoder_of(start: str, seed: int, data: Path) -> Encoder:
    seed_everything(seed)
    encoder = create_encoder("squeezenet1_1")
    if start == "imagenet":
        load_weights(encoder, data / WEIGHTS)
    return encoder


def begin(encoder: Encoder, pictures: Tensor) -> Tensor:
    return (pictures - encoder.mean) / encoder.std


@torch.no_grad()
def frozen_maps(encoder: Encoder, pixels: np.ndarray, cut: int) -> Tensor:
    """What the first ``cut`` stages make of all pictures, ``(N, C, H, W)``."""
    encoder.eval()
    parts = []
    for first in range(0, len(pixels), 64):
        chunk = np.array(pixels[first : first + 64])
        maps = begin(encoder, to_unit(torch.from_numpy(chunk).unsqueeze(1)))
        for stage in encoder.stages[:cut]:
            maps = stage(maps)
        parts.append(maps)
    return torch.cat(parts)


class Output(NamedTuple):
    """What a network makes of kept maps.

    Attributes:
        logits: ``(N, K)``.
        evidence: ``(N, K, H', W')``, None of a pooling that has none.
        maps: ``(N, D, H', W')``, the last stage's.
    """

    logits: Tensor
    evidence: Tensor | None
    maps: Tensor


def output_of(network: StudyClassifier, maps: Tensor, cut: int) -> Output:
    for stage in network.encoder.stages[cut:]:
        maps = stage(maps)
    out = network.read_maps(maps, torch.ones(len(maps), 1, dtype=torch.bool))
    return Output(out.logits, None if out.evidence is None else out.evidence[:, 0], maps)


def logits_of(network: StudyClassifier, maps: Tensor, cut: int, rows: np.ndarray) -> np.ndarray:
    network.eval()
    with torch.no_grad():
        parts = [output_of(network, maps[chunk], cut).logits for chunk in np.array_split(rows, 16)]
    return torch.cat(parts).numpy()


def area(split: Split, found: np.ndarray) -> float:
    truth = split.labels.numpy()
    return macro([auroc(truth[:, k], found[:, k]) for k in range(truth.shape[1])])[0]


def train(
    network: StudyClassifier,
    maps: Tensor,
    parts: dict[str, Split],
    depth: int,
    seed: int,
    epochs: int,
    lr: float,
) -> tuple[float, int]:
    """Train the last ``depth`` stages; keeps the epoch that is best on validation, from 1."""
    cut = STAGES - depth
    network.encoder.unfreeze(depth)
    learn, val = parts["train"], parts["val"]
    batches = math.ceil(len(learn.rows) / BATCH)
    made = create_optimizer(network.parameters(), batches * epochs, lr=lr, **OPTIMIZER)
    optimizer, schedule = made.optimizer, made.schedules[0]["scheduler"]
    order = np.random.default_rng(seed)
    best, state, chosen = -math.inf, {}, 0
    for epoch in range(epochs):
        network.train()
        for chunk in np.array_split(order.permutation(len(learn.rows)), batches):
            logits = output_of(network, maps[learn.rows[chunk]], cut).logits
            loss = label_loss(logits, learn.labels[chunk], False)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
        found = area(val, logits_of(network, maps, cut, val.rows))
        if found > best:
            best, chosen = found, epoch + 1
            state = {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(state)
    network.eval()
    return best, chosen


def plan(options: argparse.Namespace) -> Iterator[tuple[str, int, int, list[Run]]]:
    """Trainings that share their frozen maps: where they begin, depth, seed of the beginning."""
    seeds = range(1, options.seeds + 1)
    for depth in options.depths:
        runs = [
            Run("imagenet", depth, share, seed)
            for share, seed in itertools.product(options.shares, seeds)
        ]
        yield "imagenet", depth, 0, runs
    for seed, depth in itertools.product(seeds, sorted({0, STAGES} & set(options.depths))):
        yield "random", depth, seed, [Run("random", depth, share, seed) for share in options.shares]


def split_of(collection: Collection, cache: Any, table: Any, name: str, limit: int | None) -> Split:
    records: StudyRecords = study_records(collection, cache, name)
    if limit is not None:
        records = records.select(range(min(limit, len(records))))
    dataset = StudyDataset(records, cache, table)
    return Split(dataset.rows[:, 0], dataset.labels)


def measure(
    options: argparse.Namespace, work: Path
) -> tuple[dict[Run, dict[str, Any]], dict[str, Any]]:
    """All trainings of the plan, those of ``results.jsonl`` as they are."""
    began = time.monotonic()
    collection = assign_splits(read_nih(options.data / "nih"))
    cache = build_cache(collection, options.size, work / "cache", workers=2)
    table = mine_terms(collection, min_studies=MIN_STUDIES)
    val, test = (split_of(collection, cache, table, n, options.limit) for n in ("val", "test"))
    setting = [options.size, options.epochs, options.lr, options.limit]
    log = work / "results.jsonl"
    done: dict[Run, dict[str, Any]] = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        row = json.loads(line)
        if row["setting"] == setting:
            done[Run(*row["run"])] = row["found"]
    wanted: set[Run] = set()
    for start, depth, seed, runs in plan(options):
        wanted |= set(runs)
        left = [run for run in runs if run not in done]
        if not left:
            continue
        maps = frozen_maps(encoder_of(start, seed, options.data), cache.pixels, STAGES - depth)
        for run in left:
            clock = time.monotonic()
            encoder = encoder_of(start, run.seed, options.data)  # the head, too, from this seed
            network = StudyClassifier(encoder, len(table.labels), DROPOUT)
            part = take_training_share(collection, run.share, run.seed)
            learn = split_of(part, cache, table, "train", options.limit)
            parts = {"train": learn, "val": val, "test": test}
            val_area, epoch = train(
                network, maps, parts, depth, run.seed, options.epochs, options.lr
            )
            found: dict[str, Any] = {"val": val_area, "epoch": epoch, "studies": len(learn.rows)}
            found["test"] = area(test, logits_of(network, maps, STAGES - depth, test.rows))
            open_ones = (p.numel() for p in network.parameters() if p.requires_grad)
            found["trained"] = sum(open_ones)
            found["seconds"] = round(time.monotonic() - clock, 1)
            done[run] = found
            with open(log, "a") as file:
                file.write(json.dumps({"setting": setting, "run": run, "found": found}) + "\n")
            print(run, json.dumps(found), file=sys.stderr, flush=True)
    facts = {
        "labels": [label.name for label in table.labels],
        "val": len(val.rows),
        "test": len(test.rows),
        "total": sum(p.numel() for p in encoder_of("random", 0, options.data).parameters()),
        "seconds": sum(done[run]["seconds"] for run in wanted),
        "now": time.monotonic() - began,
    }
    return {run: done[run] for run in wanted}, facts


def cell(
    found: dict[Run, dict[str, Any]], start: str, depth: int, share: float, part: str = "test"
) -> list[float]:
    return [
        found[run][part]
        for run in sorted(found)
        if (run.start, run.depth, run.share) == (start, depth, share)
    ]


def figure(found: dict[Run, dict[str, Any]], options: argparse.Namespace) -> str:
    """Depth against AUROC, a line a share; the random start as a diamond at its depth."""
    values = [run["test"] for run in found.values()]
    low, high = math.floor(min(values) * 20) / 20, math.ceil(max(values) * 20) / 20
    left, right, top, bottom = 60, 500, 20, 300
    depths = sorted(options.depths)

    def x_of(depth: float) -> float:
        span = max(depths[-1] - depths[0], 1)
        return left + 20 + (right - left - 40) * (depth - depths[0]) / span

    def y_of(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / max(high - low, 1e-6)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 350" role="img" '
        'font-family="sans-serif" font-size="13">',
        "<title>Test AUROC by number of fine-tuned stages and share of the training data</title>",
        '<rect width="680" height="350" fill="#ffffff"/>',
    ]
    for step in range(round((high - low) * 20) + 1):
        value = low + step / 20
        parts.append(
            f'<line x1="{left}" x2="{right}" y1="{y_of(value):.1f}" y2="{y_of(value):.1f}" '
            f'stroke="#e5e5e5"/><text x="{left - 8}" y="{y_of(value) + 4:.1f}" '
            f'text-anchor="end" fill="#404040">{value:.2f}</text>'
        )
    for depth in depths:
        parts.append(
            f'<text x="{x_of(depth):.1f}" y="{bottom + 20}" text-anchor="middle" fill="#404040">'
            f"{depth}</text>"
        )
    parts.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 40}" text-anchor="middle" fill="#171717">'
        "stages fine-tuned from ImageNet, counted from the head</text>"
    )
    for index, share in enumerate(options.shares):
        colour, shift = COLOURS[index % len(COLOURS)], (index - (len(options.shares) - 1) / 2) * 5
        line = []
        for start, depth in itertools.product(("imagenet", "random"), depths):
            seeds = cell(found, start, depth, share)
            if not seeds:
                continue
            x, y = x_of(depth) + shift, y_of(float(np.mean(seeds)))
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y_of(min(seeds)):.1f}" '
                f'y2="{y_of(max(seeds)):.1f}" stroke="{colour}" stroke-opacity="0.5"/>'
            )
            if start == "imagenet":
                line.append(f"{x:.1f},{y:.1f}")
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
            else:
                parts.append(
                    f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z" fill="#ffffff" '
                    f'stroke="{colour}" stroke-width="1.6"/>'
                )
        parts.append(
            f'<polyline points="{" ".join(line)}" fill="none" stroke="{colour}" '
            'stroke-width="1.8"/>'
        )
        y = top + 14 + 20 * index
        parts.append(
            f'<circle cx="{right + 16}" cy="{y - 4}" r="4" fill="{colour}"/>'
            f'<text x="{right + 28}" y="{y}" fill="#171717">{share:.0%} of the patients</text>'
        )
    y = top + 14 + 20 * len(options.shares)
    parts.append(
        f'<path d="M{right + 16} {y - 10}l6 6l-6 6l-6 -6z" fill="#ffffff" stroke="#404040"/>'
        f'<text x="{right + 28}" y="{y}" fill="#171717">from random weights</text></svg>'
    )
    return "\n".join(parts) + "\n"


def findings(found: dict[Run, dict[str, Any]], options: argparse.Namespace) -> str:
    """What each share says, in words, with the seeds' own differences beside it."""
    lines = []
    for share in options.shares:
        means = {d: cell(found, "imagenet", d, share) for d in options.depths}
        val = {d: np.mean(cell(found, "imagenet", d, share, "val")) for d in options.depths}
        best = max(options.depths, key=lambda depth: float(val[depth]))
        names = {0: "the head alone", STAGES: "all stages"}
        rivals = {names[d]: means[d] for d in names if d in means and d != best}
        if STAGES in options.depths:
            rivals["random weights"] = cell(found, "random", STAGES, share)
        compared = []
        for name, values in rivals.items():
            gaps = [a - b for a, b in zip(means[best], values, strict=True)]
            spread = f"{min(gaps):+.3f} to {max(gaps):+.3f} by seed"
            compared.append(f"{np.mean(gaps):+.3f} on {name} ({spread})")
        own = mean_and_spread(means[best])
        lines.append(
            f"- {share:.0%} of the patients: {best} of {STAGES} stages, {own};\n  "
            + ",\n  ".join(compared)
            + "."
        )
    return "\n".join(lines)


def page(
    found: dict[Run, dict[str, Any]], facts: dict[str, Any], options: argparse.Namespace
) -> str:
    studies = {
        share: sorted({row["studies"] for run, row in found.items() if run.share == share})
        for share in options.shares
    }
    heads = [
        f"{share:.0%} ({'-'.join(str(n) for n in sorted({counts[0], counts[-1]}))} images)"
        for share, counts in studies.items()
    ]
    labels = facts["labels"]
    rows = []
    for start, depth in [("imagenet", d) for d in options.depths] + [
        ("random", 0),
        ("random", STAGES),
    ]:
        cells = [mean_and_spread(cell(found, start, depth, share)) for share in options.shares]
        trained = {r["trained"] for k, r in found.items() if (k.start, k.depth) == (start, depth)}
        if not trained:
            continue
        what = f"{depth} of {STAGES} stages" if depth else "the head alone"
        rows.append(f"| {start} | {what} | {min(trained):,} | {' | '.join(cells)} |")
    return f"""\
# How deep to fine-tune

Written by `scripts/finetune_depth` on {datetime.date.today()}, commit {current_commit()},
{torch.get_num_threads()} threads, {facts["seconds"]:.0f} s of training in all.

The question of Tajbakhsh et al. 2016, asked of the NIH ChestX-ray14 images at hand: SqueezeNet 1.1
from ImageNet, its last k stages fine-tuned under a new head (`encoder.unfreeze=k`), against the
same net from random weights, for shares of the training patients. {options.size} px, no
augmentation, {options.epochs} epochs of AdamW at {options.lr:g} with a cosine schedule, batches of
{BATCH}, dropout {DROPOUT}: the same for all. The epoch is chosen on the {facts["val"]} validation
images, the {facts["test"]} test images are scored once a training; official splits. A seed draws
the patients of a share, the head, the order, and the random weights; {options.seeds} seeds.

Macro AUROC on test, mean ± standard deviation over seeds; 0.5 is chance. {len(labels)} labels:
{", ".join(labels[:6])},
{", ".join(labels[6:])}.

| start | trained | parameters trained | {" | ".join(heads)} |
| --- | --- | ---: | {" | ".join("---" for _ in heads)} |
{chr(10).join(rows)}

![Test AUROC by depth and share]({Path(options.out).with_suffix(".svg").name})

Dots are means, the bars behind them run from the worst to the best seed; diamonds are random
starts. The depth that is best on validation, by share, and how far it stands above others on test:

{findings(found, options)}

Read it as what it is: a few hundred images of one hospital, labels mined from reports that nobody
released, one small net, one learning rate for every depth, and a test split that all trainings
share. Differences within the spread of the seeds say nothing.
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0])
    arguments.add_argument("--depths", type=int, nargs="+", default=list(range(STAGES + 1)))
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--lr", type=float, default=0.001)
    arguments.add_argument("--size", type=int, default=160)
    arguments.add_argument("--limit", type=int, help="images a split, to try the script")
    arguments.add_argument("--out", default=str(ROOT / "docs" / "finetune-depth.md"))
    options = arguments.parse_args()
    work = Path(os.environ.get("CASCADE_WORK", ROOT / "outputs" / "finetune-depth")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    found, facts = measure(options, work)
    out = Path(options.out)
    out.with_suffix(".svg").write_text(figure(found, options), encoding="utf-8")
    out.write_text(page(found, facts, options), encoding="utf-8")
    print(f"wrote {out} and {out.with_suffix('.svg')} after {facts['now']:.0f} s")


if __name__ == "__main__":
    main()
