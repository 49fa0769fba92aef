import pytest

from cascade.errors import InputError
from cascade.training.rewards import create_reward


def test_cider_knows_the_training_texts_alone_and_counts_the_end():
    reward = create_reward("cider", ["opacity/left", "opacity/right"], "annotation")
    same = reward(["opacity/left"], ["opacity/left"])
    # Of one word (left; opacity and the end are in all), of two (opacity left, left end) and of
    # three (both with the end) the cosines are 1; there is no run of four.
    assert same.tolist() == pytest.approx([0.75])
    assert reward(["opacity/left"], ["opacity/right"]).tolist() == [0.0]
    # What breaks off lacks "left end" and "opacity left end".
    cut, whole = reward(["opacity/left/left", "opacity/left"], ["opacity/left"] * 2)
    assert cut < whole


def test_labels_are_the_f1_of_each_study():
    reward = create_reward("labels", [], "annotation")
    said = ["opacity/left; edema", "normal", "", "", "opacity"]
    meant = ["opacity", "edema", "", "normal", "opacity/right"]
    assert reward(said, meant).tolist() == pytest.approx([2 / 3, 0, 1, 0, 1])


def test_labels_of_reports_are_mined():
    reward = create_reward("labels", [], "findings")
    said = ["Cardiomegaly. No effusion.", "Effusion.", "Clear lungs. Normal heart."]
    meant = ["The heart is enlarged. Pleural effusion.", "Cardiomegaly.", "Clear lungs. Normal."]
    assert reward(said, meant).tolist() == pytest.approx([2 / 3, 0, 1])


def test_a_reward_is_one_of_two():
    with pytest.raises(InputError, match="reward=bleu: expected one of cider, labels"):
        create_reward("bleu", [], "annotation")
