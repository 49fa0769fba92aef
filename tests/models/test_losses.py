import math

import pytest
import torch

from cascade.models.losses import label_loss, sequence_loss

NAN = math.nan


def test_unknown_and_uncertain_labels_take_no_part():
    # sigmoid(0) = 1/2 for the present one, sigmoid(ln 3) = 3/4 for the absent one
    logits = torch.tensor([[0.0, math.log(3)], [50.0, -50.0]])
    labels = torch.tensor([[1.0, 0.0], [NAN, -1.0]])
    expected = (math.log(2) + math.log(4)) / 2
    assert label_loss(logits, labels, exclusive=False).item() == pytest.approx(expected)


def test_unknown_labels_give_no_gradient():
    logits = torch.zeros(1, 3, requires_grad=True)
    label_loss(logits, torch.tensor([[NAN, -1.0, 1.0]]), exclusive=False).backward()
    assert logits.grad.tolist() == [[0.0, 0.0, -0.5]]


def test_exclusive_rows_without_a_label_take_no_part():
    logits = torch.tensor([[0.0, math.log(3)], [9.0, -9.0], [9.0, -9.0], [0.0, 0.0]])
    labels = torch.tensor([[0.0, 1.0], [0.0, 0.0], [NAN, NAN], [1.0, 0.0]])
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert label_loss(logits, labels, exclusive=True).item() == pytest.approx(expected)


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_batch_without_a_label_trains_nothing(exclusive):
    logits = torch.ones(2, 2, requires_grad=True)
    loss = label_loss(logits, torch.full((2, 2), NAN), exclusive)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_padding_is_left_out_of_a_sequence():
    # p = 3/4 for the first token, 1/2 for the second; the padded place has a wild score
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0], [99.0, -99.0]]])
    targets = torch.tensor([[1, 1, 0]])
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert sequence_loss(logits, targets, padding=0).item() == pytest.approx(expected)


def test_smoothing_shares_the_target_over_the_vocabulary():
    # 0.8 + 0.2 / 2 on the target of p = 3/4, 0.1 on the other of p = 1/4
    logits = torch.tensor([[[0.0, math.log(3)]]])
    expected = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    found = sequence_loss(logits, torch.tensor([[1]]), padding=0, smoothing=0.2)
    assert found.item() == pytest.approx(expected)
