"""The lexicon as the miner uses it: findings and their phrases, read from ``lexicon.toml``.

The words stand in a file of their own, so that a radiologist can read and mend them without reading
Python. Its head says how they were chosen.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal, NamedTuple

Status = Literal["present", "absent", "uncertain"]
STATUSES: tuple[Status, ...] = ("present", "uncertain", "absent")
"""From the strongest: the first that any mention has is the report's."""


class Finding(NamedTuple):
    """One finding and the phrases that name it, in the language of ``phrases.py``.

    Attributes:
        name: in snake case.
        phrases: by the status that the words themselves give.
        hidden: phrases that hold the finding's word and do not mean it.
        broader: the finding of which this is one kind, if any.
        remark: it speaks of the picture or the patient's build, and leaves a report normal.
    """

    name: str
    phrases: Mapping[Status, tuple[str, ...]]
    hidden: tuple[str, ...] = ()
    broader: str | None = None
    remark: bool = False


class Lexicon(NamedTuple):
    """Findings by name, and the named groups of words that their phrases use."""

    findings: dict[str, Finding]
    groups: dict[str, str]

    @property
    def remarks(self) -> frozenset[str]:
        """The findings that leave a report normal."""
        return frozenset(f.name for f in self.findings.values() if f.remark)


@functools.cache
def load_lexicon() -> Lexicon:
    """Read the lexicon that ships with the program."""
    content = read_toml("lexicon.toml")
    findings = {
        name: Finding(
            name=name,
            phrases={status: lines(entry.get(status, "")) for status in STATUSES},
            hidden=lines(entry.get("hidden", "")),
            broader=entry.get("broader"),
            remark=entry.get("remark", False),
        )
        for name, entry in content["findings"].items()
    }
    return Lexicon(findings, content["groups"])


def read_toml(name: str) -> dict[str, Any]:
    """A TOML file that lies beside this module."""
    return tomllib.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def lines(text: str) -> tuple[str, ...]:
    """The lines of a block, trimmed, empty ones left out."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
