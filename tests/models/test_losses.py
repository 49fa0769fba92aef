import math

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from cascade.models.losses import LabelLoss, class_weights, label_loss, sequence_loss

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


LOG2, LOG3 = math.log(2), math.log(3)
ZERO, THREE = torch.zeros(1, 1), torch.full((1, 1), LOG3)  # probabilities of 1/2 and 3/4


def one(label):
    return torch.tensor([[label]])


@pytest.mark.parametrize(
    ("options", "logits", "label", "expected"),
    [
        ({}, THREE, 1.0, math.log(4 / 3)),
        ({}, THREE, 0.0, math.log(4)),
        ({"loss": "focal"}, THREE, 1.0, math.log(4 / 3) / 16),  # (1 - 3/4)^2
        ({"loss": "focal"}, THREE, 0.0, math.log(4) * 9 / 16),
        ({"loss": "focal", "gamma": 0.0}, THREE, 0.0, math.log(4)),
        ({"loss": "asymmetric", "gamma_positive": 1.0}, THREE, 1.0, math.log(4 / 3) / 4),
        # the probability of 1/2 is taken for 0.4, of which 0.6 is left: 0.4^1 * -log 0.6
        (
            {"loss": "asymmetric", "gamma_negative": 1.0, "clip": 0.1},
            ZERO,
            0.0,
            -0.4 * math.log(0.6),
        ),
        ({"loss": "asymmetric", "clip": 0.6}, ZERO, 0.0, 0.0),  # let go
    ],
)
def test_each_loss_by_hand(options, logits, label, expected):
    found = LabelLoss(False, **options)(logits, one(label))
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_is_torchvisions_and_asymmetric_with_one_power_is_focal(gamma):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 3, generator=generator) * 3
    labels = torch.randint(0, 2, (8, 3), generator=generator).float()
    expected = sigmoid_focal_loss(logits, labels, alpha=-1, gamma=gamma, reduction="mean")
    focal = LabelLoss(False, "focal", gamma=gamma)
    same = LabelLoss(False, "asymmetric", gamma_positive=gamma, gamma_negative=gamma, clip=0.0)
    torch.testing.assert_close(focal(logits, labels), expected)
    torch.testing.assert_close(same(logits, labels), expected)


@pytest.mark.parametrize("loss", ["bce", "focal", "asymmetric"])
def test_sure_and_wrong_is_finite_with_a_gradient(loss):
    logits = torch.tensor([[60.0, -60.0]], requires_grad=True)
    found = LabelLoss(False, loss, gamma_positive=1.0)(logits, torch.tensor([[0.0, 1.0]]))
    found.backward()
    assert found.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("ignore", 0.0),
        ("positive", math.log(4 / 3)),
        ("negative", math.log(4)),
        ("soft", (math.log(4 / 3) + math.log(4)) / 2),
    ],
)
def test_uncertain_labels_by_policy(policy, expected):
    loss = LabelLoss(False, uncertain=policy, soft_range=(0.5, 0.5))
    assert loss(THREE, one(-1.0)).item() == pytest.approx(expected)
    # an unknown label takes no part whatever the policy, and a certain one is as it is
    both = torch.cat([THREE, THREE, ZERO], 1), torch.tensor([[-1.0, NAN, 1.0]])
    certain = [expected, LOG2] if policy != "ignore" else [LOG2]
    assert loss(*both).item() == pytest.approx(sum(certain) / len(certain))


def test_soft_targets_stay_in_their_range_and_follow_the_seed():
    loss = LabelLoss(False, uncertain="soft")
    labels = torch.tensor([[-1.0] * 50, [1.0] * 25 + [NAN] * 25])
    loss.reseed(3)
    first, second = loss.targets(labels), loss.targets(labels)
    loss.reseed(3)
    assert torch.equal(loss.targets(labels)[0], first[0])
    assert not torch.equal(first[0], second[0])
    assert 0.55 <= first[0].min() < 0.6 < 0.8 < first[0].max() <= 0.85
    assert first[1, :25].eq(1).all()
    assert first[1, 25:].isnan().all()


def test_uncertain_exclusive_labels():
    labels = torch.tensor([[-1.0, 0.0], [-1.0, -1.0], [-1.0, 1.0], [0.0, NAN]])
    logits = torch.tensor([[0.0, LOG3]]).repeat(4, 1)  # 1/4, 3/4
    # certain: the third row alone; as positive: the first too, which has one uncertain label
    for policy in ("ignore", "negative"):
        found = LabelLoss(True, uncertain=policy)(logits, labels)
        assert found.item() == pytest.approx(math.log(4 / 3))
    found = LabelLoss(True, uncertain="positive")(logits, labels)
    assert found.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


def test_exclusive_focal_and_weights():
    logits, labels = torch.tensor([[0.0, LOG3]] * 2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    focal = LabelLoss(True, "focal")(logits, labels)
    assert focal.item() == pytest.approx((math.log(4 / 3) / 16 + math.log(4) * 9 / 16) / 2)
    weighted = LabelLoss(True, weights=torch.tensor([3.0, 0.5]))(logits, labels)
    assert weighted.item() == pytest.approx((math.log(4 / 3) * 0.5 + math.log(4) * 3) / 2)


def test_weights_of_absent_and_present_and_some_columns():
    weights = torch.tensor([[0.5, 1.0], [3.0, 1.0]])
    loss = LabelLoss(False, weights=weights)
    logits = torch.zeros(1, 2)
    assert loss(logits, torch.tensor([[1.0, NAN]])).item() == pytest.approx(3 * LOG2)
    assert loss(logits, torch.tensor([[0.0, NAN]])).item() == pytest.approx(0.5 * LOG2)
    both = torch.tensor([[1.0, 1.0]])
    assert loss(logits, both).item() == pytest.approx(2 * LOG2)
    assert loss(logits, both, [0]).item() == pytest.approx(3 * LOG2)
    assert not loss.state_dict()  # a checkpoint holds the network alone


def test_class_weights_by_hand():
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    # counts 3 and 1: 1/3 and 1, over their mean over the four studies, (3 * 1/3 + 1) / 4
    assert class_weights(labels, "inverse", True).tolist() == pytest.approx([2 / 3, 2.0])
    # effective numbers at 0.5: (1 - 1/8) / 0.5 = 7/4 and 1; the mean of 4/7 and 1 is 19/28
    assert class_weights(labels, "effective", True, 0.5).tolist() == pytest.approx(
        [16 / 19, 28 / 19]
    )
    assert class_weights(labels, "effective", True, 0.0).tolist() == pytest.approx([1.0, 1.0])
    absent, present = class_weights(labels, "inverse", False)
    assert absent.tolist() == pytest.approx([2.0, 2 / 3])
    assert present.tolist() == pytest.approx([2 / 3, 2.0])
    assert class_weights(labels, "none", False) is None


def test_class_weights_count_what_is_known():
    labels = torch.tensor([[1.0, 1.0], [NAN, 1.0], [0.0, NAN], [0.0, NAN]])
    absent, present = class_weights(labels, "inverse", False)
    assert (absent[0].item(), present[0].item()) == pytest.approx((0.75, 1.5))
    assert present[1].item() == pytest.approx(1.0)  # never absent
    assert absent.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"loss": "hinge"}, "unknown loss 'hinge'"),
        ({"uncertain": "maybe"}, "unknown uncertain policy 'maybe'"),
        ({"soft_range": (0.8, 0.2)}, "expected \\[LOW, HIGH\\]"),
        ({"soft_range": (0.8,)}, "expected \\[LOW, HIGH\\]"),
        ({"exclusive": True, "loss": "asymmetric"}, "not for exclusive labels"),
        ({"exclusive": True, "uncertain": "soft"}, "not for exclusive labels"),
    ],
)
def test_what_cannot_be_chosen(arguments, words):
    with pytest.raises(ValueError, match=words):
        LabelLoss(**{"exclusive": False, **arguments})


def test_unknown_class_weights():
    with pytest.raises(ValueError, match="unknown class_weights 'sqrt'"):
        class_weights(torch.ones(1, 1), "sqrt", False)
