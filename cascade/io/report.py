"""Free-text reports to sections: headings at the start of a line, within one, or none at all."""

from __future__ import annotations

import dataclasses
import re

SECTIONS = ("findings", "impression", "indication", "comparison")

_HEADINGS = {
    "findings": "findings|finding|chest findings",
    "impression": "impression|impressions|conclusion|conclusions|opinion",
    "indication": (
        "indication|indications|history|clinical history|clinical information|clinical indication"
        "|reason for exam|reason for examination|reason for study"
    ),
    "comparison": "comparison|comparisons|comparison studies",
    "": (  # headings whose text is no part of the four sections
        "technique|procedure|exam|examination|study|views|final report|wet read|notification"
        "|recommendation|recommendations|addendum|preliminary report"
    ),
}
_SECTION_OF = {name: section for section, names in _HEADINGS.items() for name in names.split("|")}
_NAMES = "|".join(sorted(map(re.escape, _SECTION_OF), key=len, reverse=True)).replace(r"\ ", " +")
_LINE_START = rf"^[ \t]*(?P<line>{_NAMES})[ \t]*(?::|$)"
_WITHIN = rf"(?<![\w-])(?P<within>{_NAMES})[ \t]*:"
_HEADING = re.compile(f"{_LINE_START}|{_WITHIN}", re.IGNORECASE | re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Report:
    """The sections of a report; None where it has no such section, or an empty one."""

    findings: str | None = None
    impression: str | None = None
    indication: str | None = None
    comparison: str | None = None


def clean_text(text: str | None) -> str | None:
    r"""Whitespace collapsed; None for nothing.

    >>> clean_text("  No acute\n   disease. ")
    'No acute disease.'
    """
    return " ".join((text or "").split()) or None


def parse_report(text: str) -> Report:
    r"""Sort a report's text into its sections.

    A heading stands at the start of a line (with a colon, or alone on its line) or anywhere before
    a colon if it is capitalised. A section that occurs twice is joined. Text before the first
    heading belongs to the findings if no heading names them; a report without any heading is all
    findings. Text under other headings (technique, addenda) is left out.

    >>> parse_report("HISTORY: Cough. FINDINGS: Clear lungs.\nIMPRESSION: Normal.")
    Report(findings='Clear lungs.', impression='Normal.', indication='Cough.', comparison=None)
    """
    found: dict[str, list[str]] = {section: [] for section in SECTIONS}
    section, start, before = "before", 0, ""
    named: set[str] = set()
    for match in _HEADING.finditer(text):
        heading = match["line"] or match["within"]
        if not match["line"] and not heading[0].isupper():
            continue  # "the findings: ..." is prose
        _keep(found, section, text[start : match.start()])
        if section == "before":
            before = text[: match.start()]
        section, start = _SECTION_OF[" ".join(heading.lower().split())], match.end()
        named.add(section)
    _keep(found, section, text[start:])
    if section == "before":
        before = text
    if "findings" not in named:
        _keep(found, "findings", before)
    return Report(**{name: clean_text(" ".join(parts)) for name, parts in found.items()})


def _keep(found: dict[str, list[str]], section: str, text: str) -> None:
    if section in found and text.strip():
        found[section].append(text)
