"""Puts what one benchmark printed into its section of the page; the other sections stay.

_page.py docs/benchmarks.md NAME "2026-11-24, commit abc" < figures
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

INTRODUCTION = """# Benchmarks

Written by `scripts/bench_page`, each section on its own date. A figure is set against a named peer
in the same run: medians of several, alternating. Ratios hold where absolute figures do not: the
machine is shared, its load at the start of a figure stands with it.
"""
DECODING = """Reports a second of each decoder at its default sizes: ours, Hugging Face `generate`
on the same weights and features, the ratio of the two, and the share of drafts that are the same;
of the others, how many of ours are likelier and how many less.
"""


def sections(page: str) -> dict[str, str]:
    """The text below each ``## NAME``."""
    parts = page.split("\n## ")[1:]
    return {name: body for name, _, body in (part.partition("\n") for part in parts)}


def section(name: str, when: str, printed: str) -> str:
    """Sentences, a table where there is one, and the lines of JSON."""
    lines = printed.splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    said = [line for line in lines if line and not line.startswith("{")]
    table = decoding_table(records) if name == "decoding" else ""
    if table:
        said = [line for line in said if not line.startswith("decoding speed")]
    listed = "".join(f"- {line}\n" for line in said)
    figures = "".join(json.dumps(record) + "\n" for record in records)
    return f"\n`scripts/bench {name}` on {when}.\n\n{table}{listed}\n```json\n{figures}```\n"


def decoding_table(records: list[dict[str, Any]]) -> str:
    """One row a decoder and kind of text, one column a width of the beam."""
    rows, widths = [], []
    for record in records:
        kind, _, decoder = record["benchmark"].removeprefix("decoding ").partition(" ")
        if kind != "speed":
            continue
        found = {key: value for key, value in record.items() if "_beam_" in key}
        widths = sorted({int(key.rsplit("_", 1)[1]) for key in found})
        for text in dict.fromkeys(key.split("_beam_")[0] for key in found):
            cells = [f"{decoder}, {text}"]
            for width in widths:
                each = found[f"{text}_beam_{width}"]
                same = f"{each['equal']:.0%}"
                if each["equal"] < 1:
                    same += f" (+{each['likelier']} -{each['less_likely']})"
                cells.append(
                    f"{each['reports_per_s']:.0f} : {each['peer_reports_per_s']:.0f} = "
                    f"**{each['ratio']:.2f}**, {same}"
                )
            rows.append(f"| {' | '.join(cells)} |\n")
    if not rows:
        return ""
    head = "".join(f" beam of {width} |" for width in widths)
    return f"{DECODING}\n| decoder |{head}\n|---|{'---|' * len(widths)}\n{''.join(rows)}\n"


def main() -> None:
    page, name, when = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    found = sections(page.read_text(encoding="utf-8")) if page.exists() else {}
    found[name] = section(name, when, sys.stdin.read())
    parts = [f"\n## {each}\n{found[each].rstrip()}\n" for each in sorted(found)]
    partial = page.with_name(page.name + ".partial")
    partial.write_text(INTRODUCTION + "".join(parts), encoding="utf-8")
    partial.replace(page)


if __name__ == "__main__":
    main()
