import numpy as np
import pytest

from cascade.relabel.cluster import cluster, cluster_counts


def test_the_papers_rule_by_hand():
    # mean 80, deviation sqrt((60^2 + 20^2 + 40^2 + 0) / 4) = 37.4: split from 117.4 on
    cases = {"a": 140, "b": 60, "c": 40, "d": 80}
    assert cluster_counts(cases, "paper", 0, 50) == {"a": 2, "b": 1, "c": 1, "d": 1}
    assert cluster_counts({**cases, "a": 250}, "paper", 0, 50)["a"] == 5


def test_the_count_rule_by_hand():
    cases = {"few": 39, "least": 40, "some": 149, "many": 150, "none": 0}
    expected = {"few": 1, "least": 2, "some": 2, "many": 3, "none": 1}
    assert cluster_counts(cases, "count", 40, 50) == expected


def test_one_case_is_never_split():
    assert cluster_counts({"a": 1, "b": 2}, "count", 0, 50) == {"a": 1, "b": 2}
    assert cluster_counts({"a": 1}, "paper", 0, 1) == {"a": 1}
    assert cluster_counts({}, "paper", 0, 50) == {}


def test_an_unknown_rule():
    with pytest.raises(ValueError, match=r"unknown relabel.rule 'mean', expected one of \['paper'"):
        cluster_counts({"a": 1}, "mean", 0, 50)


def groups(*sizes):
    """Groups of points about 0, 10, 20, ... on a line."""
    generator = np.random.default_rng(0)
    return np.concatenate(
        [
            np.stack([10 * place + generator.normal(0, 0.1, size), np.zeros(size)], axis=1)
            for place, size in enumerate(sizes)
        ]
    )


def test_clusters_come_largest_first():
    found = cluster(groups(5, 20, 10), 3, min_cluster=2, seed=0)
    np.testing.assert_allclose(found.centres[:, 0], [10, 20, 0], atol=0.2)
    assert found.members.tolist() == [2] * 5 + [0] * 20 + [1] * 10


def test_tiny_clusters_dissolve_into_their_neighbours():
    points = groups(20, 3, 15)
    points[20:23, 0] = 13.0  # nearer to the group about 20 than to the one about 0
    found = cluster(points, 3, min_cluster=4, seed=0)
    assert found.members.tolist() == [0] * 20 + [1] * 18
    assert np.bincount(found.members).tolist() == [20, 18]


def test_what_is_too_small_everywhere_stays_whole():
    found = cluster(groups(3, 3), 2, min_cluster=10, seed=0)
    assert len(found.centres) == 1
    assert found.members.tolist() == [0] * 6


def test_equal_contexts_make_one_cluster():
    found = cluster(np.ones((8, 2), dtype=np.float32), 3, min_cluster=1, seed=0)
    assert len(found.centres) == 1


def test_others_go_to_the_nearest_centre():
    found = cluster(groups(8, 6), 2, min_cluster=2, seed=0)  # centres about 0 and 10
    assert found.assign(np.array([[4.5, 0.0], [5.5, 0.0], [99.0, 9.0]])).tolist() == [0, 1, 1]


def test_the_seed_decides():
    points = np.random.default_rng(0).normal(size=(60, 4))
    one, two = (cluster(points, 4, 2, seed=7) for _ in range(2))
    assert np.array_equal(one.members, two.members)
    assert np.array_equal(one.centres, two.centres)
