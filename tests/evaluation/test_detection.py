"""Operating points, reliability, curves and paired tests: by hand, and nothing chosen on test."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from cascade.errors import InputError
from cascade.evaluation import tables
from cascade.evaluation.detection import OperatingScores, curve_records
from cascade.evaluation.scoring import evaluate
from cascade.evaluation.systems import Rows, System, Training

POINTS = ["best F1", "sensitivity 0.95", "specificity 0.95"]


@pytest.fixture(scope="module")
def judged():
    """40 studies of 20 patients, two labels and one that validation never has; two systems."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.integers(0, 2, (100, 2)).astype(float), columns=["a", "b"])
    frame["rare"] = 0.0
    frame.loc[95, "rare"] = 1.0

    def said(strength):
        noise = generator.normal(size=frame.shape)
        return pd.DataFrame(1 / (1 + np.exp(-(strength * (frame - 0.5) + noise))))

    strong, weak = said(5.0), said(0.5)
    test = frame[60:].reset_index(drop=True)
    rows = Rows(
        [str(row) for row in range(40)],
        [str(row // 2) for row in range(40)],
        ["normal"] * 40,
        test,
        views=["frontal"] * 30 + ["frontal and lateral"] * 10,
    )
    systems = [
        System(
            name,
            probabilities=table[60:].reset_index(drop=True),
            val_probabilities=table[30:60].reset_index(drop=True),
        )
        for name, table in (("weak", weak), ("strong", strong))
    ]
    training = Training(["x"] * 30, labels=frame[:30], val_labels=frame[30:60])
    return rows, systems, training


@pytest.fixture(scope="module")
def found(judged):
    return evaluate(*judged, resamples=100)


def test_thresholds_come_from_validation_and_are_applied_unchanged():
    val_truth, val_said = np.array([[1.0], [0], [1], [0]]), np.array([[0.9], [0.6], [0.4], [0.1]])
    truth, said = (
        np.array([[1.0], [0], [1], [0], [-1]]),
        np.array([[0.5], [0.5], [0.3], [0.2], [1]]),
    )
    scores = OperatingScores(truth, said, val_truth, val_said, ["a"])
    assert scores.thresholds["best F1"].tolist() == [0.4]  # F1 of 1, 2, 3 called: 2/3, 1/2, 4/5
    values = scores.figures(np.ones((1, 5)))
    assert values["sensitivity@best F1:a"].tolist() == [0.5]
    assert values["specificity@best F1:a"].tolist() == [0.5]
    assert values["precision@best F1:a"].tolist() == [0.5]
    assert values["macro_f1@best F1"].tolist() == [0.5]
    # At .9 nothing of the test rows but the uncertain one is called: no precision, no mean of it.
    assert math.isnan(values["precision@specificity 0.95:a"][0])
    assert "macro_precision@specificity 0.95" not in values


def test_the_rows_scored_do_not_move_a_threshold(judged, found):
    rows, systems, training = judged
    flipped = dataclasses.replace(rows, truth=1 - rows.truth)
    other = evaluate(flipped, systems, training, resamples=0)
    assert other.operating["threshold"].to_numpy() == pytest.approx(
        found.operating["threshold"].to_numpy(), nan_ok=True
    )
    assert not other.operating["f1"].equals(found.operating["f1"])


def test_operating_points_table(found):
    table = found.operating
    assert list(dict.fromkeys(table["system"])) == ["weak", "strong", "prevalence"]
    assert list(dict.fromkeys(table["point"])) == POINTS
    assert len(table) == 3 * 3 * 3
    row = table.set_index(["system", "label", "point"]).loc[("strong", "a", "best F1")]
    assert row["f1_low"] < row["f1"] < row["f1_high"]
    assert row["hits"] / row["positives"] == pytest.approx(row["sensitivity"])
    assert row["hits"] / row["decided"] == pytest.approx(row["precision"])
    rare = table[table["label"] == "rare"]
    assert set(rare["reason"]) == {"validation has no positive"}
    assert rare[["threshold", "f1", "decided"]].isna().all(axis=None)
    # A constant cannot be specific without calling nothing.
    constant = table[(table["system"] == "prevalence") & (table["point"] == "specificity 0.95")]
    constant = constant[constant["label"] != "rare"]
    assert np.isinf(constant["threshold"]).all()
    assert constant["reason"].str.contains("none called").all()
    assert (constant["decided"] == 0).all()


def test_macro_figures_are_means_over_labels_with_both_classes(found):
    table = found.operating
    own = table[(table["system"] == "strong") & (table["point"] == "best F1")]
    for metric in ("f1", "sensitivity", "specificity"):
        value = found.figure("strong", f"macro_{metric}@best F1").value
        assert value == pytest.approx(own[own["label"] != "rare"][metric].mean())


def test_without_validation_answers_there_are_none_and_that_is_said(judged, tmp_path):
    rows, systems, training = judged
    bare = [System(system.name, probabilities=system.probabilities) for system in systems]
    none = evaluate(rows, bare, None, resamples=0)
    assert none.operating.empty
    assert any("Operating points are not run" in note for note in none.notes)
    assert not none.curves.empty
    tables.write_evaluation(none, tmp_path)
    some = evaluate(rows, [bare[0], systems[1]], training, resamples=0)
    assert "No operating points for weak: no probabilities of validation studies." in some.notes
    texts = evaluate(Rows(["1"], ["1"], ["x"]), [System("m", ["x"])], resamples=0)
    assert not any("perating" in note for note in texts.notes)


def test_scoring_validation_itself_is_said_to_flatter(judged):
    rows, systems, training = judged
    val = dataclasses.replace(rows, split="val")
    assert any("the operating points flatter" in n for n in evaluate(val, systems, training).notes)


def test_validation_must_answer_the_same_studies(judged):
    rows, systems, training = judged
    short = dataclasses.replace(systems[0], val_probabilities=systems[0].val_probabilities[:3])
    with pytest.raises(InputError, match="'weak' has 3 validation probabilities for 30"):
        evaluate(rows, [short], training)
    odd = dataclasses.replace(systems[0], val_probabilities=systems[0].val_probabilities * 2)
    with pytest.raises(InputError, match="validation probability that is missing or outside"):
        evaluate(rows, [odd], training)
    other = dataclasses.replace(training, val_labels=training.val_labels[["a"]])
    with pytest.raises(InputError, match=r"val_labels has no label\(s\) b, rare"):
        evaluate(rows, systems, other)


def test_reliability(found):
    table = found.calibration
    own = table[(table["system"] == "strong") & (table["label"] == "a")]
    assert own["studies"].sum() == 40
    assert len(own) == 10
    assert (own["low"] <= own["share"]).all()
    assert (own["share"] <= own["high"]).all()
    constant = table[(table["system"] == "prevalence") & (table["label"] == "a")]
    assert constant["studies"].tolist() == [40]
    assert constant["low"].isna().all()
    truth = found.rows.truth["a"]
    assert constant["share"].tolist() == [truth.mean()]


def test_labels_table_has_chance_and_calibration(found):
    table = found.labels.set_index(["system", "label"])
    row = table.loc[("prevalence", "a")]
    assert row["average_precision"] == pytest.approx(row["prevalence"])
    strong = table.loc[("strong", "a")]
    for metric in ("brier", "calibration_error"):
        assert strong[f"{metric}_low"] < strong[metric] < strong[f"{metric}_high"] + 0.1
    own = table.loc["strong"]
    assert found.figure("strong", "macro_brier").value == pytest.approx(own["brier"].mean())


def test_curves_are_listed_for_drawing(found):
    records = curve_records(found.curves)
    keys = {(r["system"], r["label"], r["curve"]) for r in records}
    assert ("strong", "a", "ROC") in keys
    assert ("prevalence", "b", "PR") in keys
    for record in records:
        assert len(record["x"]) == len(record["y"]) <= 50
        assert record["x"] == sorted(record["x"])
    roc = next(r for r in records if r["system"] == "strong" and r["curve"] == "ROC")
    assert (roc["x"][0], roc["y"][0], roc["x"][-1], roc["y"][-1]) == (0, 0, 1, 1)


def test_paired_tests_by_hand():
    truth = pd.DataFrame({"a": [1.0] * 6 + [0.0] * 6})
    val = pd.DataFrame({"a": [1.0, 0.0]})
    answers = pd.DataFrame({"a": [0.9, 0.1]})
    right = pd.DataFrame({"a": [0.9] * 6 + [0.1] * 6})
    wrong = pd.DataFrame({"a": [0.9] * 12})
    rows = Rows([*"abcdefghijkl"], [*"abcdefghijkl"], ["normal"] * 12, truth)
    systems = [
        System("first", ["normal"] * 6 + ["x"] * 6, wrong, val_probabilities=answers),
        System("second", ["normal"] * 12, right, val_probabilities=answers),
    ]
    found = evaluate(rows, systems, Training([""], val_labels=val), resamples=0).paired
    assert found["what"].tolist() == ["exact match", "a"]
    for _, row in found.iterrows():
        assert (row["first"], row["second"]) == ("first", "second")
        assert row[["both", "first_only", "second_only", "neither"]].tolist() == [6, 0, 6, 0]
        assert row["p"] == row["p_adjusted"] == pytest.approx(2 * 0.5**6)


def test_the_last_system_is_tested_against_the_best_trivial_one(found):
    assert {tuple(pair) for pair in found.paired[["first", "second"]].to_numpy()} == {
        ("weak", "strong"),
        ("prevalence", "strong"),
    }
    assert (found.paired["p_adjusted"] >= found.paired["p"]).all()
    # No threshold, no decision to test.
    assert "rare" not in set(found.paired["what"])


def test_files_hold_it_all(found, tmp_path):
    tables.write_evaluation(found, tmp_path)
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert len(document["operating_points"]) == len(found.operating)
    assert document["operating_points"][0]["reason"] == ""
    assert len(document["reliability"]) == len(found.calibration)
    assert document["mcnemar"][0].keys() == set(found.paired.columns)
    assert document["curves"][0].keys() == {"system", "trivial", "label", "curve", "x", "y"}
    written = pd.read_csv(tmp_path / "operating_points.csv")
    assert len(written) == len(found.operating)
    assert len(pd.read_csv(tmp_path / "curves.csv")) == len(found.curves)
