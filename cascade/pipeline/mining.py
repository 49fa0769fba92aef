"""From a collection to a label table, by the rule that the settings name. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cascade import __version__
from cascade.errors import InputError
from cascade.evaluation.agreement import (
    Agreement,
    agreement,
    align,
    disagreements,
    read_hand_labels,
)
from cascade.evaluation.agreement_page import render_agreement
from cascade.io.collection import Collection
from cascade.io.files import atomic_directory, atomic_path, write_json, write_text
from cascade.labels.given import mine_given
from cascade.labels.label_sets import LABEL_SETS, LabelSet
from cascade.labels.miner import SECTIONS, Mention, mine_sections
from cascade.labels.patterns import mine_patterns, mine_terms
from cascade.labels.table import NORMAL, LabelTable, write_label_files
from cascade.labels.text_labels import mine_text_labels
from cascade.pipeline.collecting import current_commit
from cascade.pipeline.progress import progress_bar

Settings = Mapping[str, Any]
RULES: dict[str, Callable[..., LabelTable]] = {
    "given": mine_given,
    "patterns": mine_patterns,
    "terms": mine_terms,
    "text": mine_text_labels,
}
MENTIONS = "mentions.parquet"
NO_FINDINGS = LabelSet({}, frozenset(), False, "")
"""For a table that was not mined from words: nothing of a report is marked."""


def mine(settings: Settings, collection: Collection, out: str | Path) -> LabelTable:
    """Mine a collection into the label table ``out``; the text rule adds ``mentions.parquet``.

    Raises:
        InputError: no label passes the threshold, the rule's name is unknown, or ``out`` is not
            empty.
    """
    options = dict(settings["labels"])
    rule = options.pop("rule")
    if rule not in RULES:
        raise InputError(f"unknown labels.rule {rule!r}, expected one of {sorted(RULES)}")
    with atomic_directory(out) as partial:
        if rule == "text":
            with progress_bar("mining reports") as update:
                table = mine_text_labels(collection, partial / MENTIONS, progress=update, **options)
        else:
            table = RULES[rule](collection, **options)
        write_label_files(table, partial)
    return table


def score_against(
    gold: str | Path,
    table: LabelTable,
    collection: Collection,
    out: str | Path,
    *,
    show_ids: bool = False,
) -> list[Agreement]:
    """Score a label table against labels by hand, and write what came out beside it.

    ``agreement.json``, ``agreement.csv`` (by label), ``disagreements.csv`` and ``agreement.html``.
    The systems compared with the miner on the same reports: a finding wherever its words stand,
    whatever is said of them; and every report normal.

    Raises:
        InputError: the file is no table of labels, or nothing in it is in the label table.
    """
    out = Path(out)
    label_set = LABEL_SETS.get(table.rule.get("label_set", ""))
    left_out = [] if label_set is None else list(label_set.labels)
    found, hand = align(table, read_hand_labels(gold), left_out)
    studies = collection.studies.set_index("study_id", drop=False)
    patients = studies.loc[found.index, "patient_id"].tolist()
    others = {"every report normal": found.mul(0).astype(bool).assign(**_normal_of(found))}
    if label_set is not None and (out / MENTIONS).is_file():
        mentions = pd.read_parquet(out / MENTIONS, columns=["study_id", "finding"])
        others = {
            "words alone, without negation": words_alone(mentions, found, label_set),
            **others,
        }
    systems = [
        agreement(name, each, hand, patients) for name, each in {"mined": found, **others}.items()
    ]
    differing = disagreements(found, hand)
    facts = {
        "hand labels": Path(gold).name,
        "reports judged": len(found),
        "label rule": ", ".join(f"{key} {value}" for key, value in table.rule.items()),
        "program": f"cascade {__version__}, commit {current_commit()}",
    }
    write_json(out / "agreement.json", _agreement_json(systems, facts))
    with atomic_path(out / "agreement.csv") as partial:
        systems[0].rows.to_csv(partial)
    with atomic_path(out / "disagreements.csv") as partial:
        differing.rename_axis("row").rename(lambda row: row + 1).to_csv(partial)
    page = render_agreement(
        systems, differing, studies, label_set or NO_FINDINGS, facts, show_ids=show_ids
    )
    write_text(out / "agreement.html", page)
    return systems


def words_alone(mentions: pd.DataFrame, found: pd.DataFrame, label_set: LabelSet) -> pd.DataFrame:
    """What a search for words finds: a label wherever a word of it stands, bool as ``found``.

    A report without any such word is normal.
    """
    named = mentions.groupby("study_id")["finding"].agg(set)
    words = [named.get(study, set()) for study in found.index]
    says = pd.DataFrame(
        {
            label: [bool(each & set(label_set.labels.get(label, ()))) for each in words]
            for label in found.columns
        },
        index=found.index,
    )
    if NORMAL in says:
        says[NORMAL] = ~says.drop(columns=NORMAL).any(axis=1)
    return says


def _normal_of(found: pd.DataFrame) -> dict[str, bool]:
    return {NORMAL: True} if NORMAL in found else {}


def _agreement_json(systems: list[Agreement], facts: Mapping[str, Any]) -> dict[str, Any]:
    def plain(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {
        **facts,
        "systems": {
            system.name: {
                "figures": {
                    name: {key: plain(getattr(each, key)) for key in ("value", "low", "high")}
                    for name, each in system.figures.items()
                },
                "labels": {
                    str(label): {key: plain(float(value)) for key, value in row.items()}
                    for label, row in system.rows.iterrows()
                },
            }
            for system in systems
        },
    }


def explain_study(collection: Collection, study_id: str) -> tuple[dict[str, str], list[Mention]]:
    """The mined sections of a study's report and their mentions.

    Raises:
        InputError: no such study, or it has no text.
    """
    rows = collection.studies[collection.studies["study_id"] == study_id]
    if rows.empty:
        raise InputError(
            f"no study {study_id!r} in the collection; its studies are called like "
            f"{collection.studies['study_id'].iloc[0]!r}"
        )
    study = rows.iloc[0]
    sections = {name: study[name] for name in SECTIONS if study[name]}
    if not sections:
        raise InputError(f"study {study_id!r} has neither findings nor an impression")
    return sections, mine_sections(sections)
