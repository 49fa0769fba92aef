"""Strata: who is in which, by hand, and slot accuracy with its interval."""

import numpy as np
import pandas as pd
import pytest

from cascade.evaluation.breakdowns import finding_counts, subgroup_masks
from cascade.evaluation.scoring import evaluate
from cascade.evaluation.systems import Rows, System, Training
from cascade.evaluation.tables import strata_rows
from cascade.metrics.nlg import annotation_words

NAN = float("nan")


def rows_of(references, truth=None, **more):
    ids = [str(number) for number in range(len(references))]
    return Rows(ids, ids, references, truth, **more)


def test_findings_are_counted_in_the_annotation():
    rows = rows_of(["normal", "opacity/left; opacity/right", "nodule; hernia", ""])
    counts = finding_counts(rows, "annotation")
    assert counts[:3].tolist() == [0, 1, 2]
    assert np.isnan(counts[3])


def test_findings_are_counted_in_the_truth():
    truth = pd.DataFrame({"No Finding": [1, 0, NAN], "a": [0, 1, NAN], "b": [0, 1, NAN]})
    counts = finding_counts(rows_of(["x", "y", "z"], truth), "report")
    assert counts[:2].tolist() == [0, 2]
    assert np.isnan(counts[2])
    assert finding_counts(rows_of([""]), "report") is None
    written = rows_of(["Small effusion and mass.", "No edema."])
    assert finding_counts(written, "report").tolist() == [2, 0]
    only_normal = rows_of(["x"], pd.DataFrame({"normal": [1.0]}))
    assert finding_counts(only_normal, "report") is None


def test_findings_as_told():
    rows = rows_of(["normal", "normal"], findings=np.array([3, 0]))
    assert finding_counts(rows, "annotation").tolist() == [3, 0]


def test_who_is_in_which_stratum():
    references = (
        ["normal"] * 6 + ["opacity/left"] * 5 + ["a; b; c; opacity/lung/base/left; nodule"] * 5
    )
    truth = pd.DataFrame({"opacity": [0.0] * 6 + [1.0] * 10, "nodule": [0.0] * 12 + [1.0] * 4})
    views = ["frontal"] * 7 + ["lateral"] * 7 + [""] * 2
    training = Training(["normal", "opacity/left", "opacity/left/mild; x"] * 3)
    masks = subgroup_masks(
        rows_of(references, truth, views=views), "annotation", training, annotation_words
    )
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "label: opacity": 10,  # four nodules are too few
        "view: frontal": 7,
        "view: lateral": 7,
        "findings: 0": 6,
        "findings: 1": 5,
        "findings: 3+": 5,
        "length: short (to 1 words)": 6,
        "length: middle (to 2 words)": 5,
        "length: long": 5,
    }
    assert masks["findings: 3+"].nonzero()[0].tolist() == [11, 12, 13, 14, 15]


def test_labels_of_the_annotation_where_there_is_no_truth():
    rows = rows_of(["normal"] * 5 + ["opacity"] * 5)
    masks = subgroup_masks(rows, "annotation", None, annotation_words)
    assert list(masks) == ["label: normal", "label: opacity", "findings: 0", "findings: 1"]
    assert subgroup_masks(rows_of([""] * 9), "report", None, annotation_words) == {}


def test_labels_of_the_words_where_there_is_neither():
    rows = rows_of(["Small effusion."] * 5 + ["No effusion."] * 5)
    masks = subgroup_masks(rows, "report", None, annotation_words)
    assert list(masks) == ["label: normal", "label: Effusion", "findings: 0", "findings: 1"]
    assert masks["label: Effusion"].tolist() == [True] * 5 + [False] * 5


def test_figures_of_a_stratum_are_those_of_its_rows(case):
    rows, systems, training = case
    found = evaluate(rows, systems, training, resamples=0)
    table = found.subgroups.set_index(["system", "stratum"])
    chosen = [row for row, text in enumerate(rows.references) if text == "normal"]
    alone = evaluate(
        Rows(
            [rows.study_ids[row] for row in chosen],
            [rows.patient_ids[row] for row in chosen],
            [rows.references[row] for row in chosen],
            rows.truth.iloc[chosen].reset_index(drop=True),
        ),
        [
            System(
                system.name,
                [system.hypotheses[row] for row in chosen],
                system.probabilities.iloc[chosen].reset_index(drop=True),
            )
            for system in systems
        ],
        training=Training([""]),
        resamples=0,
    )
    row = table.loc[("round 1", "findings: 0")]
    assert row["studies"] == len(chosen)
    for metric in ("exact", "bleu1", "rouge_l", "length_ratio"):
        assert row[metric] == pytest.approx(alone.figure("round 1", metric).value)
    assert row["labels"] == 0  # among normal studies every label has one class
    assert np.isnan(row["macro_auroc"])
    assert table.loc[("round 2", "findings: 1"), "labels"] == 2  # opacity and nodule
    assert table.loc[("prevalence", "findings: 1"), "macro_auroc"] == 0.5


def test_the_strata_file_begins_as_before(evaluation):
    table = strata_rows(evaluation)
    assert table["stratum"][:3].tolist() == ["all", "normal", "abnormal"]
    assert "kind" not in table
    assert len(table) == len(evaluation.strata) + len(evaluation.subgroups)
    kinds = set(evaluation.subgroups["kind"])
    assert kinds == {"label", "findings", "length"}


def test_wrong_numbers_of_rows():
    with pytest.raises(ValueError, match="views has 1 rows for 2 studies"):
        rows_of(["x", "y"], views=["frontal"])


def test_slot_accuracy_has_an_interval(evaluation):
    table = evaluation.slots.set_index(["system", "slot"])
    row = table.loc[("round 1", "side")]
    assert row["accuracy"] == row["right"] / row["compared"]
    assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    assert row["stated_accuracy_low"] <= row["stated_accuracy"] <= row["stated_accuracy_high"]
    assert row["accuracy_low"] < row["accuracy_high"]
