"""What systems that see no picture get on boxes; and no patient's own box is used to find it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from cascade.metrics.localisation import Box

LEFT, RIGHT = Box(0.0, 0.25, 0.5, 0.75), Box(0.5, 0.25, 1.0, 0.75)
UPPER = Box(0.0, 0.0, 1.0, 0.5)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "scripts"))
    import localisation_page

    yield localisation_page
    for name in ("localisation_page", "finetune_depth"):
        sys.modules.pop(name, None)


@pytest.fixture
def cases(script):
    return [
        script.Case(0, 0, "Mass", "p1", LEFT),
        script.Case(1, 0, "Mass", "p1", LEFT),
        script.Case(2, 0, "Mass", "p2", RIGHT),
        script.Case(3, 1, "Nodule", "p3", UPPER),
    ]


def test_the_usual_box_is_of_other_patients(script, cases):
    assert script.others(cases[0], cases) == RIGHT  # p1's other box takes no part
    assert script.others(cases[2], cases) == LEFT
    assert script.others(cases[3], cases) == pytest.approx((1 / 6, 0.25, 4 / 6, 0.75))  # of all


def test_guesses_by_hand(script, cases):
    found = script.guesses(cases)
    usual = found["mean box of the label, other patients"]
    assert usual.pointing.tolist() == [0, 0, 0, 0]  # (5/12, 1/2) is below the upper half
    assert usual.iou[:3].tolist() == [[0, 0, 0]] * 3
    assert usual.iou[3].tolist() == [1, 0, 0]  # 1/8 in common, of 5/8: an overlap of .2
    centre = found["centre of the picture"]
    assert centre.pointing.tolist() == [0, 0, 1, 0]  # left and top edges belong to a box
    assert centre.iobb[0].tolist() == [1, 1, 0]  # half of the box, which is not more than half
    random = found["a random place"]
    assert random.pointing.tolist() == [0.25, 0.25, 0.25, 0.5]
    assert (random.false_iou >= 0).all()


def test_seeds_are_averaged_box_by_box(script):
    one = script.Score(*(np.array([1.0]) for _ in range(5)))
    none = script.Score(*(np.array([0.0]) for _ in range(5)))
    mean = script.Score.mean([one, none])
    assert mean.pointing.tolist() == mean.false_iobb.tolist() == [0.5]
    assert script.Score(**{k: np.array(v) for k, v in mean.to_json().items()}) is not None
