"""One run of the miner in a process of its own, for ``labels.py``: prints its figures as JSON.

    _mining.py FOLDER
    _mining.py FOLDER --reports 16000 --workers 2 --no-cache

A process of its own, since the largest memory that it ever held is asked for, and since its cache
of sentences starts empty. Label values of all three sets are made and dropped; the mentions go to a
Parquet file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cascade.labels import miner
from cascade.labels.mined_batches import Report, mine_reports

NO_CACHE = "--no-cache"
if NO_CACHE in sys.argv:  # here and not in main(): the workers import this file, too
    miner._mine_short = miner._mine_sentence  # type: ignore[assignment]


def read_reports(root: Path) -> list[Report]:
    """Every report of the archive (or of a folder of XML files), with its two mined sections."""
    from cascade.io.openi import OpeniReport, iter_openi  # not at the top: workers come by there

    studies = (item.study for item in iter_openi(root) if isinstance(item, OpeniReport))
    return [
        (study.study_id, {section: getattr(study, section) for section in miner.SECTIONS})
        for study in studies
    ]


def replicated(reports: list[Report], count: int) -> Iterator[Report]:
    """The reports over and over, under an id of their own each time."""
    rounds = (
        (f"{study_id}-{number}", sections)
        for number in itertools.count()
        for study_id, sections in reports
    )
    return itertools.islice(rounds, count)


def mine(reports: Iterable[Report], workers: int) -> dict[str, Any]:
    """Counts, and seconds until the last process has ended and the file is whole."""
    from cascade.labels.text_labels import mention_writer

    done = mentions = 0
    began, cpu, own = time.perf_counter(), cpu_seconds(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mentions.parquet")
        with mention_writer(path) as write:
            for batch in mine_reports(reports, workers=workers):
                done += len(batch.study_ids)
                mentions += batch.mentions.num_rows
                write(batch.mentions)
        return {
            "reports": done,
            "mentions": mentions,
            "seconds": time.perf_counter() - began,
            "cpu_seconds": cpu_seconds() - cpu,
            "own_cpu_seconds": time.process_time() - own,
            "file_mib": path.stat().st_size / 2**20,
        }


def find(reports: list[Report]) -> dict[str, Any]:
    """The miner's core alone: findings and what the words around them make of them."""
    miner.mine_text("No effusion.")
    began = time.perf_counter()
    mentions = sum(len(miner.mine_sections(sections)) for _, sections in reports)
    seconds = time.perf_counter() - began
    return {"reports": len(reports), "mentions": mentions, "seconds": seconds}


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_mib(who: int) -> float:
    """The most memory that this process, or the largest of its children, has held."""
    peak = resource.getrusage(who).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("root", type=Path)
    arguments.add_argument("--reports", type=int, help="how many (default: each once)")
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument(NO_CACHE, action="store_true", help="read every sentence anew")
    arguments.add_argument(
        "--mentions-only",
        action="store_true",
        help="no labels, no file, and the lexicon compiled beforehand",
    )
    arguments.add_argument("--texts", type=Path, help="write the sections' texts there instead")
    options = arguments.parse_args()
    began = time.perf_counter()
    reports = read_reports(options.root)
    read = time.perf_counter() - began
    stream = replicated(reports, options.reports or len(reports))
    if options.texts:
        texts = [text for _, sections in stream for text in sections.values() if text]
        options.texts.write_text(json.dumps(texts), encoding="utf-8")
        return
    figures = find(list(stream)) if options.mentions_only else mine(stream, options.workers)
    figures["read_seconds"] = read
    if options.workers == 1 and not options.no_cache:
        hits, misses, *_ = miner._mine_short.cache_info()
        figures["cache_hits"] = hits / (hits + misses)
    figures["peak_mib"] = peak_mib(resource.RUSAGE_SELF)
    if options.workers > 1:
        figures["worker_peak_mib"] = peak_mib(resource.RUSAGE_CHILDREN)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
