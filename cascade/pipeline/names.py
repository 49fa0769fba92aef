"""Names that one stage writes and another one, or the leaderboard, reads. Needs no torch."""

from __future__ import annotations

from pathlib import Path

VALIDATION_BLEU = "validation BLEU (mean of 1 to 4)"
VALIDATION_AUROC = "validation AUROC (macro)"
"""The scores that a bundle's card and ``rounds.json`` state, by the names that they have there."""

SPEED_FILE = "speed.json"
"""Beside a system's predictions: how many studies it read and wrote about, in how many seconds."""


def predictions_of(evaluation: Path, system: str) -> Path:
    """Where an evaluation keeps what a system wrote.

    >>> predictions_of(Path("evaluation"), "round 2").as_posix()
    'evaluation/predictions/round-2'
    """
    return evaluation / "predictions" / system.replace(" ", "-")
