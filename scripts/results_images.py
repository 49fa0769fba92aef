"""NIH: how well labels are detected from the radiographs at hand, and what that is beside."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from results_common import Seeds, compose, note, read_note, shown, table

from cascade.data.cache import build_cache
from cascade.data.datasets import StudyDataset, study_records
from cascade.data.splits import assign_splits
from cascade.evaluation.detectors import Lesson, logistic, neighbour_rates, prevalence, small_pixels
from cascade.evaluation.significance import Figure, Resampling, difference, figure
from cascade.inference.bundle import read_bundle
from cascade.io.nih import read_nih
from cascade.labels.patterns import mine_terms
from cascade.labels.table import NORMAL
from cascade.metrics.classification import auroc, macro, weighted_auroc
from cascade.pipeline.stages import Context, train_classifier
from cascade.training.features import extract_features
from cascade.training.fit_classifier import create_classifier
from cascade.training.trainer import seed_everything

WEIGHTS = "weights/squeezenet1_1_imagenet_features.safetensors"
TUNED, WHOLE = "ImageNet, last 2 of 5 stages", "ImageNet, all stages"
RANDOM = "random, all stages"
PROBE = "linear probe on frozen ImageNet features"
RANDOM_PROBE = "linear probe on random features"
NEAR_FEATURES = "nearest neighbours on frozen ImageNet features"
NEAR_PIXELS = "nearest neighbours on 32 x 32 pixels"
PREVALENCE = "prevalence"
STARTS: dict[str, tuple[str, ...]] = {
    TUNED: (),
    RANDOM: ("encoder.weights=null", "encoder.unfreeze=null"),
    WHOLE: ("encoder.unfreeze=null",),
}
"""What is changed in experiment=nih14_squeezenet; nothing was chosen on test."""
COMPARED = (
    (RANDOM, TUNED),
    (WHOLE, TUNED),
    (PROBE, TUNED),
    (NEAR_FEATURES, TUNED),
    (NEAR_PIXELS, TUNED),
    (NEAR_PIXELS, RANDOM),
    (RANDOM_PROBE, RANDOM),
    (RANDOM_PROBE, PROBE),
    (NEAR_FEATURES, PROBE),
)
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
NEIGHBOURS = (5, 10, 20, 40, 80, 160)
ENOUGH = 10
"""Training images that a finding needs to count in the second mean."""


class Part(NamedTuple):
    """One split: the data set and its truth ``(N, K)``."""

    dataset: StudyDataset
    truth: np.ndarray

    @property
    def pixels(self) -> np.ndarray:
        """Small pictures as rows."""
        return small_pixels(self.dataset.cache.pixels[self.dataset.rows[:, 0]])


class Answers(NamedTuple):
    """What a system says of validation and test, ``(N, K)`` once a seed, and how it was made."""

    val: list[np.ndarray]
    test: list[np.ndarray]
    seconds: float = 0.0
    told: str = ""


def validation(part: Part, scores: np.ndarray) -> float:
    """Mean AUROC over the labels that validation can tell, as the epoch is chosen."""
    return macro([auroc(*columns) for columns in zip(part.truth.T, scores.T, strict=True)])[0]


def trained(
    name: str, context: Context, parts: Mapping[str, Part], table: Any, seed: int, work: Path
) -> tuple[np.ndarray, np.ndarray, float]:
    """One training of the product, or what an earlier one noted."""
    folder = work / "nih" / f"{list(STARTS).index(name)}-{seed}"
    done = read_note(folder / "answers.json")
    if done is None:
        began = time.monotonic()
        bundle = train_classifier(context, table, folder / "run")
        reader, _ = read_bundle(bundle)
        answers = {
            part: extract_features(reader.classifier, parts[part].dataset, False, 64, [None])[1]
            for part in ("val", "test")
        }
        done = note(
            folder / "answers.json",
            seconds=time.monotonic() - began,
            **{part: found.numpy().astype(float).tolist() for part, found in answers.items()},
        )
        score = validation(parts["val"], np.array(done["val"]))
        print(f"{name}, seed {seed}: validation {score:.3f}", file=sys.stderr, flush=True)
    return np.array(done["val"]), np.array(done["test"]), float(done["seconds"])


def chosen(
    method: Callable[[Lesson, Any], np.ndarray],
    choices: Sequence[Any],
    inputs: Mapping[str, np.ndarray],
    parts: Mapping[str, Part],
) -> tuple[np.ndarray, np.ndarray, Any]:
    """A classical method with the setting that is best on validation; then test, once."""
    truth = parts["train"].truth
    asked = np.concatenate([inputs["val"], inputs["test"]])
    lesson = Lesson(inputs["train"], truth, asked, prevalence(truth), 0)
    cut = len(inputs["val"])
    best: tuple[float, Any, np.ndarray] | None = None
    for choice in choices:
        found = method(lesson, choice)
        score = validation(parts["val"], found[:cut])
        if best is None or score > best[0]:
            best = score, choice, found
    assert best is not None
    return best[2][:cut], best[2][cut:], best[1]


def frozen(settings: Mapping[str, Any], parts: Mapping[str, Part], seed: int) -> Any:
    """Pooled features of an encoder as it begins."""
    seed_everything(seed)
    network = create_classifier(settings["encoder"], 1, 0.0)
    return {
        name: extract_features(network, part.dataset, False, 64, [None])[0][:, 0].numpy()
        for name, part in parts.items()
    }


class Aurocs:
    """AUROC of each label and its means, averaged over the seeds, under any weights."""

    def __init__(
        self, truth: np.ndarray, seeds: list[np.ndarray], names: list[str], enough: list[str]
    ) -> None:
        """Hold truth ``(N, K)`` and the scores of each seed."""
        self.truth, self.seeds, self.names, self.enough = truth, seeds, names, enough

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures under weights ``(R, N)``, ``(R,)`` each."""
        columns = {
            name: np.mean(
                [weighted_auroc(self.truth[:, k], scores[:, k], weights) for scores in self.seeds],
                axis=0,
            )
            for k, name in enumerate(self.names)
        }
        findings = [columns[name] for name in self.names if name != NORMAL]
        frequent = [columns[name] for name in self.enough]
        return columns | {"all": np.nanmean(findings, 0), "enough": np.nanmean(frequent, 0)}


def measure(data: Path, work: Path, seeds: int) -> str:
    """Train and ask all; the section of the page."""
    weights = f"encoder.weights={data / WEIGHTS}"
    base = ["experiment=nih14_squeezenet", f"data.root={data / 'nih'}", "labels.min_studies=1"]
    settings = compose(*base, weights)
    collection = assign_splits(read_nih(data / "nih"))
    cache = build_cache(collection, settings["data"]["image_size"], work / "cache", workers=2)
    labels = mine_terms(collection, min_studies=1)
    parts = {}
    for name in ("train", "val", "test"):
        dataset = StudyDataset(study_records(collection, cache, name), cache, labels)
        parts[name] = Part(dataset, dataset.labels.numpy())
    systems: dict[str, Answers] = {}
    for name, changes in STARTS.items():
        found = []
        for seed in range(1, seeds + 1):
            own = compose(*base, weights, *changes, f"seed={seed}")
            context = Context(collection, cache, own)
            found.append(trained(name, context, parts, labels, seed, work))
        val, test, seconds = zip(*found, strict=True)
        systems[name] = Answers(list(val), list(test), sum(seconds))
    features = frozen(settings, parts, 0)
    pixels = {name: part.pixels for name, part in parts.items()}
    for name, method, choices, inputs, word in (
        (PROBE, logistic, STRENGTHS, features, "C"),
        (NEAR_FEATURES, neighbour_rates, NEIGHBOURS, features, "k"),
        (NEAR_PIXELS, neighbour_rates, NEIGHBOURS, pixels, "k"),
    ):
        val_scores, test_scores, choice = chosen(method, choices, inputs, parts)
        systems[name] = Answers([val_scores], [test_scores], 0.0, f"{word} = {choice:g}")
    blind = compose(*base, "encoder.weights=null")
    begun = [
        chosen(logistic, STRENGTHS, frozen(blind, parts, seed), parts)
        for seed in range(1, seeds + 1)
    ]
    told = f"C = {', '.join(f'{choice:g}' for _, _, choice in begun)}"
    systems[RANDOM_PROBE] = Answers([v for v, _, _ in begun], [t for _, t, _ in begun], 0, told)
    rates = prevalence(parts["train"].truth)
    constant = [np.tile(rates, (len(parts[part].truth), 1)) for part in ("val", "test")]
    systems[PREVALENCE] = Answers([constant[0]], [constant[1]])
    return section(systems, parts, labels.names, settings, seeds)


def section(
    systems: Mapping[str, Answers],
    parts: Mapping[str, Part],
    names: list[str],
    settings: Mapping[str, Any],
    seeds: int,
) -> str:
    """The tables."""
    positives = {part: (parts[part].truth == 1).sum(axis=0) for part in parts}
    enough = [
        name
        for name, count in zip(names, positives["train"], strict=True)
        if count >= ENOUGH and name != NORMAL
    ]
    records = parts["test"].dataset.records
    draws = Resampling(records.patient_ids)
    truth = parts["test"].truth
    points, samples, ensembles = {}, {}, {}
    for name, answers in systems.items():
        statistic = Aurocs(truth, answers.test, names, enough)
        points[name], samples[name] = draws.point(statistic), draws.samples(statistic)
        if len(answers.test) > 1:
            mean = Aurocs(truth, [np.mean(answers.test, axis=0)], names, enough)
            ensembles[name] = (draws.point(mean), draws.samples(mean))

    def cell(name: str, what: str) -> Figure:
        return figure(points[name][what], samples[name][what])

    rows = []
    for name, answers in systems.items():
        each = Seeds([draws.point(Aurocs(truth, [t], names, enough))["all"] for t in answers.test])
        val = np.mean([validation(parts["val"], scores) for scores in answers.val])
        ensemble = ""
        if name in ensembles:
            point, drawn = ensembles[name]
            ensemble = shown(figure(point["all"], drawn["all"]))
        rows.append(
            [
                name + (f" ({answers.told})" if answers.told else ""),
                f"{val:.3f}",
                shown(cell(name, "all")),
                each.spread(),
                ensemble,
                shown(cell(name, "enough")),
                shown(cell(name, NORMAL)),
            ]
        )
    head = ["system", "validation", "14 findings", "seeds' deviation", "ensemble of the seeds"]
    head += [f"{len(enough)} findings of {ENOUGH}+ training images", "normal"]
    by_label = []
    kept = [TUNED, RANDOM, PROBE, NEAR_FEATURES, NEAR_PIXELS]
    for k, name in enumerate(names):
        counts = [str(positives[part][k]) for part in ("train", "val", "test")]
        by_label.append([name, *counts, *(shown(cell(system, name)) for system in kept)])
    gaps = [gap_row(first, second, points, samples) for first, second in COMPARED]
    for name in (TUNED, RANDOM):
        point, drawn = ensembles[name]
        gap = difference(
            "all",
            (name, points[name]["all"], samples[name]["all"]),
            ("", point["all"], drawn["all"]),
        )
        gaps.append(gap_cells(f"one {name}", "the ensemble of its seeds", gap))
    patients = {name: len(set(part.dataset.records.patient_ids)) for name, part in parts.items()}
    told = ", ".join(
        f"{name} {len(part.truth):,} images of {patients[name]} patients"
        for name, part in parts.items()
    )
    minutes = sum(answers.seconds for answers in systems.values()) / 60
    options = settings["classifier"]
    return f"""\
Split by patient, the official membership kept: {told}.
`experiment=nih14_squeezenet` ({settings["data"]["image_size"]} px, {options["epochs"]} epochs,
chosen before on validation) with `labels.min_studies=1`, so that all 14 findings are learnt however
rare; {seeds} seeds. The epoch, C and k are chosen by mean AUROC on validation, whose
{len(parts["val"].truth)} images make a poor judge. AUROC on test, 95% intervals by bootstrap over
patients; where there are several seeds the figure is the mean of their AUROCs.
{minutes:.0f} minutes of training in all.

{table(head, rows)}
By label, with the number of images that carry it:

{table(["label", "train", "val", "test", *kept], by_label)}
Differences of the mean over the 14 findings, paired by patient:

{table(["from", "to", "difference", "95% interval", "holds"], gaps)}"""


def gap_row(first: str, second: str, points: Any, samples: Any) -> list[str]:
    one, other = ((n, points[n]["all"], samples[n]["all"]) for n in (first, second))
    return gap_cells(first, second, difference("all", one, other))


def gap_cells(first: str, second: str, gap: Any) -> list[str]:
    holds = "yes" if gap.holds else "no"
    if gap.holds:
        holds += ", better" if gap.value > 0 else ", worse"
    return [first, second, f"{gap.value:+.3f}", f"{gap.low:+.3f} to {gap.high:+.3f}", holds]
