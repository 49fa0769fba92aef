"""Classical detectors: that they learn what is there, and say the rate where nothing is."""

import numpy as np
import pandas as pd
import pytest

from cascade.evaluation import detectors as d
from cascade.evaluation.systems import Rows, Training
from cascade.metrics.classification import auroc

NAN = float("nan")
ON = ("pixels", "encoder features")


def rows(references, truth=None):
    ids = [str(number) for number in range(len(references))]
    return Rows(ids, ids, references, truth)


def by_name(systems):
    return {system.name: system for system in systems}


def test_prevalence_counts_only_what_is_known():
    truth = np.array([[1, 0], [0, NAN], [-1, NAN], [NAN, -1]])
    assert d.prevalence(truth).tolist() == [0.5, 0.0]
    assert d.prevalence(np.full((2, 1), NAN)).tolist() == [0.0]


def test_small_pixels_pool_by_area():
    image = np.zeros((1, 4, 4))
    image[0, :2, :2] = 8
    small = d.small_pixels(image, side=2)
    assert small.shape == (1, 4)
    assert small.mean() == pytest.approx(0, abs=1e-6)
    assert small.std() == pytest.approx(1)
    assert small[0].tolist() == pytest.approx([3**0.5, *([-(3**-0.5)] * 3)])
    assert d.small_pixels(np.ones((1, 5, 5)), side=2).tolist() == [[0.0] * 4]


@pytest.fixture(scope="module")
def bright():
    """160 pictures whose upper half is brighter where the label is 1; 80 train, 40 val, 40 test."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, size=(160, 1)).astype(float)
    images = generator.random((160, 8, 8))
    images[:, :4] += truth[:, :, None]
    frame = pd.DataFrame({"bright": truth[:, 0], "never": 0.0, "twice": 0.0})
    frame.loc[:1, "twice"] = 1.0
    flat = images.reshape(160, -1)
    training = Training(
        ["normal"] * 80,
        labels=frame[:80],
        pixels=images[:80],
        test_pixels=images[120:],
        features=flat[:80],
        test_features=flat[120:],
        val_labels=frame[80:120],
        val_pixels=images[80:120],
        val_features=flat[80:120],
    )
    return rows(["normal"] * 40, frame[120:].reset_index(drop=True)), training, truth[:, 0]


def test_detectors_learn_what_is_there_to_learn(bright):
    scored, training, truth = bright
    found = by_name(d.detection_baselines(scored, training, 0))
    assert list(found) == ["prevalence", *(f"{name} on {on}" for on in ON for name in d.METHODS)]
    for name, system in found.items():
        system.check(scored)
        training.check(scored, [system])
        assert system.trivial
        assert system.note.endswith(".")
        if name != "prevalence":
            assert auroc(truth[120:], system.probabilities["bright"].to_numpy()) > 0.95
            assert auroc(truth[80:120], system.val_probabilities["bright"].to_numpy()) > 0.95
        if "neighbours" not in name:
            assert (system.probabilities["never"] == 0).all()
    assert found["prevalence"].probabilities["bright"].nunique() == 1
    # Two carriers are too few for three folds, and enough for a regression.
    assert (found["linear SVM on pixels"].probabilities["twice"] == 2 / 80).all()
    assert found["logistic regression on pixels"].probabilities["twice"].nunique() > 1


def test_the_distances_of_a_machine_become_probabilities(bright):
    scored, training, truth = bright
    said = by_name(d.detection_baselines(scored, training, 0))["linear SVM on pixels"].probabilities
    assert said["bright"][truth[120:] == 1].mean() > 0.8
    assert said["bright"][truth[120:] == 0].mean() < 0.2


def test_without_validation_inputs_there_are_no_validation_answers(bright):
    scored, training, _ = bright
    bare = Training(training.texts, labels=training.labels, pixels=training.pixels)
    bare.test_pixels = training.test_pixels
    found = by_name(d.detection_baselines(scored, bare, 0))
    assert list(found) == ["prevalence", *(f"{name} on pixels" for name in d.METHODS)]
    assert all(system.val_probabilities is None for system in found.values())


def test_the_same_seed_gives_the_same_answers(bright, monkeypatch):
    monkeypatch.setattr(d, "MOST_TRAINING_ROWS", 60)
    monkeypatch.setattr(d, "MOST_SVM_ROWS", 40)
    scored, training, _ = bright

    def answers(seed):
        systems = d.detection_baselines(scored, training, seed)[1:]
        assert all(f"60 training studies drawn by seed {seed}" in s.note for s in systems)
        return np.stack([system.probabilities.to_numpy() for system in systems])

    assert (answers(1) == answers(1)).all()
    assert (answers(1) != answers(2)).any(axis=(1, 2)).all()


def test_neighbours_by_hand():
    """Of the two nearest one carries the label; the rate of .25 counts as a third study."""
    learned = np.array([[1.0, 0], [1, 0.1], [0, 1], [-1, 0]])
    truth = np.array([[1.0], [0.0], [1.0], [1.0]])
    lesson = d.Lesson(learned, truth, np.array([[2.0, 0.05]]), np.array([0.25]), 0)
    assert d.neighbour_rates(lesson, neighbours=2).tolist() == [[pytest.approx(1.25 / 3)]]


def test_neighbours_that_nobody_labelled_give_the_training_rate():
    pixels = d.small_pixels(np.random.default_rng(0).random((4, 2, 2)))
    truth = np.array([[NAN], [NAN], [1.0], [-1.0]])
    lesson = d.Lesson(pixels, truth, pixels[:1], np.array([0.25]), 0)
    assert d.neighbour_rates(lesson, neighbours=1).tolist() == [[0.25]]


def test_detection_needs_labels():
    truth = pd.DataFrame({"a": [1.0]})
    assert d.detection_baselines(rows(["x"], truth), Training(["x"]), 0) == []
    other = Training(["x"], labels=pd.DataFrame({"b": [1.0]}))
    assert d.detection_baselines(rows(["x"], truth), other, 0) == []
    assert d.detection_baselines(rows(["x"]), Training(["x"], labels=truth), 0) == []
