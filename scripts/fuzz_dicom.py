"""Damaged DICOM files by the thousand, each in a process that may die of it.

Execution N of a seed is the same file every time. A worker says which it is at before it begins, so
the parent knows what a worker died of or hangs in. The reader may give a picture by its contract or
an InputError; anything else is a finding, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import multiprocessing
import os
import platform
import queue
import random
import re
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from cascade.errors import InputError
from cascade.io.dicom import NOTES, note_code, read_dicom
from cascade.pipeline.collecting import current_commit

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "dicom.md"
BEGIN, END = "<!-- fuzz: written by scripts/fuzz_dicom --write -->", "<!-- /fuzz -->"
HANG = 30.0
"""Seconds of processor time of one execution after which it counts as a hang."""
DEADLOCK = 300.0
"""Seconds by the clock after which it does; a busy machine can starve a process for a minute."""
MEMORY = 4 * 2**30
"""Bytes of address space that a worker may have; a reader that wants more raises MemoryError."""
REAL_SHARE = 0.15
"""Of the executions: real files are large, so slow."""


# --- seeds --------------------------------------------------------------------------------------


def generated() -> Iterator[bytes]:
    """A small file of every transfer syntax that can be written here, of 8 and 12 bits."""
    for bits in (8, 12):
        picture = np.add.outer(np.arange(32), np.arange(32)) * (2 ** (bits - 6) - 1)
        picture = picture.astype(np.uint8 if bits == 8 else np.uint16)
        for syntax in (
            ExplicitVRLittleEndian,
            ImplicitVRLittleEndian,
            ExplicitVRBigEndian,
            DeflatedExplicitVRLittleEndian,
            RLELossless,
            JPEGLSLossless,
            JPEG2000Lossless,
            *([JPEGBaseline8Bit] if bits == 8 else []),
        ):
            yield written(picture, bits, syntax)


def written(picture: np.ndarray, bits: int, syntax: pydicom.uid.UID) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    dataset.Modality, dataset.ViewPosition, dataset.BodyPartExamined = "DX", "PA", "CHEST"
    dataset.PatientOrientation = ["L", "F"]
    dataset.Rows, dataset.Columns = picture.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = picture.itemsize * 8, bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.PixelPaddingValue = 1, 0, 0
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4, 0, 8])
    item.add_new("LUTData", "US", [0, 85, 170, 255])
    dataset.VOILUTSequence = [item]
    dataset.PixelData = picture.tobytes()
    dataset["PixelData"].VR = "OW" if picture.itemsize == 2 else "OB"
    if syntax == JPEGBaseline8Bit:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG")
        dataset.PixelData = encapsulate([file.getvalue()])
        dataset["PixelData"].is_undefined_length = True
    elif syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = picture.byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def find_seeds() -> tuple[list[bytes], list[bytes]]:
    """Small seeds and real ones."""
    small = list(generated())
    folder = Path(pydicom.data.__file__).parent / "test_files"
    files = (path for path in sorted(folder.glob("*.dcm")) if path.stat().st_size < 2**17)
    small += [content for path in files if b"\xe0\x7f\x10\x00" in (content := path.read_bytes())]
    data = Path(os.environ.get("CASCADE_REAL_DATA") or ROOT.parent / "shared" / "data")
    real = [path.read_bytes() for path in sorted((data / "dicom").glob("*.dcm"))]
    return small, real


# --- damage -------------------------------------------------------------------------------------

_NUMBERS = (0, 1, 2, 7, 8, 12, 15, 16, 255, 256, 4096, 32767, 32768, 65534, 65535)


def damaged(seeds: tuple[list[bytes], list[bytes]], seed: int, execution: int) -> bytes:
    """The file of one execution."""
    rng = random.Random(f"{seed}:{execution}")
    small, real = seeds
    content = bytearray(rng.choice(real if real and rng.random() < REAL_SHARE else small))
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice((flip, flip, numbers, element, cut, move, noise))(content, rng)
    return bytes(content)


def place(content: bytearray, rng: random.Random) -> int:
    """Somewhere: mostly in the header or at the head of the pixel data, where it matters."""
    if not content:
        return 0
    pixels = max(content.rfind(b"\xe0\x7f\x10\x00"), 0)
    where = rng.random()
    if where < 0.5:
        return rng.randrange(min(len(content), max(pixels, 1)))
    if where < 0.8:
        return min(len(content) - 1, pixels + rng.randrange(300))
    return rng.randrange(len(content))


def flip(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 4, 32)) if content else 0):
        content[place(content, rng)] ^= 1 << rng.randrange(8)


def numbers(content: bytearray, rng: random.Random) -> None:
    """A number where the header or the codestream may have one."""
    size = rng.choice((2, 4))
    value = rng.choice((*_NUMBERS, 2**31 - 1, 2**32 - 1, 2**32 - 2)) % 2 ** (8 * size)
    at = place(content, rng) & ~1
    content[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def element(content: bytearray, rng: random.Random) -> None:
    """An element of group 0028 of another value or value representation (explicit VR only)."""
    tags = [
        m.start() for m in re.finditer(rb"\x28\x00..[A-Z]{2}", bytes(content[:8192]), re.DOTALL)
    ]
    if not tags:
        return
    at = rng.choice(tags)
    if rng.random() < 0.3:
        content[at + 4 : at + 6] = rng.choice((b"US", b"SS", b"LO", b"OB", b"SQ", b"UN", b"DS"))
    elif rng.random() < 0.3:
        content[at + 6 : at + 8] = rng.choice(_NUMBERS).to_bytes(2, "little")
    else:
        content[at + 8 : at + 10] = rng.choice(_NUMBERS).to_bytes(2, "little")


def cut(content: bytearray, rng: random.Random) -> None:
    """An end missing: mostly a little, so that the pixel data begins."""
    gone = rng.randrange(len(content) + 1)
    del content[len(content) - (gone if rng.random() < 0.3 else gone // 16) :]


def move(content: bytearray, rng: random.Random) -> None:
    """A piece repeated, or taken out."""
    start, length = place(content, rng), rng.choice((1, 2, 8, 64, 512))
    piece = content[start : start + length] * rng.choice((0, 2, 50))
    content[start : start + length] = piece


def noise(content: bytearray, rng: random.Random) -> None:
    at = place(content, rng)
    content[at : at + rng.choice((0, 4))] = rng.randbytes(rng.choice((1, 4, 16)))


# --- outcomes -----------------------------------------------------------------------------------


def outcome(content: bytes) -> tuple[str, bool]:
    """What the reader made of a file, and whether that is a finding."""
    try:
        radiograph = read_dicom(io.BytesIO(content))
    except InputError as error:
        return refusal(str(error)), False
    except BaseException as error:
        return f"raised {type(error).__name__}", True
    pixels = radiograph.pixels
    whole = pixels.ndim == 2 and pixels.size and np.isfinite(pixels).all()
    if not whole or pixels.min() < 0 or pixels.max() > 1 or pixels.dtype != np.float32:
        return "a picture against the contract", True
    if not {note_code(note) for note in radiograph.notes} <= set(NOTES):
        return "a note that is not in the table", True
    return "read, with a note" if radiograph.notes else "read, without a note", False


def refusal(message: str) -> str:
    """The class of an InputError: its sentence without numbers and quotations."""
    message = message.removeprefix("the DICOM data set").lstrip(": ")
    if "MemoryError" in message:
        return "refused: MemoryError"
    for words in (
        "cannot be read as DICOM",
        "header cannot be applied",
        "transfer syntax",
        "pixel data cannot be decoded",
        "the compressed picture",
        "true colour",
    ):
        if words in message:
            return f"refused: {words}"
    return "refused: " + re.sub(r"\d+", "N", message)[:60]


def work(
    seeds: tuple[list[bytes], list[bytes]], seed: int, numbers: range, at: Any, results: Any
) -> None:
    """Executions until killed; ``at`` holds the current one and when it began, by two clocks."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with open(os.devnull, "w") as nowhere:  # decoders in C write their complaints there
        os.dup2(nowhere.fileno(), 2)
    for execution in numbers:
        at[0], at[1], at[2] = execution, time.monotonic(), time.process_time()
        found, bad = outcome(damaged(seeds, seed, execution))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        results.put((execution, found, bad, peak, time.process_time() - at[2]))


def used_seconds(pid: int) -> float:
    """Processor time that a process has used; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fuzz(seconds: float, workers: int, seed: int, keep: Path | None) -> dict[str, Any]:
    """Run the workers for a time; restart those that die or hang."""
    seeds = find_seeds()
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    outcomes: Counter[str] = Counter()
    findings: list[tuple[int, str]] = []
    peak, slowest = 0.0, (0.0, 0)
    begun = time.monotonic()
    stride = 10**9
    running: list[tuple[Any, Any, int]] = []

    def start(first: int) -> tuple[Any, Any, int]:
        at = context.Array("d", [first, time.monotonic() + 60, 60.0])  # time to import
        end = (first // stride + 1) * stride
        process = context.Process(
            target=work, args=(seeds, seed, range(first, end), at, results), daemon=True
        )
        process.start()
        return process, at, first

    running = [start(stride * each) for each in range(workers)]
    while time.monotonic() - begun < seconds:
        with contextlib.suppress(queue.Empty):
            while True:
                execution, found, bad, used, took = results.get(timeout=0.5)
                outcomes[found] += 1
                peak, slowest = max(peak, used), max(slowest, (took, execution))
                if bad:
                    findings.append((execution, found))
        for index, (process, at, _) in enumerate(running):
            execution, since = int(at[0]), at[1]
            if not process.is_alive():
                found = f"the process died ({process.exitcode})"
            elif used_seconds(process.pid) - at[2] > HANG or time.monotonic() - since > DEADLOCK:
                process.kill()
                found = "hung"
            else:
                continue
            outcomes[found] += 1
            findings.append((execution, found))
            running[index] = start(execution + 1)
    taken = time.monotonic() - begun
    for process, _, _ in running:
        process.kill()
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        for execution, _ in findings:
            (keep / f"{seed}-{execution}.dcm").write_bytes(damaged(seeds, seed, execution))
    return {
        "outcomes": outcomes,
        "findings": findings,
        "peak": peak,
        "slowest": slowest,
        "seconds": taken,
        "seeds": [len(each) for each in seeds],
    }


def table(result: dict[str, Any], workers: int, seed: int) -> str:
    """The findings as Markdown."""
    outcomes, total = result["outcomes"], sum(result["outcomes"].values())
    small, real = result["seeds"]
    lines = [
        f"{datetime.date.today()}, commit {current_commit() or 'unknown'}, seed {seed}: "
        f"{total:,} executions in {result['seconds']:.0f} seconds by {workers} "
        f"process{'es' if workers > 1 else ''} on {platform.machine()}, "
        f"Python {platform.python_version()}, pydicom {pydicom.__version__}; "
        f"{small} small seeds and {real} real files. Slowest execution "
        f"{result['slowest'][0]:.1f} s of processor time (number {result['slowest'][1]}), "
        f"largest process {result['peak'] / 2**20:.0f} MiB "
        f"(limit {MEMORY / 2**20:.0f}), findings: {len(result['findings'])}.",
        "",
        "| outcome | executions |",
        "| --- | ---: |",
    ]
    common = outcomes.most_common(16)
    lines += [f"| {name.replace('|', '/')} | {count:,} |" for name, count in common]
    if rest := total - sum(count for _, count in common):
        lines.append(f"| refused: {len(outcomes) - len(common)} rarer reasons | {rest:,} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", type=int)
    options = parser.parse_args()
    if options.one is not None:
        print(read_dicom(io.BytesIO(damaged(find_seeds(), options.seed, options.one))))
        return 0
    result = fuzz(options.seconds, options.workers, options.seed, options.keep)
    text = table(result, options.workers, options.seed)
    print(text)
    for execution, found in result["findings"]:
        print(f"finding: --seed {options.seed} --one {execution}: {found}")
    if options.write:
        page = PAGE.read_text()
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
