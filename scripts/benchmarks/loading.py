"""Images a second into batches: the cache, cold and warm, against a Dataset that reads files.

    build    the cache from DICOM files, once: images/s
    cold     batches out of the memory map, its pages dropped beforehand
    warm     the same, its pages in memory
    dicom    the peer: a torch Dataset that reads each DICOM by pydicom and shrinks it by Pillow
    png      the peer at its kindest: 8-bit PNG files of the final size, read by Pillow

All but ``build`` go through a DataLoader with the same shuffle, batches and workers, up to float
tensors. ``cold`` asks the system to drop the file's pages (posix_fadvise) before each run; disks
and hypervisors below it may still hold them. Last, what share of a training step reading a batch
takes. Runs alternate; medians of several.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pydicom
import torch
from _report import machine, parser, report
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cascade.data.cache import ImageCache, build_cache
from cascade.data.datasets import StudyDataset, StudyRecords, pass_batch, study_records
from cascade.data.transforms import to_unit
from cascade.io.collection import Collection
from cascade.io.image import resize
from cascade.io.openi import read_openi
from cascade.io.phantom import write_phantom
from cascade.labels.table import Label, LabelTable
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.losses import label_loss

LABELS = 14


class DicomFiles(Dataset[Tensor]):
    """One file an item, by the libraries' own calls."""

    def __init__(self, paths: list[Path], size: int) -> None:
        """Nothing is read yet."""
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """``(1, size, size)`` in [0, 1]."""
        file = pydicom.dcmread(self.paths[index])
        values = file.pixel_array.astype(np.float32)
        values = (values - values.min()) / max(float(np.ptp(values)), 1.0)
        if file.PhotometricInterpretation == "MONOCHROME1":
            values = 1.0 - values
        return torch.from_numpy(resize(values, self.size)).unsqueeze(0)


class PngFiles(Dataset[Tensor]):
    """One small picture an item."""

    def __init__(self, paths: list[Path]) -> None:
        """Nothing is read yet."""
        self.paths = paths

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """``(1, size, size)`` in [0, 1]."""
        with Image.open(self.paths[index]) as image:
            return to_unit(torch.from_numpy(np.array(image))).unsqueeze(0)


def loader(dataset: Dataset[Any], batch: int, workers: int, whole: bool) -> DataLoader[Any]:
    """Shuffled, the same order each time."""
    order = torch.Generator().manual_seed(0)
    collate = {"collate_fn": pass_batch} if whole else {}
    return DataLoader(dataset, batch, shuffle=True, generator=order, num_workers=workers, **collate)  # type: ignore[arg-type]


def read_all(batches: Iterable[Any]) -> Tensor:
    """Float tensors of every batch; the first is given back."""
    first = None
    for batch in batches:
        images = batch if isinstance(batch, Tensor) else to_unit(batch.images)
        first = images if first is None else first
    assert first is not None
    return first


def drop_pages(path: Path) -> None:
    """Ask the system to forget what it holds of a file."""
    if not hasattr(os, "posix_fadvise"):
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Studies(NamedTuple):
    """What a dataset is made of, without the memory map."""

    array: Path
    ids: dict[str, int]
    records: StudyRecords
    table: LabelTable

    def opened(self) -> StudyDataset:
        """A dataset over a memory map of its own."""
        cache = ImageCache(np.load(self.array, mmap_mode="r"), self.ids, {})
        return StudyDataset(self.records, cache, self.table)


def all_studies(collection: Collection, size: int, folder: Path) -> Studies:
    """Every study out of a cache, with labels drawn at random."""
    cache = build_cache(collection, size, folder)
    records = study_records(collection, cache, "train")
    values = pd.DataFrame(
        np.random.default_rng(0).integers(0, 2, (len(records), LABELS)).astype(np.float32),
        index=records.study_ids,
        columns=[f"label {number}" for number in range(LABELS)],
    )
    table = LabelTable(values, [Label(name, name) for name in values.columns], False, {})
    return Studies(next(folder.rglob("images.npy")), cache.rows, records, table)


def step_seconds(dataset: StudyDataset, encoder: str, batch: int, steps: int) -> float:
    """Median seconds of a training step on a batch that is at hand."""
    torch.manual_seed(0)
    net = StudyClassifier(create_encoder(encoder), LABELS)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    given = dataset.__getitems__(list(range(min(batch, len(dataset)))))
    images = to_unit(given.images)
    runs = []
    for _ in range(steps + 1):  # the first warms up
        began = time.perf_counter()
        loss = label_loss(net(images, given.views), given.labels, False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        runs.append(time.perf_counter() - began)
    return statistics.median(runs[1:])


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--studies", type=int, default=160, help="one image each (160)")
    arguments.add_argument("--source-size", type=int, default=1024, help="pixels of a file (1024)")
    arguments.add_argument("--size", type=int, default=224, help="pixels of the cache (224)")
    arguments.add_argument("--batch-size", type=int, default=16)
    arguments.add_argument("--workers", type=int, default=0, help="of each DataLoader (0)")
    arguments.add_argument("--encoders", default="tiny,resnet18", help="of the step (%(default)s)")
    arguments.add_argument("--steps", type=int, default=3, help="steps of each (3)")
    arguments.add_argument("--repeats", type=int, default=5, help="runs of each (5)")
    arguments.add_argument("--threads", type=int, default=1, help="of torch (1)")
    options = arguments.parse_args()
    if min(options.repeats, options.steps, options.studies) < 1:
        arguments.error("--repeats, --steps and --studies must be 1 or more")
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantom(
            folder / "raw", studies=options.studies, size=options.source_size, lateral_share=0.0
        )
        collection = read_openi(folder / "raw")
        collection.studies["split"] = "train"
        files = [collection.image_path(path) for path in collection.images["path"]]
        speed, share = measure(collection, files, folder, options)
    build, cold, warm, dicom, png = (
        speed[key] for key in ("build", "cold", "warm", "dicom", "png")
    )
    shares = ", ".join(f"{value:.2%} of a step of {key}" for key, value in share.items())
    report(
        "loading",
        f"{build:.0f} images/s from DICOM of {options.source_size} px into the cache, once; "
        f"batches of {options.batch_size} at {options.size} px: {cold:.0f} images/s cold (pages of "
        f"the file dropped), {warm:.0f} warm; a Dataset of DICOM files {dicom:.0f} (ratio cold "
        f"{cold / dicom:.0f}, warm {warm / dicom:.0f}), of PNG files of {options.size} px "
        f"{png:.0f} (ratio {cold / png:.1f}, {warm / png:.1f}); reading a warm batch takes "
        f"{shares} "
        f"({options.studies} images, {options.workers} workers, medians of {options.repeats}, "
        f"{options.threads} thread(s); {machine()['cpu']}, load {load:.1f})",
        {
            **{f"{key}_images_per_s": round(value, 1) for key, value in speed.items()},
            "cold_ratio_dicom": round(cold / dicom, 2),
            "warm_ratio_dicom": round(warm / dicom, 2),
            "cold_ratio_png": round(cold / png, 2),
            "warm_ratio_png": round(warm / png, 2),
            "share_of_step": {key: round(value, 5) for key, value in share.items()},
            "images": options.studies,
            "source_size": options.source_size,
            "size": options.size,
            "batch_size": options.batch_size,
            "workers": options.workers,
            "repeats": options.repeats,
            "threads": options.threads,
            "torch": torch.__version__,
            "load_before": round(load, 2),
        },
        options.out,
    )


def measure(
    collection: Collection, files: list[Path], folder: Path, options: Any
) -> tuple[dict[str, float], dict[str, float]]:
    """Images a second by what reads them, and by encoder the share of a step."""
    builds = []
    for run in range(min(options.repeats, 3)):
        for file in files:
            drop_pages(file)
        began = time.perf_counter()
        build_cache(collection, options.size, folder / f"cache-{run}")
        builds.append(time.perf_counter() - began)
    studies = all_studies(collection, options.size, folder / "cache-0")
    small = folder / "small"
    small.mkdir()
    # the peers' items in the order of the studies, so that one shuffle serves all
    rows = [row[0] for row in studies.records.image_rows]
    pictures = [small / f"{row}.png" for row in rows]
    for path, pixels in zip(pictures, np.load(studies.array)[rows], strict=True):
        Image.fromarray(pixels).save(path)
    names = list(studies.ids)
    by_id = dict(zip(collection.images["image_id"], files, strict=True))
    dicoms = DicomFiles([by_id[names[row]] for row in rows], options.size)
    pngs = PngFiles(pictures)
    batch, workers = options.batch_size, options.workers

    def from_cache() -> Tensor:
        return read_all(loader(studies.opened(), batch, workers, whole=True))

    readers: dict[str, Callable[[], Tensor]] = {
        "cold": from_cache,
        "warm": from_cache,
        "dicom": lambda: read_all(loader(dicoms, batch, workers, whole=False)),
        "png": lambda: read_all(loader(pngs, batch, workers, whole=False)),
    }
    first = {name: read() for name, read in readers.items()}
    if not torch.equal(first["warm"][:, 0], first["png"]):
        raise SystemExit("loading: the cache and the PNG files give different pictures")
    times: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(options.repeats):
        for name, read in readers.items():
            if name == "cold":
                drop_pages(studies.array)
            began = time.perf_counter()
            read()
            times[name].append(time.perf_counter() - began)
    speed = {"build": len(files) / statistics.median(builds)}
    speed |= {name: len(rows) / statistics.median(runs) for name, runs in times.items()}
    reading = batch / speed["warm"]
    share = {}
    for encoder in options.encoders.split(","):
        step = step_seconds(studies.opened(), encoder, batch, options.steps)
        share[encoder] = reading / (reading + step)
    return speed, share


if __name__ == "__main__":
    main()
