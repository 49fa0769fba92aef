"""The arithmetic of docs/scaling.md for any figures, and what can be measured without a GPU."""

from __future__ import annotations

import argparse
import datetime
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
from _report import machine

from cascade.pipeline.collecting import current_commit

CARDS_A_NODE = 8


def plan(a: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """The rows of the plan: what they are, and their values for each number of cards."""
    cards = a.cards
    batches = [a.batch * n for n in cards]
    steps = [a.studies // batch for batch in batches]
    pace = [a.pace * n * (1.0 if n == 1 else a.efficiency) for n in cards]
    seconds = [a.studies * a.views / p for p in pace]
    nodes = [math.ceil(n / CARDS_A_NODE) for n in cards]
    state = a.parameters * (16 + (4 if a.ema else 0)) / 2**30
    kept = a.batch * a.views * a.kept / 1024
    yield "cards (nodes)", [f"{n} ({m})" for n, m in zip(cards, nodes, strict=True)]
    yield "`classifier.batch_size`, B = b x cards", [f"{batch:,}" for batch in batches]
    yield "lr of sgd, lr0 x B / B0", [f"{a.lr * b / a.base:.2g}" for b in batches]
    adam = [a.lr_adamw * math.sqrt(b / a.base) for b in batches]
    yield "lr of adamw, lr0 x sqrt(B / B0)", [f"{lr:.2g}" for lr in adam]
    warm = 0 if max(batches) <= a.base else a.warmup
    shares = [0 if batch <= a.base else warm / a.epochs for batch in batches]
    yield f"`warmup`, {a.warmup:g} epochs / E", [f"{share:.2g}" for share in shares]
    yield "steps an epoch, N // B", [f"{step:,}" for step in steps]
    yield "images/s, P x cards x e", [f"{p:,.0f}" for p in pace]
    yield "an epoch, N x V / images/s", [f"{s / 60:.1f} min" for s in seconds]
    yield f"{a.epochs} epochs", [f"{a.epochs * s / 3600:.1f} h" for s in seconds]
    reads = [p * a.size**2 / 1e6 for p in pace]
    yield "read in all, images/s x S²", [f"{r:,.0f} MB/s" for r in reads]
    each = [f"{r / m:,.0f} MB/s" for r, m in zip(reads, nodes, strict=True)]
    yield "read by a node", each
    traffic = [2 * (n - 1) / n * 4 * a.parameters / 1e6 for n in cards]
    yield "gradients a card sends a step, 2 (k - 1) / k x 4 p", [f"{t:.0f} MB" for t in traffic]
    rates = [t * p / (b * a.views) for t, p, b in zip(traffic, pace, batches, strict=True)]
    yield "the same a second", [f"{rate:,.0f} MB/s" for rate in rates]
    yield "memory of a card, 16 p + b x V x kept", [f"{state + kept:.1f} GiB" for _ in cards]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scaling", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("measure")
    one = parts.add_parser("plan", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    one.add_argument("--studies", type=int, default=227_835, help="N, trained on in an epoch")
    one.add_argument("--images", type=int, default=377_110, help="in the cache")
    one.add_argument("--views", type=int, default=2, help="V, data.views: places of a study")
    one.add_argument("--size", type=int, default=224, help="S, data.image_size in pixels")
    one.add_argument("--epochs", type=int, default=20, help="E")
    one.add_argument("--batch", type=int, default=32, help="b, studies a card and step")
    one.add_argument("--pace", type=float, default=1000.0, help="P, images/s of one card")
    one.add_argument("--efficiency", type=float, default=0.9, help="e, of several cards")
    one.add_argument("--lr", type=float, default=0.01, help="lr0 of sgd, good at batch B0")
    one.add_argument("--lr-adamw", type=float, default=3e-4, help="lr0 of adamw, likewise")
    one.add_argument("--base", type=int, default=32, help="B0, studies")
    one.add_argument("--warmup", type=float, default=5.0, help="epochs")
    one.add_argument("--parameters", type=int, default=6_968_206, help="p")
    one.add_argument("--kept", type=float, default=70.0, help="MiB kept an image for backward")
    one.add_argument("--ema", action="store_true", help="an average of the weights as well")
    one.add_argument("--cards", type=int, nargs="+", default=[1, 8, 32], help="to compare")
    return parser.parse_args()


def table(head: Sequence[str], rows: Iterator[tuple[str, list[str]]]) -> None:
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for name, values in rows:
        print(f"| {name} | {' | '.join(values)} |")


def kept_mib(encoder: str, size: int, half: bool) -> tuple[float, int]:
    """MiB that one image's backward pass needs of its forward pass, weights aside; parameters."""
    import torch

    from cascade.models.encoders import create_encoder
    from cascade.models.heads import StudyClassifier

    network = StudyClassifier(create_encoder(encoder), 14).train()
    own = {parameter.data_ptr() for parameter in network.parameters()}
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    held = []  # so that no address is used again
    images = torch.rand(2, 1, 1, size, size)
    context = torch.autocast("cpu", torch.bfloat16, enabled=half)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept), context:
        held.append(network(images, torch.ones(2, 1, dtype=torch.bool)))
    count = sum(parameter.numel() for parameter in network.parameters())
    return sum(seen.values()) / 2 / 2**20, count


def run_pace(folder: Path, trainer: str, *more: str) -> tuple[float, float]:
    """Studies a second of a small training by its own last line, and the best score."""
    words = [sys.executable, "-m", "cascade", "train", "stage=classifier", *more]
    words += [f"collection={folder / 'c'}", f"label_table={folder / 'l'}", f"trainer={trainer}"]
    words += ["callbacks=none", f"out={folder / trainer}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    said = " ".join(done.stderr.split())
    found = re.search(r"\(val/auroc ([\d.]+)\); ([\d.e+]+) studies/s", said)
    assert found is not None, said
    return float(found[2]), float(found[1])


def measure() -> None:
    rows = []
    for encoder, size in (("squeezenet1_1", 224), ("densenet121", 224), ("densenet121", 512)):
        whole, count = kept_mib(encoder, size, half=False)
        half, _ = kept_mib(encoder, size, half=True)
        rows.append((f"{encoder}, {size} px", [f"{count:,}", f"{whole:.0f}", f"{half:.0f}"]))
    head = ["network, one channel, 14 labels", "parameters", "MiB kept, float32", "MiB kept, bf16"]
    table(head, iter(rows))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantom = ["data=phantom", "data.studies=1000", "data.size=128"]
        for words in (
            ["prepare", *phantom, f"out={folder / 'c'}"],
            ["mine", f"collection={folder / 'c'}", f"out={folder / 'l'}"],
        ):
            subprocess.run(
                [sys.executable, "-m", "cascade", *words], check=True, capture_output=True
            )
        options = ["encoder=resnet18", "data.image_size=64", "classifier.epochs=3"]
        options += ["classifier.batch_size=32", "seed=1"]
        print("\n| processes | studies/s | val/auroc, best of 3 epochs |\n| --- | --- | --- |")
        for trainer, count in (("cpu", 1), ("ddp_cpu", 2)):
            pace, score = run_pace(folder, trainer, *options)
            print(f"| {count} | {pace:.1f} | {score:.4f} |")


def main() -> None:
    given = arguments()
    if given.part == "plan":
        table(["", *["" for _ in given.cards]], plan(given))
        cache = given.images * given.size**2 / 1e9
        print(f"\nThe cache: {given.images:,} images x {given.size}² bytes = {cache:.1f} GB.")
    else:
        load = os.getloadavg()[0]
        measure()
        today = datetime.datetime.now(datetime.UTC).date()
        print(f"\nWritten by `scripts/scaling measure` on {today}, commit {current_commit()},")
        here = machine()
        print(f"on {here['cores']} cores of {here['cpu']}, load {load:.1f} at its beginning.")


if __name__ == "__main__":
    main()
