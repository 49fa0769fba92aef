"""Train, validation and test by patient, decided by a keyed hash.

A patient's split depends on the seed and on that patient's id alone, so studies added later move
nobody, and two collections of the same patients agree.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import pandas as pd

from cascade.errors import InputError
from cascade.io.collection import SPLITS, Collection


def patient_draw(patient_id: str, seed: int) -> float:
    """A number in [0, 1) that depends on the patient and the seed alone.

    >>> patient_draw("7", 0) == patient_draw("7", 0) != patient_draw("7", 1)
    True
    """
    digest = hashlib.sha256(f"{seed}:{patient_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def check_fractions(fractions: Sequence[float]) -> list[float]:
    """The shares of train, val and test.

    Raises:
        InputError: not three that add up to 1.
    """
    parts = [float(fraction) for fraction in fractions]
    if len(parts) != 3 or min(parts) < 0 or abs(sum(parts) - 1) > 1e-6:
        raise InputError(f"split fractions {list(fractions)} must be three that add up to 1")
    return parts


def assign_splits(
    collection: Collection,
    *,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Collection:
    """Give every study a split, by patient; splits that the source gave are kept.

    - No study has a split: all are drawn.
    - The source gives train and test but no val: val is drawn from its train patients, as many
      as ``fractions`` gives val of train and val together.
    - The source gives train and val but no test: likewise, test is drawn from its train patients.
    - The source gives all three: nothing changes. A study outside the source's split then stays
      without one and takes part in nothing, for the official split to stay what it is.

    Args:
        collection: is not changed.
        fractions: train, val and test; they add up to 1. A fraction of 0 leaves that split empty.
        seed: another seed, another split.

    Raises:
        InputError: fractions that do not add up to 1, or a split that would be empty.
    """
    parts = check_fractions(fractions)
    studies = collection.studies.copy()
    given = set(studies["split"].dropna())
    train, val, test = parts
    if not given:
        rule = "patients drawn by a keyed hash"
        draws = studies["patient_id"].map(lambda patient: patient_draw(str(patient), seed))
        drawn: list[str | None] = [
            "train" if draw < train else "val" if draw < train + val else "test" for draw in draws
        ]
    elif given == {"train", "test"} and val > 0:
        rule = "the source's train and test; val drawn from its train patients by a keyed hash"
        drawn = _draw_from_train(studies, "val", val / (train + val), seed)
    elif given == {"train", "val"} and test > 0:
        rule = "the source's train and val; test drawn from its train patients by a keyed hash"
        drawn = _draw_from_train(studies, "test", test / (train + test), seed)
    else:
        rule = "the source's own"
        drawn = studies["split"].tolist()
    studies["split"] = pd.Series(drawn, index=studies.index, dtype=object)  # None stays None
    counts = {name: int((studies["split"] == name).sum()) for name in SPLITS}
    for name, fraction in zip(SPLITS, parts, strict=True):
        if not counts[name] and fraction > 0:
            raise InputError(
                f"no study fell into the {name} split ({studies['patient_id'].nunique()} "
                "patients): add studies, or choose other fractions or another seed"
            )
    splits = {"rule": rule, "seed": seed, "fractions": parts, "studies": counts}
    splits["outside"] = int(studies["split"].isna().sum())
    result = dataclasses.replace(
        collection, studies=studies, info={**collection.info, "splits": splits}
    )
    result.validate()
    return result


def _draw_from_train(studies: pd.DataFrame, name: str, share: float, seed: int) -> list[str | None]:
    """The splits with a share of the train patients moved to another."""
    return [
        name if split == "train" and patient_draw(str(patient), seed) >= 1 - share else split
        for split, patient in zip(studies["split"], studies["patient_id"], strict=True)
    ]


def take_training_share(collection: Collection, share: float, seed: int = 0) -> Collection:
    """Keep a share of the train patients; the other train studies lose their split.

    Whether a patient is kept depends on the seed and on that patient's id alone, and a smaller
    share is part of a larger one. Validation and test stay as they are.

    Args:
        collection: is not changed.
        share: more than 0; 1 keeps all.
        seed: another seed, other patients.

    Raises:
        InputError: no train study would be left.
    """
    if share >= 1:
        return collection
    studies = collection.studies.copy()
    train = studies["split"] == "train"
    draws = studies["patient_id"].map(lambda patient: patient_draw(f"share:{patient}", seed))
    studies["split"] = studies["split"].astype(object).mask(train & (draws >= share), None)
    left = studies.loc[studies["split"] == "train", "patient_id"].nunique()
    if not left:
        raise InputError(f"split.train_share={share:g} leaves no training study: choose a larger")
    facts = {
        "share": share,
        "patients": int(left),
        "studies": int((studies["split"] == "train").sum()),
    }
    result = dataclasses.replace(
        collection, studies=studies, info={**collection.info, "train_share": facts}
    )
    result.validate()
    return result
