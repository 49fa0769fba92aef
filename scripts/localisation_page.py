"""Localisation scores of systems on boxes, those of systems that see no picture, and their page."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
from typing import Any, NamedTuple

import numpy as np
import torch
from finetune_depth import BATCH, DROPOUT, STAGES

from cascade.evaluation.significance import Figure, Resampling, figure, interval
from cascade.metrics.classification import weighted_auroc
from cascade.metrics.localisation import (
    LEVELS,
    Box,
    box_at,
    iobb,
    mean_box,
    overlaps,
    random_pointing,
)
from cascade.pipeline.collecting import current_commit

GUESSES = 200
NAMES = {
    "mean": "mean, Grad-CAM",
    "max": "max",
    "lse": "log-sum-exp",
    "noisy_or": "noisy-or",
    "gated_attention": "gated attention",
}


class Case(NamedTuple):
    """A box to find."""

    row: int
    column: int
    label: str
    patient: str
    box: Box


@dataclasses.dataclass
class Score:
    """What one system gets on each of N boxes; ``means`` are its seeds' mean."""

    pointing: np.ndarray  # (N,)
    iou: np.ndarray  # (N, L) found
    iobb: np.ndarray
    false_iou: np.ndarray  # (N, L) false alarms
    false_iobb: np.ndarray

    @staticmethod
    def mean(scores: list[Score]) -> Score:
        """Box by box."""
        fields = [field.name for field in dataclasses.fields(Score)]
        return Score(*(np.mean([getattr(s, name) for s in scores], axis=0) for name in fields))

    def to_json(self) -> dict[str, list[float]]:
        """Plain numbers."""
        return {key: value.tolist() for key, value in dataclasses.asdict(self).items()}

    @staticmethod
    def of(points: list[float], boxes: list[list[Box]], cases: list[Case]) -> Score:
        """By the places pointed at and the boxes detected."""
        by_union = [overlaps(found, c.box) for found, c in zip(boxes, cases, strict=True)]
        by_box = [
            overlaps(found, c.box, measure=iobb) for found, c in zip(boxes, cases, strict=True)
        ]
        return Score(
            np.array(points),
            np.array([found for found, _ in by_union]),
            np.array([found for found, _ in by_box]),
            np.array([false for _, false in by_union]),
            np.array([false for _, false in by_box]),
        )


def others(case: Case, cases: list[Case]) -> Box:
    """The mean box of the label over other patients' boxes; of all labels where there is none."""
    strangers = [c for c in cases if c.patient != case.patient]
    same = [c.box for c in strangers if c.label == case.label]
    return mean_box(same or [c.box for c in strangers])


def guesses(cases: list[Case]) -> dict[str, Score]:
    """What systems get that see no picture."""
    usual = [others(case, cases) for case in cases]
    centres = [((b.left + b.right) / 2, (b.top + b.bottom) / 2) for b in usual]
    found = {
        "mean box of the label, other patients": Score.of(
            [float(c.box.holds(*centre)) for c, centre in zip(cases, centres, strict=True)],
            [[box] for box in usual],
            cases,
        ),
        "centre of the picture": Score.of(
            [float(c.box.holds(0.5, 0.5)) for c in cases],
            [[box_at(box, 0.5, 0.5)] for box in usual],
            cases,
        ),
    }
    draws = np.random.default_rng(0)
    random = []
    for _ in range(GUESSES):
        boxes = []
        for box in usual:
            x, y = draws.uniform(size=2)
            width, height = box.right - box.left, box.bottom - box.top
            left, top = x * (1 - width), y * (1 - height)
            boxes.append([Box(left, top, left + width, top + height)])
        random.append(Score.of([random_pointing(c.box) for c in cases], boxes, cases))
    found["a random place"] = Score.mean(random)
    return found


def shown(value: Figure | float) -> str:
    if isinstance(value, Figure):
        return f"{value.value:.3f} ({value.low:.3f}-{value.high:.3f})"
    return f"{value:.2f}"


def page(found: dict[str, Any], options: argparse.Namespace) -> str:
    cases, parts, done, official = (found[k] for k in ("cases", "parts", "done", "official"))
    truth = parts["test"].labels.numpy()
    seeds = range(1, options.seeds + 1)
    boxes = Resampling([case.patient for case in cases])
    weights = np.concatenate(list(boxes.weights()))
    images = Resampling(found["test_patients"])

    def of_boxes(values: np.ndarray) -> Figure:
        return figure(float(values.mean()), (weights @ values) / weights.sum(axis=1))

    def of_test(pooling: str) -> Figure:
        logits = [np.array(done[pooling, seed]["test"]) for seed in seeds]

        def statistic(drawn: np.ndarray) -> dict[str, np.ndarray]:
            columns = [
                weighted_auroc(truth[:, k], each[:, k], drawn)
                for each in logits
                for k in range(truth.shape[1])
            ]
            return {"auroc": np.nanmean(columns, axis=0)}

        return figure(images.point(statistic)["auroc"], images.samples(statistic)["auroc"])

    def score(pooling: str, which: str) -> Score:
        each = [
            Score(**{key: np.array(value) for key, value in done[pooling, seed][which].items()})
            for seed in seeds
        ]
        return Score.mean(each)

    trivial = guesses(cases)
    own = {pooling: score(pooling, "own") for pooling in options.poolings}
    usual = {pooling: score(pooling, "usual") for pooling in options.poolings}
    rows, detail = [], []

    def add(name: str, scored: Score, aurocs: str) -> None:
        by_box = " | ".join(shown(of_boxes(scored.iobb[:, at])) for at in range(len(LEVELS)))
        rows.append(f"| {name} | {aurocs} | {shown(of_boxes(scored.pointing))} | {by_box} |")
        by_union = " | ".join(shown(of_boxes(scored.iou[:, at])) for at in range(len(LEVELS)))
        alarms = f"{scored.false_iou[:, 0].mean():.2f} | {scored.false_iobb[:, 0].mean():.2f}"
        detail.append(f"| {name} | {by_union} | {alarms} |")

    for pooling in options.poolings:
        add(f"**{NAMES[pooling]}**", own[pooling], shown(of_test(pooling)))
    for pooling in options.poolings:
        add(f"average map of {NAMES[pooling]}", usual[pooling], "")
    for name, scored in trivial.items():
        add(name, scored, "")
    counts: dict[str, int] = {}
    for case in cases:
        counts[case.label] = counts.get(case.label, 0) + 1
    labels = sorted(counts, key=lambda name: -counts[name])

    def by_label(name: str, scored: Score) -> str:
        cells = [
            f"{scored.pointing[[c.label == label for c in cases]].mean():.2f}" for label in labels
        ]
        return f"| {name} | {' | '.join(cells)} |"

    table_of_labels = [by_label(NAMES[p], own[p]) for p in options.poolings]
    table_of_labels += [by_label(name, scored) for name, scored in trivial.items()]

    def gap(first: Score, second: Score) -> str:
        values = first.pointing - second.pointing
        low, high = interval((weights @ values) / weights.sum(axis=1))
        holds = "holds" if low > 0 or high < 0 else "does not hold"
        return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f}, {holds})"

    best = max(trivial, key=lambda name: float(trivial[name].pointing.mean()))
    base = options.poolings[0]
    gaps = [
        f"| {NAMES[p]} | {gap(own[p], own[base]) if p != base else ''} | "
        f"{gap(own[p], usual[p])} | {gap(own[p], trivial[best])} |"
        for p in options.poolings
    ]
    patients = len({case.patient for case in cases})
    counted = ", ".join(f"{label} {counts[label]}" for label in labels)
    size = "x".join(str(n) for n in next(iter(done.values()))["map"])
    epochs = "; ".join(
        f"{NAMES[p]} {', '.join(str(done[p, seed]['epoch']) for seed in seeds)}"
        for p in options.poolings
    )
    seconds = sum(done[p, seed]["seconds"] for p in options.poolings for seed in seeds)
    return f"""\
# Where the heads look, scored on boxes

Written by `scripts/localisation` on {datetime.date.today()}, commit {current_commit()},
{torch.get_num_threads()} thread(s), {seconds:.0f} s of training and maps. Every figure is the mean
over seeds 1 to {options.seeds}, with a 95% bootstrap interval by patient, 1000 resamples.

SqueezeNet 1.1 from ImageNet on NIH ChestX-ray14 images of {options.size} px, the last
{options.depth} of {STAGES} stages fine-tuned under a head of each pooling ([heads.md](heads.md)),
{options.epochs} epochs of AdamW at {options.lr:g}, batches of {BATCH}, dropout {DROPOUT}, no
augmentation, r = {options.lse_r:g} in log-sum-exp: the same for all.
{len(found["table"].labels)} labels, no box is shown in training. The maps have {size} places.

**Rows.** {len(cases)} boxes of {len({c.row for c in cases})} images, {patients} patients:
{counted}.
{official.get("train", 0)} of them lie in the official training split, so all images of these
patients were taken out of training and validation:
{len(parts["train"].rows)} images are left to learn from,
{len(parts["val"].rows)} to choose the epoch on (by AUROC). AUROC is of the
{len(parts["test"].rows)} official test images, scored once a training.

**Scores.** Maps are enlarged to the picture. Pointing: the highest place lies in the box. IoBB: the
intersection over the detected box (Wang et al. 2017); detected are the boxes around regions above
half of the way from the map's lowest to its highest value, a rule fixed beforehand. A box is found
at T where any detected box of its label's map overlaps it by more than T. A small region within the
box gives an IoBB of 1, so read it beside IoU.

| system | AUROC (macro) | pointing | IoBB > .1 | IoBB > .25 | IoBB > .5 |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

| system | IoU > .1 | IoU > .25 | IoU > .5 | false boxes an image, IoU .1 | IoBB .1 |
| --- | --- | --- | --- | ---: | ---: |
{chr(10).join(detail)}

The systems without a picture: the mean box of the label over the other patients' boxes (of a label
with no other, over all), a box of that size in the picture's centre or at a place drawn at random
({GUESSES} draws; pointing exactly: the box's share of the picture), and the network's average map
of the label over the training pictures that have it, which is the same for every picture.

## Pointing, paired differences

| map | less {NAMES[base]} | less its own average map | less "{best}" |
| --- | --- | --- | --- |
{chr(10).join(gaps)}

## Pointing by label

| system | {" | ".join(f"{label} ({counts[label]})" for label in labels)} |
| --- | {" | ".join("---:" for _ in labels)} |
{chr(10).join(table_of_labels)}

Epochs chosen: {epochs}.

Read it as what it is: {len(cases)} boxes, {max(counts.values())} of them of one label, a few
hundred training images of one hospital with labels mined from unpublished reports, one small net at
one learning rate. What the intervals leave open stays open.
"""
