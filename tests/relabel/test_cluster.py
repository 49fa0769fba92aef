import numpy as np
import pytest

from cascade.relabel import cluster as cluster_module
from cascade.relabel.cluster import (
    cluster,
    cluster_counts,
    density_clusters,
    find_clusters,
    gap_statistic,
)


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
    with pytest.raises(ValueError, match=r"unknown relabel.rule 'mean', expected one of \['count'"):
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


def test_rules_that_ask_the_contexts_give_no_number():
    cases = {"few": 39, "least": 40, "many": 150}
    for rule in ("gap", "hdbscan"):
        assert cluster_counts(cases, rule, 40, 50) == {"few": 1, "least": None, "many": None}


def corners(*sizes):
    """The three groups of Tibshirani et al. 2001: normals about (0, 0), (0, 5), (5, -3)."""
    generator = np.random.default_rng(0)
    places = ((0, 0), (0, 5), (5, -3))
    return np.concatenate(
        [generator.normal(p, 0.3, (n, 2)) for p, n in zip(places, sizes, strict=True)]
    )


def test_the_gap_statistic_counts_groups():
    assert gap_statistic(corners(20, 20, 20), 5, 10, seed=0).best == 3
    assert gap_statistic(groups(20, 20), 5, 10, seed=0).best == 2


def test_the_gap_statistic_leaves_a_cloud_whole():
    cloud = np.random.default_rng(3).normal(size=(60, 4))
    found = gap_statistic(cloud, 5, 10, seed=0)
    assert found.best == 1
    assert len(found.gaps) == len(found.errors) == 5
    again = gap_statistic(cloud, 5, 10, seed=0)
    assert np.array_equal(found.gaps, again.gaps)


def test_the_gap_is_the_one_of_the_definition(monkeypatch):
    monkeypatch.setattr(cluster_module, "REFERENCE_STARTS", 20)  # finds the best cut of a draw
    # about 0.5 and 10.5 on a line, middle 5.5: squares within one cluster 5.5^2 * 2 + 4.5^2 * 2
    # = 101, within two 4 * 0.5^2 = 1
    points = np.array([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0], [11.0, 0.0]])
    found = gap_statistic(points, 2, 50, seed=0)
    generator = np.random.default_rng(0)
    # along the principal axis the box is 11 wide, across it has no width
    spreads = []
    for _ in range(50):
        drawn = np.sort(generator.uniform([-5.5, 0], [5.5, 0], (4, 2))[:, 0])
        parts = [(drawn[:cut], drawn[cut:]) for cut in (1, 2, 3)]
        two = min(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum() for a, b in parts)
        spreads.append(np.log([((drawn - drawn.mean()) ** 2).sum(), two]))
    expected = np.mean(spreads, axis=0) - np.log([101.0, 1.0])
    np.testing.assert_allclose(found.gaps, expected, rtol=1e-6)
    np.testing.assert_allclose(found.errors, np.std(spreads, axis=0) * np.sqrt(1.02), rtol=1e-6)


def test_equal_contexts_have_no_gap():
    assert gap_statistic(np.ones((6, 3)), 4, 5, seed=0).best == 1


def test_hdbscan_gives_noise_to_the_nearest_centre():
    far = [[4.0, 30.0]]  # from both groups, a little less from the one about 0
    points = np.concatenate([groups(12, 15), far])
    found = density_clusters(points, 5)
    np.testing.assert_allclose(found.centres[:, 0], [10, 0], atol=0.2)
    assert found.members.tolist() == [1] * 12 + [0] * 15 + [1]
    assert found.noise == 1


def test_hdbscan_leaves_whole_what_is_one_group():
    for points in (groups(20), groups(3), np.ones((8, 2))):
        found = density_clusters(points, 5)
        assert len(found.centres) == 1
        assert found.members.tolist() == [0] * len(points)
        np.testing.assert_allclose(found.centres[0], points.mean(axis=0))


def test_each_rule_finds_the_groups():
    options = {"min_cluster": 8, "most_clusters": 5, "references": 10}
    points = corners(12, 20, 15)
    for rule, wanted in (("count", 3), ("paper", 3), ("gap", None), ("hdbscan", None)):
        found = find_clusters(points, wanted, {**options, "rule": rule}, seed=0)
        assert found.members.tolist() == [2] * 12 + [0] * 20 + [1] * 15
