"""Every figure of an evaluation: systems and trivial systems on the same rows, with intervals.

``evaluate`` works out an ``Evaluation`` of plain tables; ``cascade.evaluation.tables`` writes and
prints it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cascade.errors import InputError
from cascade.evaluation import baselines
from cascade.evaluation.breakdowns import (
    NORMAL_COLUMNS,
    clinical_notes,
    clinical_table,
    disease_table,
    label_notes,
    label_table,
    mined_truth,
    slot_table,
    strata_table,
    subgroup_masks,
    subgroup_table,
)
from cascade.evaluation.captions import caption_scores
from cascade.evaluation.detection import (
    OperatingScores,
    curve_table,
    operating_notes,
    operating_scores,
    operating_table,
    paired_tests,
    reliability_table,
)
from cascade.evaluation.significance import (
    CONFIDENCE,
    RESAMPLES,
    Difference,
    Figure,
    Resampling,
    Statistic,
    difference,
    figure,
)
from cascade.evaluation.statistics import (
    METRICS,
    NEITHER_IS_BETTER,
    DetectionScores,
    Kind,
    TextScores,
    sign,
)
from cascade.evaluation.systems import Rows, System, Training
from cascade.labels import mesh
from cascade.labels.table import NORMAL
from cascade.metrics import nlg
from cascade.metrics.caption import METEOR_SECONDS
from cascade.metrics.hub import HubOptions, hub_figures

TOKENIZER_OF_KIND = {"annotation": "annotation-words", "report": "report-words"}

COMPARED = tuple(name for name in METRICS if name not in NEITHER_IS_BETTER)
"""The metrics that have a better and a worse (``sign`` says which way)."""

_NO_HUB = HubOptions()

__all__ = ["COMPARED", "METRICS", "Evaluation", "Kind", "evaluate", "find_normal"]


@dataclasses.dataclass
class Evaluation:
    """All that was worked out, in the order in which it is read.

    Attributes:
        rows, systems: what was scored; trivial systems last.
        kind: "annotation" (with disease figures) or "report" (with clinical ones).
        meta: split, studies, patients, seed, resamples, tokenizer, commit, ...
        figures: system -> metric -> ``Figure``; metrics of ``METRICS``, and distinct and empty.
        strata: one row a system and stratum (all, normal, abnormal).
        subgroups: one row a system and further stratum, named ``KIND: NAME`` (label, view,
            findings, length).
        labels: one row a system and label: positives, negatives, auroc with interval, ...
        operating: one row a system, label and operating point; empty without validation answers.
        calibration: one row a system, label and equal-mass bin: the reliability curve.
        curves: one row a point of the ROC and PR curve of each system and label.
        paired: McNemar's tests, one row a pair of systems and thing tested.
        diseases: one row a system and disease: support, written, hits, precision, recall, f1.
        slots: one row a system and slot: compared, right, accuracy.
        clinical: one row a system and mined label: support, written, hits, precision, recall, f1.
        differences: between systems in the order given, then last against the best trivial one.
        notes: sentences on what was left out or could not be worked out.
    """

    rows: Rows
    systems: list[System]
    kind: Kind
    meta: dict[str, Any]
    figures: dict[str, dict[str, Figure]]
    strata: pd.DataFrame
    subgroups: pd.DataFrame
    labels: pd.DataFrame
    operating: pd.DataFrame
    calibration: pd.DataFrame
    curves: pd.DataFrame
    paired: pd.DataFrame
    diseases: pd.DataFrame
    slots: pd.DataFrame
    clinical: pd.DataFrame
    differences: list[Difference]
    notes: list[str]

    @property
    def main(self) -> System:
        """The last system that is not trivial (or the first, if all are): the page is about it."""
        others = [system for system in self.systems if not system.trivial]
        return others[-1] if others else self.systems[0]

    def figure(self, system: str, metric: str) -> Figure:
        """A figure, NaN where that system has none."""
        return self.figures[system].get(metric, Figure(math.nan))

    def best(self, metric: str) -> float:
        """The best value of any system: the highest, or lowest where less is better; or NaN."""
        values = [self.figure(system.name, metric).value for system in self.systems]
        defined = [sign(metric) * value for value in values if not math.isnan(value)]
        return sign(metric) * max(defined, default=math.nan)


def find_normal(rows: Rows, kind: Kind) -> np.ndarray | None:
    """Which rows are normal, ``(N,)`` bool.

    As told, else by the annotation, else by the truth, else by the words of the report.
    """
    if rows.normal is not None:
        return np.asarray(rows.normal, dtype=bool)
    if kind == "annotation" and any(rows.references):
        return np.array([mesh.annotation_diseases(text) == [NORMAL] for text in rows.references])
    if rows.truth is not None:
        for column in rows.truth.columns:
            if str(column).lower() in NORMAL_COLUMNS:
                return np.asarray(rows.truth[column].to_numpy(dtype=float) == 1)
    mined = mined_truth(rows, kind)
    return None if mined is None else np.asarray(mined[NORMAL].to_numpy(dtype=float) == 1)


def evaluate(
    rows: Rows,
    systems: Sequence[System],
    training: Training | None = None,
    *,
    kind: Kind = "annotation",
    seed: int = 0,
    resamples: int = RESAMPLES,
    tokenizer: str | None = None,
    meta: Mapping[str, Any] | None = None,
    meteor: str = "never",
    meteor_seconds: float = METEOR_SECONDS,
    hub: HubOptions = _NO_HUB,
) -> Evaluation:
    """Score systems, and trivial ones beside them, on the same rows.

    Args:
        rows: the studies, their references and their truth.
        systems: in the order in which they are to be compared (round 1, round 2, ...); trivial ones
            among them are taken as given.
        training: what the trivial systems may learn from; None makes them of the references, which
            flatters them and is said on the page.
        kind: "annotation" (``disease/place; disease``) or "report" (free text, mined for labels).
        seed: of the random baseline and the bootstrap.
        resamples: of the bootstrap; 0 for no intervals.
        tokenizer: a name of ``nlg.TOKENIZERS``; None for the kind's own.
        meta: more facts for the page and ``metrics.json``: commit, collection, command, ...
        meteor: whether METEOR is run, which starts Java: "reports", "always" or "never".
        meteor_seconds: how long it may take, all systems together.
        hub: which metrics of RadEval are run, each in a process of its own.

    Raises:
        InputError: no system, two of one name, or one that does not answer these rows.
    """
    tokenizer = _check(rows, systems, training, kind, tokenizer)
    notes: list[str] = []
    every = [*systems, *_trivial(rows, systems, training, tokenizer, seed, notes)]
    every.sort(key=lambda system: system.trivial)
    draws = Resampling(rows.patient_ids, resamples, seed)
    if resamples and not draws.resamples:
        notes.append("All studies are of one patient: intervals cannot be given.")

    texts, detectors = _statistics(rows, every, tokenizer, kind)
    written = {s.name: s.hypotheses for s in every if s.hypotheses is not None}
    captions = caption_scores(
        written,
        rows.references,
        tokenizer,
        None if training is None else training.texts,
        kind=kind,
        meteor=meteor,
        meteor_seconds=meteor_seconds,
    )
    for name, text in texts.items():
        text.captions = captions.scores[name]
    operating = operating_scores(rows, every, training)
    notes.extend(operating_notes(rows, every, operating))
    statistics = _merge(texts, detectors, operating)
    points = {name: draws.point(statistic) for name, statistic in statistics.items()}
    samples = {name: draws.samples(statistic) for name, statistic in statistics.items()}
    figures = {
        name: {metric: figure(value, samples[name][metric]) for metric, value in values.items()}
        for name, values in points.items()
    }
    for name, text in texts.items():
        figures[name]["distinct"] = Figure(float(text.distinct))
        figures[name]["empty"] = Figure(float(text.empty))
    not_run = _add_hub(figures, hub, written, rows.references, kind, notes)

    labels = label_table(rows, every, figures)
    notes.extend(label_notes(labels))
    notes.extend(clinical_notes(texts))
    if any(text.empty for text in texts.values()):
        told = [f"{name} {text.empty}" for name, text in texts.items() if text.empty]
        notes.append(f"Empty hypotheses, each counted as zero: {', '.join(told)}.")
    normal = find_normal(rows, kind)
    if normal is None:
        notes.append("No strata: neither the text nor a label says which studies are normal.")
    return Evaluation(
        rows=rows,
        systems=every,
        kind=kind,
        meta={
            "split": rows.split,
            "studies": len(rows),
            "patients": draws.patients,
            "normal_studies": None if normal is None else int(normal.sum()),
            "kind": kind,
            "tokenizer": tokenizer,
            "seed": seed,
            "resamples": draws.resamples,
            "confidence": CONFIDENCE,
            "tokenizers": captions.tokenizers if texts else {},
            "not_run": {**captions.not_run, **not_run} if texts else {},
            **dict(meta or {}),
        },
        figures=figures,
        strata=strata_table(texts, normal, len(rows)),
        subgroups=subgroup_table(
            statistics, subgroup_masks(rows, kind, training, nlg.TOKENIZERS[tokenizer])
        ),
        labels=labels,
        operating=operating_table(every, operating, figures),
        calibration=reliability_table(rows, every, draws),
        curves=curve_table(rows, every),
        paired=paired_tests(every, texts, operating, figures),
        diseases=disease_table(texts),
        slots=slot_table(rows, every, kind, figures),
        clinical=clinical_table(texts, figures),
        differences=_differences(every, points, samples),
        notes=notes,
    )


def _add_hub(
    figures: dict[str, dict[str, Figure]],
    hub: HubOptions,
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    kind: Kind,
    notes: list[str],
) -> dict[str, str]:
    """Add the figures of RadEval that were asked for; returns why others are not there."""
    found, not_run = hub_figures(hub, systems, references, kind)
    for name, values in found.items():
        figures[name] |= {metric: Figure(value) for metric, value in values.items()}
    if any(found.values()):
        notes.append(
            "RadEval answers with figures of all rows at once, not of each row: with nothing to "
            "resample they have neither intervals nor differences (hub.csv)."
        )
    return not_run


def _check(
    rows: Rows,
    systems: Sequence[System],
    training: Training | None,
    kind: Kind,
    tokenizer: str | None,
) -> str:
    if kind not in TOKENIZER_OF_KIND:
        raise ValueError(f"unknown kind {kind!r}, expected one of {sorted(TOKENIZER_OF_KIND)}")
    tokenizer = tokenizer or TOKENIZER_OF_KIND[kind]
    if tokenizer not in nlg.TOKENIZERS:
        expected = sorted(nlg.TOKENIZERS)
        raise InputError(f"unknown tokenizer {tokenizer!r}, expected one of {expected}")
    if not systems:
        raise InputError("no system to evaluate")
    names = [system.name for system in systems]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"two systems are called {twice[0]!r}: give each its own name")
    for system in systems:
        system.check(rows)
    if training is not None:
        training.check(rows, systems)
    return tokenizer


def _trivial(
    rows: Rows,
    systems: Sequence[System],
    training: Training | None,
    tokenizer: str,
    seed: int,
    notes: list[str],
) -> list[System]:
    """The baselines that the rows, the systems and the training data allow."""
    tokenize = nlg.TOKENIZERS[tokenizer]
    made: list[System] = []
    writes = any(system.hypotheses is not None for system in systems)
    detects = any(system.probabilities is not None for system in systems) and bool(rows.labels)
    if training is None:
        if writes:
            made.extend(baselines.reference_baselines(rows, tokenize, seed))
        notes.append("No training reports were given: see how the trivial systems were made.")
    else:
        if writes:
            made.extend(baselines.text_baselines(rows, training, tokenize, seed))
            detectors = [s for s in systems if s.probabilities is not None and not s.trivial]
            if detectors:
                last = baselines.label_report_baseline(detectors[-1], training, tokenize)
                made.extend([last] if last else [])
        if detects:
            made.extend(baselines.detection_baselines(rows, training, seed))
    taken = {system.name for system in systems}
    return [system for system in made if system.name not in taken]


def _statistics(
    rows: Rows, systems: Sequence[System], tokenizer: str, kind: Kind
) -> tuple[dict[str, TextScores], dict[str, DetectionScores]]:
    truth = rows.truth.to_numpy(dtype=float) if rows.truth is not None else None
    texts, detectors = {}, {}
    for system in systems:
        if system.hypotheses is not None:
            texts[system.name] = TextScores(system.hypotheses, rows.references, tokenizer, kind)
        scores = system.scores(rows)
        if scores is not None and truth is not None:
            detectors[system.name] = DetectionScores(truth, scores, rows.labels)
    return texts, detectors


def _merge(
    texts: dict[str, TextScores],
    detectors: dict[str, DetectionScores],
    operating: dict[str, OperatingScores],
) -> dict[str, Statistic]:
    """One statistic a system, of its text, its probabilities and its decisions."""

    def joined(name: str) -> Statistic:
        parts = [part[name] for part in (texts, detectors, operating) if name in part]

        def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
            values: dict[str, np.ndarray] = {}
            for part in parts:
                values |= part.figures(weights)
            return values

        return statistic

    return {name: joined(name) for name in dict.fromkeys([*texts, *detectors])}


def _differences(
    systems: Sequence[System],
    points: dict[str, dict[str, float]],
    samples: dict[str, dict[str, np.ndarray]],
) -> list[Difference]:
    """Each system against the one before it; the last against the best trivial one, by metric."""
    own = [system.name for system in systems if not system.trivial]
    trivial = [system.name for system in systems if system.trivial]

    def compare(metric: str, first: str, second: str) -> Difference:
        one, other = (
            (name, points[name][metric], samples[name][metric]) for name in (first, second)
        )
        return difference(metric, one, other)

    def scored(name: str, metric: str) -> bool:
        return not math.isnan(points.get(name, {}).get(metric, math.nan))

    found = []
    for metric in COMPARED:
        having = [name for name in own if scored(name, metric)]
        found += [compare(metric, a, b) for a, b in zip(having, having[1:], strict=False)]
        rivals = [name for name in trivial if scored(name, metric)]
        if having and rivals:
            best = max(rivals, key=lambda name: sign(metric) * points[name][metric])
            found.append(compare(metric, best, having[-1]))
    return found
