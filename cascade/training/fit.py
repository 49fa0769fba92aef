"""Fit a stage: build the networks from plain settings, let Lightning train, keep the best epoch.

A killed fit resumes from its last finished epoch: call it again with the same directory.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn

from cascade.data.cache import ImageCache
from cascade.data.datamodule import StudyDataModule, sampling_weights
from cascade.data.datasets import StudyDataset, StudyRecords
from cascade.data.transforms import Augment, to_unit
from cascade.errors import CascadeError, InputError
from cascade.labels.table import NORMAL, LabelTable, disease_owners
from cascade.metrics.nlg import annotation_words, report_words
from cascade.models.decoders import Decoder, create_decoder
from cascade.models.encoders import TRAINING_OPTIONS, create_encoder, load_weights
from cascade.models.heads import StudyClassifier, probabilities
from cascade.models.reader import Reader
from cascade.models.suitability import Suitability
from cascade.text.vocabulary import Vocabulary
from cascade.training.callbacks import GradualUnfreezing, MetricsFile
from cascade.training.classifier import ClassifierModule
from cascade.training.report_generator import (
    FeatureDataModule,
    FeatureDataset,
    ReportGeneratorModule,
)
from cascade.training.vocabulary import build_vocabulary, log_coverage

log = logging.getLogger(__name__)

HALF_MAX = torch.finfo(torch.float16).max

Settings = Mapping[str, Any]
Progress = Callable[[int, int], None]


def create_classifier(encoder: Settings, num_labels: int, dropout: float) -> StudyClassifier:
    """A classifier from settings: ``name``, ``weights``, ``unfreeze``, ``gradual``, arguments.

    Raises:
        InputError: unknown name, a weight file that does not fit, a depth that does not exist.
    """
    arguments = {key: encoder[key] for key in encoder if key not in TRAINING_OPTIONS}
    weights = encoder.get("weights")
    try:
        network = create_encoder(arguments.pop("name"), **arguments)
        if weights is not None:
            report = load_weights(network, weights)
            level = logging.WARNING if report.missing else logging.INFO
            log.log(level, "encoder weights: %s", report.summary())
        network.unfreeze(encoder.get("unfreeze"))
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(error)) from error
    return StudyClassifier(network, num_labels, dropout)


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Hide Lightning's tips and device lists; warnings that concern the user stay."""
    names = ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Batches are read whole from a memory map: more workers would only copy them.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*")
        # Frozen stages stay in evaluation mode on purpose (``Encoder.train``).
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _train(
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    directory: Path,
    settings: Settings,
    epochs: int,
    monitor: str,
    callbacks: Sequence[Callback] = (),
) -> float:
    """Run Lightning, resume where a checkpoint lies, load the best epoch; returns its score."""
    checkpoints = directory / "checkpoints"
    keep = ModelCheckpoint(
        dirpath=checkpoints,
        filename="best",
        monitor=monitor,
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    extra: list[Callback] = [
        instantiate(callback) for callback in (settings.get("callbacks") or {}).values() if callback
    ]
    logger = settings.get("logger")
    trainer: pl.Trainer = instantiate(
        dict(settings["trainer"]),
        max_epochs=epochs,
        default_root_dir=str(directory),
        callbacks=[*extra, *callbacks, MetricsFile(directory / "metrics.csv"), keep],
        logger=instantiate(logger, save_dir=str(directory)) if logger else False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
    )
    last = checkpoints / "last.ckpt"
    resume = str(last) if last.is_file() else None
    if resume is not None:
        log.info("resuming %s from its last finished epoch", directory.name)
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except SystemExit as stop:  # Lightning leaves the program at Ctrl-C, deaf to the next one
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
    best = checkpoints / "best.ckpt"
    score = keep.best_model_score
    if not best.is_file() or score is None or not math.isfinite(float(score)):
        raise CascadeError(
            f"training gave no usable epoch ({monitor} undefined): lower the learning rate, or "
            f"look at {directory / 'metrics.csv'}"
        )
    state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
    broken = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if broken:  # a score may look well over numbers that are none: drafts of NaN have a BLEU of 0
        raise CascadeError(
            f"training diverged ({broken[0]} is not finite): lower the learning rate, or look at "
            f"{directory / 'metrics.csv'}"
        )
    module.load_state_dict(state)
    return float(score)


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch without Lightning's announcement."""
    pl.seed_everything(seed, workers=True, verbose=False)


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
        A reader without decoder, of the best epoch, and that epoch's validation AUROC.

    Raises:
        InputError: no labelled study, or a label without a positive training study.
        CascadeError: training diverged.
    """
    options = settings["classifier"]
    seed = int(settings["seed"])
    seed_everything(seed)
    learn = StudyDataset(_labelled(train, table, "train"), cache, table)
    select = StudyDataset(_labelled(val, table, "val"), cache, table)
    _require_positives(learn.labels, table)
    weights = _weights(learn, table, options["balance"])
    augment = Augment(**options["augment"], seed=seed) if options["augment"] else None
    data = StudyDataModule(
        learn, select, options["batch_size"], options["workers"], weights, augment, seed
    )
    if start_from is None:
        network = create_classifier(settings["encoder"], len(table.labels), options["dropout"])
    else:
        network = start_from
        network.replace_head(len(table.labels))
        network.dropout.p = float(options["dropout"])
        network.encoder.unfreeze(settings["encoder"].get("unfreeze"))
    network.train()
    module = ClassifierModule(
        network, table.exclusive, disease_owners(table.labels), options["optimizer"]
    )
    epochs = int(options["epochs"] if start_from is None else options["next_epochs"])
    every = settings["encoder"].get("gradual")
    gradual = [GradualUnfreezing(network.encoder, int(every))] if every is not None else []
    with _quiet_lightning():
        score = _train(module, data, Path(directory), settings, epochs, "val/auroc", gradual)
    network.eval()
    suitability = Suitability.fit(_first_pictures(learn), _first_pictures(select))
    return Reader(network, table.labels, table.exclusive, suitability=suitability), score


def _labelled(records: StudyRecords, table: LabelTable, split: str) -> StudyRecords:
    labels = table.rows(records.study_ids)
    known = ~np.isnan(labels).all(axis=1)
    if not known.any():
        raise InputError(
            f"no {split} study with an image carries a label: is the label table of this "
            "collection?"
        )
    return records.select(np.flatnonzero(known).tolist())


def _weights(dataset: StudyDataset, table: LabelTable, balance: str) -> np.ndarray | None:
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


def _first_pictures(dataset: StudyDataset, limit: int = 2000) -> Tensor:
    rows = np.sort(dataset.rows[:limit, 0])
    return to_unit(torch.from_numpy(np.asarray(dataset.cache.pixels[rows]))).unsqueeze(1)


@torch.no_grad()
def extract_features(
    network: StudyClassifier,
    dataset: StudyDataset,
    exclusive: bool,
    batch_size: int,
    augments: list[Augment | None],
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    maps: bool = False,
    memory: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """Features of all studies, once for each augmentation.

    Args:
        network: the classifier.
        dataset: the studies.
        exclusive: of its labels.
        batch_size: studies at a time.
        augments: one a copy.
        device: to compute on.
        progress: told how many studies are done, of how many.
        maps: the feature maps in half precision, for decoders that look at places, instead of the
            pooled features.
        memory: most GiB that the maps may take.

    Returns:
        features ``(N, A, D)``, or ``(N, A, V, D, H', W')`` of maps, and the label probabilities of
        the first copy ``(N, K)``, on the CPU.

    Raises:
        InputError: the maps would take more than ``memory``.
    """
    network = network.eval().to(device)
    copies, scores = [], []
    whole: Tensor | None = None
    total, done = len(dataset) * len(augments), 0
    for number, augment in enumerate(augments):
        parts = []
        for start in range(0, len(dataset), batch_size):
            batch = dataset.__getitems__(range(start, min(start + batch_size, len(dataset))))
            images = to_unit(batch.images.to(device))
            if augment is not None:
                images = augment(images.flatten(0, 1)).view_as(images)
            views = batch.views.to(device)
            if maps:
                features, found = network.features_and_maps(images, views)
                if whole is None:
                    whole = _room_for_maps(found, len(dataset), len(augments), memory)
                found = found.clamp(-HALF_MAX, HALF_MAX)  # not infinite, in half precision
                whole[start : start + len(found), number] = found.half().cpu()
            else:
                features = network.features(images, views)
                parts.append(features.float().cpu())
            if number == 0:
                scores.append(probabilities(network.classify(features).float(), exclusive).cpu())
            done += len(batch.study_ids)
            if progress is not None:
                progress(done, total)
        if not maps:
            copies.append(torch.cat(parts))
    features = whole if whole is not None else torch.stack(copies, dim=1)
    return features, torch.cat(scores)


def _room_for_maps(maps: Tensor, studies: int, copies: int, memory: float) -> Tensor:
    """An empty ``(N, A, V, D, H', W')`` for the maps of which ``maps`` are the first."""
    shape = (studies, copies, *maps.shape[1:])
    needed = 2 * math.prod(shape) / 2**30
    if needed > memory:
        places = " x ".join(map(str, maps.shape[1:]))
        raise InputError(
            f"the feature maps of {studies} studies in {copies} copies, {places} each, take "
            f"{needed:.3g} GiB, more than generator.map_memory={memory:g}: lower generator.copies "
            "or data.image_size, raise the limit, or take a decoder of pooled features (lstm, gru)"
        )
    log.info("feature maps of %d studies in %d copies: %.2f GiB", studies, copies, needed)
    return torch.empty(shape, dtype=torch.float16)


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
        The reader, whole now, of the best epoch, and that epoch's ``val/bleu``.

    Raises:
        InputError: no study has a text, or the settings of its words do not fit together.
        CascadeError: training diverged.
    """
    options = settings["generator"]
    seed = int(settings["seed"])
    seed_everything(seed)
    target = options["target"]
    train, val = _written(train, target, "train"), _written(val, target, "val")
    folder = settings["decoder"].get("folder")
    vocabulary = build_vocabulary(train.texts, options, folder)
    train = train.select([i for i, text in enumerate(train.texts) if vocabulary.split(text)])
    log_coverage(vocabulary, train.texts, val.texts, int(options["max_length"]))
    decoder = _new_decoder(settings["decoder"], vocabulary, reader.classifier, options)
    device = "cuda" if torch.cuda.is_available() and _wants_gpu(settings) else "cpu"
    learn, select = StudyDataset(train, cache, table), StudyDataset(val, cache, table)
    augments: list[Augment | None] = [None]
    if options["augment"]:
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
            device,
            progress,
            maps=decoder.input == "map",
            memory=float(options.get("map_memory", math.inf)),
        )

    features, scores = extract(learn, augments)
    val_features, val_scores = extract(select, [None])
    decoder.set_feature_statistics(features.flatten(0, 1))
    reader.classifier.cpu().eval()
    reader.decoder, reader.vocabulary = decoder, vocabulary
    reader.first_word, reader.max_length = options["first_word"], int(options["max_length"])
    reader.width, reader.length_penalty = int(options["width"]), float(options["length_penalty"])
    reader.no_repeat = int(options.get("no_repeat", 0))
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
    )
    selected = FeatureDataset(val_features, val_scores, val.texts, vocabulary, length, seed)
    weights = _weights(learn, table, options["balance"])
    data = FeatureDataModule(learned, selected, int(options["batch_size"]), weights, seed)
    tokenize = annotation_words if target == "annotation" else report_words
    module = ReportGeneratorModule(
        reader,
        options["optimizer"],
        float(options["smoothing"]),
        tokenize,
        float(options.get("scheduled_sampling", 0.0)),
        auxiliary,
    )
    with _quiet_lightning():
        score = _train(module, data, Path(directory), settings, int(options["epochs"]), "val/bleu")
    decoder.cpu().eval()
    return reader, score


def _new_decoder(
    chosen: Settings, vocabulary: Vocabulary, classifier: StudyClassifier, options: Settings
) -> Decoder:
    """The decoder to train: random weights, or those that its settings name.

    Raises:
        InputError: unknown names, files that do not fit, texts longer than it can read.
    """
    arguments = dict(chosen)
    try:
        decoder = create_decoder(
            arguments.pop("name"), len(vocabulary), classifier.encoder.num_features, **arguments
        )
        found = decoder.load_initial(vocabulary)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(error)) from error
    if found is not None:
        log.info("decoder weights: %s", found)
    length = int(options["max_length"])
    if decoder.positions is not None and decoder.positions <= length:
        raise InputError(
            f"generator.max_length={length}: the decoder has {decoder.positions} positions, one of "
            f"them for the beginning; give decoder.positions={length + 1} or more"
        )
    return decoder


def _wants_gpu(settings: Settings) -> bool:
    return settings["trainer"].get("accelerator", "auto") not in ("cpu",)


def _written(records: StudyRecords, target: str, split: str) -> StudyRecords:
    keep = [index for index, text in enumerate(records.texts) if text]
    if not keep:
        raise InputError(
            f"no {split} study with an image has a text to learn (generator.target={target}): "
            "choose another target"
        )
    return records.select(keep)


def count_parameters(network: nn.Module) -> int:
    """Number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in network.parameters())
