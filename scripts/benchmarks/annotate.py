"""An archive of DICOM files annotated end to end, against the script that a user would write.

``annotate peer``: mixed transfer syntaxes, densenet121 at 224 px without a decoder, the same
weights in both; the same run killed half way and begun again. ``annotate growth``: archives of
growing size through a tiny network, so that what is measured is the engine. Times are of whole
processes, their start included; memory is that of a process and its children.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import torch
from _report import machine, parser, report
from _tree import Ran, run
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from cascade.inference.bundle import write_bundle
from cascade.io.phantom import draw_study
from cascade.io.phantom.write import to_dicom
from cascade.labels.table import Label
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader

SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)
BITS = (12, 14, 16)
DRAWN = 20
LABELS = 14
PEER = Path(__file__).with_name("_annotate_peer.py")


def write_archive(folder: Path, files: int, side: int, seed: int = 5) -> None:
    """Frontal phantoms, each syntax in turn; drawn and compressed once, then given other UIDs."""
    made: dict[tuple[int, int], Dataset] = {}
    root = "2.25.3141592653589793"
    for number in range(files):
        which = number % len(SYNTAXES), number // len(SYNTAXES) % DRAWN
        if which not in made:
            bits, dark = BITS[which[1] % len(BITS)], which[1] % 4 == 0
            study = draw_study(seed, which[1], side, 0.0)
            dataset = to_dicom(study, 1, seed=seed, bits=bits, inverted=dark)
            if (syntax := SYNTAXES[which[0]]).is_compressed:
                dataset.compress(syntax)
            dataset.file_meta.TransferSyntaxUID = syntax
            made[which] = dataset
        dataset = made[which]
        dataset.PatientID = f"{number:06d}"
        dataset.StudyInstanceUID = f"{root}.1.{number}"
        dataset.SeriesInstanceUID = f"{root}.2.{number}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{root}.3.{number}"
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)


def write_model(folder: Path, encoder: str, size: int) -> Path:
    """A bundle with random weights, and the same weights as torchvision names them."""
    torch.manual_seed(0)
    classifier = StudyClassifier(create_encoder(encoder), LABELS)
    with torch.no_grad():  # logits of some spread, so that equal outputs say something
        classifier.head.weight.mul_(20)
    labels = [Label(f"label {number}", f"label {number}") for number in range(LABELS)]
    write_bundle(
        Reader(classifier, labels, exclusive=False),
        folder / "model",
        encoder={"name": encoder},
        decoder=None,
        image_size=size,
        views=1,
        target="annotation",
        facts={},
    )
    if encoder == "densenet121":
        from torchvision.models import densenet121

        names = list(densenet121(weights=None, num_classes=LABELS).state_dict())
        trunk = [v for n, v in classifier.encoder.state_dict().items() if n not in ("mean", "std")]
        values = [*trunk, classifier.head.weight, classifier.head.bias]
        torch.save(dict(zip(names, values, strict=True)), folder / "weights.pt")
    return folder / "model"


def annotate(source: Path, model: Path, out: Path, workers: int, **more: object) -> Ran:
    """``cascade annotate`` as its users call it."""
    command = [sys.executable, "-m", "cascade", "annotate", f"source={source}", f"model={model}"]
    command += [f"out={out}", f"workers={workers}"]
    return run(command, out.with_suffix(".log"), **more)  # type: ignore[arg-type]


def our_rows(out: Path) -> dict[str, list[float]]:
    """Probabilities by path."""
    files = [str(file) for file in sorted((out / "images").glob("part-*.parquet"))]
    table = ds.dataset(files, format="parquet").to_table()
    columns = [table[f"p_label {number}"].to_pylist() for number in range(LABELS)]
    rows = zip(table["path"].to_pylist(), zip(*columns, strict=True), strict=True)
    return {path: list(chances) for path, chances in rows}


def peer_rows(file: Path) -> dict[str, list[float]]:
    """Likewise."""
    with file.open(newline="") as stream:
        return {path: list(map(float, chances)) for path, *chances in csv.reader(stream)}


def done_rows(out: Path) -> int:
    """Lines of the shards so far."""
    return sum(file.read_bytes().count(b"\n") for file in out.glob("images/part-*.jsonl"))


def against_peer(options: argparse.Namespace, folder: Path) -> None:
    load = os.getloadavg()[0]
    source, files = folder / "archive", options.files
    write_archive(source, files, options.side)
    size = sum(file.stat().st_size for file in source.rglob("*.dcm"))
    model = write_model(folder, "densenet121", 224)
    ours: list[Ran] = []
    peers: list[Ran] = []
    for turn in range(options.repeats):
        ours.append(check(annotate(source, model, folder / f"ours-{turn}", options.workers)))
        peer = folder / f"peer-{turn}.csv"
        command = [sys.executable, PEER, source, folder / "weights.pt", "224", peer]
        peers.append(check(run(command, folder / "peer.log")))
    left, right = our_rows(folder / "ours-0"), peer_rows(folder / "peer-0.csv")
    if left.keys() != right.keys() or len(left) != files:
        raise SystemExit(f"not the same files: {len(left)} and {len(right)} of {files}")
    apart = np.abs(np.array([np.subtract(left[path], right[path]) for path in left]))
    again, killed_at = with_a_kill(source, model, folder / "killed", options.workers, files)
    seconds = statistics.median(each.seconds for each in ours)
    other = statistics.median(each.seconds for each in peers)
    ratio = statistics.median(p.seconds / o.seconds for o, p in zip(ours, peers, strict=True))
    mine, theirs = (max(each.peak_mib for each in runs) for runs in (ours, peers))
    cost = again / seconds - 1
    report(
        "annotate peer",
        f"{files / seconds:.1f} DICOM/s against {files / other:.1f} by the user's script, ratio "
        f"{ratio:.2f}; peak memory {mine:.0f} and {theirs:.0f} MiB; probabilities apart by "
        f"{np.median(apart):.1e} in the median, {apart.max():.1e} at most; killed at "
        f"{killed_at} of {files} and begun again: {cost:+.1%} of the time ({files} files of "
        f"{options.side} x {options.side}, {size / 2**30:.1f} GiB, five transfer syntaxes, "
        f"densenet121 at 224 px; {options.workers} workers; medians of {options.repeats}; "
        f"{machine()['cpu']}, load {load:.1f})",
        {
            "files": files,
            "side": options.side,
            "bytes": size,
            "seconds": [round(each.seconds, 1) for each in ours],
            "peer_seconds": [round(each.seconds, 1) for each in peers],
            "ratio": round(ratio, 2),
            "peak_mib": round(mine),
            "peer_peak_mib": round(theirs),
            "probability_difference_median": float(np.median(apart)),
            "probability_difference_max": float(apart.max()),
            "killed_at": killed_at,
            "killed_and_resumed_s": round(again, 1),
            "restart_cost": round(cost, 4),
            "workers": options.workers,
            "repeats": options.repeats,
            "load_before": round(load, 2),
            "torch": torch.__version__,
        },
        options.out,
    )


def with_a_kill(
    source: Path, model: Path, out: Path, workers: int, files: int
) -> tuple[float, int]:
    """Seconds of a run that is killed half way and of the one that ends it; rows at the kill."""
    first = annotate(source, model, out, workers, stop_when=lambda: done_rows(out) >= files // 2)
    rows = done_rows(out)
    second = check(annotate(source, model, out, workers))
    found = our_rows(out)
    if first.status >= 0 or len(found) != files:
        raise SystemExit(f"the killed run has {len(found)} of {files} files")
    return first.seconds + second.seconds, rows


def growth(options: argparse.Namespace, folder: Path) -> None:
    load = os.getloadavg()[0]
    sizes = [int(size) for size in options.sizes.split(",")]
    source = folder / "growing"
    write_archive(source, max(sizes), options.growth_side)
    model = write_model(folder, "tiny", 128)
    rows = []
    for size in sizes:
        out = folder / f"growth-{size}"
        ran = check(annotate_first(source, model, out, options.workers, size))
        found = len(our_rows(out))
        if found != size:
            raise SystemExit(f"{found} rows of {size} files")
        rows.append((size, ran))
    per_file = [1000 * ran.seconds / size for size, ran in rows]
    marginal = list(_marginal(rows))
    peaks = [ran.peak_mib for _, ran in rows]
    report(
        "annotate growth",
        f"{', '.join(str(size) for size, _ in rows)} files: "
        f"{', '.join(f'{each:.1f}' for each in per_file)} ms a file, start included; "
        f"{', '.join(f'{each:.1f}' for each in marginal)} ms for each further file; peak memory "
        f"{', '.join(f'{each:.0f}' for each in peaks)} MiB (files of {options.growth_side} x "
        f"{options.growth_side}, tiny network at 128 px, {options.workers} workers; "
        f"{machine()['cpu']}, load {load:.1f})",
        {
            "sizes": sizes,
            "seconds": [round(ran.seconds, 1) for _, ran in rows],
            "ms_per_file": [round(each, 2) for each in per_file],
            "ms_per_further_file": [round(each, 2) for each in marginal],
            "peak_mib": [round(each) for each in peaks],
            "workers": options.workers,
            "load_before": round(load, 2),
        },
        options.out,
    )


def annotate_first(source: Path, model: Path, out: Path, workers: int, limit: int) -> Ran:
    """The first ``limit`` files by path, the others moved out of sight: they are listed too."""
    files = sorted(source.rglob("*.dcm"))[:limit]
    seen = out.with_name(out.name + "-source")
    for file in files:
        link = seen / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, link)
    return annotate(seen, model, out, workers)


def _marginal(rows: list[tuple[int, Ran]]) -> Iterator[float]:
    for (few, before), (many, after) in zip(rows, rows[1:], strict=False):
        yield 1000 * (after.seconds - before.seconds) / (many - few)


def check(ran: Ran) -> Ran:
    """Stop where a program failed."""
    if ran.status:
        raise SystemExit(f"a program ended with status {ran.status}: see its log")
    return ran


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--parts", default="growth,peer", help="(%(default)s)")
    arguments.add_argument("--files", type=int, default=2000, help="of the peer's archive (2000)")
    arguments.add_argument("--side", type=int, default=2000, help="their pixels (2000)")
    arguments.add_argument("--repeats", type=int, default=1, help="runs of each (1)")
    arguments.add_argument("--workers", type=int, default=2, help="decoder processes (2)")
    arguments.add_argument("--sizes", default="500,2000,20000", help="of growth (%(default)s)")
    arguments.add_argument("--growth-side", type=int, default=256, help="their pixels (256)")
    arguments.add_argument("--folder", type=Path, help="for the archives (a temporary folder)")
    options = arguments.parse_args()
    if options.files < 10 or options.repeats < 1 or options.workers < 1:
        arguments.error("--files must be 10 or more, --repeats and --workers 1 or more")
    parts = {"growth": growth, "peer": against_peer}
    chosen = options.parts.split(",")
    if unknown := [part for part in chosen if part not in parts]:
        arguments.error(f"unknown part {unknown[0]}: expected {', '.join(parts)}")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for part in chosen:
            parts[part](options, Path(name))


if __name__ == "__main__":
    main()
