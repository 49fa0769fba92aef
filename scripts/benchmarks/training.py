"""Images a second through the training pipeline against a bare PyTorch loop on the same batches.

Same network, optimizer, images and batch size; the pipeline reads them through the cache, the data
module and Lightning, the bare loop holds them as a ready list of float tensors. Neither augments,
so that the ratio is the pipeline's own cost. Runs alternate; medians of several.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from _report import machine, parser, report

from cascade.data.cache import build_cache
from cascade.data.datamodule import StudyDataModule
from cascade.data.datasets import StudyDataset, study_records
from cascade.data.transforms import to_unit
from cascade.io.openi import read_openi
from cascade.io.phantom import write_phantom
from cascade.labels.table import Label, LabelTable
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.losses import label_loss
from cascade.training.classifier import ClassifierModule

LABELS = 14
OPTIMIZER = {"name": "adamw", "lr": 1e-3, "schedule": "constant", "warmup": 0.0}


class Epoch(pl.Callback):
    """The time between the first batch's start and the epoch's end."""

    seconds = 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        """Stop it."""
        self.seconds = time.perf_counter() - self.began


def network(encoder: str) -> StudyClassifier:
    torch.manual_seed(0)
    return StudyClassifier(create_encoder(encoder), LABELS)


def pipeline_seconds(dataset: StudyDataset, encoder: str, batch_size: int) -> float:
    data = StudyDataModule(dataset, dataset, batch_size=batch_size)
    module = ClassifierModule(network(encoder), False, list(range(LABELS)), OPTIMIZER)
    clock = Epoch()
    trainer = pl.Trainer(
        max_epochs=1,
        limit_val_batches=0,
        accelerator="auto",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
        gradient_clip_val=5.0,
    )
    trainer.fit(module, datamodule=data)
    return clock.seconds


def bare_seconds(dataset: StudyDataset, encoder: str, batch_size: int) -> float:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = network(encoder).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    order = np.random.default_rng(0).permutation(len(dataset))
    whole = len(dataset) // batch_size * batch_size
    batches = [
        (to_unit(batch.images), batch.views, batch.labels)
        for start in range(0, whole, batch_size)
        for batch in [dataset.__getitems__(order[start : start + batch_size].tolist())]
    ]
    began = time.perf_counter()
    for images, views, labels in batches:
        images, views, labels = images.to(device), views.to(device), labels.to(device)
        loss = label_loss(net(images, views), labels, False)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--encoders", default="tiny,resnet18", help="(%(default)s)")
    arguments.add_argument(
        "--studies", default="800,128", help="for each encoder, an epoch of them (%(default)s)"
    )
    arguments.add_argument("--size", type=int, default=96, help="pixels (96)")
    arguments.add_argument("--batch-size", type=int, default=32)
    arguments.add_argument("--repeats", type=int, default=5, help="runs of each (5)")
    options = arguments.parse_args()
    names = options.encoders.split(",")
    counts = [int(count) for count in options.studies.split(",")]
    if len(names) != len(counts) or options.repeats < 1 or min(counts) < options.batch_size:
        arguments.error(
            "--studies is one number an encoder, a batch or more; --repeats must be 1 or more"
        )
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "raw"
        write_phantom(root, studies=max(counts), size=options.size, lateral_share=0.0)
        collection = read_openi(root)
        collection.studies["split"] = "train"
        cache = build_cache(collection, options.size, Path(folder) / "cache")
        records = study_records(collection, cache, "train")
        values = pd.DataFrame(
            np.random.default_rng(0).integers(0, 2, (len(records), LABELS)).astype(np.float32),
            index=records.study_ids,
            columns=[f"label {number}" for number in range(LABELS)],
        )
        labels = [Label(name, name) for name in values.columns]
        table = LabelTable(values, labels, False, {})
        for encoder, count in zip(names, counts, strict=True):
            dataset = StudyDataset(records.select(range(count)), cache, table)
            compare(dataset, encoder, options)


def compare(dataset: StudyDataset, encoder: str, options: argparse.Namespace) -> None:
    """The pipeline and the bare loop in turn; medians, and the median of the pairs' ratios."""
    load = os.getloadavg()[0]
    rows: dict[str, list[float]] = {"pipeline": [], "bare": []}
    images = len(dataset) // options.batch_size * options.batch_size
    for run in range(options.repeats + 1):  # the first warms up
        for name, measure in (("pipeline", pipeline_seconds), ("bare", bare_seconds)):
            seconds = measure(dataset, encoder, options.batch_size)
            if run:
                rows[name].append(images / seconds)
    speed = {name: statistics.median(values) for name, values in rows.items()}
    # of each pair, so that a load that comes and goes weighs on both alike
    ratio = statistics.median(
        one / other for one, other in zip(rows["pipeline"], rows["bare"], strict=True)
    )
    place = torch.cuda.get_device_name() if torch.cuda.is_available() else machine()["cpu"]
    report(
        f"training {encoder}",
        f"{speed['pipeline']:.0f} images/s through the pipeline, "
        f"{speed['bare']:.0f} in a bare loop, "
        f"ratio {ratio:.2f} ({encoder}, {options.size} px, batch {options.batch_size}, "
        f"{images} images, medians of {options.repeats}; {place}, load {load:.1f})",
        {
            "pipeline_images_per_s": round(speed["pipeline"], 1),
            "bare_images_per_s": round(speed["bare"], 1),
            "ratio": round(ratio, 3),
            "encoder": encoder,
            "size": options.size,
            "batch_size": options.batch_size,
            "images": images,
            "repeats": options.repeats,
            "torch": torch.__version__,
            "load_before": round(load, 2),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
