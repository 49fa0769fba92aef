"""The tables of detection: operating points, reliability, curves and paired tests of decisions.

A threshold is chosen on the validation studies and applied, unchanged, to the rows scored; where
there are no validation answers there is no operating point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cascade.evaluation.significance import Figure, McNemar, Resampling, adjusted, figure, mcnemar
from cascade.evaluation.statistics import TextScores
from cascade.evaluation.systems import Rows, System, Training
from cascade.metrics import calibration, classification
from cascade.metrics.operating import OPERATING_NAMES, OPERATING_POINTS

DECISION_METRICS = ("sensitivity", "specificity", "precision", "f1")
BEST_F1 = OPERATING_NAMES["best_f1"]
EXACT = "exact match"
OPERATING_COLUMNS = [
    *("system", "trivial", "label", "point", "threshold"),
    *("val_positives", "val_negatives", "positives", "negatives", "decided", "hits"),
    *(f"{metric}{end}" for metric in DECISION_METRICS for end in ("", "_low", "_high")),
    "reason",
]
RELIABILITY_COLUMNS = [
    *("system", "trivial", "label", "bin", "studies", "lowest", "highest"),
    *("probability", "share", "low", "high"),
]
CURVE_COLUMNS = ["system", "trivial", "label", "curve", "x", "y"]
PAIRED_COLUMNS = [
    *("first", "second", "what", "studies", "both", "first_only", "second_only", "neither"),
    *("p", "p_adjusted"),
]


class OperatingScores:
    """One system's yes/no decisions at each operating point, by thresholds of validation.

    Attributes:
        thresholds: operating point -> ``(K,)``, NaN where validation has one class alone.
        decisions: operating point -> ``(N, K)`` bool; nothing is called without a threshold.
    """

    def __init__(
        self,
        truth: np.ndarray,
        probabilities: np.ndarray,
        val_truth: np.ndarray,
        val_probabilities: np.ndarray,
        names: Sequence[str],
    ) -> None:
        """Choose on ``val_truth`` and ``val_probabilities``, ``(L, K)``; decide ``(N, K)``."""
        self.truth, self.val_truth, self.names = truth, val_truth, list(names)
        self.thresholds = {
            point: np.array(
                [
                    classification.choose_threshold(
                        val_truth[:, place], val_probabilities[:, place], point
                    )
                    for place in range(len(self.names))
                ]
            )
            for point in OPERATING_POINTS
        }
        self.decisions = {
            point: probabilities >= thresholds for point, thresholds in self.thresholds.items()
        }

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """``METRIC@POINT:LABEL``, and ``macro_METRIC@POINT``: mean over labels of both classes."""
        values: dict[str, np.ndarray] = {}
        both = (weights @ (self.truth == 1) > 0) & (weights @ (self.truth == 0) > 0)
        for point, decisions in self.decisions.items():
            chosen = ~np.isnan(self.thresholds[point])
            found = classification.weighted_decisions(self.truth, decisions, weights)
            for metric, columns in found.items():
                columns = np.where(chosen, columns, np.nan)
                values |= {
                    f"{metric}@{point}:{name}": columns[:, place]
                    for place, name in enumerate(self.names)
                }
                # Precision is undefined for a label never called: its mean would flatter silence.
                if metric != "precision":
                    counted = both & ~np.isnan(columns)
                    total = np.where(counted, columns, 0).sum(axis=1)
                    values[f"macro_{metric}@{point}"] = classification.ratio(
                        total, counted.sum(axis=1)
                    )
        return values


def operating_scores(
    rows: Rows, systems: Sequence[System], training: Training | None
) -> dict[str, OperatingScores]:
    """The decisions of every system that answered for the validation studies too."""
    if rows.truth is None or training is None or training.val_labels is None:
        return {}
    truth = rows.truth.to_numpy(dtype=float)
    val_truth = training.val_labels.reindex(columns=rows.labels).to_numpy(dtype=float)
    found = {}
    for system in systems:
        scores, val_scores = system.scores(rows), system.val_scores(rows)
        if scores is not None and val_scores is not None:
            found[system.name] = OperatingScores(truth, scores, val_truth, val_scores, rows.labels)
    return found


def operating_notes(
    rows: Rows, systems: Sequence[System], operating: Mapping[str, OperatingScores]
) -> list[str]:
    """Why operating points are missing, or what is wrong with them; empty where nothing is."""
    detectors = [system.name for system in systems if system.scores(rows) is not None]
    without = [name for name in detectors if name not in operating]
    notes = []
    if detectors and not operating:
        notes.append(
            "Operating points are not run: no probabilities of validation studies were given, and "
            "a threshold chosen on the rows scored would flatter."
        )
    elif without:
        notes.append(
            f"No operating points for {', '.join(without)}: no probabilities of validation studies."
        )
    if operating and rows.split == "val":
        notes.append(
            "The rows scored are the validation studies on which the thresholds were chosen: the "
            "operating points flatter."
        )
    return notes


def operating_table(
    systems: Sequence[System],
    operating: Mapping[str, OperatingScores],
    figures: Mapping[str, Mapping[str, Figure]],
) -> pd.DataFrame:
    """One row a system, label and operating point; ``reason`` says why a threshold is missing.

    ``threshold`` is infinite where nothing may be called. ``val_positives`` says on how many
    carriers it rests. positives, negatives, decided and hits are of the rows scored.
    """
    records = []
    for system in systems:
        own = operating.get(system.name)
        if own is None:
            continue
        val_positives = (own.val_truth == 1).sum(axis=0)
        val_negatives = (own.val_truth == 0).sum(axis=0)
        for point, decisions in own.decisions.items():
            counts = classification.decision_scores(own.truth, decisions, own.names)
            for place, label in enumerate(own.names):
                threshold = own.thresholds[point][place]
                record: dict[str, Any] = {
                    "system": system.name,
                    "trivial": system.trivial,
                    "label": label,
                    "point": point,
                    "threshold": threshold,
                    "val_positives": int(val_positives[place]),
                    "val_negatives": int(val_negatives[place]),
                    "reason": classification.threshold_reason(
                        threshold, int(val_positives[place]), int(val_negatives[place])
                    ),
                }
                row = counts.iloc[place]
                record |= {key: int(row[key]) for key in ("positives", "negatives")}
                if not np.isnan(threshold):
                    record |= {key: int(row[key]) for key in ("decided", "hits")}
                for metric in DECISION_METRICS:
                    found = figures[system.name][f"{metric}@{point}:{label}"]
                    record |= {metric: found.value, f"{metric}_low": found.low}
                    record[f"{metric}_high"] = found.high
                records.append(record)
    return pd.DataFrame(records, columns=OPERATING_COLUMNS)


def reliability_table(rows: Rows, systems: Sequence[System], draws: Resampling) -> pd.DataFrame:
    """One row a system, label and equal-mass bin: the reliability curve.

    The interval of the share of positives is given for systems that are not trivial.
    """
    if rows.truth is None:
        return pd.DataFrame(columns=RELIABILITY_COLUMNS)
    truth = rows.truth.to_numpy(dtype=float)
    tables = []
    for system in systems:
        scores = system.scores(rows)
        if scores is None:
            continue
        samples = {} if system.trivial else draws.samples(_shares(truth, scores))
        for place, label in enumerate(rows.labels):
            table = calibration.reliability(truth[:, place], scores[:, place])
            found = [
                figure(share, samples.get(f"{place}:{number}", np.empty(0)))
                for number, share in enumerate(table["share"])
            ]
            table = table.assign(
                system=system.name,
                trivial=system.trivial,
                label=label,
                low=[each.low for each in found],
                high=[each.high for each in found],
            )
            tables.append(table[RELIABILITY_COLUMNS])
    tables = [table for table in tables if len(table)]
    if not tables:
        return pd.DataFrame(columns=RELIABILITY_COLUMNS)
    return pd.concat(tables, ignore_index=True)


def _shares(truth: np.ndarray, scores: np.ndarray) -> Any:
    """A statistic of the share of positives of each label's bins, named ``place:bin``."""

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {
            f"{place}:{number}": column
            for place in range(truth.shape[1])
            for number, column in enumerate(
                calibration.weighted_shares(truth[:, place], scores[:, place], weights).T
            )
        }

    return statistic


def curve_table(rows: Rows, systems: Sequence[System]) -> pd.DataFrame:
    """One row a point of the ROC curve (x false positive rate, y sensitivity) and the PR curve.

    PR: x recall, y precision, rising recall. Curves are thinned for drawing; the areas are not
    taken from here. A label of one class has none.
    """
    records: list[pd.DataFrame] = []
    truth = None if rows.truth is None else rows.truth.to_numpy(dtype=float)
    for system in systems:
        scores = system.scores(rows)
        if scores is None or truth is None:
            continue
        for place, label in enumerate(rows.labels):
            for name, curve in (
                ("ROC", classification.curve),
                ("PR", classification.precision_curve),
            ):
                x, y = classification.thinned(*curve(truth[:, place], scores[:, place]))
                if len(x):
                    columns = (system.name, system.trivial, label, name, x, y)
                    records.append(pd.DataFrame(dict(zip(CURVE_COLUMNS, columns, strict=True))))
    if not records:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    return pd.concat(records, ignore_index=True)


def curve_records(curves: pd.DataFrame) -> list[dict[str, Any]]:
    """Curves for JSON, one record each: system, trivial, label, curve, and lists x and y."""
    keys = CURVE_COLUMNS[:4]
    return [
        {
            **dict(zip(keys, values, strict=True)),
            **{axis: part[axis].round(4).tolist() for axis in ("x", "y")},
        }
        for values, part in curves.groupby(keys, sort=False)
    ]


def paired_tests(
    systems: Sequence[System],
    texts: Mapping[str, TextScores],
    operating: Mapping[str, OperatingScores],
    figures: Mapping[str, Mapping[str, Figure]],
) -> pd.DataFrame:
    """McNemar's exact test of right answers, a row a pair of systems and thing tested.

    Pairs are as in the differences: each system against the one before it, then the last against
    the best trivial one (by exact match; by macro F1 at the best-F1 thresholds). ``what`` is
    ``exact match`` or a label, decided at its best-F1 threshold. ``p_adjusted`` corrects for the
    number of labels of a pair (Benjamini and Hochberg 1995).
    """
    records = []
    macro = f"macro_f1@{BEST_F1}"
    for first, second in _pairs(systems, texts, figures, "exact"):
        found = mcnemar(texts[first].exact > 0, texts[second].exact > 0)
        records.append(_record(first, second, EXACT, found, found.p))
    for first, second in _pairs(systems, operating, figures, macro):
        one, other = operating[first], operating[second]
        labels, tests = [], []
        for place, label in enumerate(one.names):
            thresholds = (one.thresholds[BEST_F1][place], other.thresholds[BEST_F1][place])
            known = classification.known(one.truth[:, place])
            if np.isnan(thresholds).any() or not known.any():
                continue
            true = one.truth[known, place] == 1
            right = [each.decisions[BEST_F1][known, place] == true for each in (one, other)]
            labels.append(label)
            tests.append(mcnemar(*right))
        for label, test, p in zip(labels, tests, adjusted([t.p for t in tests]), strict=True):
            records.append(_record(first, second, label, test, p))
    return pd.DataFrame(records, columns=PAIRED_COLUMNS)


def _record(first: str, second: str, what: str, test: McNemar, p: float) -> dict[str, Any]:
    return {
        "first": first,
        "second": second,
        "what": what,
        "studies": test.both + test.first_only + test.second_only + test.neither,
        "both": test.both,
        "first_only": test.first_only,
        "second_only": test.second_only,
        "neither": test.neither,
        "p": test.p,
        "p_adjusted": p,
    }


def _pairs(
    systems: Sequence[System],
    having: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, Figure]],
    metric: str,
) -> list[tuple[str, str]]:
    own = [s.name for s in systems if not s.trivial and s.name in having]
    rivals = [
        (figures[s.name][metric].value, s.name)
        for s in systems
        if s.trivial and s.name in having and not np.isnan(figures[s.name][metric].value)
    ]
    pairs = list(zip(own, own[1:], strict=False))
    if own and rivals:
        pairs.append((max(rivals, key=lambda pair: pair[0])[1], own[-1]))
    return pairs
