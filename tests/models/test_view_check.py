import pytest
import torch

from cascade.models.suitability import Suitability
from cascade.models.view_check import FEATURES, GREYS, SIDE, ViewCheck, gradient_features


def ramp(side=SIDE):
    """Brighter to the right."""
    return torch.linspace(0, 1, side).expand(1, 1, side, side)


def orientations(picture):
    return gradient_features(picture)[0, : -(GREYS**2)].view(8, 8, 8)  # bins, rows, columns


def test_gradients_fall_into_their_bins_by_hand():
    seen = orientations(ramp())
    assert seen[0, 3, 3] > 0.9  # to the right: angle 0
    assert seen[1:, 3, 3].abs().max() == 0
    assert orientations(1 - ramp())[4, 3, 3] > 0.9  # inverted: the other way
    assert orientations(ramp().transpose(2, 3))[2, 3, 3] > 0.9  # downwards: a quarter circle on
    diagonal = orientations(ramp() + 0.5 * ramp().transpose(2, 3))[:, 3, 3] ** 2
    # atan(1/2) is 0.59 of a bin: the two beside it share the strength so
    assert (diagonal[1] / (diagonal[0] + diagonal[1])).item() == pytest.approx(0.5903, abs=1e-3)


def test_exposure_and_size_do_not_count():
    picture = ramp() ** 2
    doubled = picture.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    for same in (0.5 * picture + 0.2, doubled):
        difference = gradient_features(picture) - gradient_features(same)
        assert difference.abs().max() < 1e-3
    assert gradient_features(torch.zeros(2, 1, 20, 30)).shape == (2, FEATURES)
    assert gradient_features(torch.zeros(1, 1, 20, 30)).isfinite().all()


def check(*biases, accepted=("frontal",), limit=0.0):
    """One that looks at nothing: each class has a fixed score."""
    names = ["frontal", "lateral", "inverted", "other"][: len(biases)]
    found = ViewCheck(names, accepted)
    found.bias.copy_(torch.tensor(biases))
    found.limit.fill_(limit)
    return found


def test_the_class_that_leads_speaks():
    assert check(1.0, 0.0, 0.5)(ramp()) == [None]
    assert check(0.0, 0.0, 0.5)(ramp()) == ["looks inverted"]
    assert check(0.0, 0.2, -3.0, 0.1)(ramp()) == ["looks like a lateral view"]
    assert check(0.0, 0.2, -3.0, 0.6, limit=0.7)(ramp()) == [None]


def test_accepted_classes_stand_together():
    both = check(0.0, 0.0, 0.5, accepted=("frontal", "lateral"))
    # log(1 + 1) = 0.693 against 0.5
    assert both.leads(ramp())[0, 2].item() == pytest.approx(0.5 - 0.6931, abs=1e-4)
    assert both.leads(ramp())[0, :2].tolist() == [-torch.inf, -torch.inf]
    assert both(ramp()) == [None]
    assert ViewCheck.from_json(both.to_json()).accepted == ("frontal", "lateral")


@pytest.mark.parametrize(
    ("classes", "accepted", "message"),
    [
        (["frontal", "oblique"], ["frontal"], r"unknown classes \['oblique'\]"),
        (["frontal", "other"], ["lateral"], "are none or all of the classes"),
        (["frontal"], ["frontal"], "are none or all of the classes"),
    ],
)
def test_classes_that_cannot_be(classes, accepted, message):
    with pytest.raises(ValueError, match=message):
        ViewCheck(classes, accepted)


def test_doubts_of_a_study_are_those_of_its_images():
    distance = Suitability(1, check(0.0, 0.0, 0.5))
    distance.limit.fill_(0.5)  # of a residual of about 1: twice the accepted distance
    images, views = ramp().expand(2, 2, 1, SIDE, SIDE), torch.tensor([[True, True], [True, False]])
    apart = f"unlike the training radiographs: {distance(ramp()).item():.2f} times"
    for doubts in distance.doubts(images, views):
        assert doubts[0] == "looks inverted"
        assert doubts[1].startswith(apart)
        assert len(doubts) == 2
    distance.check, distance.limit = None, torch.tensor(9.0)
    assert distance.doubts(images, views) == [(), ()]
