"""What every rule that chooses labels by count shares: whose counts, which names, what order."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import SPLITS
from cascade.labels.table import NORMAL

FIT_ON = ("train", "all")


def check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a word that is no choice of ``labels.<option>``.

    Raises:
        InputError: it is none.
    """
    if value not in choices:
        raise InputError(f"unknown labels.{option} {value!r}, expected one of {list(choices)}")


def fitting_studies(studies: pd.DataFrame, fit_on: str) -> np.ndarray:
    """Which studies choose the labels, ``(N,)`` bool.

    Raises:
        InputError: an unknown choice, or no study in training.
    """
    check_choice("fit_on", fit_on, FIT_ON)
    if fit_on == "all":
        return np.ones(len(studies), dtype=bool)
    fitting = (studies["split"] == SPLITS[0]).to_numpy(dtype=bool)
    if not fitting.any():
        raise InputError(
            "no study is in the train split: prepare the collection with splits, or set "
            "labels.fit_on=all"
        )
    return fitting


def wanted_labels(include: Iterable[str], known: set[str]) -> list[str]:
    """The names of ``labels.include`` as tables have them.

    Raises:
        InputError: no study carries one of them.
    """
    wanted = [" ".join(name.lower().split()) for name in include]
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=3)
            hint = f"; close: {', '.join(map(repr, close))}" if close else ""
            raise InputError(f"no study carries the label {name!r}{hint}")
    return wanted


def in_order(counts: Mapping[str, int]) -> list[str]:
    """Normal first, then by falling count, then by name.

    >>> in_order({"mass": 2, "edema": 2, "opacity": 5, "normal": 1})
    ['normal', 'opacity', 'edema', 'mass']
    """
    return sorted(counts, key=lambda name: (name != NORMAL, -counts[name], name))
