"""On a CUDA device: densenet121 in bf16 at 224 and 512 px, from the cache to drafts.

    training  images/s through cache, data module and Lightning, against a bare loop whose batches
              lie on the device already; the share of time waiting for data, two ways: of the
              pipeline's time, what the bare loop does not need (Lightning's own cost included),
              and what the loop spent in the loader's ``next``
    reports   reports/s from pixels on the device to drafts: features, then greedy and a beam of 3

Images are noise of the size that the cache holds; weights are random, and every draft has 60
tokens. Runs alternate; medians of several. Where there is no CUDA device it says so and measures
nothing; ``--device cpu`` is for trying it out.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from _report import machine, parser, report
from _texts import VOCABULARY, endless, features_of
from pytorch_lightning.profilers import SimpleProfiler

from cascade.data.cache import ImageCache
from cascade.data.datamodule import StudyDataModule
from cascade.data.datasets import Batch, StudyDataset, StudyRecords
from cascade.data.transforms import to_unit
from cascade.labels.table import Label, LabelTable
from cascade.models.decoders import create_decoder
from cascade.models.encoders import create_encoder
from cascade.models.generation import generate
from cascade.models.heads import StudyClassifier
from cascade.models.losses import label_loss
from cascade.training.classifier import ClassifierModule

LABELS, LENGTH = 14, 60
OPTIMIZER = {"name": "adamw", "lr": 1e-3, "schedule": "constant", "warmup": 0.0}
NEXT = "train_dataloader_next"


def studies(folder: Path, count: int, size: int) -> StudyDataset:
    """Noise in a memory map, as the cache lies on disk, and labels drawn at random."""
    random = np.random.default_rng(0)
    path = folder / f"images-{size}.npy"
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, size, size))
    for row in range(count):
        array[row] = random.integers(0, 256, (size, size), dtype=np.uint8)
    array.flush()
    names = [f"study {row}" for row in range(count)]
    cache = ImageCache(np.load(path, mmap_mode="r"), {name: i for i, name in enumerate(names)}, {})
    records = StudyRecords(names, names, [""] * count, [[row] for row in range(count)])
    values = pd.DataFrame(
        random.integers(0, 2, (count, LABELS)).astype(np.float32),
        index=names,
        columns=[f"label {number}" for number in range(LABELS)],
    )
    labels = [Label(name, name) for name in values.columns]
    return StudyDataset(records, cache, LabelTable(values, labels, False, {}))


def network(encoder: str) -> StudyClassifier:
    torch.manual_seed(0)
    return StudyClassifier(create_encoder(encoder), LABELS)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


class Epoch(pl.Callback):
    """Seconds of an epoch, the device's last work included, and of it those in the loader."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Start the clock."""
        wait(trainer.strategy.root_device)
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Stop it."""
        wait(trainer.strategy.root_device)
        self.seconds = time.perf_counter() - self.began


def pipeline_seconds(dataset: StudyDataset, options: argparse.Namespace, batch: int) -> Any:
    """Of an epoch, and of it those in the loader."""
    clock, profiler = Epoch(), SimpleProfiler()
    trainer = pl.Trainer(
        max_epochs=1,
        limit_val_batches=0,
        accelerator="gpu" if options.device == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
        profiler=profiler,
        gradient_clip_val=5.0,
    )
    data = StudyDataModule(dataset, dataset, batch_size=batch, workers=options.workers)
    module = ClassifierModule(network(options.encoder), False, list(range(LABELS)), OPTIMIZER)
    trainer.fit(module, datamodule=data)
    spent = sum(sum(times) for name, times in profiler.recorded_durations.items() if NEXT in name)
    return clock.seconds, spent


def bare_seconds(dataset: StudyDataset, options: argparse.Namespace, batch: int) -> float:
    """Of as many steps on four batches that lie on the device."""
    device = torch.device(options.device)
    net = network(options.encoder).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    steps = len(dataset) // batch
    held: list[Batch] = []
    for first in range(0, min(4, steps) * batch, batch):
        given = dataset.__getitems__(list(range(first, first + batch)))
        held.append(
            Batch(
                to_unit(given.images.to(device)),
                given.views.to(device),
                given.labels.to(device),
                given.study_ids,
            )
        )
    wait(device)
    began = time.perf_counter()
    for step in range(steps):
        given = held[step % len(held)]
        with torch.autocast(device.type, torch.bfloat16):
            loss = label_loss(net(given.images, given.views), given.labels, False)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
    wait(device)
    return time.perf_counter() - began


def training(options: argparse.Namespace, size: int, batch: int) -> tuple[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        dataset = studies(Path(folder), options.steps * batch, size)
        runs = []
        for run in range(options.repeats + 1):  # the first warms up
            seconds, waited = pipeline_seconds(dataset, options, batch)
            bare = bare_seconds(dataset, options, batch)
            if run:
                runs.append((seconds, waited, bare))
        images = len(dataset) // batch * batch
    whole, waited, bare = (statistics.median(column) for column in zip(*runs, strict=True))
    ratio = statistics.median(bare / seconds for seconds, _, bare in runs)
    return (
        f"{images / whole:.0f} images/s through the pipeline, {images / bare:.0f} in a bare loop "
        f"on batches at hand, ratio {ratio:.2f}: at most {max(1 - ratio, 0):.1%} of the time is "
        f"waiting for data; {waited / whole:.1%} of it passes in the loader ({options.encoder}, "
        f"{size} px, bf16, batch {batch}, {options.workers} workers",
        {
            "pipeline_images_per_s": round(images / whole, 1),
            "bare_images_per_s": round(images / bare, 1),
            "ratio": round(ratio, 3),
            "waiting_at_most": round(max(1 - ratio, 0), 4),
            "in_loader": round(waited / whole, 4),
            "batch_size": batch,
            "workers": options.workers,
        },
    )


@torch.no_grad()
def reports(options: argparse.Namespace, size: int, batch: int) -> tuple[str, dict[str, Any]]:
    device = torch.device(options.device)
    net = network(options.encoder).to(device).eval()
    pixels = torch.randint(0, 256, (batch, 1, 1, size, size), dtype=torch.uint8, device=device)
    views = torch.ones(batch, 1, dtype=torch.bool, device=device)
    said, figures = [], {}
    for name in options.decoders.split(","):
        torch.manual_seed(0)
        decoder = create_decoder(name, VOCABULARY, net.encoder.num_features)
        decoder = endless(decoder).to(device).eval()
        for width in (1, 3):
            runs = []
            for run in range(options.repeats + 1):
                wait(device)
                began = time.perf_counter()
                with torch.autocast(device.type, torch.bfloat16):
                    maps = net.forward_all(to_unit(pixels), views).maps
                generate(decoder, features_of(decoder, maps[:, 0].float()), options.length, width)
                wait(device)
                if run:
                    runs.append(time.perf_counter() - began)
            speed = batch / statistics.median(runs)
            said.append(f"{name} at beam {width} {speed:.0f}")
            figures[f"{name}_beam_{width}_reports_per_s"] = round(speed, 1)
    return (
        f"{', '.join(said)} reports/s of {options.length} tokens, from pixels on the device "
        f"({options.encoder}, {size} px, bf16 features, batch {batch}",
        {**figures, "tokens": options.length, "batch_size": batch},
    )


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--sizes", default="224,512", help="pixels (%(default)s)")
    arguments.add_argument("--batch-sizes", default="128,32", help="of each size (%(default)s)")
    arguments.add_argument("--encoder", default="densenet121")
    arguments.add_argument("--decoders", default="lstm,transformer", help="(%(default)s)")
    arguments.add_argument(
        "--length", type=int, default=LENGTH, help=f"tokens of a draft ({LENGTH})"
    )
    arguments.add_argument("--steps", type=int, default=40, help="of an epoch (40)")
    arguments.add_argument("--workers", type=int, default=4, help="of the loader (4)")
    arguments.add_argument("--repeats", type=int, default=3, help="runs of each (3)")
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = arguments.parse_args()
    if min(options.repeats, options.steps, options.length) < 1:
        arguments.error("--repeats, --steps and --length must be 1 or more")
    sizes = [int(size) for size in options.sizes.split(",")]
    batches = [int(batch) for batch in options.batch_sizes.split(",")]
    if len(sizes) != len(batches):
        arguments.error("--batch-sizes is one number a size")
    if options.device == "cuda" and not torch.cuda.is_available():
        report("gpu", "no CUDA device here, nothing measured", {"skipped": "no CUDA"}, options.out)
        return
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    place = torch.cuda.get_device_name() if options.device == "cuda" else machine()["cpu"]
    for size, batch in zip(sizes, batches, strict=True):
        for name, measure in (("training", training), ("reports", reports)):
            sentence, figures = measure(options, size, batch)
            figures |= {
                "encoder": options.encoder,
                "size": size,
                "repeats": options.repeats,
                "device": place,
                "torch": torch.__version__,
            }
            note = f", medians of {options.repeats}; {place}, torch {torch.__version__})"
            report(f"gpu {name} {size}", sentence + note, figures, options.out)


if __name__ == "__main__":
    main()
