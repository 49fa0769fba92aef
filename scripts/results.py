"""Real results, each beside what a simpler system gets on the same rows; writes docs/results.md.

Every training is noted as it ends, so that a run that was stopped goes on where it was. What is
said between the marks ``learned`` of the page is written by hand and kept.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path

import results_images
import results_text
from results_common import commits

from cascade.io.files import write_text

ROOT = Path(__file__).resolve().parent.parent
PARTS: dict[str, tuple[str, Callable[[Path, Path, int], str], str]] = {
    "nih": ("NIH ChestX-ray14: 14 findings", results_images.measure, "answers.json"),
    "text": ("Open-i: reports without an image", results_text.measure, "drafts.json"),
}


def kept(page: str, name: str) -> str:
    """What was written by hand in a part of the page."""
    found = re.search(rf"<!-- learned: {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    return found[1] if found else "\n"


def kept_part(page: str, name: str) -> str:
    """A part of the page as it stands, where it is not measured anew."""
    found = re.search(rf"<!-- part: {name} -->\n(.*?)<!-- /part -->\n", page, re.DOTALL)
    return found[1] if found else "Not measured yet.\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/results")
    parser.add_argument("data", type=Path)
    parser.add_argument("--parts", nargs="+", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=ROOT / "outputs" / "results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results.md")
    options = parser.parse_args()
    before = options.page.read_text(encoding="utf-8") if options.page.is_file() else ""
    text = ["# Results on the real data at hand\n"]
    text.append(
        "Written by `scripts/results`. Research software: no figure here says that it reads a "
        "radiograph well enough for anybody. The data are small on purpose (`docs/real-data.md`): "
        "what counts is the distance between rows.\n"
    )
    for name, (title, measure, noted) in PARTS.items():
        if name in options.parts:
            body = measure(options.data, options.work, options.seeds)
            body = (
                f"{datetime.date.today()}, trained at commit {commits(options.work, noted)}, "
                f"{os.cpu_count()} CPU cores, Python {platform.python_version()}, seeds 1 to "
                f"{options.seeds}.\n\n{body}"
            )
        else:
            body = kept_part(before, name)
        learned = f"<!-- learned: {name} -->\n{kept(before, name)}<!-- end -->\n"
        text.append(f"## {title}\n")
        text.append(f"{learned}\n<!-- part: {name} -->\n{body}<!-- /part -->\n")
    write_text(options.page, "\n".join(text))
    print(f"wrote {options.page}")


if __name__ == "__main__":
    main()
