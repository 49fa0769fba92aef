"""Clusters of a disease's contexts: how many, which studies, and how a rule finds them.

``count`` and ``paper`` ask k-means for a number that follows from the studies of a disease. ``gap``
asks the contexts themselves (the gap statistic of Tibshirani, Walther and Hastie 2001), ``hdbscan``
their density (Campello, Moulavi and Sander 2013).
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

RULES = ("count", "paper", "gap", "hdbscan")
STARTS = 10
"""Starts of k-means, of which the best is kept."""
REFERENCE_STARTS = 3
"""The same where only the spread counts: the gap statistic runs k-means a hundred times."""


@dataclasses.dataclass(frozen=True)
class Clusters:
    """The contexts of one disease.

    Attributes:
        centres: ``(k, H)``.
        members: ``(N,)`` cluster of each context that shaped them.
        noise: how many of the N belonged to no cluster and were given to the nearest centre.
    """

    centres: np.ndarray
    members: np.ndarray
    noise: int = 0

    def assign(self, contexts: np.ndarray) -> np.ndarray:
        """``(M,)`` nearest centre of other contexts ``(M, H)``."""
        return nearest(self.centres, contexts)


def nearest(centres: np.ndarray, contexts: np.ndarray) -> np.ndarray:
    """``(M,)`` place of the nearest of the centres ``(k, H)`` to contexts ``(M, H)``."""
    places = [
        ((part[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        for part in np.array_split(contexts, max(1, len(contexts) // 1024))
    ]
    return np.concatenate(places)


def cluster_counts(
    cases: Mapping[str, int], rule: str, min_cases: int, cases_per_cluster: int
) -> dict[str, int | None]:
    """Into how many contexts each disease is split; 1 leaves it whole.

    Args:
        cases: training studies of each disease, normal left out.
        rule: ``paper``: diseases with at least mean + standard deviation of the counts are split,
            k = count / cases_per_cluster (Shin et al. 2016, 50 cases). ``count``: diseases with at
            least ``min_cases`` are. ``gap`` and ``hdbscan``: these too, and how many is for the
            contexts to say: None.
        min_cases: for all but ``paper``.
        cases_per_cluster: k is the count divided by this, rounded down, at least 2.

    Raises:
        ValueError: unknown rule.

    >>> cluster_counts({"opacity": 160, "nodule": 40, "edema": 10}, "count", 40, 50)
    {'opacity': 3, 'nodule': 2, 'edema': 1}
    >>> cluster_counts({"opacity": 160, "nodule": 40, "edema": 10}, "paper", 0, 50)
    {'opacity': 3, 'nodule': 1, 'edema': 1}
    >>> cluster_counts({"opacity": 160, "nodule": 40, "edema": 10}, "gap", 40, 50)
    {'opacity': None, 'nodule': None, 'edema': 1}
    """
    if rule not in RULES:
        raise ValueError(f"unknown relabel.rule {rule!r}, expected one of {list(RULES)}")
    counts = np.array(list(cases.values()), dtype=float)
    least = counts.mean() + counts.std() if rule == "paper" and len(counts) else float(min_cases)

    def contexts(count: int) -> int | None:
        if count < least or count < 2:
            return 1
        return None if rule in ("gap", "hdbscan") else max(2, count // cases_per_cluster)

    return {disease: contexts(count) for disease, count in cases.items()}


def find_clusters(
    contexts: np.ndarray, wanted: int | None, options: Mapping[str, Any], seed: int
) -> Clusters:
    """The clusters of one disease by the rule of the options.

    Args:
        contexts: ``(N, H)`` of the training studies.
        wanted: of ``cluster_counts``.
        options: ``rule``, ``min_cluster``, and for ``gap`` ``most_clusters`` and ``references``.
        seed: of every random choice.

    Returns:
        Clusters ordered by falling size; one where the disease had better stay whole.
    """
    least = int(options["min_cluster"])
    if options["rule"] == "hdbscan":
        return density_clusters(contexts, least)
    if wanted is None:
        gap = gap_statistic(
            contexts, int(options["most_clusters"]), int(options["references"]), seed
        )
        wanted = gap.best
    return cluster(contexts, wanted, least, seed)


def cluster(contexts: np.ndarray, k: int, min_cluster: int, seed: int) -> Clusters:
    """k-means; clusters smaller than ``min_cluster`` dissolve into their members' next centres.

    Args:
        contexts: ``(N, H)``.
        k: clusters asked for; fewer come back where contexts coincide or clusters dissolve.
        min_cluster: least members of a cluster.
        seed: of the starts; the best of 10 is kept.

    Returns:
        Clusters ordered by falling size.
    """
    from sklearn.cluster import KMeans

    k = min(k, len(np.unique(contexts, axis=0)))
    centres = KMeans(k, n_init=STARTS, random_state=seed).fit(contexts).cluster_centers_
    while True:
        members = nearest(centres, contexts)
        sizes = np.bincount(members, minlength=len(centres))
        if len(centres) == 1 or sizes.min() >= min_cluster:
            break
        centres = np.delete(centres, sizes.argmin(), axis=0)
    return _by_size(centres, members)


def density_clusters(contexts: np.ndarray, min_cluster: int) -> Clusters:
    """HDBSCAN: dense groups of at least ``min_cluster`` contexts, however many there are.

    What lies between the groups is noise to HDBSCAN. A study of the disease has some context, so
    noise goes to the nearest centre, as do the studies that shaped nothing; ``noise`` counts it.

    Args:
        contexts: ``(N, H)``.
        min_cluster: least members of a group.

    Returns:
        Clusters ordered by falling size; one of all where HDBSCAN finds fewer than two.
    """
    from sklearn.cluster import HDBSCAN

    members = np.zeros(len(contexts), dtype=np.int64)
    if len(contexts) >= max(2, min_cluster):
        members = HDBSCAN(min_cluster_size=max(2, min_cluster), copy=True).fit_predict(contexts)
    groups = int(members.max()) + 1
    if groups < 2:
        return Clusters(contexts.mean(axis=0, keepdims=True), np.zeros_like(members))
    centres = np.stack([contexts[members == group].mean(axis=0) for group in range(groups)])
    noise = members < 0
    members = np.where(noise, nearest(centres, contexts), members)
    return dataclasses.replace(_by_size(centres, members), noise=int(noise.sum()))


def _by_size(centres: np.ndarray, members: np.ndarray) -> Clusters:
    sizes = np.bincount(members, minlength=len(centres))
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Clusters(centres[order], rank[members])


@dataclasses.dataclass(frozen=True)
class Gap:
    """The gap statistic of k = 1, 2, ...

    Attributes:
        best: the k that it chooses.
        gaps: ``(K,)`` how far the logarithm of the spread lies below that of uniform data.
        errors: ``(K,)`` standard error of each, the simulation's own included.
    """

    best: int
    gaps: np.ndarray
    errors: np.ndarray


def gap_statistic(contexts: np.ndarray, most: int, references: int, seed: int) -> Gap:
    """How many clusters contexts make, by the gap statistic (Tibshirani et al. 2001).

    The spread within k clusters is compared with that of uniform draws over the box that the
    contexts fill along their principal axes. The smallest k is taken whose gap is at least the next
    one's less one standard error; k = 1 says that there are no clusters.

    Args:
        contexts: ``(N, H)``.
        most: largest k that is looked at.
        references: how many uniform draws.
        seed: of the draws and of k-means.
    """
    axes = np.asarray(contexts, dtype=np.float64) - contexts.mean(axis=0)
    _, _, directions = np.linalg.svd(axes, full_matrices=False)
    axes = axes @ directions.T
    most = max(1, min(most, len(np.unique(contexts, axis=0)) - 1))
    generator = np.random.default_rng(seed)
    low, high = axes.min(axis=0), axes.max(axis=0)
    found = _log_spreads(axes, most, seed)
    drawn = np.stack(
        [
            _log_spreads(generator.uniform(low, high, axes.shape), most, seed)
            for _ in range(references)
        ]
    )
    gaps = drawn.mean(axis=0) - found
    errors = drawn.std(axis=0) * np.sqrt(1 + 1 / references)
    enough = np.flatnonzero(gaps[:-1] >= gaps[1:] - errors[1:])
    return Gap(int(enough[0]) + 1 if len(enough) else most, gaps, errors)


def _log_spreads(points: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Logarithm of the sum of squares within k clusters, k = 1 to ``most``."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than k
        spreads = [
            KMeans(k, n_init=REFERENCE_STARTS, random_state=seed).fit(points).inertia_
            for k in range(1, most + 1)
        ]
    return np.log(np.maximum(spreads, np.finfo(float).tiny))
