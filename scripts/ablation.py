"""Rounds of the cascade against their controls, over seeds, and the page of what came out.

Everything is kept by arm and seed: run it again and it goes on where it stopped. The test split is
scored after all training, and nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _common
import numpy as np
import pandas as pd

from cascade.data.datasets import StudyDataset
from cascade.evaluation.seeds import spread
from cascade.evaluation.significance import Resampling, interval
from cascade.evaluation.statistics import TextScores
from cascade.inference.bundle import read_bundle
from cascade.io.collection import read_collection
from cascade.io.files import atomic_directory
from cascade.labels.patterns import term_disease
from cascade.labels.table import NORMAL, Label, LabelTable, read_label_table, write_label_table
from cascade.metrics.classification import weighted_auroc
from cascade.pipeline.assessment import assess, read_records, write_predictions
from cascade.pipeline.collecting import prepare
from cascade.pipeline.rounds import run_cascade, validation_scores
from cascade.pipeline.stages import Context, open_images
from cascade.relabel.composite import relabel
from cascade.relabel.contexts import disease_texts
from cascade.training.features import extract_features

DATA = [
    "data=phantom",
    "data.seed=31",
    "data.studies=1600",
    "split.fractions=[0.6,0.12,0.28]",
    "data.workers=1",
    "trainer=cpu",
]
"""Drawn for this measurement alone; nearly a third is test, so that differences can show."""

ARMS = {
    "contexts": ("the true contexts", []),
    "shuffled": ("contexts at random", ["relabel.shuffle=true"]),
    "old": ("the old labels again", ["relabel.min_cases=1000000"]),
    "replaced": ("contexts in place of the disease", ["relabel.keep_whole=false"]),
}
"""What further rounds train on, from the same first round and for as long."""
FURTHER = ("contexts", "shuffled", "old")
"""The arms that go beyond the second round."""

METRICS = {
    "precision1": "P-1",
    "precision2": "P-2",
    "bleu1": "BLEU-1",
    "bleu4": "BLEU-4",
    "exact": "exact",
    "macro_f1_abnormal": "F1 abnormal",
    "macro_auroc": "AUROC",
}
LONG = ["classifier.epochs=30"]
VARIANT_SEED = 1
PLANNED = 5
"""Seeds."""
RESAMPLES = 1000

Held = tuple[bool, str]
"""A difference that both intervals keep from 0: whether it is a gain, and its line."""


def settings_of(work: Path, words: Sequence[str]) -> dict[str, Any]:
    """The settings of a run in ``work``, as the command line would compose them."""
    shared = [f"collection={work / 'collection'}", f"data.cache={work / 'cache'}"]
    return _common.settings_of("run", *DATA, *shared, *words)


def start_from(first: Path, out: Path, parts: Sequence[str] = ("round-1",)) -> None:
    """Give an arm what an earlier run has trained; its settings are claimed anew."""
    for part in parts:
        if not (out / part).is_dir():
            with atomic_directory(out / part) as partial:
                skipped = shutil.ignore_patterns("config.yaml", "checkpoints")
                shutil.copytree(first / part, partial, dirs_exist_ok=True, ignore=skipped)


def train(work: Path, seed: int, name: str, words: Sequence[str], rounds: int) -> Path:
    """One arm of one seed; what is finished is kept."""
    out = work / f"seed-{seed}" / name
    if not (out / f"round-{rounds}" / "generator" / "model").is_dir():
        print(f"seed {seed}: {name}, {rounds} rounds", flush=True)
        arm = [f"seed={seed}", f"rounds={rounds}", f"out={out}", *words]
        run_cascade(settings_of(work, arm), out)
    return out


def train_arms(work: Path, seeds: Sequence[int], rounds: int) -> None:
    """Two rounds of every arm and seed, the variants, then the further rounds."""
    for seed in seeds:
        first = train(work, seed, "first", [], 1)
        for name, (_, words) in ARMS.items():
            start_from(first, work / f"seed-{seed}" / name)
            train(work, seed, name, words, 2)
    train_variants(work)
    for number in range(3, rounds + 1):
        for seed in seeds:
            for name in FURTHER:
                train(work, seed, name, ARMS[name][1], number)


# --- variants: one seed, validation alone


def train_variants(work: Path) -> None:
    """What might let the contexts help: tried on one seed, and looked at on validation."""
    seed, folder = VARIANT_SEED, work / f"seed-{VARIANT_SEED}"
    first = folder / "first"
    for name, build in (("words", word_contexts), ("ceiling", word_labels)):
        out = folder / name
        start_from(first, out)
        if not (out / "round-2" / "labels").is_dir():
            write_label_table(build(work, seed, first), out / "round-2" / "labels")
        train(work, seed, name, [], 2)
    for name in ("contexts", "old"):
        out = folder / f"auxiliary-{name}"
        start_from(folder / name, out, ("round-1", "round-2/labels", "round-2/classifier"))
        train(work, seed, out.name, [*ARMS[name][1], "generator.auxiliary=1.0"], 2)
    long = train(work, seed, "long-first", LONG, 1)
    for name in FURTHER:
        out = folder / f"long-{name}"
        start_from(long, out)
        train(work, seed, out.name, [*ARMS[name][1], *LONG], 2)


def word_contexts(work: Path, seed: int, run: Path) -> LabelTable:
    """Contexts of the decoder that is shown the mean image for every study: of words alone."""
    settings = settings_of(work, [f"seed={seed}", f"out={run}"])
    context, table = context_of(work, settings), read_label_table(run / "round-1" / "labels")
    reader, _ = read_bundle(run / "round-1" / "generator" / "model")
    assert reader.decoder is not None
    assert reader.vocabulary is not None
    train, val = (context.records(split) for split in ("train", "val"))
    dataset = StudyDataset(train, context.cache, table)
    found, _ = extract_features(reader.classifier, dataset, reader.exclusive, 64, [None])
    mean = found[:, 0].mean(dim=0, keepdim=True)
    return relabel(
        table,
        reader.decoder,
        reader.vocabulary,
        train.study_ids + val.study_ids,
        mean.expand(len(train) + len(val), *mean.shape[1:]),
        train.texts + val.texts,
        np.arange(len(train) + len(val)) < len(train),
        settings["relabel"],
        seed,
    ).table


def word_labels(work: Path, seed: int, run: Path) -> LabelTable:
    """Each word of each disease as a label beside the disease: more than clusters can tell."""
    context = context_of(work, settings_of(work, [f"seed={seed}", f"out={run}"]))
    table = read_label_table(run / "round-1" / "labels")
    named = term_disease(table.rule)
    texts: dict[str, dict[str, str]] = {}
    training: set[str] = set()
    for split in ("train", "val"):
        records = context.records(split)
        training |= set(records.study_ids) if split == "train" else set()
        for study_id, text in zip(records.study_ids, records.texts, strict=True):
            texts[study_id] = disease_texts(text, named)
    columns, labels = {}, []
    index = table.values.index
    for disease in table.diseases:
        columns[disease] = table.values[disease].to_numpy()
        labels.append(Label(disease, disease))
        words = {s: set(t.get(disease, "").replace("; ", "/").split("/")) for s, t in texts.items()}
        known = set() if disease == NORMAL else set().union(*words.values()) - {"", disease}
        for word in sorted(known - set(disease.split("/"))):
            values = [float(word in words.get(study, ())) for study in index]
            count = sum(v for v, study in zip(values, index, strict=True) if study in training)
            if count >= 10:  # as many as a context must have
                columns[f"{disease}#{word}"] = np.array(values, dtype=np.float32)
                labels.append(Label(f"{disease}#{word}", disease))
    frame = pd.DataFrame(columns, index=index, dtype=np.float32)
    return LabelTable(frame, labels, False, {"name": "words of the diseases"})


def context_of(work: Path, settings: dict[str, Any]) -> Context:
    collection = read_collection(work / "collection")
    return Context(collection, open_images(settings, collection, work / "cache"), settings)


# --- the test split


def systems_of(work: Path, seed: int, rounds: int) -> dict[str, Path]:
    """The whole bundles of a seed by ``ARM N``, those that are there."""
    folder = work / f"seed-{seed}"
    wanted = {"first 1": folder / "first" / "round-1"}
    for number in range(2, rounds + 1):
        names = ARMS if number == 2 else FURTHER
        wanted |= {f"{name} {number}": folder / name / f"round-{number}" for name in names}
    found = {name: path / "generator" / "model" for name, path in wanted.items()}
    return {name: path for name, path in found.items() if path.is_dir()}


def read_test(work: Path, seed: int, rounds: int) -> None:
    """Every arm of a seed reads the test studies, once: what it writes and scores is kept."""
    settings = settings_of(work, [f"seed={seed}", f"out={work / 'scoring'}"])
    context = context_of(work, settings)
    table = read_label_table(work / f"seed-{seed}" / "first" / "round-1" / "labels")
    dataset = StudyDataset(context.records("test"), context.cache, table)
    for name, bundle in systems_of(work, seed, rounds).items():
        out = predictions_of(work, seed, name)
        if not (out / "probabilities.parquet").is_file():
            reader, _ = read_bundle(bundle)
            _, probabilities, drafts, _ = read_records(reader, dataset, 64, "cpu", name)
            write_predictions(out, dataset.records, drafts, probabilities)


def trivial_systems(work: Path, seed: int) -> dict[str, Any]:
    """What the trivial systems get on the same rows; beside round 2 with the true contexts."""
    out = work / f"seed-{seed}" / "trivial"
    if not (out / "metrics.json").is_file():
        shutil.rmtree(out, ignore_errors=True)
        words = [f"seed={seed}", "evaluate.resamples=0", f"out={work / 'scoring'}"]
        context = context_of(work, settings_of(work, words))
        table = read_label_table(work / f"seed-{seed}" / "first" / "round-1" / "labels")
        assess(context, table, {"round 2": systems_of(work, seed, 2)["contexts 2"]}, out)
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def predictions_of(work: Path, seed: int, name: str) -> Path:
    return work / f"seed-{seed}" / "test" / name.replace(" ", "-")


Values = dict[str, np.ndarray]


class Scores:
    """Every arm's figures: one a seed, and under draws of patients the mean over the seeds."""

    def __init__(self, work: Path, seeds: Sequence[int]) -> None:
        """Remember where the predictions lie."""
        self.work, self.seeds = work, seeds
        studies = read_collection(work / "collection").studies.set_index("study_id")
        ids = pd.read_csv(predictions_of(work, seeds[0], "first 1") / "reports.csv", dtype=str)
        self.draws = Resampling(studies.loc[ids["study_id"], "patient_id"].tolist(), RESAMPLES, 0)
        self.kept: dict[str, tuple[Values, Values]] = {}

    def by_seed(self, name: str, metric: str) -> np.ndarray:
        """``(seeds,)``."""
        return self._figures(name)[0][metric]

    def drawn(self, name: str, metric: str) -> np.ndarray:
        """``(resamples,)``: the mean over the seeds under each draw of patients."""
        return self._figures(name)[1][metric]

    def _figures(self, name: str) -> tuple[Values, Values]:
        if name not in self.kept:
            found = [self._statistic(seed, name) for seed in self.seeds]
            points = [self.draws.point(one) for one in found]
            samples = [self.draws.samples(one) for one in found]
            self.kept[name] = (
                {m: np.array([point[m] for point in points]) for m in METRICS},
                {m: np.mean([sample[m] for sample in samples], axis=0) for m in METRICS},
            )
        return self.kept[name]

    def _statistic(self, seed: int, name: str) -> Callable[[np.ndarray], Values]:
        folder = predictions_of(self.work, seed, name)
        reports = pd.read_csv(folder / "reports.csv", dtype=str, keep_default_na=False)
        hypotheses, references = reports["hypothesis"].tolist(), reports["reference"].tolist()
        text = TextScores(hypotheses, references, "annotation-words", "annotation")
        table = read_label_table(self.work / f"seed-{seed}" / "first" / "round-1" / "labels")
        probabilities = pd.read_parquet(folder / "probabilities.parquet").set_index("study_id")
        scores = probabilities.loc[reports["study_id"], table.names].to_numpy(dtype=float)
        truth = table.rows(reports["study_id"].tolist())

        def statistic(weights: np.ndarray) -> Values:
            areas = [weighted_auroc(*pair, weights) for pair in zip(truth.T, scores.T, strict=True)]
            return {**text.figures(weights), "macro_auroc": np.nanmean(areas, axis=0)}

        return statistic


# --- the page


def name_of(system: str) -> str:
    arm, _, number = system.partition(" ")
    return "round 1: no cascade" if arm == "first" else f"round {number}: {ARMS[arm][0]}"


def figures_table(
    scores: Scores, systems: Sequence[str], trivial: Sequence[dict[str, Any]]
) -> list[str]:
    lines = [f"| system | {' | '.join(METRICS.values())} |", "| --- |" + " --- |" * len(METRICS)]
    for name in systems:
        values = {metric: scores.by_seed(name, metric).tolist() for metric in METRICS}
        lines.append(figures_line(name_of(name), values))
    for system in trivial[0]["systems"]:
        if system["trivial"]:
            found = [
                other["figures"]
                for document in trivial
                for other in document["systems"]
                if other["name"] == system["name"]
            ]
            values = {
                metric: [
                    np.nan
                    if (f := one.get(metric)) is None or f["value"] is None
                    else float(f["value"])
                    for one in found
                ]
                for metric in METRICS
            }
            title = system["name"].replace("(round 2)", "(of round 2, the true contexts)")
            lines.append(figures_line(title, values))
    return lines


def figures_line(title: str, values: dict[str, list[float]]) -> str:
    cells = []
    for metric in METRICS:
        one = spread(values[metric])
        cells.append("" if one.n == 0 else f"{one.mean:.3f}" + f" ± {one.sd:.3f}" * (one.n > 1))
    return f"| {title} | {' | '.join(cells)} |"


def pairs_of(systems: Sequence[str]) -> list[tuple[str, str]]:
    """Which systems are compared: second less first."""
    wanted = [("first 1", "contexts 2"), ("first 1", "old 2")]
    for number in (2, 3, 4):
        wanted += [(f"old {number}", f"contexts {number}")]
        wanted += [(f"shuffled {number}", f"contexts {number}")]
    wanted += [("contexts 2", "replaced 2"), ("contexts 2", "contexts 3")]
    wanted += [("contexts 3", "contexts 4")]
    return [pair for pair in wanted if set(pair) <= set(systems)]


def differences_table(scores: Scores, systems: Sequence[str]) -> tuple[list[str], list[Held]]:
    """The lines, and what holds of the contexts against the old labels and against chance."""
    lines = [
        "| difference | " + " | ".join(METRICS.values()) + " |",
        "| --- |" + " --- |" * len(METRICS),
    ]
    holds: list[Held] = []
    for first, second in pairs_of(systems):
        title = f"{name_of(second)}, less {name_of(first)}"
        cells = []
        for metric, heading in METRICS.items():
            gain = spread((scores.by_seed(second, metric) - scores.by_seed(first, metric)).tolist())
            low, high = interval(scores.drawn(second, metric) - scores.drawn(first, metric))
            sure = (gain.low > 0 and low > 0) or (gain.high < 0 and high < 0)
            over_seeds = f"{gain.low:+.3f} to {gain.high:+.3f}"
            shown = f"{gain.mean:+.3f} ({over_seeds}; {low:+.3f} to {high:+.3f})"
            cells.append(f"**{shown}**" if sure else shown)
            if sure and second.startswith("contexts") and first.split()[0] in ("old", "shuffled"):
                holds.append((gain.mean > 0, f"{title}: {heading} {shown}"))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines, holds


VARIANTS = {
    "first 1": "round 1, 10 epochs",
    "old 2": "round 2: the old labels again",
    "shuffled 2": "round 2: contexts at random",
    "contexts 2": "round 2: the true contexts",
    "words 2": "round 2: contexts of the words alone (every study shown the mean image)",
    "ceiling 2": "round 2: each word of a disease as a label (what contexts cannot exceed)",
    "auxiliary-old 2": "round 2: the old labels, and as auxiliary loss of the decoder",
    "auxiliary-contexts 2": "round 2: the true contexts, and as auxiliary loss of the decoder",
    "long-first 1": "round 1, 30 epochs",
    "long-old 2": "after it: the old labels again",
    "long-shuffled 2": "after it: contexts at random",
    "long-contexts 2": "after it: the true contexts",
}


def variants_table(work: Path) -> list[str]:
    lines = ["| variant | BLEU (mean of 1 to 4) | AUROC |", "| --- | --- | --- |"]
    for name, title in VARIANTS.items():
        arm, _, number = name.partition(" ")
        bundle = work / f"seed-{VARIANT_SEED}" / arm / f"round-{number}" / "generator" / "model"
        if bundle.is_dir():
            found = validation_scores(bundle)
            bleu, area = (
                found[f"validation {key}"] for key in ("BLEU (mean of 1 to 4)", "AUROC (macro)")
            )
            lines.append(f"| {title} | {bleu:.3f} | {area:.3f} |")
    return lines


def verdict(holds: Sequence[Held], seeds: int, compared: int) -> str:
    """What the differences of the contexts from their controls come to, both ways."""
    better = [line for gains, line in holds if gains]
    worse = [line for gains, line in holds if not gains]
    if not better:
        return (
            f"**The contexts add nothing that {seeds} seeds can show.** Against the same training "
            "time on\nthe old labels, and against contexts dealt at random, no figure of theirs is "
            f"better by both\nintervals. What a further round gains comes of training longer."
        ) + listed("\n\nWorse by both intervals:", worse)
    said = (
        "Most of what a further round gains comes of training longer: the old labels gain it too.\n"
        f"Of {compared} figures in which the contexts are compared with the old labels or with "
        f"chance,\nbetter by both intervals: {len(better)}; worse by both: {len(worse)}."
    )
    return said + listed("\n\nBetter:", better) + listed("\n\nWorse:", worse)


def listed(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([heading, "", *(f"- {line}" for line in lines)]) if lines else ""


def compared_with_controls(systems: Sequence[str]) -> int:
    """How many figures speak for or against the contexts."""
    pairs = [f for f, s in pairs_of(systems) if s.startswith("contexts") and "first" not in f]
    return len(METRICS) * sum(not first.startswith("contexts") for first in pairs)


def write_page(work: Path, seeds: Sequence[int], rounds: int, page: Path, notes: str) -> None:
    """Score what is whole and write it down."""
    for seed in seeds:
        read_test(work, seed, rounds)
    trivial = [trivial_systems(work, seed) for seed in seeds]
    there = [systems_of(work, seed, rounds) for seed in seeds]
    systems = [name for name in there[0] if all(name in found for found in there)]
    scores = Scores(work, seeds)
    lines, holds = differences_table(scores, systems)
    meta = trivial[0]["meta"]
    bundle = systems_of(work, seeds[0], rounds)["first 1"]
    commit = json.loads((bundle / "config.json").read_text())["facts"]["commit"]
    told = ", ".join(map(str, seeds))
    newline = "\n"
    short = len(seeds) < PLANNED or not {f"{name} 4" for name in FURTHER} <= set(systems)
    unfinished = (
        f" The plan is {PLANNED} seeds and rounds 1 to 4,\nof which this page has a part so far: "
        "`scripts/ablation` goes on."
        if short
        else ""
    )
    page.write_text(
        f"""\
# Do rounds of the cascade help, and is it the contexts?

Written by `scripts/ablation` on {datetime.date.today()}; networks trained at commit {commit},
{os.cpu_count()} CPU cores. Phantom collection drawn with data.seed=31 for this page:
{meta["training studies"]} training, {meta["validation studies"]} validation and
{meta["studies"]} test studies ({meta["patients"]} patients); {len(seeds)} seeds ({told});
tokeniser {meta["tokenizer"]}.

From one first round a seed, further rounds train equally long: on the diseases with the contexts
that the decoder's states gave; on diseases with contexts of the same sizes dealt at random; on the
contexts in place of the diseases, as in the paper; on the old labels alone. The last is what a
round must beat: it trains as long and is told nothing new. Round N has N - 1 rounds of the cascade
behind it.{unfinished}

{verdict(holds, len(seeds), compared_with_controls(systems))}

## Test, mean over seeds ± standard deviation

{newline.join(figures_table(scores, systems, trivial))}

P-n: mean n-gram precision (how the paper's figures read); BLEU-n: corpus BLEU; exact: share of
annotations right in every word; F1 abnormal: macro over findings, read from the drafts; AUROC:
macro over the labels of round 1. `docs/evaluation.md` defines them.

## Differences, paired by seed

Mean over the seeds (95% interval by Student's t over the seeds; 95% bootstrap interval by patient
of the mean over the seeds, {RESAMPLES} resamples). In bold where both leave out 0; of so many,
some would do so by chance.

{newline.join(lines)}

## What was tried to make the contexts help

On validation only, seed {VARIANT_SEED}: hints, not findings. Seeds differ by more than most of
these do.

{newline.join(variants_table(work))}

{notes}
""",
        encoding="utf-8",
    )
    print(f"wrote {page}")


NOTES = """\
Drawn radiographs say nothing about real ones. NIH was left out: its annotations are lists of
labels, so that a disease's own words are always its name and a context is the image alone; there
is nothing of the text for a cluster to learn. `docs/real-data.md` has two rounds on NIH."""


def main() -> None:
    """Train what is missing, score, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--work", type=Path, default=Path("outputs/ablation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--step", choices=("all", "train", "page"), default="all")
    options = parser.parse_args()
    work = options.work.resolve()
    if not (work / "collection").is_dir():
        prepare(settings_of(work, [f"out={work}"]), work / "collection")
    if options.step != "page":
        train_arms(work, options.seeds, options.rounds)
    if options.step != "train":
        write_page(work, options.seeds, options.rounds, options.page, NOTES)


if __name__ == "__main__":
    main()
