"""Clusters of a disease's contexts: k-means, k by a count rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

RULES = ("paper", "count")


@dataclasses.dataclass(frozen=True)
class Clusters:
    """The contexts of one disease.

    Attributes:
        centres: ``(k, H)``.
        members: ``(N,)`` cluster of each context that shaped them.
    """

    centres: np.ndarray
    members: np.ndarray

    def assign(self, contexts: np.ndarray) -> np.ndarray:
        """``(M,)`` nearest centre of other contexts ``(M, H)``."""
        distances = ((contexts[:, None] - self.centres[None]) ** 2).sum(axis=2)
        return distances.argmin(axis=1)


def cluster_counts(
    cases: Mapping[str, int], rule: str, min_cases: int, cases_per_cluster: int
) -> dict[str, int]:
    """Into how many contexts each disease is split; 1 leaves it whole.

    Args:
        cases: training studies of each disease, normal left out.
        rule: ``paper``: diseases with at least mean + standard deviation of the counts are split,
            k = count / cases_per_cluster (Shin et al. 2016, 50 cases). ``count``: diseases with at
            least ``min_cases`` are.
        min_cases: for ``count``.
        cases_per_cluster: k is the count divided by this, rounded down, at least 2.

    Raises:
        ValueError: unknown rule.

    >>> cluster_counts({"opacity": 160, "nodule": 40, "edema": 10}, "count", 40, 50)
    {'opacity': 3, 'nodule': 2, 'edema': 1}
    >>> cluster_counts({"opacity": 160, "nodule": 40, "edema": 10}, "paper", 0, 50)
    {'opacity': 3, 'nodule': 1, 'edema': 1}
    """
    if rule not in RULES:
        raise ValueError(f"unknown relabel.rule {rule!r}, expected one of {list(RULES)}")
    counts = np.array(list(cases.values()), dtype=float)
    least = counts.mean() + counts.std() if rule == "paper" and len(counts) else float(min_cases)
    return {
        disease: max(2, count // cases_per_cluster) if count >= least and count >= 2 else 1
        for disease, count in cases.items()
    }


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
    centres = KMeans(k, n_init=10, random_state=seed).fit(contexts).cluster_centers_
    while True:
        members = Clusters(centres, np.empty(0)).assign(contexts)
        sizes = np.bincount(members, minlength=len(centres))
        if len(centres) == 1 or sizes.min() >= min_cluster:
            break
        centres = np.delete(centres, sizes.argmin(), axis=0)
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Clusters(centres[order], rank[members])
