"""One setting run under several seeds: mean, standard deviation and interval of every figure.

The bootstrap says how a figure would move with other patients; it says nothing about another run
of the same training. Several seeds do, and need at least two runs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from cascade.errors import InputError
from cascade.evaluation.significance import CONFIDENCE

SAME = ("split", "studies", "patients", "kind", "tokenizer")
"""Facts of ``meta`` that runs must share for their figures to be figures of one thing."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure over runs; NaN where it is undefined.

    Attributes:
        mean: over the runs that have the figure.
        sd: standard deviation between runs (divisor n - 1); NaN for fewer than two.
        n: how many runs have the figure.
        low, high: 95% interval of the mean, Student's t of n - 1 degrees of freedom; NaN for
            fewer than two. It holds where runs scatter about normally, and may leave [0, 1].
    """

    mean: float
    sd: float
    n: int
    low: float
    high: float


def spread(values: Sequence[float], confidence: float = CONFIDENCE) -> Spread:
    """Mean and spread of one figure over runs; NaN values are passed over.

    Args:
        values: one a run.
        confidence: of the interval of the mean.

    >>> found = spread([0.5, 0.6, 0.7])
    >>> round(found.mean, 3), round(found.sd, 3), found.n, round(found.low, 3)
    (0.6, 0.1, 3, 0.352)
    """
    array = np.asarray(values, dtype=float)
    array = array[~np.isnan(array)]
    count = len(array)
    mean = float(array.mean()) if count else math.nan
    if count < 2:
        return Spread(mean, math.nan, count, math.nan, math.nan)
    sd = float(array.std(ddof=1))
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * sd / math.sqrt(count)
    return Spread(mean, sd, count, mean - reach, mean + reach)


def pool_seeds(documents: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Spread]]:
    """Every figure of every system over evaluations of the same rows.

    Args:
        documents: the contents of ``metrics.json`` files, one a run. Runs that differ only by seed
            are the caller's to choose; two of the same seed count as two and narrow the spread.

    Returns:
        System -> metric -> ``Spread``, in the order of first appearance. ``n`` below the number of
        documents says that a run lacks the system or the figure.

    Raises:
        InputError: no document, one that is not an evaluation, or evaluations of other rows,
            another kind of text or another tokeniser.
    """
    if not documents:
        raise InputError("no evaluation to pool")
    values: dict[str, dict[str, list[float]]] = {}
    for number, document in enumerate(documents, start=1):
        try:
            meta, systems = document["meta"], document["systems"]
            for fact in SAME:
                first = documents[0]["meta"].get(fact)
                if meta.get(fact) != first:
                    raise InputError(
                        f"evaluation {number} has {fact} {meta.get(fact)!r} and the first has "
                        f"{first!r}: only evaluations of the same rows can be pooled"
                    )
            for system in systems:
                own = values.setdefault(str(system["name"]), {})
                for metric, found in system["figures"].items():
                    value = found["value"]
                    own.setdefault(metric, []).append(math.nan if value is None else float(value))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"evaluation {number} is not a metrics.json of Cascade") from error
    return {
        name: {metric: spread(found) for metric, found in figures.items()}
        for name, figures in values.items()
    }
