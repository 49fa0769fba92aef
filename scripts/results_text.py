"""Open-i: what a decoder writes without any image, and what that is beside."""

from __future__ import annotations

import dataclasses
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
from cascade.evaluation.captions import caption_scores
from cascade.evaluation.scoring import Evaluation, evaluate
from cascade.evaluation.significance import Figure, Statistic, paired_bootstrap
from cascade.evaluation.statistics import METRICS, TextScores, verdict
from cascade.evaluation.systems import Rows, System, Training
from cascade.io.collection import Collection
from cascade.io.openi import read_openi
from cascade.labels.table import NORMAL, Label
from cascade.metrics.nlg import report_words
from cascade.models.condition import Condition
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
from cascade.training.trainer import Task, quiet_lightning, seed_everything, train_module
from cascade.training.vocabulary import build_vocabulary

CONDITIONS = ("none", "indication")
TARGETS = ("impression", "findings", "both")
WIDTHS = {"greedy": 1, "beam of 3": 3}
SAMPLED, SHUFFLING = "sampled", "shuffled"
WRITER = "LSTM without an image"
ASKER = "LSTM that reads the indication, without an image"
WRITERS = {"none": WRITER, "indication": ASKER}
SHUFFLED = "another study's indication's nearest report (control)"
DECEIVED = "LSTM that reads another study's indication (control)"
OPTIONS = ("decoder=lstm", "generator.min_count=3", "generator.epochs=12")
LENGTH = {"impression": 60, "findings": 100, "both": 140}
SEEDS = {"both": 1}
"""Of the longest texts fewer seeds than of the others: they cost most."""
SHOWN = {
    **{f"bleu{n}": f"BLEU-{n}" for n in range(1, 5)},
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "cider": "CIDEr",
}
CLINICAL = {
    "clin_micro_f1": "of all labels with normal, micro",
    "clin_macro_f1_abnormal": "of the findings, macro",
    "clin5_micro_f1": "of five findings, micro",
    "clin_macro_f1_abnormal_studies": "of the findings on abnormal studies, macro",
    "contradiction": "contradictions (less is better)",
}
DIFFERENCES = ("bleu4", "cider", "clin_micro_f1", "clin_macro_f1_abnormal")


def reader_of(settings: Mapping[str, Any], train: pd.DataFrame) -> Reader:
    """A reader whose decoder sees nothing: its image feature is the same for every study."""
    options = settings["generator"]
    vocabulary = build_vocabulary(train["text"].tolist(), options)
    classifier = StudyClassifier(create_encoder("tiny", width=4), 1)
    chosen = dict(settings["decoder"])
    condition, size = None, classifier.encoder.num_features
    if options["condition"] == "indication":
        words = Condition.learn_vocabulary(train["indication"].tolist())
        condition = Condition(words, int(options["condition_size"]), float(chosen["dropout"]))
        size += condition.size
    decoder = create_decoder(chosen.pop("name"), len(vocabulary), size, **chosen)
    return Reader(
        classifier,
        [Label(NORMAL, NORMAL, "")],
        False,
        decoder,
        vocabulary,
        max_length=int(options["max_length"]),
        condition=condition,
    )


def constant(reader: Reader, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Image features ``(N, 1, D)`` and label scores that say nothing."""
    size = reader.classifier.encoder.num_features
    return torch.zeros(count, 1, size), torch.zeros(count, 1)


def drafted(
    target: str, condition: str, seed: int, parts: Mapping[str, pd.DataFrame], work: Path
) -> dict[str, list[str]]:
    """Train on the training texts, choose the epoch on validation, write for the test studies."""
    folder = work / "text" / f"{target}-{condition}-{seed}"
    done = read_note(folder / "drafts.json")
    if done is None:
        began = time.monotonic()
        settings = compose(
            *OPTIONS,
            f"generator.target={target}",
            f"generator.max_length={LENGTH[target]}",
            f"generator.condition={condition}",
            f"seed={seed}",
        )
        options = settings["generator"]
        seed_everything(seed)
        reader = reader_of(settings, parts["train"])
        assert reader.vocabulary is not None
        learned = {
            name: FeatureDataset(
                *constant(reader, len(parts[name])),
                parts[name]["text"].tolist(),
                reader.vocabulary,
                reader.max_length,
                seed,
                indications=tokens_of(reader, parts[name]["indication"].tolist()),
            )
            for name in ("train", "val")
        }
        data = FeatureDataModule(
            learned["train"], learned["val"], options["batch_size"], None, seed
        )
        module = ReportGeneratorModule(
            reader,
            options["optimizer"],
            0.0,
            report_words,
            hidden=float(options["condition_hidden"]),
        )
        with quiet_lightning():
            task = Task(module, data, int(options["epochs"]), "val/bleu")
            score = train_module(task, folder / "run", settings)
        reader.eval()
        done = note(
            folder / "drafts.json",
            seconds=time.monotonic() - began,
            validation=score,
            drafts=write(reader, parts["test"]["indication"].tolist(), seed),
        )
        print(
            f"{target}, {condition}, seed {seed}: validation {score:.3f}",
            file=sys.stderr,
            flush=True,
        )
    return dict(done["drafts"])


def tokens_of(reader: Reader, indications: list[str]) -> torch.Tensor | None:
    return None if reader.condition is None else reader.condition.tokens(indications)


def other_studies(indications: list[str]) -> list[str]:
    """The same indications, dealt out at random."""
    order = np.random.default_rng(0).permutation(len(indications))
    return [indications[row] for row in order]


@torch.no_grad()
def write(reader: Reader, indications: list[str], seed: int) -> dict[str, list[str]]:
    """The likeliest text, and one that is drawn; where asked, by another study's indication too."""
    count = len(indications)
    if reader.condition is None:
        found = {name: said(reader, [""], width) * count for name, width in WIDTHS.items()}
        return found | {SAMPLED: drawn(reader, count, seed)}
    found = {name: said(reader, indications, width) for name, width in WIDTHS.items()}
    return found | {SHUFFLING: said(reader, other_studies(indications), WIDTHS["greedy"])}


def said(reader: Reader, indications: list[str], width: int) -> list[str]:
    """The drafts of a beam."""
    assert reader.vocabulary is not None
    texts = []
    for first in range(0, len(indications), 64):
        chunk = indications[first : first + 64]
        features, scores = constant(reader, len(chunk))
        known = reader.join(features[:, 0], chunk)
        texts += [
            reader.vocabulary.decode(ids) for ids in reader.draft(known, scores, width).tokens
        ]
    return texts


def drawn(reader: Reader, count: int, seed: int) -> list[str]:
    """One draw for each study; draws depend on the seed and not on the study: a seed for each."""
    assert reader.vocabulary is not None
    assert reader.decoder is not None
    feature = constant(reader, 1)[0][:, 0]
    each = [
        sample(reader.decoder, feature, reader.max_length, seed=seed * 100_003 + row)[0]
        for row in range(count)
    ]
    return [reader.vocabulary.decode(found.tokens[0]) for found in each]


def measure(data: Path, work: Path, seeds: int) -> str:
    """The section of the page."""
    collection = read_openi(data / "openi", split_file=data / "openi" / SPLIT)
    return "\n".join(one_target(collection, target, work, seeds) for target in TARGETS)


def one_target(collection: Collection, target: str, work: Path, seeds: int) -> str:
    studies = collection.studies.assign(
        text=target_texts(collection, target),
        indication=collection.studies["indication"].fillna(""),
    )
    studies = studies[studies["text"] != ""]
    parts = {name: studies[studies["split"] == name] for name in ("train", "val", "test")}
    train, test = parts["train"], parts["test"]
    seeds = min(seeds, SEEDS.get(target, seeds))
    groups: dict[str, list[System]] = {}
    for condition in CONDITIONS:
        for seed in range(1, seeds + 1):
            for name, texts in drafted(target, condition, seed, parts, work).items():
                title = DECEIVED if name == SHUFFLING else f"{WRITERS[condition]}, {name}"
                groups.setdefault(title, []).append(System(f"{title} (seed {seed})", texts))
    texts = train["text"].tolist()
    asked = test["indication"].tolist()
    for title, words in ((SHUFFLED, other_studies(asked)), (RETRIEVED, asked)):
        near = retrieve(train["indication"], pd.Series(words), texts)
        groups[title] = [System(title, near)]
    order = [*(f"{WRITER}, {name}" for name in (*WIDTHS, SAMPLED)), SHUFFLED, RETRIEVED]
    order += [DECEIVED, *(f"{ASKER}, {name}" for name in reversed(WIDTHS))]
    scored = evaluate(
        Rows(
            test["study_id"].tolist(),
            test["patient_id"].tolist(),
            test["text"].tolist(),
            normal=np.array([list(terms) == ["normal"] for terms in test["mesh"]]),
        ),
        [system for title in order for system in groups[title]],
        Training(texts, parts["val"]["text"].tolist()),
        kind="report",
        meteor="reports",
        meteor_seconds=900,
    )
    members = {title: [system.name for system in groups[title]] for title in order}
    members |= {system.name: [system.name] for system in scored.systems if system.trivial}
    return page_part(scored, target, parts, members, seeds)


def mean(scored: Evaluation, names: Sequence[str], metric: str) -> Figure:
    """Value and interval, each the mean over the seeds."""
    found = [scored.figure(name, metric) for name in names]
    return Figure(
        *(float(np.mean([getattr(f, k) for f in found])) for k in ("value", "low", "high"))
    )


def page_part(
    scored: Evaluation,
    target: str,
    parts: Mapping[str, pd.DataFrame],
    members: Mapping[str, list[str]],
    seeds: int,
) -> str:
    rows, clinical = [], []
    for name, each in members.items():
        distinct = np.mean([scored.figure(system, "distinct").value for system in each])
        cells = [shown(mean(scored, each, metric)) for metric in SHOWN]
        rows.append([name, *cells, f"{distinct:.0f}"])
        clinical.append([name, *(shown(mean(scored, each, metric)) for metric in CLINICAL)])
    counts = " / ".join(f"{len(part):,}" for part in parts.values())
    missing = {
        name: why
        for name, why in scored.meta["not_run"].items()
        if not why.startswith("not asked for")
    }
    told = "".join(f"\n{name} was not run: {why}.\n" for name, why in missing.items())
    return f"""\
### The {target if target != "both" else "findings and the impression under their headings"}

{counts} studies that have the text, {seeds} seed{"s" * (seeds > 1)} of each decoder. Tokeniser
`{scored.meta["tokenizer"]}`; references as written.

{table(["system", *SHOWN.values(), "distinct"], rows)}
F1 of the labels that the miner reads in the draft against those it reads in the reference:

{table(["system", *CLINICAL.values()], clinical)}
Paired differences by bootstrap over patients, of the seeds' mean:

{table(["metric", "from", "to", "difference", "95% interval", "holds"], gaps(scored, members))}
{told}"""


def gaps(scored: Evaluation, members: Mapping[str, list[str]]) -> list[list[str]]:
    """The rows of paired differences."""
    tokenizer = scored.meta["tokenizer"]
    references = scored.rows.references
    written = {s.name: s.hypotheses for s in scored.systems if s.hypotheses is not None}
    captions = caption_scores(written, references, tokenizer, None, kind="report", meteor="never")
    texts: dict[str, TextScores] = {}
    for name, hypotheses in written.items():
        texts[name] = TextScores(hypotheses, references, tokenizer, "report")
        texts[name].captions = captions.scores[name]

    def statistic(name: str) -> Statistic:
        def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
            each = [texts[system].figures(weights) for system in members[name]]
            return {key: np.mean([one[key] for one in each], axis=0) for key in DIFFERENCES}

        return figures

    asker = f"{ASKER}, greedy"
    pairs = [
        (f"{WRITER}, greedy", asker),
        (DECEIVED, asker),
        (SHUFFLED, RETRIEVED),
        (RETRIEVED, asker),
        ("fixed training report", asker),
        ("commonest training report", asker),
    ]
    rows = []
    for first, second in pairs:
        found = paired_bootstrap(statistic(first), statistic(second), scored.rows.patient_ids)
        for metric in DIFFERENCES:
            gap = dataclasses.replace(found[metric], first=first, second=second)
            rows.append(
                [
                    METRICS[metric],
                    first,
                    second,
                    f"{gap.value:+.3f}",
                    f"{gap.low:+.3f} to {gap.high:+.3f}",
                    f"yes, {verdict(gap)}" if gap.holds else "no",
                ]
            )
    return rows
