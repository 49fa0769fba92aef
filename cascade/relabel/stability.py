"""Whether a disease splits the same way again: from another start, and on other studies.

A split that does not come back says more of the seed than of the disease. Two clusterings are
compared by the adjusted Rand index (Hubert and Arabie 1985): 1 for the same, about 0 for chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import numpy as np

from cascade.relabel.cluster import Clusters

UNSTABLE = 0.65
"""Below it an adjusted Rand index is poor (Steinley 2004, from simulations)."""

Find = Callable[[np.ndarray, int], Clusters]
"""Contexts ``(N, H)`` and a seed to clusters."""


class Stability(NamedTuple):
    """Mean adjusted Rand indices, NaN where nothing was repeated.

    Attributes:
        seeds: between every two clusterings of the same studies from other starts.
        bootstrap: between the clustering and those of bootstrap draws of its studies, each study
            given to the nearest centre.
    """

    seeds: float
    bootstrap: float

    @property
    def unstable(self) -> bool:
        """Whether either falls below ``UNSTABLE``."""
        return min(self.seeds, self.bootstrap) < UNSTABLE


def stability(
    contexts: np.ndarray, found: Clusters, find: Find, repeats: int, seed: int
) -> Stability:
    """Cluster again and again, and compare.

    Args:
        contexts: ``(N, H)`` of the training studies.
        found: the clustering in question.
        find: how it was found, the number of clusters held.
        repeats: so many other starts, and so many bootstrap draws; 0 gives NaN.
        seed: of the clustering; the repetitions take others.

    A draw takes each study once: the copies that a bootstrap makes would be dense groups of their
    own to a rule that looks at density.
    """
    from sklearn.metrics import adjusted_rand_score

    if repeats < 1:
        return Stability(math.nan, math.nan)
    again = [found.members]
    again += [find(contexts, seed + number).members for number in range(1, repeats + 1)]
    generator = np.random.default_rng(seed)
    drawn = []
    for number in range(repeats):
        rows = np.unique(generator.integers(len(contexts), size=len(contexts)))
        other = find(contexts[rows], seed + number)
        drawn.append(adjusted_rand_score(found.members, other.assign(contexts)))
    pairs = [adjusted_rand_score(one, other) for one, other in combinations(again, 2)]
    return Stability(float(np.mean(pairs)), float(np.mean(drawn)))
