"""docs/dicom.md names what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from cascade.io.dicom import NOTES, TRANSFER_SYNTAXES

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "dicom.md").read_text()


def rows(heading: str) -> list[str]:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [match.strip("` ") for match in re.findall(r"^\| ([^|]+) \|", section, re.M)][2:]


def test_every_note_has_a_row():
    assert rows("Notes") == list(NOTES)


def test_every_transfer_syntax_has_a_row():
    assert rows("Transfer syntaxes") == [uid.name for uid in TRANSFER_SYNTAXES]
