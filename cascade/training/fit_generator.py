"""Fit the decoder on a classifier's features: words, networks and data from plain settings."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from cascade.data.cache import ImageCache
from cascade.data.datasets import StudyDataset, StudyRecords
from cascade.data.transforms import Augment
from cascade.errors import InputError, as_input_errors
from cascade.labels.table import LabelTable
from cascade.metrics.nlg import annotation_words, report_words
from cascade.models.condition import CONDITIONS, Condition
from cascade.models.decoders import Decoder, create_decoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import DECODINGS, Reader
from cascade.text.vocabulary import Vocabulary
from cascade.training.abstain import choose_abstention, wanted_coverage, write_drafts
from cascade.training.features import Progress, extract_features
from cascade.training.fit_classifier import balance_weights
from cascade.training.report_generator import (
    FeatureDataModule,
    FeatureDataset,
    ReportGeneratorModule,
)
from cascade.training.rewards import create_reward
from cascade.training.self_critical import SelfCritical
from cascade.training.together import jointly
from cascade.training.trainer import Task, device_of, quiet_lightning, seed_everything, train_module
from cascade.training.vocabulary import build_vocabulary, log_coverage

log = logging.getLogger(__name__)

Settings = Mapping[str, Any]

MONITORS = ("bleu", "reward")
"""Validation scores by which the epoch may be chosen."""


@jointly
def fit_generator(
    directory: str | Path,
    reader: Reader,
    train: StudyRecords,
    val: StudyRecords,
    cache: ImageCache,
    table: LabelTable,
    settings: Settings,
    progress: Progress | None = None,
) -> tuple[Reader, float]:
    """Train a decoder on a classifier's features.

    Args:
        directory: of the run.
        reader: its classifier is frozen and used; a decoder and vocabulary are set in it.
        train: studies; those without a text take no part, and only they make the vocabulary.
        val: studies to select the epoch on.
        cache: decoded images.
        table: label table, for the sampling.
        settings: the keys ``seed``, ``decoder``, ``generator``, ``trainer``, ``callbacks``,
            ``logger``.
        progress: of the feature extraction.

    Returns:
        The reader, whole now, of the best epoch, with its abstention where one is asked for, and
        that epoch's ``val/bleu``.

    Raises:
        InputError: no study has a text, or the settings of its words do not fit together.
        CascadeError: training diverged.
    """
    task = generator_task(reader, train, val, cache, table, settings, progress)
    with quiet_lightning():
        score = train_module(task, Path(directory), settings)
    if task.monitor != "val/bleu":
        score = _bleu_of_the_best(Path(directory) / "metrics.csv", task.monitor)
    for part in (reader.decoder, reader.condition):
        if part is not None:
            part.cpu().eval()
    options = settings["generator"]
    coverage = wanted_coverage(options)
    if coverage is not None:
        assert isinstance(task.data, FeatureDataModule)
        found, size = task.data.val, int(options["batch_size"])
        drafts, confidences = write_drafts(reader, found, size, device_of(settings))
        reader.abstention = choose_abstention(
            drafts, found.texts, confidences, options["target"], coverage
        )
    return reader, score


def generator_task(
    reader: Reader,
    train: StudyRecords,
    val: StudyRecords,
    cache: ImageCache,
    table: LabelTable,
    settings: Settings,
    progress: Progress | None = None,
) -> Task:
    """What ``fit_generator`` trains, of the same arguments; the features are computed here.

    Raises:
        InputError: as there.
    """
    options = settings["generator"]
    seed = int(settings["seed"])
    seed_everything(seed)
    target, decoding = options["target"], options.get("decoding", "beam")
    if decoding not in DECODINGS:
        raise InputError(
            f"unknown generator.decoding={decoding}: expected one of {', '.join(DECODINGS)}"
        )
    further = options.get("self_critical") or {"epochs": 0}
    monitor = options.get("monitor", "bleu")
    if monitor not in MONITORS:
        raise InputError(
            f"unknown generator.monitor={monitor}: expected one of {', '.join(MONITORS)}"
        )
    wanted_coverage(options)
    train, val = _written(train, target, "train"), _written(val, target, "val")
    folder = settings["decoder"].get("folder")
    vocabulary = build_vocabulary(train.texts, options, folder)
    train = train.select([i for i, text in enumerate(train.texts) if vocabulary.split(text)])
    reward = None
    if int(further["epochs"]) > 0 or monitor == "reward":
        reward = create_reward(further.get("reward", "cider"), train.texts, target)
    log_coverage(vocabulary, train.texts, val.texts, int(options["max_length"]))
    condition = _new_condition(options, train.indications, settings["decoder"])
    decoder = _new_decoder(settings["decoder"], vocabulary, reader.classifier, options, condition)
    learn, select = StudyDataset(train, cache, table), StudyDataset(val, cache, table)
    augments: list[Augment | None] = [None]
    if options["augment"]:
        read, cut = reader.classifier.encoder.crop, options["augment"].get("crop")
        if cut != read:
            raise InputError(
                f"generator.augment.crop={cut}: the classifier was trained on crop={read}, and the "
                f"decoder reads the same pictures; give generator.augment.crop={read or 'null'}"
            )
        augments += [
            Augment(**options["augment"], seed=seed * 1009 + copy)
            for copy in range(1, int(options["copies"]))
        ]

    def extract(dataset: StudyDataset, copies: list[Augment | None]) -> tuple[Tensor, Tensor]:
        return extract_features(
            reader.classifier,
            dataset,
            reader.exclusive,
            int(options["feature_batch_size"]),
            copies,
            device_of(settings),
            progress,
            maps=decoder.input == "map",
            memory=float(options.get("map_memory", math.inf)),
            calibration=reader.calibration,
        )

    features, scores = extract(learn, augments)
    val_features, val_scores = extract(select, [None])
    decoder.set_feature_statistics(features.flatten(0, 1))
    reader.classifier.cpu().eval()
    reader.decoder, reader.vocabulary, reader.condition = decoder, vocabulary, condition
    reader.calibration.cpu()
    reader.first_word, reader.max_length = options["first_word"], int(options["max_length"])
    reader.width, reader.length_penalty = int(options["width"]), float(options["length_penalty"])
    reader.no_repeat = int(options.get("no_repeat", 0))
    reader.decoding, reader.seed = decoding, seed
    reader.temperature = float(options.get("temperature", 1.0))
    reader.top_p = float(options.get("top_p", 1.0))
    length = reader.max_length
    auxiliary = float(options.get("auxiliary", 0.0))
    learned = FeatureDataset(
        features,
        scores,
        train.texts,
        vocabulary,
        length,
        seed,
        learn.labels if auxiliary > 0 else None,
        None if condition is None else condition.tokens(train.indications),
    )
    selected = FeatureDataset(
        val_features,
        val_scores,
        val.texts,
        vocabulary,
        length,
        seed,
        indications=None if condition is None else condition.tokens(val.indications),
    )
    weights = balance_weights(learn, table, options["balance"])
    data = FeatureDataModule(learned, selected, int(options["batch_size"]), weights, seed)
    tokenize = annotation_words if target == "annotation" else report_words
    module = ReportGeneratorModule(
        reader,
        options["optimizer"],
        float(options["smoothing"]),
        tokenize,
        float(options.get("scheduled_sampling", 0.0)),
        auxiliary,
        float(options.get("condition_hidden", 0.0)),
        int(options["epochs"]),
        SelfCritical.of_settings(further, reward) if reward and int(further["epochs"]) else None,
        reward,
        seed,
    )
    epochs = int(options["epochs"]) + int(further["epochs"])
    return Task(module, data, epochs, f"val/{monitor}")


def _bleu_of_the_best(metrics: Path, monitor: str) -> float:
    """``val/bleu`` of the first epoch that is best by another score."""
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return float(max(rows, key=lambda row: float(row[monitor]))["val/bleu"])


def _new_condition(
    options: Settings, indications: Sequence[str], decoder: Settings
) -> Condition | None:
    """What reads the indications, where the settings ask for it.

    Raises:
        InputError: unknown name, no training indication, or a decoder that takes the image alone.
    """
    name = options.get("condition", "none")
    if name not in CONDITIONS:
        raise InputError(
            f"unknown generator.condition={name}: expected one of {', '.join(CONDITIONS)}"
        )
    if name == "none":
        return None
    if decoder.get("project") == "pca":
        raise InputError(
            "decoder.project=pca makes the image's features the state and knows no indication: "
            "give generator.condition=none, or decoder.project=linear"
        )
    vocabulary = Condition.learn_vocabulary(indications)
    log.info(
        "indications of %d of %d training studies, %d tokens",
        sum(map(bool, indications)),
        len(indications),
        len(vocabulary),
    )
    dropout = float(decoder.get("dropout", 0.0))
    return Condition(vocabulary, int(options.get("condition_size", 64)), dropout)


def _new_decoder(
    chosen: Settings,
    vocabulary: Vocabulary,
    classifier: StudyClassifier,
    options: Settings,
    condition: Condition | None,
) -> Decoder:
    """The decoder to train: random weights, or those that its settings name.

    Raises:
        InputError: unknown names, files that do not fit, texts longer than it can read.
    """
    size = classifier.encoder.num_features + (0 if condition is None else condition.size)
    decoder = begin_decoder(chosen, len(vocabulary), size, options)
    with as_input_errors():
        found = decoder.load_initial(vocabulary)
    if found is not None:
        log.info("decoder weights: %s", found)
    return decoder


def begin_decoder(
    chosen: Settings, vocab_size: int, num_features: int, options: Settings
) -> Decoder:
    """A decoder of random weights from settings.

    Raises:
        InputError: unknown names, values that cannot be, texts longer than it can read.
    """
    arguments = dict(chosen)
    with as_input_errors():
        decoder = create_decoder(arguments.pop("name"), vocab_size, num_features, **arguments)
    length = int(options["max_length"])
    if decoder.positions is not None and decoder.positions <= length:
        raise InputError(
            f"generator.max_length={length}: the decoder has {decoder.positions} positions, one of "
            f"them for the beginning; give decoder.positions={length + 1} or more"
        )
    return decoder


def _written(records: StudyRecords, target: str, split: str) -> StudyRecords:
    keep = [index for index, text in enumerate(records.texts) if text]
    if not keep:
        raise InputError(
            f"no {split} study with an image has a text to learn (generator.target={target}): "
            "choose another target"
        )
    return records.select(keep)
