"""Fit the label detector: networks and data from plain settings, then Lightning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cascade.data.cache import ImageCache
from cascade.data.datamodule import Dropout, StudyDataModule, sampling_weights
from cascade.data.datasets import StudyDataset, StudyRecords
from cascade.data.transforms import Augment, crop_of
from cascade.errors import InputError, as_input_errors
from cascade.labels.table import NORMAL, LabelTable, disease_owners
from cascade.models.encoders import TRAINING_OPTIONS, Encoder, create_encoder, load_weights
from cascade.models.heads import HEAD_OPTIONS, StudyClassifier
from cascade.models.losses import LabelLoss, class_weights
from cascade.models.reader import Reader
from cascade.training.calibrate import calibrate, label_logits
from cascade.training.callbacks import GradualUnfreezing
from cascade.training.classifier import ClassifierModule
from cascade.training.fit_view_check import fit_suitability
from cascade.training.together import jointly
from cascade.training.trainer import (
    Task,
    device_of,
    quiet_lightning,
    seed_everything,
    train_module,
)

log = logging.getLogger(__name__)

Settings = Mapping[str, Any]


def create_classifier(
    encoder: Settings, num_labels: int, dropout: float, head: Settings | None = None
) -> StudyClassifier:
    """A classifier from settings.

    Args:
        encoder: ``name``, ``weights``, ``unfreeze``, ``gradual``, arguments of the network.
        num_labels: of the head.
        dropout: of the pooled features.
        head: how places and views are pooled: the keys of ``HEAD_OPTIONS``.

    Raises:
        InputError: unknown name, a weight file that does not fit, a depth that does not exist.
    """
    network = begin_encoder(encoder)
    with as_input_errors():
        return StudyClassifier(network, num_labels, dropout, **(head or {}))


def begin_encoder(encoder: Settings, quiet: bool = False) -> Encoder:
    """The encoder as training begins with it: weights loaded, stages open.

    Args:
        encoder: ``name``, ``weights``, ``unfreeze``, ``gradual``, arguments of the network.
        quiet: say nothing of what was loaded.

    Raises:
        InputError: unknown name, a weight file that does not fit, a depth that does not exist.
    """
    arguments = {key: encoder[key] for key in encoder if key not in TRAINING_OPTIONS}
    weights = encoder.get("weights")
    with as_input_errors():
        network = create_encoder(arguments.pop("name"), **arguments)
        if weights is not None:
            report = load_weights(network, weights)
            level = logging.WARNING if report.missing else logging.INFO
            if not quiet:
                log.log(level, "encoder weights: %s", report.summary())
        network.unfreeze(encoder.get("unfreeze"))
    return network


@jointly
def fit_classifier(
    directory: str | Path,
    train: StudyRecords,
    val: StudyRecords,
    cache: ImageCache,
    table: LabelTable,
    settings: Settings,
    start_from: StudyClassifier | None = None,
) -> tuple[Reader, float]:
    """Train the label detector.

    Args:
        directory: of the run: checkpoints and ``metrics.csv``.
        train: studies to learn from; those without any known label take no part.
        val: studies to select the epoch on.
        cache: decoded images.
        table: label table.
        settings: the keys ``seed``, ``encoder``, ``classifier``, ``trainer``, ``callbacks``,
            ``logger``.
        start_from: fine-tune this network under a new head (rounds after the first).

    Returns:
        A reader without decoder, of the best epoch, with its calibration and operating points, and
        that epoch's validation AUROC.

    Raises:
        InputError: no labelled study, a label without a positive training study, or a loss or a
            sampling that these labels do not have.
        CascadeError: training diverged.
    """
    task = classifier_task(train, val, cache, table, settings, start_from)
    with quiet_lightning():
        score = train_module(task, Path(directory), settings)
    module, data = task.module, task.data
    assert isinstance(module, ClassifierModule)
    assert isinstance(data, StudyDataModule)
    network = module.network.eval()
    suitability = fit_suitability(data.train, data.val, seed=int(settings["seed"]))
    reader = Reader(network, table.labels, table.exclusive, suitability=suitability)
    options, select = settings["classifier"], data.val
    logits = label_logits(network, select, int(options["batch_size"]), device_of(settings))
    method = str(options.get("calibration", "none"))
    calibrate(reader, logits, select.labels, select.records.patient_ids, method)
    return reader, score


def classifier_task(
    train: StudyRecords,
    val: StudyRecords,
    cache: ImageCache,
    table: LabelTable,
    settings: Settings,
    start_from: StudyClassifier | None = None,
) -> Task:
    """What ``fit_classifier`` trains, of the same arguments.

    Raises:
        InputError: as there.
    """
    options = settings["classifier"]
    seed = int(settings["seed"])
    seed_everything(seed)
    learn = StudyDataset(_labelled(train, table, "train"), cache, table)
    select = StudyDataset(_labelled(val, table, "val"), cache, table)
    _require_positives(learn.labels, table)
    weights = balance_weights(learn, table, options["balance"])
    loss = create_loss(learn.labels, table.exclusive, options)
    augment = Augment(**options["augment"], seed=seed) if options["augment"] else None
    data = StudyDataModule(
        learn,
        select,
        options["batch_size"],
        options["workers"],
        weights,
        augment,
        seed,
        data_dropout(learn, table, float(options.get("normal_share", 1.0))),
    )
    head = {key: options[key] for key in HEAD_OPTIONS if key in options}
    if start_from is None:
        network = create_classifier(
            settings["encoder"], len(table.labels), options["dropout"], head
        )
    else:
        network = start_from
        network.replace_head(len(table.labels), **head)
        network.dropout.p = float(options["dropout"])
        network.encoder.unfreeze(settings["encoder"].get("unfreeze"))
    network.encoder.crop = crop_of(options["augment"], cache.size, "classifier")
    network.train()
    module = ClassifierModule(
        network, table.exclusive, disease_owners(table.labels), options["optimizer"], loss, seed
    )
    epochs = int(options["epochs"] if start_from is None else options["next_epochs"])
    every = settings["encoder"].get("gradual")
    gradual = [GradualUnfreezing(network.encoder, int(every))] if every is not None else []
    if options.get("compile"):
        network.compile(backend=options["compile"])  # its weights keep their names
    return Task(module, data, epochs, "val/auroc", gradual)


def create_loss(labels: Tensor, exclusive: bool, options: Settings) -> LabelLoss:
    """The training loss from settings, with class weights by the training labels ``(N, K)``.

    Raises:
        InputError: unknown names, or a choice that exclusive labels do not have.
    """
    names = ("loss", "uncertain", "soft_range", "gamma", "gamma_positive", "gamma_negative", "clip")
    chosen = {name: options[name] for name in names if name in options}
    try:
        plain = LabelLoss(exclusive, **chosen)
        beta = float(options.get("effective_beta", 0.999))
        kind = options.get("class_weights", "none")
        weights = class_weights(plain.targets(labels), kind, exclusive, beta)
        return LabelLoss(exclusive, **chosen, weights=weights)
    except ValueError as error:
        raise InputError(f"classifier: {error}") from error


def data_dropout(dataset: StudyDataset, table: LabelTable, share: float) -> Dropout | None:
    """Which studies sit out of an epoch; None where all take part.

    Raises:
        InputError: the table has no label named normal.
    """
    if share >= 1:
        return None
    if NORMAL not in table.names:
        raise InputError(
            f"classifier.normal_share={share:g} needs a label named {NORMAL}: give 1, or labels "
            "that have it"
        )
    normal = dataset.labels[:, table.names.index(NORMAL)] == 1
    return Dropout(normal.numpy(), share)


def _labelled(records: StudyRecords, table: LabelTable, split: str) -> StudyRecords:
    labels = table.rows(records.study_ids)
    known = ~np.isnan(labels).all(axis=1)
    if not known.any():
        raise InputError(
            f"no {split} study with an image carries a label: is the label table of this "
            "collection?"
        )
    return records.select(np.flatnonzero(known).tolist())


def balance_weights(dataset: StudyDataset, table: LabelTable, balance: str) -> np.ndarray | None:
    """Sampling weights by the diseases, or None where every study counts alike.

    Contexts beside their diseases do not count: nearly every abnormal study has a rare context.
    """
    if balance == "none":
        return None
    speaking = [column for column, owner in enumerate(disease_owners(table.labels)) if owner >= 0]
    names = [table.names[column] for column in speaking]
    normal = names.index(NORMAL) if NORMAL in names else None
    try:
        return sampling_weights(dataset.labels[:, speaking].numpy(), balance, normal)
    except ValueError as error:
        raise InputError(str(error)) from error


def _require_positives(labels: Tensor, table: LabelTable) -> None:
    for name, positives in zip(table.names, (labels == 1).sum(dim=0).tolist(), strict=True):
        if positives == 0:
            raise InputError(
                f"no training study with an image carries the label {name!r}: mine the labels with "
                "a higher labels.min_studies, or over the studies that have images"
            )
