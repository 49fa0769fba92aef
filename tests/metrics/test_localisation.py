import subprocess
import sys

import numpy as np
import pytest

from cascade.metrics.localisation import (
    Box,
    box_at,
    detected_boxes,
    iobb,
    iou,
    mean_box,
    overlaps,
    pointing,
    random_pointing,
)

UPPER_LEFT = Box(0.0, 0.0, 0.5, 0.5)


def test_overlaps_of_boxes_by_hand():
    shifted = Box(0.25, 0.0, 0.75, 0.5)  # half of each in common: 1/8 of 1/4; union 3/8
    assert iou(UPPER_LEFT, shifted) == pytest.approx(1 / 3)
    assert iobb(UPPER_LEFT, shifted) == pytest.approx(1 / 2)
    small = Box(0.1, 0.1, 0.2, 0.2)
    assert iobb(small, UPPER_LEFT) == pytest.approx(1.0)
    assert iou(small, UPPER_LEFT) == pytest.approx(0.01 / 0.25)
    assert iobb(UPPER_LEFT, small) == pytest.approx(0.01 / 0.25)


def test_boxes_apart_or_without_an_area_have_nothing_in_common():
    apart = Box(0.5, 0.5, 1.0, 1.0)
    assert iou(UPPER_LEFT, apart) == iobb(UPPER_LEFT, apart) == 0
    nothing = Box(0.2, 0.2, 0.2, 0.4)
    assert iobb(nothing, UPPER_LEFT) == iou(nothing, nothing) == 0


def test_the_highest_place_counts_by_its_centre():
    heat = np.zeros((4, 4))
    heat[1, 1] = 1.0  # its centre is at 3/8
    assert pointing(heat, UPPER_LEFT) == 1
    assert pointing(heat, Box(0.0, 0.0, 0.375, 0.5)) == 0  # the right edge is outside
    assert pointing(heat, Box(0.375, 0.375, 1.0, 1.0)) == 1  # the left edge is not
    assert pointing(heat, Box(0.5, 0.5, 1.0, 1.0)) == 0


def test_a_map_is_taller_or_wider_than_the_other():
    heat = np.array([[0.0, 0.0, 0.0, 9.0], [0.0, 0.0, 0.0, 0.0]])
    assert pointing(heat, Box(0.75, 0.0, 1.0, 0.5)) == 1
    assert pointing(heat, Box(0.0, 0.5, 1.0, 1.0)) == 0


def test_a_map_that_says_nothing_scores_as_a_random_place():
    assert pointing(np.zeros((4, 4)), UPPER_LEFT) == random_pointing(UPPER_LEFT) == 0.25
    assert random_pointing(Box(0.5, 0.0, 1.5, 1.0)) == 0.5  # what is over the edge is not there
    heat = np.array([[1.0, 1.0], [0.0, 0.0]])
    assert pointing(heat, UPPER_LEFT) == 0.5


def test_regions_that_touch_by_a_corner_are_two():
    heat = np.array([[0.0, 2.0, 0.0], [3.0, 0.0, 0.0], [4.0, 0.0, 0.9]])
    found = detected_boxes(heat)
    assert len(found) == 2
    assert found[0] == pytest.approx((0.0, 1 / 3, 1 / 3, 1.0))  # the region of the 4 comes first
    assert found[1] == pytest.approx((1 / 3, 0.0, 2 / 3, 1 / 3))  # 2 is half of the way
    assert len(detected_boxes(heat, 0.6)) == 1


def test_the_cut_is_of_each_map_s_own_range():
    heat = np.array([[-4.0, -2.0, -4.0]])
    assert detected_boxes(heat) == [pytest.approx((1 / 3, 0.0, 2 / 3, 1.0))]
    assert detected_boxes(np.full((2, 2), 3.0)) == []


def test_found_and_false_alarms_by_hand():
    detected = [Box(0.0, 0.0, 0.5, 0.25), Box(0.6, 0.6, 0.7, 0.7)]
    found, false = overlaps(detected, UPPER_LEFT, (0.1, 0.5, 0.6))
    assert found.tolist() == [1, 0, 0]  # an overlap of 1/2 is not more than 1/2
    assert false.tolist() == [1, 2, 2]
    found, false = overlaps(detected, UPPER_LEFT, (0.1, 0.5, 0.6), iobb)
    assert found.tolist() == [1, 1, 1]
    assert false.tolist() == [1, 1, 1]


def test_nothing_detected_finds_nothing_and_alarms_nobody():
    found, false = overlaps([], UPPER_LEFT)
    assert found.tolist() == false.tolist() == [0, 0, 0]


def test_a_mean_box_and_one_moved():
    assert mean_box([UPPER_LEFT, Box(0.1, 0.3, 0.5, 0.7)]) == pytest.approx((0.05, 0.15, 0.5, 0.6))
    assert box_at(Box(0.0, 0.0, 0.2, 0.4), 0.5, 0.5) == pytest.approx((0.4, 0.3, 0.6, 0.7))
    with pytest.raises(ValueError, match="no box"):
        mean_box([])


def test_no_torch_is_needed():
    code = "import sys, cascade.metrics.localisation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
