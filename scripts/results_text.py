"""Open-i: what a decoder writes without any image, and what that is beside."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from reproduce_iu_baselines import RETRIEVED, SPLIT, retrieve
from results_common import compose, note, read_note, shown, table

from cascade.data.datasets import target_texts
from cascade.evaluation.scoring import Evaluation, evaluate
from cascade.evaluation.significance import Figure
from cascade.evaluation.statistics import METRICS, verdict
from cascade.evaluation.systems import Rows, System, Training
from cascade.io.collection import Collection
from cascade.io.openi import read_openi
from cascade.labels.table import NORMAL, Label
from cascade.metrics.nlg import report_words
from cascade.models.decoders import create_decoder
from cascade.models.encoders import create_encoder
from cascade.models.generation import sample
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.training.report_generator import (
    FeatureDataModule,
    FeatureDataset,
    ReportGeneratorModule,
)
from cascade.training.trainer import quiet_lightning, seed_everything, train_module
from cascade.training.vocabulary import build_vocabulary

TARGETS = ("impression", "findings", "both")
DRAFTS = ("greedy", "beam of 3", "sampled")
WRITER = "LSTM without an image"
SHUFFLED = "another study's indication's nearest report (control)"
OPTIONS = (
    "decoder=lstm",
    "generator.min_count=3",
    "generator.max_length=100",
    "generator.epochs=20",
)
LENGTH = {"impression": 60, "findings": 100, "both": 140}
SHOWN = {
    **{f"bleu{n}": f"BLEU-{n}" for n in range(1, 5)},
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "cider": "CIDEr",
}
CLINICAL = {
    "clin_micro_f1": "of 14 and normal, micro",
    "clin_macro_f1_abnormal": "of 14, macro",
    "clin5_micro_f1": "of five, micro",
    "clin_macro_f1_abnormal_studies": "of 14 on abnormal studies, macro",
    "contradiction": "contradictions (less is better)",
}
DIFFERENCES = ("bleu4", "cider", "clin_micro_f1", "clin_macro_f1_abnormal")


def reader_of(settings: Mapping[str, Any], texts: list[str]) -> Reader:
    """A reader whose decoder is told nothing: its feature is the same for every study."""
    options = settings["generator"]
    vocabulary = build_vocabulary(texts, options)
    classifier = StudyClassifier(create_encoder("tiny", width=4), 1)
    chosen = dict(settings["decoder"])
    decoder = create_decoder(
        chosen.pop("name"), len(vocabulary), classifier.encoder.num_features, **chosen
    )
    return Reader(
        classifier,
        [Label(NORMAL, NORMAL, "")],
        False,
        decoder,
        vocabulary,
        max_length=int(options["max_length"]),
    )


def constant(reader: Reader, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    size = reader.classifier.encoder.num_features
    return torch.zeros(count, 1, size), torch.zeros(count, 1)


def drafted(
    target: str, seed: int, texts: Mapping[str, list[str]], count: int, work: Path
) -> dict[str, list[str]]:
    """Train on the training texts, choose the epoch on validation, write for ``count`` studies."""
    folder = work / "text" / f"{target}-{seed}"
    done = read_note(folder / "drafts.json")
    if done is None:
        began = time.monotonic()
        settings = compose(
            *OPTIONS,
            f"generator.target={target}",
            f"generator.max_length={LENGTH[target]}",
            f"seed={seed}",
        )
        options = settings["generator"]
        seed_everything(seed)
        reader = reader_of(settings, texts["train"])
        assert reader.vocabulary is not None
        parts = {
            name: FeatureDataset(
                *constant(reader, len(texts[name])),
                texts[name],
                reader.vocabulary,
                reader.max_length,
                seed,
            )
            for name in ("train", "val")
        }
        data = FeatureDataModule(parts["train"], parts["val"], options["batch_size"], None, seed)
        module = ReportGeneratorModule(reader, options["optimizer"], 0.0, report_words)
        with quiet_lightning():
            score = train_module(
                module, data, folder / "run", settings, int(options["epochs"]), "val/bleu"
            )
        reader.eval()
        done = note(
            folder / "drafts.json",
            seconds=time.monotonic() - began,
            validation=score,
            **write(reader, count, seed),
        )
        print(f"{target}, seed {seed}: validation {score:.3f}", file=sys.stderr, flush=True)
    return {name: done[name] for name in DRAFTS}


@torch.no_grad()
def write(reader: Reader, count: int, seed: int) -> dict[str, list[str]]:
    """The likeliest text, which is the same for all, and one drawn for each study."""
    assert reader.vocabulary is not None
    assert reader.decoder is not None
    words = reader.vocabulary
    feature, score = constant(reader, 1)
    found = {
        name: [words.decode(reader.draft(feature[:, 0], score, width).tokens[0])] * count
        for name, width in (("greedy", 1), ("beam of 3", 3))
    }
    # The draws of a draft depend on the seed and not on the study: a seed for each.
    drawn = [
        sample(reader.decoder, feature[:, 0], reader.max_length, seed=seed * 100_003 + row)[0]
        for row in range(count)
    ]
    return found | {"sampled": [words.decode(each.tokens[0]) for each in drawn]}


def measure(data: Path, work: Path, seeds: int) -> str:
    """The section of the page."""
    collection = read_openi(data / "openi", split_file=data / "openi" / SPLIT)
    return "\n".join(one_target(collection, target, work, seeds) for target in TARGETS)


def one_target(collection: Collection, target: str, work: Path, seeds: int) -> str:
    studies = collection.studies.assign(text=target_texts(collection, target))
    studies = studies[studies["text"] != ""]
    parts = {name: studies[studies["split"] == name] for name in ("train", "val", "test")}
    texts = {name: part["text"].tolist() for name, part in parts.items()}
    test = parts["test"]
    systems = []
    for seed in range(1, seeds + 1):
        found = drafted(target, seed, texts, len(test), work)
        systems += [System(f"{WRITER}, {name} (seed {seed})", found[name]) for name in DRAFTS]
    known, asked = parts["train"]["indication"], test["indication"]
    order = np.random.default_rng(0).permutation(len(test))
    near = functools.partial(retrieve, known, texts=texts["train"])
    systems.append(System(SHUFFLED, near(asked.iloc[order])))
    systems.append(System(RETRIEVED, near(asked)))
    scored = evaluate(
        Rows(
            test["study_id"].tolist(),
            test["patient_id"].tolist(),
            texts["test"],
            normal=np.array([list(terms) == ["normal"] for terms in test["mesh"]]),
        ),
        systems,
        Training(texts["train"], texts["val"]),
        kind="report",
        meteor="reports",
        meteor_seconds=900,
    )
    return page_part(scored, target, parts, seeds)


def pooled(scored: Evaluation, seeds: int) -> dict[str, list[str]]:
    """The rows of the table and the systems that each is the mean of."""
    groups = {
        f"{WRITER}, {name}": [f"{WRITER}, {name} (seed {s})" for s in range(1, seeds + 1)]
        for name in DRAFTS
    }
    own = {name for names in groups.values() for name in names}
    return groups | {s.name: [s.name] for s in scored.systems if s.name not in own}


def mean(scored: Evaluation, names: Sequence[str], metric: str) -> Figure:
    """Value and interval, each the mean over the seeds."""
    found = [scored.figure(name, metric) for name in names]
    return Figure(
        *(float(np.mean([getattr(f, k) for f in found])) for k in ("value", "low", "high"))
    )


def page_part(
    scored: Evaluation, target: str, parts: Mapping[str, pd.DataFrame], seeds: int
) -> str:
    rows, clinical = [], []
    groups = pooled(scored, seeds)
    for name, members in groups.items():
        distinct = np.mean([scored.figure(member, "distinct").value for member in members])
        cells = [shown(mean(scored, members, metric)) for metric in SHOWN]
        rows.append([name, *cells, f"{distinct:.0f}"])
        clinical.append([name, *(shown(mean(scored, members, metric)) for metric in CLINICAL)])
    gaps = [
        [
            METRICS[gap.metric],
            gap.first,
            gap.second,
            f"{gap.value:+.3f}",
            f"{gap.low:+.3f} to {gap.high:+.3f}",
            f"{'yes' if gap.holds else 'no'}{', ' * gap.holds}{verdict(gap) * gap.holds}",
        ]
        for gap in scored.differences
        if gap.metric in DIFFERENCES and gap.second == RETRIEVED
    ]
    counts = " / ".join(f"{len(part):,}" for part in parts.values())
    why = "; ".join(f"{name} not run: {reason}" for name, reason in scored.meta["not_run"].items())
    return f"""\
### The {target if target != "both" else "findings and the impression under their headings"}

{counts} studies that have the text. Tokeniser `{scored.meta["tokenizer"]}`; references as written.

{table(["system", *SHOWN.values(), "distinct"], rows)}
F1 of the labels that the miner reads in the draft against those it reads in the reference:

{table(["system", *CLINICAL.values()], clinical)}
Paired differences ({scored.meta["resamples"]} resamples):

{table(["metric", "from", "to", "difference", "95% interval", "holds"], gaps)}
{why}
"""
