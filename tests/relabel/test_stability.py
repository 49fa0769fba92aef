import math

import numpy as np
import pytest

from cascade.relabel.cluster import Clusters, cluster
from cascade.relabel.stability import UNSTABLE, Stability, stability


def groups():
    generator = np.random.default_rng(0)
    return np.concatenate([generator.normal(place, 0.1, (20, 2)) for place in (0, 5, 10)])


def fixed(k):
    return lambda contexts, seed: cluster(contexts, k, 1, seed)


def test_what_comes_back_is_stable():
    found = fixed(3)(groups(), 0)
    assert stability(groups(), found, fixed(3), 4, 0) == (1.0, 1.0)


def test_a_cloud_cut_in_many_does_not_come_back():
    cloud = np.random.default_rng(1).normal(size=(80, 6))
    value = stability(cloud, fixed(6)(cloud, 0), fixed(6), 3, 0)
    assert value.bootstrap < UNSTABLE
    assert value.unstable


def test_the_index_by_hand():
    """Two clusterings of four studies, as Hubert and Arabie count pairs."""
    contexts = np.array([[0.0], [1.0], [2.0], [3.0]])
    found = Clusters(np.array([[0.5], [2.5]]), np.array([0, 0, 1, 1]))

    def other(rows, seed):
        return Clusters(np.array([[0.0], [2.0]]), np.array([0, 1, 1, 1])[: len(rows)])

    # pairs together: 2 in the one (of 6), 3 in the other, 1 in both; by chance 2 * 3 / 6 = 1
    # index (1 - 1) / ((2 + 3) / 2 - 1) = 0
    value = stability(contexts, found, other, 1, 0)
    assert value.seeds == pytest.approx(0.0)
    # a draw's centres 0 and 2 give [0, 0 (the first of two as near), 1, 1]: the same
    assert value.bootstrap == pytest.approx(1.0)
    assert value.unstable


def test_without_repetitions_nothing_is_said():
    found = fixed(3)(groups(), 0)
    value = stability(groups(), found, fixed(3), 0, 0)
    assert math.isnan(value.seeds)
    assert math.isnan(value.bootstrap)
    assert not value.unstable


def test_a_draw_takes_each_study_once_and_other_seeds_are_tried():
    seen = []

    def spy(contexts, seed):
        seen.append((len(contexts), len(np.unique(contexts, axis=0)), seed))
        return cluster(contexts, 3, 1, seed)

    stability(groups(), fixed(3)(groups(), 0), spy, 2, 7)
    assert [seed for _, _, seed in seen] == [8, 9, 7, 8]
    assert [rows for rows, _, _ in seen[:2]] == [60, 60]
    for rows, distinct, _ in seen[2:]:
        assert rows == distinct < 60


def test_either_index_makes_a_split_unstable():
    assert Stability(0.64, 0.9).unstable
    assert Stability(0.9, 0.64).unstable
    assert not Stability(UNSTABLE, UNSTABLE).unstable
