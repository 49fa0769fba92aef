import math

import pytest
import torch

from cascade.data.datasets import Batch
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier, disease_probabilities
from cascade.training.classifier import ClassifierModule, disease_truth

NAN = math.nan


def test_a_disease_is_present_if_any_context_is():
    labels = torch.tensor(
        [
            [0.0, 1.0, 0.0],
            [1.0, 0.0, 0.0],
            [NAN, NAN, NAN],
            [0.0, NAN, 0.0],
            [0.0, -1.0, 0.0],
            [0.0, -1.0, 1.0],
            [-1.0, NAN, NAN],
        ]
    )
    expected = torch.tensor(
        [[0.0, 1.0], [1.0, 0.0], [NAN, NAN], [0.0, 0.0], [0.0, -1.0], [0.0, 1.0], [-1.0, NAN]]
    )
    assert torch.equal(disease_truth(labels, [0, 1, 1], 2).nan_to_num(9), expected.nan_to_num(9))


class Scores(torch.nn.Module):
    """Gives the logits that it is told to."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))

    def forward(self, images, views):
        return self.logits


def validated(logits, labels, owners):
    module = ClassifierModule(Scores(logits), False, owners, {})
    logged = {}
    module.log = lambda name, value, **_: logged.__setitem__(name, float(value))
    ids = [str(row) for row in range(len(logits))]
    batch = Batch(torch.zeros(0), torch.zeros(0), torch.tensor(labels), ids)
    with torch.no_grad():
        module.validation_step(batch, 0)
    module.on_validation_epoch_end()
    return logged


def test_validation_merges_contexts_before_it_scores():
    # Disease 1 has two contexts. Row 0 carries the first and is scored high on the second only:
    # wrong as labels, right as a disease. Disease 0: of 1 x 2 pairs the present one wins 1.
    logits = [[1.0, -9.0, 3.0], [0.0, -2.0, -2.0], [2.0, -3.0, -1.0]]
    labels = [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert validated(logits, labels, [0, 1, 1])["val/auroc"] == pytest.approx((0.5 + 1.0) / 2)


def test_unknown_rows_are_not_scored():
    logits, labels = [[1.0], [0.0], [9.0]], [[1.0], [0.0], [NAN]]
    found = validated(logits, labels, [0])
    assert found["val/auroc"] == 1.0
    loss = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    assert found["val/loss"] == pytest.approx(loss)


def test_where_nothing_can_be_told_apart_it_is_chance():
    assert validated([[1.0], [0.0]], [[1.0], [1.0]], [0])["val/auroc"] == 0.5


def test_scores_that_are_no_numbers_are_no_score():
    assert math.isnan(validated([[NAN], [0.0]], [[1.0], [0.0]], [0])["val/auroc"])


def test_hyperparameters_are_plain_values():
    network = StudyClassifier(create_encoder("tiny", width=4), 1)
    module = ClassifierModule(network, True, [0], {"name": "sgd", "lr": 0.1})
    assert dict(module.hparams) == {
        "exclusive": True,
        "owners": [0],
        "optimizer": {"name": "sgd", "lr": 0.1},
        "seed": 0,
    }


def test_contexts_beside_a_disease_weigh_as_much_as_the_diseases_and_do_not_score():
    # logits 0 cost ln 2 each: the mean over diseases and the mean over contexts add up
    logged = validated(
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [0, -1, -1]
    )
    first = (math.log(2) + math.log(1 + math.exp(-1))) / 2
    assert logged["val/loss"] == pytest.approx(first + math.log(2))
    assert logged["val/auroc"] == 1.0


def test_a_context_does_not_speak_for_a_disease_that_stands_beside_it():
    found = disease_probabilities(torch.tensor([[0.2, 0.9, 0.3]]), [0, -1, 1], 2, False)
    assert found[0].tolist() == pytest.approx([0.2, 0.3])
