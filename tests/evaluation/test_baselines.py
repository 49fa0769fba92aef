"""Trivial systems: what each one says, by hand."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from cascade.evaluation import baselines as b
from cascade.evaluation.systems import Rows, System, Training
from cascade.io.openi import read_openi
from cascade.metrics import nlg
from cascade.metrics.nlg import annotation_words

NAN = float("nan")
TRAINING = ["normal", "normal", "normal", "opacity/left", "opacity/left", "nodule/lung"]


def rows(references, truth=None):
    ids = [str(number) for number in range(len(references))]
    return Rows(ids, ids, references, truth)


def by_name(systems):
    return {system.name: system for system in systems}


def test_fixed_text_is_chosen_on_validation():
    validation = ["opacity/left", "opacity/left", "normal"]
    assert b.fixed_text(TRAINING, validation, annotation_words) == "opacity/left"
    # "normal" has more single words right, but "opacity/left" has pairs.
    assert b.fixed_text(TRAINING, [], annotation_words) == "opacity/left"
    assert b.fixed_text(TRAINING, [], annotation_words, candidates=1) == "normal"


def test_fixed_text_scores_as_corpus_bleu_does():
    generator = np.random.default_rng(0)
    words = np.array([*"abcd"])
    training, validation = (
        [" ".join(generator.choice(words, generator.integers(1, 9))) for _ in range(30)]
        for _ in range(2)
    )

    def score(text):
        bleu = nlg.corpus_bleu([text] * len(validation), validation, nlg.spaced_words)
        return np.mean(bleu)

    chosen = b.fixed_text(training, validation, nlg.spaced_words)
    assert score(chosen) == pytest.approx(max(score(text) for text in training))


def test_fixed_text_of_no_text():
    with pytest.raises(ValueError, match="no training report has a word"):
        b.fixed_text(["", " "], [], annotation_words)


def test_text_baselines():
    training = Training(
        TRAINING,
        ["opacity/left"],
        features=np.eye(6),
        test_features=np.array([[0, 0, 0, 0, 0, 9.0], [1, 0.1, 0, 0, 0, 0]]),
        pixels=np.arange(6 * 4).reshape(6, 2, 2) % 7,
        test_pixels=(np.arange(6 * 4).reshape(6, 2, 2) % 7)[[3, 5]] * 10 + 4,
    )
    found = by_name(b.text_baselines(rows(["normal", "normal"]), training, annotation_words, 0))
    assert all(system.trivial and system.note for system in found.values())
    assert found["fixed training report"].hypotheses == ["opacity/left"] * 2
    assert found["commonest training report"].hypotheses == ["normal"] * 2
    assert found["nearest neighbour (encoder features)"].hypotheses == ["nodule/lung", "normal"]
    # Brighter and of more contrast, but the same picture.
    assert found["nearest neighbour (pixels)"].hypotheses == ["opacity/left", "nodule/lung"]
    assert set(found["random training report"].hypotheses) <= set(TRAINING)


def test_random_reports_follow_the_seed():
    many = rows(["normal"] * 50)

    def draw(seed):
        systems = b.text_baselines(many, Training(TRAINING), annotation_words, seed)
        return by_name(systems)["random training report"].hypotheses

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_without_training_text_there_is_no_writer():
    assert b.text_baselines(rows(["normal"]), Training([""]), annotation_words, 0) == []


def test_label_report_is_the_most_probable_label_commonest_text():
    labels = pd.DataFrame({"normal": [1, 1, 1, 0, 0, 0], "opacity": [0, 0, NAN, 1, 1, -1]})
    training = Training(TRAINING, labels=labels)
    detector = System("cnn", probabilities=pd.DataFrame({"normal": [0.9, 0.2], "opacity": 0.5}))
    made = b.label_report_baseline(detector, training, annotation_words)
    assert made is not None
    assert made.hypotheses == ["normal", "opacity/left"]
    assert made.trivial
    assert b.label_report_baseline(System("x", ["a"]), training, annotation_words) is None
    assert b.label_report_baseline(detector, Training(TRAINING), annotation_words) is None


def test_reference_baselines_never_give_a_study_its_own_report():
    references = [f"finding{number}" for number in range(9)]
    found = by_name(b.reference_baselines(rows(references), annotation_words, 3))
    other = found["another study's report"].hypotheses
    assert sorted(other) == sorted(references)
    assert all(one != two for one, two in zip(other, references, strict=True))
    assert b.reference_baselines(rows([""]), annotation_words, 0) == []


def field_words(text):
    """Roughly as the field tokenises these reports: lower case, full stops as words."""
    text = re.sub(r"\b\d\. ", "", text.replace("..", ".").replace("..", ".")).lower()
    sentences = [re.sub(r"[^\w\s]", "", part).strip() for part in text.split(". ")]
    return (" . ".join(part for part in sentences if part) + " .").split()


@pytest.mark.realdata
def test_the_fixed_report_is_as_strong_as_it_can_be(real_data):
    """One sentence list without any image: BLEU-1..4 .500 .338 .240 .172 (docs/evaluation.md)."""
    split = json.loads((real_data / "openi" / "r2gen_split.json").read_text())
    studies = read_openi(real_data / "openi").studies
    number = studies["study_id"].str.replace(r"\D", "", regex=True)
    findings = dict(zip(number, studies["findings"], strict=True))
    texts = {
        name: [findings[re.match(r"CXR(\d+)_", study)[1]] for study in ids]
        for name, ids in split.items()
    }
    chosen = b.fixed_text(texts["train"], texts["val"], field_words)
    scores = nlg.corpus_bleu([chosen] * len(texts["test"]), texts["test"], field_words)
    assert scores == pytest.approx((0.500, 0.338, 0.240, 0.172), abs=0.005)
