"""From a raw download to a collection. Needs no torch."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cascade import __version__
from cascade.data.splits import assign_splits, check_fractions
from cascade.io.collection import Collection, write_collection
from cascade.io.files import atomic_path, write_text
from cascade.pipeline.downloading import fetch_archives
from cascade.pipeline.progress import say
from cascade.pipeline.sources import read_source
from cascade.pipeline.summary import reasons_of, render_summary

Settings = Mapping[str, Any]
TOLD_REASONS = 5
"""So many reasons for rejecting files are told; the table has all."""


def current_commit() -> str:
    """The checkout's short commit, ``+`` where it has changes; outside a checkout the version."""
    folder = Path(__file__).resolve().parent
    try:
        describe = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        done = subprocess.run(describe, cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return f"v{__version__}"
    return done.stdout.strip() if done.returncode == 0 else f"v{__version__}"


def prepare(settings: Settings, out: str | Path) -> Collection:
    """Read a raw download into a collection, split by patient; fetch it first where asked to.

    ``summary.html`` in the collection shows what it holds, ``rejected.csv`` what was left out.

    Raises:
        InputError: the source is missing or holds no study.
        CascadeError: a download fails (see ``fetch_archives``).
    """
    out = Path(out)
    check_fractions(settings["split"]["fractions"])  # before the reading, which may take minutes
    if settings.get("download"):
        fetch_archives(settings["data"])
    collection, rejected = read_source(settings["data"], out)
    collection = assign_splits(
        collection,
        fractions=tuple(settings["split"]["fractions"]),
        seed=int(settings["split"]["seed"]),
    )
    collection.info["made_by"] = {"program": f"cascade {__version__}", "commit": current_commit()}
    write_collection(collection, out)
    counts = collection.counts
    say(
        f"{counts['studies']} studies of {counts['patients']} patients; "
        f"{counts['images_found']} of {counts['images_named']} named images found"
    )
    splits = collection.studies["split"].value_counts(dropna=False).to_dict()
    say("splits by patient: " + ", ".join(f"{name or 'none'} {n}" for name, n in splits.items()))
    if rejected:
        with atomic_path(out / "rejected.csv") as partial:
            pd.DataFrame(rejected, columns=["file", "reason"]).to_csv(partial, index=False)
        say(f"{len(rejected)} file(s) rejected: {out / 'rejected.csv'} gives the reasons")
        reasons = reasons_of(rejected)
        for reason, count in reasons[:TOLD_REASONS]:
            say(f"  {count} × {reason}")
        if rest := sum(count for _, count in reasons[TOLD_REASONS:]):
            say(f"  {rest} for other reasons")
    write_text(out / "summary.html", render_summary(collection, rejected))
    return collection
