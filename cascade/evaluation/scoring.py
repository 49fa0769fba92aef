"""Every figure of an evaluation: systems and trivial systems on the same rows, with intervals.

``evaluate`` works out an ``Evaluation`` of plain tables; ``cascade.evaluation.tables`` writes and
prints it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from cascade.errors import InputError
from cascade.evaluation import baselines
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
from cascade.evaluation.systems import Rows, System, Training
from cascade.labels import mesh
from cascade.labels.table import NORMAL
from cascade.metrics import annotation, classification, nlg

Kind = Literal["annotation", "report"]
TOKENIZER_OF_KIND = {"annotation": "annotation-words", "report": "report-words"}
NOT_RUN = ("METEOR", "CIDEr")
NORMAL_COLUMNS = (NORMAL, "no finding")

METRICS: dict[str, str] = {
    "precision1": "P-1",
    "precision2": "P-2",
    "precision3": "P-3",
    "precision4": "P-4",
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "exact": "Exact",
    "rouge_l": "ROUGE-L",
    "length_ratio": "Length",
    "micro_f1_abnormal": "F1 abnormal (micro)",
    "macro_f1_abnormal": "F1 abnormal (macro)",
    "macro_recall_abnormal": "Recall abnormal (macro)",
    "macro_auroc": "AUROC (macro)",
    "macro_average_precision": "AP (macro)",
}
"""The figures that have intervals and are compared, and what tables call them."""
COMPARED = tuple(name for name in METRICS if name != "length_ratio")


@dataclasses.dataclass
class Evaluation:
    """All that was worked out, in the order in which it is read.

    Attributes:
        rows, systems: what was scored; trivial systems last.
        kind: "annotation" or "report" (which has no disease figures).
        meta: split, studies, patients, seed, resamples, tokenizer, commit, ...
        figures: system -> metric -> ``Figure``; metrics of ``METRICS``, and distinct and empty.
        strata: one row a system and stratum (all, normal, abnormal).
        labels: one row a system and label: positives, negatives, auroc with interval, ...
        diseases: one row a system and disease: support, written, hits, precision, recall, f1.
        slots: one row a system and slot: compared, right, accuracy.
        differences: between systems in the order given, then last against the best trivial one.
        notes: sentences on what was left out or could not be worked out.
    """

    rows: Rows
    systems: list[System]
    kind: Kind
    meta: dict[str, Any]
    figures: dict[str, dict[str, Figure]]
    strata: pd.DataFrame
    labels: pd.DataFrame
    diseases: pd.DataFrame
    slots: pd.DataFrame
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


class _TextScores:
    """One system's text as sums over rows: every figure of it under weights is a product."""

    def __init__(
        self, hypotheses: Sequence[str], references: Sequence[str], tokenizer: str, kind: Kind
    ) -> None:
        tokenize = nlg.TOKENIZERS[tokenizer]
        self.counts = nlg.count_ngrams(hypotheses, references, tokenize)
        self.rouge = nlg.rouge_l(hypotheses, references, tokenize)
        self.exact = nlg.exact_matches(hypotheses, references, tokenize)
        self.distinct = nlg.distinct_count(hypotheses, tokenize)
        self.empty = nlg.empty_count(hypotheses, tokenize)
        self.matrix: annotation.DiseaseMatrix | None = None
        if kind == "annotation":
            self.matrix = annotation.disease_matrix(hypotheses, references)

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every figure under weights ``(R, N)``, ``(R,)`` each."""
        total = weights.sum(axis=1)
        said = weights @ self.counts.hypothesis_length
        meant = weights @ self.counts.reference_length
        bleu = nlg.bleu_of_counts(
            weights @ self.counts.correct, weights @ self.counts.guessed, said, meant
        )
        precision = weights @ nlg.row_precision(self.counts) / total[:, None]
        values = {f"precision{n + 1}": precision[:, n] for n in range(nlg.ORDERS)}
        values |= {f"bleu{n + 1}": bleu[:, n] for n in range(nlg.ORDERS)}
        values["exact"] = weights @ self.exact / total
        values["rouge_l"] = weights @ self.rouge / total
        values["length_ratio"] = classification.ratio(said, meant)
        if self.matrix is not None:
            values |= annotation.summarise(
                weights @ self.matrix.reference,
                weights @ self.matrix.hypothesis,
                weights @ (self.matrix.reference & self.matrix.hypothesis),
                self.matrix.abnormal,
            )
        return values


class _DetectionScores:
    """One system's probabilities; AUROC and average precision a label under weights."""

    def __init__(self, truth: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> None:
        self.truth, self.probabilities, self.names = truth, probabilities, list(names)

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """``auroc:LABEL`` and ``average_precision:LABEL``, and their means over defined labels."""
        values: dict[str, np.ndarray] = {}
        for metric, score in (
            ("auroc", classification.weighted_auroc),
            ("average_precision", classification.weighted_average_precision),
        ):
            columns = [
                score(self.truth[:, place], self.probabilities[:, place], weights)
                for place in range(len(self.names))
            ]
            values |= {f"{metric}:{n}": c for n, c in zip(self.names, columns, strict=True)}
            stacked = np.stack(columns, axis=1)
            defined = (~np.isnan(stacked)).sum(axis=1)
            values[f"macro_{metric}"] = classification.ratio(np.nansum(stacked, axis=1), defined)
        return values


def find_normal(rows: Rows, kind: Kind) -> np.ndarray | None:
    """Which rows are normal, ``(N,)`` bool: as told, else by the annotation, else by the truth."""
    if rows.normal is not None:
        return np.asarray(rows.normal, dtype=bool)
    if kind == "annotation":
        return np.array([mesh.annotation_diseases(text) == [NORMAL] for text in rows.references])
    if rows.truth is not None:
        for column in rows.truth.columns:
            if str(column).lower() in NORMAL_COLUMNS:
                return np.asarray(rows.truth[column].to_numpy(dtype=float) == 1)
    return None


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
) -> Evaluation:
    """Score systems, and trivial ones beside them, on the same rows.

    Args:
        rows: the studies, their references and their truth.
        systems: in the order in which they are to be compared (round 1, round 2, ...); trivial ones
            among them are taken as given.
        training: what the trivial systems may learn from; None makes them of the references, which
            flatters them and is said on the page.
        kind: "annotation" (``disease/place; disease``) or "report" (free text: no disease figures).
        seed: of the random baseline and the bootstrap.
        resamples: of the bootstrap; 0 for no intervals.
        tokenizer: a name of ``nlg.TOKENIZERS``; None for the kind's own.
        meta: more facts for the page and ``metrics.json``: commit, collection, command, ...

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
    statistics = _merge(texts, detectors)
    points = {name: draws.point(statistic) for name, statistic in statistics.items()}
    samples = {name: draws.samples(statistic) for name, statistic in statistics.items()}
    figures = {
        name: {metric: figure(value, samples[name][metric]) for metric, value in values.items()}
        for name, values in points.items()
    }
    for name, text in texts.items():
        figures[name]["distinct"] = Figure(float(text.distinct))
        figures[name]["empty"] = Figure(float(text.empty))

    labels = _label_table(rows, every, figures)
    notes.extend(_label_notes(labels))
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
            "not_run": list(NOT_RUN),
            **dict(meta or {}),
        },
        figures=figures,
        strata=_strata_table(texts, normal, len(rows)),
        labels=labels,
        diseases=_disease_table(texts),
        slots=_slot_table(rows, every, kind),
        differences=_differences(every, points, samples),
        notes=notes,
    )


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
        training.check(rows)
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
) -> tuple[dict[str, _TextScores], dict[str, _DetectionScores]]:
    truth = rows.truth.to_numpy(dtype=float) if rows.truth is not None else None
    texts, detectors = {}, {}
    for system in systems:
        if system.hypotheses is not None:
            texts[system.name] = _TextScores(system.hypotheses, rows.references, tokenizer, kind)
        scores = system.scores(rows)
        if scores is not None and truth is not None:
            detectors[system.name] = _DetectionScores(truth, scores, rows.labels)
    return texts, detectors


def _merge(
    texts: dict[str, _TextScores], detectors: dict[str, _DetectionScores]
) -> dict[str, Statistic]:
    """One statistic a system, of its text and its probabilities."""

    def joined(name: str) -> Statistic:
        parts = [part[name] for part in (texts, detectors) if name in part]

        def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
            values: dict[str, np.ndarray] = {}
            for part in parts:
                values |= part.figures(weights)
            return values

        return statistic

    return {name: joined(name) for name in dict.fromkeys([*texts, *detectors])}


def _label_table(
    rows: Rows, systems: Sequence[System], figures: dict[str, dict[str, Figure]]
) -> pd.DataFrame:
    columns = [
        *("system", "trivial", "label", "positives", "negatives"),
        *("auroc", "auroc_low", "auroc_high"),
        *("average_precision", "average_precision_low", "average_precision_high"),
        *("brier", "calibration_error"),
    ]
    records = []
    for system in systems:
        scores = system.scores(rows)
        if scores is None or rows.truth is None:
            continue
        table = classification.label_scores(rows.truth.to_numpy(dtype=float), scores, rows.labels)
        for label, row in table.iterrows():
            record: dict[str, Any] = {"system": system.name, "trivial": system.trivial}
            record |= {"label": label, **{str(key): value for key, value in row.items()}}
            for metric in ("auroc", "average_precision"):
                found = figures[system.name][f"{metric}:{label}"]
                record |= {f"{metric}_low": found.low, f"{metric}_high": found.high}
            records.append(record)
    table = pd.DataFrame(records, columns=columns)
    return table.astype({"positives": int, "negatives": int})


def _label_notes(labels: pd.DataFrame) -> list[str]:
    first = labels.drop_duplicates("label")
    undefined = first.loc[(first["positives"] == 0) | (first["negatives"] == 0), "label"]
    if first.empty or undefined.empty:
        return []
    return [
        f"AUROC is undefined for {len(undefined)} of {len(first)} labels (no positive or no "
        f"negative among the rows), which enter no mean: {', '.join(undefined)}."
    ]


def _strata_table(
    texts: dict[str, _TextScores], normal: np.ndarray | None, count: int
) -> pd.DataFrame:
    strata: dict[str, np.ndarray] = {"all": np.ones(count, dtype=bool)}
    if normal is not None:
        strata |= {"normal": normal, "abnormal": ~normal}
    records = []
    for name, text in texts.items():
        for stratum, chosen in strata.items():
            record: dict[str, Any] = {
                "system": name,
                "stratum": stratum,
                "studies": int(chosen.sum()),
            }
            if chosen.any():
                values = text.figures(chosen[None, :].astype(float))
                record |= {k: float(v[0]) for k, v in values.items() if k in METRICS}
            records.append(record)
    return pd.DataFrame(records)


def _disease_table(texts: dict[str, _TextScores]) -> pd.DataFrame:
    tables = []
    for name, text in texts.items():
        if text.matrix is not None:
            table = annotation.disease_scores(text.matrix).reset_index()
            table.insert(0, "system", name)
            tables.append(table)
    columns = ["system", "disease", "support", "written", "hits", "precision", "recall", "f1"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _slot_table(rows: Rows, systems: Sequence[System], kind: Kind) -> pd.DataFrame:
    tables = []
    for system in systems:
        if kind == "annotation" and system.hypotheses is not None:
            table = annotation.slot_scores(system.hypotheses, rows.references).reset_index()
            table.insert(0, "system", system.name)
            tables.append(table)
    columns = ["system", "slot", "compared", "right", "accuracy"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


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
            best = max(rivals, key=lambda name: points[name][metric])
            found.append(compare(metric, best, having[-1]))
    return found
