"""Clinical scores: reports by hand, counts and figures worked out by hand."""

import math

import numpy as np
import pytest

from cascade.metrics.clinical import clinical_figures, count_labels, label_scores

REFERENCES = [
    "Heart size is normal. No pleural effusion or pneumothorax.",  # normal
    "Cardiomegaly. Left pleural effusion. No pneumothorax.",
    "Right lower lobe pneumonia. No effusion.",
    "Small right pneumothorax with left effusion.",
]
HYPOTHESES = [
    "Heart size is normal. No pleural effusion or pneumothorax.",
    "Cardiomegaly. Right pleural effusion. Pneumothorax.",  # false finding, left for right
    "No pneumonia.",  # false denial; read as normal
    "",
]


def figures(hypotheses, references, label_set="chestxray14"):
    counts = count_labels(hypotheses, references, label_set)
    values = clinical_figures(counts, np.ones((1, len(references))))
    return {name: value[0] for name, value in values.items()}


@pytest.fixture(scope="module")
def found():
    return figures(HYPOTHESES, REFERENCES)


def test_values_of_each_text():
    counts = count_labels(HYPOTHESES, REFERENCES)
    column = {name: place for place, name in enumerate(counts.names)}
    assert counts.names[0] == "normal"
    assert len(counts.names) == 15
    assert counts.reference[:, column["normal"]].tolist() == [1, 0, 0, 0]
    assert counts.hypothesis[:3, column["normal"]].tolist() == [1, 0, 1]
    assert counts.reference[:2, column["Effusion"]].tolist() == [0, 1]
    assert np.isnan(counts.hypothesis[3]).all()
    assert math.isnan(counts.reference[0, column["Mass"]])
    assert counts.abnormal_rows.tolist() == [False, True, True, True]


def test_precision_recall_and_f1(found):
    # references: normal 1, cardiomegaly 1, effusion 2, pneumonia 1, pneumothorax 1 = 6
    # hypotheses: normal 2, cardiomegaly 1, effusion 1, pneumothorax 1 = 5
    # hits: normal 1, cardiomegaly 1, effusion 1 = 3
    assert found["clin_micro_precision"] == pytest.approx(3 / 5)
    assert found["clin_micro_recall"] == pytest.approx(3 / 6)
    assert found["clin_micro_f1"] == pytest.approx(6 / 11)
    each = [2 / 3, 1, 2 / 3, 0, 0]  # of the five labels that a reference asserts
    assert found["clin_macro_f1"] == pytest.approx(np.mean(each))
    assert found["clin_macro_recall"] == pytest.approx(np.mean([1, 1, 1 / 2, 0, 0]))


def test_findings_alone_and_abnormal_studies(found):
    assert found["clin_micro_f1_abnormal"] == pytest.approx(2 * 2 / (5 + 3))
    assert found["clin_macro_f1_abnormal"] == pytest.approx((1 + 2 / 3) / 4)
    assert found["clin_micro_f1_abnormal_studies"] == found["clin_micro_f1_abnormal"]
    # a finding in a normal study is wrong of all studies, and not among the abnormal ones
    references = ["Normal heart.", "Pneumonia."]
    more = figures(["Pneumonia.", "Pneumonia."], references)
    assert more["clin_micro_f1_abnormal"] == pytest.approx(2 / 3)
    assert more["clin_micro_f1_abnormal_studies"] == 1


def test_the_five_common_labels(found):
    # cardiomegaly 1 of 1, effusion 1 of 2; the written pneumothorax is not among them
    assert found["clin5_micro_precision"] == 1
    assert found["clin5_micro_f1"] == pytest.approx(4 / 5)
    assert found["clin5_macro_f1"] == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("label_set", ["chestxray14", "chexpert"])
def test_five_of_either_label_set(label_set):
    counts = count_labels(["Effusion."], ["Effusion."], label_set)
    assert counts.common.sum() == 5
    assert figures(["Effusion."], ["Effusion."], label_set)["clin5_macro_f1"] == 1


def test_silence_scores_nothing_but_of_normal_studies():
    silent = figures(["The lungs are clear."] * 4, REFERENCES)
    assert silent["clin_micro_f1"] == pytest.approx(2 / (6 + 4))
    assert silent["clin_micro_f1_abnormal"] == silent["clin_macro_f1_abnormal"] == 0
    assert silent["clin5_macro_f1"] == silent["contradiction"] == 0


def test_an_empty_text_says_nothing_and_is_wrong():
    empty = figures(["", " \n"], ["Pneumonia.", "Normal heart."])
    assert empty["clin_micro_f1"] == empty["clin_micro_recall"] == 0
    assert math.isnan(empty["clin_micro_precision"])
    assert empty["contradiction"] == 0
    assert math.isnan(empty["contradicted_assertions"])
    assert math.isnan(empty["side_errors"])


def test_a_perfect_system():
    perfect = figures(REFERENCES, REFERENCES)
    assert {
        value for name, value in perfect.items() if name.startswith("clin") and ":" not in name
    } == {1}
    assert perfect["clin_f1:Effusion"] == 1
    assert math.isnan(perfect["clin_f1:Mass"])
    wrong = ("contradiction", "contradicted_assertions", "side_errors", "side_differences")
    assert [perfect[name] for name in wrong] == [0] * 4


def test_contradictions(found):
    # rows 2 (asserts the denied pneumothorax) and 3 (denies the asserted pneumonia) of 4
    assert found["contradiction"] == pytest.approx(2 / 4)
    # both take a stand on: cardiomegaly, effusion, pneumothorax | cardiomegaly, effusion,
    # pneumothorax | pneumonia | nothing
    assert found["contradicted_assertions"] == pytest.approx(2 / 7)
    table = label_scores(count_labels(HYPOTHESES, REFERENCES))
    assert table["false_findings"].sum() == table.loc["Pneumothorax", "false_findings"] == 1
    assert table["false_denials"].sum() == table.loc["Pneumonia", "false_denials"] == 1


@pytest.mark.parametrize(
    ("hypothesis", "reference", "contradicted"),
    [
        ("Effusion.", "No effusion.", 1),
        ("No effusion.", "Effusion.", 1),
        ("Effusion.", "Possible effusion.", 0),
        ("No effusion.", "Cannot exclude effusion.", 0),
        ("Effusion.", "Probable effusion.", 0),  # leans towards present
        ("No effusion.", "Probable effusion.", 1),
        ("Effusion.", "Heart size is normal.", 0),  # not mentioned is not denied
        ("Effusion. Pneumonia.", "No effusion. No pneumonia.", 1),  # a study counts once
        ("Heart size is normal.", "Cardiomegaly.", 1),  # worded without "no"
        ("No effusion. Large effusion.", "Effusion.", 0),  # the strongest mention decides
    ],
)
def test_what_contradicts(hypothesis, reference, contradicted):
    assert figures([hypothesis], [reference])["contradiction"] == contradicted


@pytest.mark.parametrize(
    ("hypothesis", "reference", "compared", "wrong", "unequal"),
    [
        ("Left effusion.", "Right effusion.", 1, 1, 1),
        ("Left effusion.", "Left effusion.", 1, 0, 0),
        ("Left effusion.", "Bilateral effusions.", 1, 0, 1),
        ("Effusion.", "Right effusion.", 0, 0, 0),
        ("Left effusion.", "No right effusion.", 0, 0, 0),
        ("Left effusion.", "Right nodule.", 0, 0, 0),
        ("Left effusion and right nodule.", "Right effusion and left nodule.", 2, 2, 2),
        ("Left rib fracture.", "Right rib fracture.", 1, 1, 1),  # of every finding, label or not
        ("Left effusion. Right effusion.", "Effusions, left greater than right.", 1, 0, 0),
    ],
)
def test_side_errors(hypothesis, reference, compared, wrong, unequal):
    counts = count_labels([hypothesis], [reference])
    sums = (counts.sides_compared, counts.sides_wrong, counts.sides_unequal)
    assert [int(side[0]) for side in sums] == [compared, wrong, unequal]


def test_weights_are_repetitions():
    counts = count_labels(HYPOTHESES, REFERENCES)
    weights = np.array([[2, 1, 0, 3], [1, 1, 1, 1]])
    drawn = [place for place, times in enumerate(weights[0]) for _ in range(times)]
    repeated = figures([HYPOTHESES[i] for i in drawn], [REFERENCES[i] for i in drawn])
    weighed = clinical_figures(counts, weights)
    for name, value in weighed.items():
        assert value.shape == (2,)
        assert value[0] == pytest.approx(repeated[name], nan_ok=True), name


def test_label_table():
    table = label_scores(count_labels(HYPOTHESES, REFERENCES))
    effusion = table.loc["Effusion"]
    assert effusion[["support", "written", "hits"]].tolist() == [2, 1, 1]
    assert effusion[["precision", "recall", "f1"]].tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert math.isnan(table.loc["Mass", "f1"])
    assert table.loc["Pneumonia", ["recall", "f1"]].tolist() == [0, 0]


def test_wrong_calls():
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        count_labels(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="unknown label set 'mimic', expected one of"):
        count_labels(["a"], ["a"], "mimic")
