"""Reports a second through the text miner: an archive, long streams, two workers, a peer.

    archive  the Open-i reports from their archive, mined for all label sets: seconds and memory
    stream   the same reports over and over, up to 250,000: reports/s and memory, level or not
    workers  two processes against one, and against two unrelated runs at once
    peer     spaCy with negspacy, a NegEx, over the same text

Repeated text is kind to the miner's cache of sentences, so that the long runs are made without the
cache, too: there the figure stands for text that never repeats. The Open-i folder is looked for in
CASCADE_REAL_DATA, or in ../shared/data beside the checkout; without it the reports of a phantom
stand in.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# No cascade in this process: Linux counts what a parent held at the fork towards a child's peak.
from _report import machine, parser, report

ROOT = Path(__file__).resolve().parents[2]
MINING = str(Path(__file__).with_name("_mining.py"))
NEGEX = str(Path(__file__).with_name("_negex.py"))
PHANTOM_STUDIES = 400
CACHE, NO_CACHE = "cached", "uncached"


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--parts", default=",".join(PARTS), help="(%(default)s)")
    arguments.add_argument("--repeats", type=int, default=3, help="runs of each (3)")
    arguments.add_argument(
        "--sizes", default="4000,16000,64000,250000", help="reports of a stream (%(default)s)"
    )
    arguments.add_argument(
        "--worker-sizes",
        default="250000,64000",
        help="reports for the workers, with the cache and without (%(default)s)",
    )
    arguments.add_argument("--peer-reports", type=int, default=2000, help="reports (2000)")
    arguments.add_argument(
        "--peer-venv",
        type=Path,
        default=ROOT / ".venv-bench",
        help="the peer's environment, made where it is missing (.venv-bench)",
    )
    options = arguments.parse_args()
    parts = options.parts.split(",")
    if options.repeats < 1:
        arguments.error("--repeats must be 1 or more")
    if not set(parts) <= set(PARTS):
        arguments.error(f"--parts are some of {', '.join(PARTS)}")
    with reports_at_hand() as (root, source):
        for name in parts:
            load = os.getloadavg()[0]
            sentence, figures = PARTS[name](root, options)
            figures |= {"source": source, "repeats": options.repeats, "load_before": round(load, 2)}
            note = f"{source}; medians of {options.repeats}; {machine()['cpu']}, load {load:.1f}"
            report(f"labels {name}", f"{sentence} ({note})", figures, options.out)


@contextmanager
def reports_at_hand() -> Iterator[tuple[Path, str]]:
    """The archive, or a folder of reports,, and what to call it."""
    data = Path(os.environ.get("CASCADE_REAL_DATA") or ROOT.parent / "shared" / "data")
    archive = data / "openi" / "NLMCXR_reports.tgz"
    if archive.is_file():
        yield archive, "Open-i"
        return
    print(
        f"labels: {archive.name} is missing (set CASCADE_REAL_DATA to the folder above openi/): "
        f"{PHANTOM_STUDIES} reports of a phantom stand in",
        file=sys.stderr,
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "phantom")
        code = (
            "import sys; from cascade.io.phantom import write_phantom; "
            f"write_phantom(sys.argv[1], studies={PHANTOM_STUDIES}, size=32, lateral_share=0.0)"
        )
        subprocess.run([sys.executable, "-c", code, str(root)], check=True)
        yield root, "phantom"


def run(root: Path, *arguments: str) -> dict[str, Any]:
    """One run in a fresh process; ``process_seconds`` is its whole life."""
    began = time.perf_counter()
    figures = finish(start(root, *arguments))
    figures["process_seconds"] = time.perf_counter() - began
    return figures


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, MINING, str(root), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    figures: dict[str, Any] = json.loads(output)
    return figures


def run_pair(root: Path, size: int, *arguments: str) -> dict[str, Any]:
    """Half the reports in each of two unrelated processes at once: what the two cores give."""
    pair = [start(root, "--reports", str(size // 2), *arguments) for _ in range(2)]
    seconds = max(figures["seconds"] for figures in map(finish, pair))
    return {"reports": size // 2 * 2, "seconds": seconds}


def median(runs: list[dict[str, Any]], name: str) -> float:
    return statistics.median(figures[name] for figures in runs)


def speed(runs: list[dict[str, Any]]) -> float:
    return runs[0]["reports"] / median(runs, "seconds")


def archive(root: Path, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    run(root)  # fills the disk's cache
    runs = [run(root) for _ in range(options.repeats)]
    peak = max(figures["peak_mib"] for figures in runs)
    first = runs[0]
    whole, read, mined = (
        median(runs, name) for name in ("process_seconds", "read_seconds", "seconds")
    )
    return (
        f"{first['reports']} reports read and mined for all three label sets in {whole:.1f} s by "
        f"one process, its start, imports and end included (reading {read:.1f} s, mining and "
        f"writing {mined:.1f} s), peak memory {peak:.0f} MiB, {first['mentions']} mentions",
        {
            "reports": first["reports"],
            "mentions": first["mentions"],
            "process_s": round(whole, 2),
            "read_s": round(read, 2),
            "mine_s": round(mined, 2),
            "peak_mib": round(peak, 1),
            "cache_hits": round(first["cache_hits"], 3),
        },
    )


def stream(root: Path, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    sizes = [int(size) for size in options.sizes.split(",")]
    flags = {CACHE: (), NO_CACHE: ("--no-cache",)}
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(options.repeats):
        for kind, flag in flags.items():
            for size in sizes:
                runs.setdefault((kind, size), []).append(run(root, "--reports", str(size), *flag))
    speeds = {kind: {size: round(speed(runs[kind, size])) for size in sizes} for kind in flags}
    peaks = {
        size: round(max(each["peak_mib"] for kind in flags for each in runs[kind, size]), 1)
        for size in sizes
    }
    level = speeds[NO_CACHE][sizes[-1]] / speeds[NO_CACHE][sizes[0]]
    listed = {kind: ", ".join(str(each) for each in speeds[kind].values()) for kind in flags}
    return (
        f"at {', '.join(map(str, sizes))} reports, the archive's over and over, "
        f"{listed[NO_CACHE]} reports/s with every sentence read anew (last against first "
        f"{level:.2f}) and {listed[CACHE]} with the cache of sentences; peak memory "
        f"{', '.join(f'{peak:.0f}' for peak in peaks.values())} MiB",
        {
            "sizes": sizes,
            "uncached_reports_per_s": list(speeds[NO_CACHE].values()),
            "cached_reports_per_s": list(speeds[CACHE].values()),
            "uncached_last_against_first": round(level, 3),
            "peak_mib": list(peaks.values()),
        },
    )


def workers(root: Path, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    sizes = dict(zip((CACHE, NO_CACHE), map(int, options.worker_sizes.split(",")), strict=True))
    figures: dict[str, Any] = {}
    said = []
    for kind, size in sizes.items():
        flag = ("--no-cache",) if kind == NO_CACHE else ()
        ones, twos, pairs = [], [], []
        for _ in range(options.repeats):
            ones.append(run(root, "--reports", str(size), *flag))
            twos.append(run(root, "--reports", str(size), "--workers", "2", *flag))
            pairs.append(run_pair(root, size, *flag))
        one, two, pair = speed(ones), speed(twos), speed(pairs)
        share = median(twos, "own_cpu_seconds") / median(twos, "cpu_seconds")
        peak = max(each["peak_mib"] + 2 * each["worker_peak_mib"] for each in twos)
        how = "every sentence read anew" if kind == NO_CACHE else "the cache of sentences"
        said.append(
            f"{two:.0f} reports/s by two workers, {one:.0f} by one, ratio {two / one:.2f} ({size} "
            f"reports, {how}; two unrelated processes at once {pair / one:.2f}; the parent has "
            f"{share:.0%} of the work; together under {peak:.0f} MiB)"
        )
        figures |= {
            f"{kind}_reports": size,
            f"{kind}_one_reports_per_s": round(one),
            f"{kind}_two_reports_per_s": round(two),
            f"{kind}_ratio": round(two / one, 3),
            f"{kind}_unrelated_ratio": round(pair / one, 3),
            f"{kind}_parent_share": round(share, 3),
            f"{kind}_peak_mib": round(peak, 1),
        }
    return "; ".join(said), figures


def peer(root: Path, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    python, failure = peer_python(options.peer_venv)
    if python is None:
        return f"negspacy skipped: {failure}", {"peer": "negspacy", "skipped": failure}
    count = options.peer_reports
    ours: dict[str, list[dict[str, Any]]] = {CACHE: [], NO_CACHE: []}
    peers: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder, "texts.json")
        amount = ("--reports", str(count))
        subprocess.run(
            [sys.executable, MINING, str(root), *amount, "--texts", str(texts)], check=True
        )
        for _ in range(options.repeats):
            ours[CACHE].append(run(root, *amount, "--mentions-only"))
            ours[NO_CACHE].append(run(root, *amount, "--mentions-only", "--no-cache"))
            done = subprocess.run(
                [python, NEGEX, str(texts)], check=True, stdout=subprocess.PIPE, text=True
            )
            peers.append(json.loads(done.stdout))
    cached, uncached = speed(ours[CACHE]), speed(ours[NO_CACHE])
    theirs = count / median(peers, "seconds")
    first = peers[0]
    return (
        f"mentions and whether they are denied, nothing written, lexicons ready: {cached:.0f} "
        f"reports/s by the miner ({uncached:.0f} without its cache of sentences), {theirs:.0f} by "
        f"spaCy {first['spacy']} with negspacy, ratio {cached / theirs:.2f} "
        f"({uncached / theirs:.2f}); {count} reports, {ours[CACHE][0]['mentions']} mentions by the "
        f"lexicon against {first['mentions']} by {first['terms']} terms",
        {
            "peer": "negspacy",
            "spacy": first["spacy"],
            "reports": count,
            "cached_reports_per_s": round(cached),
            "uncached_reports_per_s": round(uncached),
            "peer_reports_per_s": round(theirs),
            "ratio": round(cached / theirs, 2),
            "uncached_ratio": round(uncached / theirs, 2),
            "mentions": ours[CACHE][0]["mentions"],
            "peer_mentions": first["mentions"],
            "peer_terms": first["terms"],
        },
    )


def peer_python(venv: Path) -> tuple[Path | None, str]:
    """The Python of an environment that has negspacy, made if need be; or None and why not."""
    python = venv / "bin" / "python"
    check = [str(python), "-c", "import negspacy.negation, spacy"]
    quiet: dict[str, Any] = {"capture_output": True, "stdin": subprocess.DEVNULL, "timeout": 600}
    try:
        if python.exists() and subprocess.run(check, **quiet).returncode == 0:
            return python, ""
        print(f"labels: installing negspacy into {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, **quiet)
        (venv / ".gitignore").write_text("*\n", encoding="utf-8")
        install = [str(python), "-m", "pip", "install", "--quiet", "negspacy"]
        subprocess.run(install, check=True, **quiet)
        subprocess.run(check, check=True, **quiet)
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"it could not be installed into {venv.name} ({type(error).__name__})"
    return python, ""


PARTS = {"archive": archive, "stream": stream, "workers": workers, "peer": peer}

if __name__ == "__main__":
    main()
