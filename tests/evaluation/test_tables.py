"""An evaluation's figures, its files and its errors."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from cascade.errors import InputError
from cascade.evaluation import tables
from cascade.evaluation.scoring import evaluate, find_normal
from cascade.evaluation.systems import Rows, System, Training
from cascade.metrics import nlg

DETECTORS = [
    "prevalence",
    "logistic regression on pixels",
    "k nearest neighbours on pixels",
    "linear SVM on pixels",
    "logistic regression on encoder features",
    "k nearest neighbours on encoder features",
    "linear SVM on encoder features",
]
TABLES = ["reports", "labels", "diseases", "slots", "strata", "differences"]


def rows_of(references, truth=None, patients=None, **more):
    ids = [str(number) for number in range(len(references))]
    return Rows(ids, patients or ids, references, truth, **more)


def no_nan(value):
    raise ValueError(f"{value} in JSON")


def test_figures_are_those_of_the_metrics(evaluation, case):
    rows, systems, _ = case
    for system in systems:
        texts = (system.hypotheses, rows.references, nlg.annotation_words)
        found = evaluation.figures[system.name]
        bleu = [found[f"bleu{order}"].value for order in (1, 2, 3, 4)]
        precision = [found[f"precision{order}"].value for order in (1, 2, 3, 4)]
        assert bleu == pytest.approx(nlg.corpus_bleu(*texts))
        assert precision == pytest.approx(nlg.mean_ngram_precision(*texts))
        assert found["exact"].value == pytest.approx(nlg.exact_matches(*texts).mean())
        assert found["distinct"].value == nlg.distinct_count(system.hypotheses, texts[2])
        assert found["exact"].low < found["exact"].value < found["exact"].high


def test_a_single_row_of_the_labels_table_is_that_of_the_metrics(evaluation):
    table = evaluation.labels.set_index(["system", "label"])
    found = evaluation.figures["round 2"]
    defined = [table.loc[("round 2", name), "auroc"] for name in ("normal", "opacity")]
    assert defined == pytest.approx([found["auroc:normal"].value, found["auroc:opacity"].value])
    assert table.loc[("round 2", "hernia"), "positives"] == 0
    assert math.isnan(table.loc[("round 2", "hernia"), "auroc"])
    macro = table.loc["round 2"]["auroc"].dropna()
    assert len(macro) == 4
    assert found["macro_auroc"].value == pytest.approx(macro.mean())
    assert any("1 of 5 labels" in note and "hernia" in note for note in evaluation.notes)


def test_systems_stand_before_the_trivial_ones(evaluation):
    trivial = [system.trivial for system in evaluation.systems]
    assert trivial == sorted(trivial)
    assert [system.name for system in evaluation.systems] == [
        "round 1",
        "round 2",
        "fixed training report",
        "commonest training report",
        "random training report",
        "nearest neighbour (encoder features)",
        "nearest neighbour (pixels)",
        "label's commonest report (round 2)",
        *DETECTORS,
    ]
    assert evaluation.main.name == "round 2"
    assert evaluation.figure("prevalence", "macro_auroc").value == 0.5
    assert math.isnan(evaluation.figure("prevalence", "bleu1").value)


def test_differences_compare_rounds_and_the_best_trivial(evaluation):
    exact = [d for d in evaluation.differences if d.metric == "exact"]
    assert (exact[0].first, exact[0].second) == ("round 1", "round 2")
    assert exact[0].holds
    assert exact[0].value == pytest.approx(
        evaluation.figure("round 2", "exact").value - evaluation.figure("round 1", "exact").value
    )
    best = max(
        (s for s in evaluation.systems if s.trivial and s.hypotheses),
        key=lambda system: evaluation.figure(system.name, "exact").value,
    )
    assert (exact[1].first, exact[1].second) == (best.name, "round 2")


def test_strata_sum_to_all(evaluation):
    table = evaluation.strata[evaluation.strata["system"] == "round 1"].set_index("stratum")
    count, exact = table["studies"], table["exact"]
    assert count["normal"] + count["abnormal"] == count["all"] == 40
    parts = exact["normal"] * count["normal"] + exact["abnormal"] * count["abnormal"]
    assert parts / 40 == pytest.approx(exact["all"])


def test_empty_hypotheses_are_counted_and_said(evaluation):
    assert evaluation.figure("round 1", "empty").value == 1
    assert "Empty hypotheses, each counted as zero: round 1 1." in evaluation.notes


def test_same_seed_same_figures(case):
    rows, systems, training = case
    one, two, other = (
        tables.as_json(evaluate(rows, systems, training, seed=seed, resamples=50))
        for seed in (3, 3, 4)
    )
    assert one == two
    assert one != other


def test_files(evaluation, tmp_path):
    written = tables.write_evaluation(evaluation, tmp_path / "new" / "out")
    detection = [f"{name}.csv" for name in ("operating_points", "reliability", "curves", "mcnemar")]
    names = ["metrics.json", *(f"{name}_table.csv" for name in TABLES), *detection, "index.html"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == sorted(names)
    text = written[0].read_text()
    metrics = json.loads(text, parse_constant=no_nan)
    assert metrics["meta"]["commit"] == "0123abc"
    assert metrics["meta"]["tokenizer"] == "annotation-words"
    assert metrics["meta"]["studies"] == 40
    assert metrics["meta"]["patients"] == 20
    assert metrics["main"] == "round 2"
    hernia = next(row for row in metrics["labels"] if row["label"] == "hernia")
    assert hernia["auroc"] is None
    assert hernia["positives"] == 0
    round_2 = next(system for system in metrics["systems"] if system["name"] == "round 2")
    assert round_2["figures"]["exact"]["low"] < round_2["figures"]["exact"]["value"]
    assert "secret-" not in text
    table = pd.read_csv(written[1])
    assert table["system"].tolist() == [system.name for system in evaluation.systems]
    tables.write_evaluation(evaluation, tmp_path / "new" / "out")  # again, over the first


def test_a_classifier_alone(case, tmp_path):
    rows, systems, training = case
    detector = System("cnn", probabilities=systems[1].probabilities)
    found = evaluate(rows, [detector], training, resamples=20)
    assert [system.name for system in found.systems if system.trivial] == DETECTORS
    assert found.diseases.empty
    assert found.strata.empty
    assert {d.metric for d in found.differences} == {"macro_auroc", "macro_average_precision"}
    tables.write_evaluation(found, tmp_path)
    assert "AUROC" in tables.format_tables(found)


def test_a_writer_alone(case, tmp_path):
    rows, systems, training = case
    rows = Rows(rows.study_ids, rows.patient_ids, rows.references)
    found = evaluate(rows, [System("writer", systems[1].hypotheses)], training, resamples=20)
    assert found.labels.empty
    assert not any("pixels" in s.name and s.probabilities is not None for s in found.systems)
    tables.write_evaluation(found, tmp_path)
    assert "AUROC" not in tables.format_tables(found)


def test_one_study(tmp_path):
    truth = pd.DataFrame({"opacity": [1.0], "normal": [0.0]})
    system = System("model", ["opacity"], pd.DataFrame({"opacity": [0.7], "normal": [0.2]}))
    training = Training(["normal"], ["normal"], pd.DataFrame({"opacity": [0.0], "normal": [1.0]}))
    found = evaluate(rows_of(["opacity/left"], truth), [system], training)
    assert found.meta["resamples"] == 0
    assert math.isnan(found.figure("model", "exact").low)
    assert math.isnan(found.figure("model", "macro_auroc").value)
    assert not any(d.holds for d in found.differences)
    assert any("one patient" in note for note in found.notes)
    tables.write_evaluation(found, tmp_path)


def test_free_text_has_no_disease_figures(case, tmp_path):
    rows = rows_of(["No focal air-space disease.", "Heart is large."])
    found = evaluate(rows, [System("m", ["No disease.", ""])], kind="report", resamples=20)
    assert found.meta["tokenizer"] == "report-words"
    assert found.diseases.empty
    assert math.isnan(found.figure("m", "macro_f1_abnormal").value)
    assert found.meta["normal_studies"] == 1, "by the words of the report"
    assert not any("No strata" in note for note in found.notes)
    assert [system.name for system in found.systems[1:]] == [
        "fixed report (of the references)",
        "commonest report (of the references)",
        "another study's report",
    ]
    tables.write_evaluation(found, tmp_path)


def test_normal_by_annotation_truth_or_word():
    texts = ["normal", "normal; nodule", ""]
    assert find_normal(rows_of(texts), "annotation").tolist() == [True, False, False]
    truth = pd.DataFrame({"No Finding": [1.0, 0.0, np.nan]})
    assert find_normal(rows_of(texts, truth), "report").tolist() == [True, False, False]
    detector_only = rows_of(["", "", ""], pd.DataFrame({"normal": [1.0, 0.0, -1.0]}))
    assert find_normal(detector_only, "annotation").tolist() == [True, False, False]
    told = rows_of(texts, normal=np.array([0, 0, 1]))
    assert find_normal(told, "annotation").tolist() == [False, False, True]
    written = rows_of(["No edema.", "Small effusion.", ""])
    assert find_normal(written, "report").tolist() == [True, False, False]
    assert find_normal(rows_of(["", "", ""]), "report") is None


def test_a_stratum_without_studies(tmp_path):
    found = evaluate(rows_of(["normal", "normal"]), [System("m", ["normal", ""])], resamples=10)
    table = found.strata.set_index(["system", "stratum"])
    assert table.loc[("m", "abnormal"), "studies"] == 0
    assert math.isnan(table.loc[("m", "abnormal"), "exact"])
    tables.write_evaluation(found, tmp_path)


def test_only_trivial_systems(tmp_path):
    found = evaluate(rows_of(["normal"] * 3), [System("fixed", ["normal"] * 3, trivial=True)])
    assert found.main.name == "fixed"
    assert found.differences == []
    tables.write_evaluation(found, tmp_path)


def test_a_baseline_given_by_hand_is_not_made_again(case):
    rows, systems, training = case
    own = System("prevalence", probabilities=systems[0].probabilities, trivial=True)
    found = evaluate(rows, [*systems, own], training, resamples=0)
    assert [system.name for system in found.systems].count("prevalence") == 1


def test_console_tables_show_the_best_and_the_verdict(evaluation):
    text = tables.format_tables(evaluation, width=110)
    assert "40 studies of split test, 20 patients" in text
    assert "annotation-words" in text
    assert "round 1" in text
    assert "nearest neighbour (pixels)" in text
    assert "yes" in text
    assert max(map(len, text.splitlines())) <= 110


PROBABILITIES = pd.DataFrame({"a": [0.5, 0.5]})


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (System("m"), "neither hypotheses nor probabilities"),
        (System("m", ["x"]), "1 hypotheses for 2 studies"),
        (System("m", ["x", None]), "hypothesis 2 is None, not text"),
        (System("m", None, PROBABILITIES[:1]), "1 probabilities for 2 studies"),
        (System("m", None, PROBABILITIES.rename(columns={"a": "b"})), r"label\(s\) a"),
        (System("m", None, PROBABILITIES * 3), "outside 0 to 1"),
        (System("m", None, PROBABILITIES * np.nan), "missing or outside"),
    ],
)
def test_a_system_that_does_not_answer_the_rows(system, message):
    rows = rows_of(["x", "y"], pd.DataFrame({"a": [1.0, 0.0]}))
    with pytest.raises(InputError, match=message):
        evaluate(rows, [system])


def test_wrong_calls():
    rows = rows_of(["x", "y"])
    system = System("m", ["x", "y"])
    with pytest.raises(InputError, match="no system"):
        evaluate(rows, [])
    with pytest.raises(InputError, match="two systems are called 'm'"):
        evaluate(rows, [system, system])
    with pytest.raises(InputError, match="unknown tokenizer 'nltk', expected one of"):
        evaluate(rows, [system], tokenizer="nltk")
    with pytest.raises(ValueError, match="unknown kind"):
        evaluate(rows, [system], kind="poem")
    with pytest.raises(InputError, match="training labels has 1 rows, 2 were expected"):
        evaluate(rows, [system], Training(["x", "y"], labels=PROBABILITIES[:1]))
    with pytest.raises(InputError, match="test_pixels has 1 rows, 2"):
        evaluate(rows, [system], Training(["x"], test_pixels=np.zeros((1, 2, 2))))


def test_wrong_rows():
    with pytest.raises(InputError, match="no study to score in split 'val'"):
        Rows([], [], [], split="val")
    with pytest.raises(InputError, match="'a' occurs twice"):
        Rows(["a", "a"], ["p", "p"], ["x", "y"])
    with pytest.raises(InputError, match="references has 1 rows for 2 studies"):
        Rows(["a", "b"], ["p", "p"], ["x"])
