"""The stages that train: classifier, generator, relabelling. Each can be killed and resumed."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade.data.cache import ImageCache, build_cache
from cascade.data.datasets import StudyDataset, study_records
from cascade.errors import InputError
from cascade.inference.bundle import read_bundle, write_bundle
from cascade.io.collection import Collection, read_collection
from cascade.io.files import atomic_directory
from cascade.labels.table import LabelTable, read_label_table, write_label_files
from cascade.models.reader import Reader
from cascade.pipeline.collecting import current_commit
from cascade.pipeline.contexts_page import write_contexts
from cascade.pipeline.names import VALIDATION_AUROC, VALIDATION_BLEU
from cascade.pipeline.progress import progress_bar
from cascade.pipeline.settings import claim_run
from cascade.relabel.composite import relabel
from cascade.training.features import extract_features
from cascade.training.fit_classifier import fit_classifier
from cascade.training.fit_generator import fit_generator
from cascade.training.trainer import count_parameters

log = logging.getLogger(__name__)

Settings = Mapping[str, Any]


def open_images(
    settings: Settings, collection: Collection, directory: Path | None = None
) -> ImageCache:
    """The decoded images of a collection at the size of the settings."""
    data = settings["data"]
    folder = Path(data.get("cache") or directory or "cache")
    with progress_bar("decoding images") as update:
        cache = build_cache(
            collection, int(data["image_size"]), folder, int(data["workers"]), update
        )
    for image_id, reason in list(cache.failures.items())[:3]:
        log.warning("image %s could not be read: %s", image_id, reason)
    if len(cache.failures) > 3:
        log.warning("%d images in all could not be read", len(cache.failures))
    return cache


@dataclasses.dataclass
class Context:
    """What every training stage reads: the collection, its images and the settings."""

    collection: Collection
    cache: ImageCache
    settings: Settings

    def records(self, split: str) -> Any:
        """Studies of a split that have an image."""
        target = self.settings["generator"]["target"]
        return study_records(
            self.collection, self.cache, split, target, int(self.settings["data"]["views"])
        )


def train_classifier(
    context: Context, table: LabelTable, out: Path, start_from: Path | None = None
) -> Path:
    """Train the detector into a run; returns its bundle. A finished run is left as it is."""
    bundle = out / "model"
    settings = context.settings
    claim_run(out, settings)
    if bundle.is_dir():
        return bundle
    train, val = context.records("train"), context.records("val")
    network = read_bundle(start_from)[0].classifier if start_from is not None else None
    reader, score = fit_classifier(out, train, val, context.cache, table, settings, network)
    _save(context, reader, bundle, None, {VALIDATION_AUROC: f"{score:.4f}"}, len(train))
    return bundle


def train_generator(context: Context, table: LabelTable, classifier: Path, out: Path) -> Path:
    """Train the decoder on a classifier's bundle into a run; returns the whole bundle."""
    bundle = out / "model"
    settings = context.settings
    claim_run(out, settings)
    if bundle.is_dir():
        return bundle
    reader, facts = read_bundle(classifier)
    train, val = context.records("train"), context.records("val")
    with progress_bar("features") as update:
        reader, score = fit_generator(
            out, reader, train, val, context.cache, table, settings, update
        )
    before = {k: v for k, v in facts["facts"].items() if k.startswith("validation")}
    scores = {**before, VALIDATION_BLEU: f"{score:.4f}"}
    _save(context, reader, bundle, dict(settings["decoder"]), scores, len(train))
    return bundle


def _save(
    context: Context,
    reader: Reader,
    bundle: Path,
    decoder: dict[str, Any] | None,
    scores: Mapping[str, str],
    studies: int,
) -> None:
    settings = context.settings
    facts = {
        "data": context.collection.info.get("source", "unknown"),
        "training studies": studies,
        "seed": settings["seed"],
        "commit": current_commit(),
        "parameters": count_parameters(reader),
        **scores,
    }
    write_bundle(
        reader,
        bundle,
        encoder=settings["encoder"],
        decoder=decoder,
        image_size=int(settings["data"]["image_size"]),
        views=int(settings["data"]["views"]),
        target=settings["generator"]["target"],
        facts=facts,
    )


def relabel_round(context: Context, table: LabelTable, bundle: Path, out: Path) -> LabelTable:
    """Cluster the joint contexts of a trained pair into the next label table.

    Writes the table, ``contexts.json`` (sizes, words and stability of every split) and
    ``contexts.html``, which shows radiographs and text of training studies.

    Raises:
        InputError: the bundle has no decoder, or its target is not the annotation.
    """
    if out.is_dir():
        return read_label_table(out)
    reader, facts = read_bundle(bundle)
    if reader.decoder is None or reader.vocabulary is None:
        raise InputError(f"{bundle} has no decoder: relabelling needs a generator's bundle")
    if facts["target"] != "annotation":
        raise InputError(
            f"{bundle} writes {facts['target']}: joint contexts are read from annotations, "
            "train it with generator.target=annotation"
        )
    settings = context.settings
    parts, features = [], []
    for split in ("train", "val"):
        records = context.records(split)
        records = records.select([i for i, text in enumerate(records.texts) if text])
        dataset = StudyDataset(records, context.cache, table)
        with progress_bar(f"features, {split}") as update:
            found, _ = extract_features(
                reader.classifier,
                dataset,
                reader.exclusive,
                int(settings["generator"]["feature_batch_size"]),
                [None],
                progress=update,
                maps=reader.wants_maps,
                memory=float(settings["generator"].get("map_memory", math.inf)),
            )
        with torch.no_grad():
            features.append(reader.join(found[:, 0], records.indications))
        parts.append(records)
    train, val = parts
    with progress_bar("clustering diseases") as update:
        refined = relabel(
            table,
            reader.decoder,
            reader.vocabulary,
            train.study_ids + val.study_ids,
            torch.cat(features),
            train.texts + val.texts,
            np.arange(len(train) + len(val)) < len(train),
            settings["relabel"],
            int(settings["seed"]),
            update,
        )
    for warning in filter(None, (split.warning() for split in refined.splits)):
        log.warning("%s", warning)
    with atomic_directory(out) as partial:
        write_label_files(refined.table, partial)
        write_contexts(refined, train, context.cache, settings, partial)
    return refined.table


def open_context(
    settings: Settings, collection: str | Path, directory: Path | None = None
) -> Context:
    """Read a collection and open its images."""
    found = read_collection(collection)
    default = directory or Path(collection) / "cache"
    return Context(found, open_images(settings, found, default), settings)


def adopt_bundle(settings: Settings, bundle: Path) -> dict[str, Any]:
    """Settings whose image size, views and target are those that a bundle was trained with."""
    _, facts = read_bundle(bundle)
    data = {**settings["data"], "image_size": facts["image_size"], "views": facts["views"]}
    generator = {**settings["generator"], "target": facts["target"]}
    return {**settings, "data": data, "generator": generator}
