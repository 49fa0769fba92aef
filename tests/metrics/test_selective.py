import math

import numpy as np
import pytest

from cascade.metrics.selective import choose_cut, risk_coverage, select


def test_the_risk_of_the_most_confident():
    # by falling confidence the risks are 0, 0.5, 1
    found = risk_coverage(np.array([0.2, 0.9, 0.6]), np.array([0.0, 1.0, 0.5]))
    assert found.tolist() == [0.0, 0.25, 0.5]


def test_equal_confidences_share_their_risk():
    # 0.9 first; the three of 0.5 have a mean risk of 1/3 each, in whatever order they stand
    quality = np.array([1.0, 0.0, 1.0, 1.0])
    found = risk_coverage(np.array([0.9, 0.5, 0.5, 0.5]), quality)
    assert found == pytest.approx([0.0, 1 / 6, 2 / 9, 1 / 4])
    # all equal: the random order
    assert risk_coverage(np.full(4, 0.5), quality) == pytest.approx([0.25] * 4)


@pytest.mark.parametrize(
    ("coverage", "cut"), [(0.25, 0.9), (0.26, 0.6), (0.5, 0.6), (0.75, 0.4), (0.9, 0.2), (1, 0.2)]
)
def test_the_cut_keeps_the_share(coverage, cut):
    assert choose_cut(np.array([0.4, 0.9, 0.2, 0.6]), coverage) == cut


def test_ties_are_kept_and_a_share_is_no_rounding_error():
    assert choose_cut(np.array([0.9, 0.5, 0.5, 0.5]), 0.5) == 0.5
    falling = np.arange(1000)[::-1] / 1000
    assert choose_cut(falling, 0.7) == 0.3  # the 700th; 0.7 * 1000 is a little more than 700
    # rounded down to the digits that rows have
    assert choose_cut(np.array([0.12345678]), 1.0) == 0.123456


def test_a_share_must_be_one():
    for share in (0.0, -1, 1.1, math.nan):
        with pytest.raises(ValueError, match="is not above 0"):
            choose_cut(np.array([0.5]), share)
    with pytest.raises(ValueError, match="no draft"):
        choose_cut(np.array([]), 0.5)


def test_what_a_threshold_does():
    found = select(np.array([0.9, 0.6, 0.3, 0.1]), np.array([1.0, 0.5, 0.0, 0.5]), 0.3)
    assert found.studies == 4
    assert found.coverage == 0.75  # at the threshold is kept
    assert (found.quality, found.kept, found.withheld) == (0.5, 0.5, 0.5)
    # risks 0, .5, 1, .5: means 0, .25, .5, .5
    assert found.area == pytest.approx(1.25 / 4)
    assert found.random == 0.5
    assert found.best == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)
    assert math.isnan(select(np.array([0.9]), np.array([1.0]), 0.95).kept)
    assert math.isnan(select(np.array([0.9]), np.array([1.0]), 0.5).withheld)
