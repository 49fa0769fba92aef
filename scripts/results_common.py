"""What the parts of ``scripts/results`` share: settings, notes of finished runs, tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _common import settings_of

from cascade.evaluation.significance import Figure
from cascade.io.files import read_json, write_json
from cascade.pipeline.collecting import current_commit


def compose(*overrides: str) -> dict[str, Any]:
    """The settings of a training, plain."""
    fixed = ["collection=x", "label_table=x", "out=x", "callbacks=none", "trainer=cpu"]
    return settings_of("train", *fixed, *overrides)


def note(path: Path, **found: Any) -> dict[str, Any]:
    """Keep what a run found, with the commit; a run that is noted is not done again."""
    noted = {**found, "commit": current_commit()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, noted)
    return noted


def read_note(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def commits(work: Path, name: str) -> str:
    """The commits at which the runs below a folder were done."""
    found = {json.loads(p.read_text())["commit"] for p in work.rglob(name)}
    return ", ".join(sorted(found)) or current_commit()


class Seeds(list[float]):
    """One figure a seed."""

    def spread(self) -> str:
        """Their standard deviation."""
        return f"{np.std(self, ddof=1):.3f}" if len(self) > 1 else ""


def shown(found: Figure) -> str:
    if math.isnan(found.value):
        return "-"
    interval = "" if math.isnan(found.low) else f" ({found.low:.3f}-{found.high:.3f})"
    return f"{found.value:.3f}{interval}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"
