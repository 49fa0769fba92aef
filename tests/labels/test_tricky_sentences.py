"""Sentences labelled by hand, blind to the miner; conventions in tricky_sentences.md."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("tricky_sentences.tsv")
COLUMNS = ["id", "kind", "section", "text", "expected", "known"]
SECTIONS = {"findings", "impression", "indication"}
STATUSES = {"present", "absent", "uncertain"}
NAMES = """
    atelectasis cardiomegaly effusion infiltration mass nodule pneumonia pneumothorax
    consolidation edema emphysema fibrosis pleural_thickening hernia
    enlarged_cardiomediastinum lung_opacity fracture support_devices calcified_granuloma
    granulomatous_disease hypoinflation hyperdistention calcinosis cicatrix scoliosis
    spondylosis osteophyte degenerative surgical_instruments tortuous_aorta congestion
    nodular_opacity
"""
FINDINGS = frozenset(NAMES.split())


def read_rows() -> list[dict[str, str]]:
    # An editor may strip the tabs before an empty last column: restval fills it in again.
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, restval=""))


ROWS = read_rows()


def expected_statuses(row: dict[str, str]) -> dict[str, str]:
    pairs = [pair.split("=") for pair in row["expected"].split(";") if pair]
    statuses = dict(pairs)
    assert len(statuses) == len(pairs), f"{row['id']} names a finding twice"
    return statuses


def as_parameter(row: dict[str, str]):
    known = row["known"].strip()
    marks = [pytest.mark.xfail(reason=known, strict=True)] if known else []
    return pytest.param(row, id=row["id"], marks=marks)


@pytest.mark.parametrize("row", [as_parameter(row) for row in ROWS])
def test_a_sentence_is_mined_as_a_radiologist_reads_it(row):
    from cascade.labels.lexicon import load_lexicon
    from cascade.labels.miner import mine_sections, report_status

    # the conventions name broad findings only, and leave out what the lexicon knows besides
    broader = {name: f.broader or name for name, f in load_lexicon().findings.items()}
    mentions = [
        mention._replace(finding=broader[mention.finding])
        for mention in mine_sections({row["section"]: row["text"]})
        if broader[mention.finding] in FINDINGS
    ]
    assert report_status(mentions) == expected_statuses(row), row["text"]


def test_the_table_is_large_enough_and_each_kind_has_its_share():
    kinds = Counter(row["kind"] for row in ROWS)
    assert len(ROWS) >= 260
    assert min(kinds.values()) >= 8, kinds


def test_ids_and_texts_are_unique():
    for column in ("id", "text"):
        values = Counter(row[column] for row in ROWS)
        assert [value for value, count in values.items() if count > 1] == []


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in ROWS])
def test_a_row_holds_only_what_the_conventions_name(row):
    assert list(row) == COLUMNS
    assert row["section"] in SECTIONS
    assert row["text"] == row["text"].strip() != ""
    statuses = expected_statuses(row)
    assert set(statuses) <= FINDINGS
    assert set(statuses.values()) <= STATUSES


def test_each_finding_is_tested_as_present():
    present = {
        finding
        for row in ROWS
        for finding, status in expected_statuses(row).items()
        if status == "present"
    }
    assert present == FINDINGS


def test_an_indication_asserts_nothing():
    assert [row["id"] for row in ROWS if row["section"] == "indication" and row["expected"]] == []
