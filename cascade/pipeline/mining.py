"""From a collection to a label table, by the rule that the settings name. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cascade.errors import InputError
from cascade.io.collection import Collection
from cascade.io.files import atomic_directory
from cascade.labels.given import mine_given
from cascade.labels.miner import SECTIONS, Mention, mine_sections
from cascade.labels.patterns import mine_patterns, mine_terms
from cascade.labels.table import LabelTable, write_label_files
from cascade.labels.text_labels import mine_text_labels
from cascade.pipeline.progress import progress_bar

Settings = Mapping[str, Any]
RULES: dict[str, Callable[..., LabelTable]] = {
    "given": mine_given,
    "patterns": mine_patterns,
    "terms": mine_terms,
    "text": mine_text_labels,
}
MENTIONS = "mentions.parquet"


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
