import math

import pytest
import torch

from cascade.models.calibration import Agreement, Calibration

LOG3 = math.log(3)


def close(found, expected):
    assert found.tolist() == [pytest.approx(row) for row in expected]


def test_nothing_fitted_changes_nothing():
    logits = torch.tensor([[0.0, LOG3], [5.0, -7.0]])
    assert torch.equal(Calibration(False)(logits), logits.sigmoid())
    assert torch.equal(Calibration(True)(logits), logits.softmax(dim=1))


def test_a_line_by_hand():
    logits = torch.tensor([[2 * LOG3, LOG3]])
    close(Calibration(False, "temperature", [0.5, 1.0])(logits), [[0.75, 0.75]])
    close(Calibration(False, "platt", [0.5, 1.0], [0.0, -LOG3])(logits), [[0.75, 0.5]])
    close(Calibration(True, "platt", [1.0, 1.0], [-LOG3, LOG3])(logits), [[0.25, 0.75]])


def test_knots_by_hand():
    knots = [([0.5, 0.75], [0.2, 0.6]), None]
    calibration = Calibration(False, "isotonic", knots=knots)
    # halfway between the knots, below the first, above the last; the other label as it is
    middle = math.log(0.625 / 0.375)
    logits = torch.tensor([[middle, LOG3], [-9.0, 0.0], [9.0, -LOG3], [0.0, 0.0], [LOG3, 0.0]])
    expected = [[0.4, 0.75], [0.2, 0.5], [0.6, 0.25], [0.2, 0.5], [0.6, 0.5]]
    close(calibration(logits), expected)


def test_exclusive_knots_add_up():
    knots = [([0.0, 1.0], [0.0, 0.5]), ([0.0, 1.0], [0.0, 0.0])]
    found = Calibration(True, "isotonic", knots=knots)(torch.zeros(1, 2))
    close(found, [[1.0, 0.0]])  # 0.25 and 0, made to add up
    nothing = [([0.0, 1.0], [0.0, 0.0])] * 2
    close(Calibration(True, "isotonic", knots=nothing)(torch.zeros(1, 2)), [[0.5, 0.5]])


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration(False),
        Calibration(False, "platt", [0.3, 2.0], [0.1, -0.7], kept=["b"]),
        Calibration(False, "isotonic", knots=[None, ([0.1, 0.2, 0.9], [0.0, 0.3, 1.0])]),
        Calibration(True, "temperature", [0.7, 0.7], agreement=Agreement(9, 0.1, 0.2, 0.05, 0.1)),
    ],
    ids=lambda calibration: calibration.method,
)
def test_to_json_and_back(calibration):
    again = Calibration.from_json(calibration.to_json(), calibration.exclusive, 2)
    logits = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(logits), calibration(logits))
    assert again.to_json() == calibration.to_json()
    assert not calibration.state_dict()  # numbers of the config, no weights


def test_what_is_no_calibration():
    with pytest.raises(ValueError, match="unknown calibration 'beta'"):
        Calibration(False, "beta")
    with pytest.raises(ValueError, match="more than 0"):
        Calibration(False, "temperature", [1.0, 0.0])
    value = Calibration(False, "temperature", [1.0, 2.0]).to_json()
    with pytest.raises(ValueError, match="scale is not of 3 labels"):
        Calibration.from_json(value, False, 3)
    assert Calibration.from_json(None, True, 3).method == "none"
