"""Score trained bundles on a split beside the trivial baselines, and write the page."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from cascade.data.cache import ImageCache
from cascade.data.datasets import StudyDataset, StudyRecords
from cascade.data.transforms import to_unit
from cascade.errors import InputError
from cascade.evaluation.abstention import abstention_row, abstention_words
from cascade.evaluation.scoring import Evaluation, evaluate
from cascade.evaluation.systems import Rows, SaliencyOf, System, Training
from cascade.evaluation.tables import write_evaluation
from cascade.inference.bundle import read_bundle
from cascade.io.files import atomic_path, write_json
from cascade.labels.table import LabelTable, disease_owners
from cascade.metrics.hub import HubOptions
from cascade.models.reader import Reader
from cascade.models.saliency import saliency_map
from cascade.pipeline.collecting import current_commit
from cascade.pipeline.names import SPEED_FILE, predictions_of
from cascade.pipeline.progress import progress_bar
from cascade.pipeline.stages import Context
from cascade.training.classifier import disease_truth

log = logging.getLogger(__name__)

PIXEL_SIDE = 32


class Read(NamedTuple):
    """What a reader says of a dataset's studies, in order.

    Attributes:
        features: ``(N, D)``.
        probabilities: column ``study_id``, and one a disease.
        drafts: N texts; None where none were asked for, or nobody writes.
        confidences: of the drafts, N values; None likewise.
    """

    features: np.ndarray
    probabilities: pd.DataFrame
    drafts: list[str] | None
    confidences: list[float] | None


def read_records(
    reader: Reader,
    dataset: StudyDataset,
    batch_size: int,
    device: str,
    description: str,
    *,
    write: bool = True,
) -> Read:
    """Features, disease probabilities and drafts of a dataset's studies.

    Without ``write`` there are no drafts, which are most of the work.
    """
    reader = reader.eval().to(device)
    features, diseases = [], []
    drafts: list[str] = []
    confidences: list[float] = []
    with progress_bar(description) as update:
        done = 0
        for batch in dataset.batches(batch_size):
            images = to_unit(batch.images.to(device))
            asked = dataset.records.indications[done : done + len(batch.study_ids)]
            reading = reader.read(images, batch.views.to(device), write, asked)
            features.append(reading.features.cpu().numpy())
            diseases.append(reading.diseases.cpu().numpy())
            if reading.drafts is not None and reading.confidences is not None:
                drafts += reading.drafts
                confidences += reading.confidences.tolist()
            done += len(batch.study_ids)
            update(done, len(dataset))
    reader.cpu()
    table = pd.DataFrame(np.concatenate(diseases), columns=reader.diseases)
    table.insert(0, "study_id", dataset.records.study_ids)
    return Read(np.concatenate(features), table, drafts or None, confidences or None)


def small_pictures(records: StudyRecords, cache: ImageCache) -> np.ndarray:
    """``(N, 32, 32)`` float32 in [0, 1] of each study's first image, for the pixel baselines."""
    pixels = torch.from_numpy(np.stack([cache.pixels[rows[0]] for rows in records.image_rows]))
    small = torch.nn.functional.interpolate(
        to_unit(pixels).unsqueeze(1), size=(PIXEL_SIDE, PIXEL_SIDE), mode="area"
    )
    return small[:, 0].numpy()


def view_names(context: Context, records: StudyRecords) -> list[str]:
    """What was looked at of each study: ``frontal``, ``frontal and lateral``, ``unknown``."""
    images = context.collection.images
    view_of = dict(zip(images["image_id"], images["view"], strict=True))
    view_of_row = {row: view_of.get(name, "unknown") for name, row in context.cache.rows.items()}
    return [
        " and ".join(dict.fromkeys(view_of_row[row] for row in rows)) for rows in records.image_rows
    ]


def assess(
    context: Context,
    table: LabelTable,
    bundles: Mapping[str, Path],
    out: Path,
    split: str = "test",
) -> Evaluation:
    """Score bundles on a split beside the baselines; write predictions, tables and the page.

    Args:
        context: collection, images, settings.
        table: the label table whose diseases are scored (the first round's).
        bundles: name -> bundle, in the order of the rounds; the last is the one the page is about.
        out: directory.
        split: ``test`` is read once, after all selection; ``val`` while choosing.

    Raises:
        InputError: a bundle of another collection's labels, or no study to score.
    """
    settings = context.settings
    options = settings["evaluate"]
    batch = int(settings["generator"]["feature_batch_size"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows_of = {name: _written(context.records(name)) for name in ("train", "val", split)}
    datasets = {
        name: StudyDataset(records, context.cache, table) for name, records in rows_of.items()
    }
    scored = rows_of[split]
    systems = []
    selections: list[dict[str, Any]] = []
    features: dict[str, np.ndarray] = {}
    for name, path in bundles.items():
        reader, facts = read_bundle(path)
        if facts["target"] != settings["generator"]["target"]:
            raise InputError(
                f"{path} writes {facts['target']}: evaluate it with "
                f"generator.target={facts['target']}"
            )
        if facts["image_size"] != context.cache.size:
            raise InputError(
                f"{path} reads images of {facts['image_size']} pixels: evaluate it with "
                f"data.image_size={facts['image_size']}"
            )
        if set(reader.diseases) != set(table.diseases):
            raise InputError(f"{path} was trained on other labels than this label table's")
        began = time.perf_counter()
        read = read_records(reader, datasets[split], batch, device, name)
        found, probabilities, drafts, confidences = read
        speed = {"studies": len(scored), "seconds": time.perf_counter() - began, "device": device}
        val_found, val_probabilities = found, probabilities
        if split != "val":  # what thresholds are chosen on
            val_found, val_probabilities, *_ = read_records(
                reader, datasets["val"], batch, device, f"{name}, validation studies", write=False
            )
        systems.append(
            System(
                name,
                drafts,
                probabilities[reader.diseases],
                val_probabilities=val_probabilities[reader.diseases],
            )
        )
        told = predictions_of(out, name)
        write_predictions(told, scored, drafts, probabilities)
        if drafts is not None and confidences is not None:
            write_json(told / SPEED_FILE, speed)
            selections.append(
                abstention_row(name, reader, drafts, scored.texts, confidences, facts["target"])
            )
        if path == list(bundles.values())[-1]:
            features[split], features["val"] = found, val_found
            features["train"] = read_records(
                reader, datasets["train"], batch, device, f"{name}, training studies", write=False
            )[0]
            systems += image_withheld(name, reader, features["train"], scored.indications)

    def truth(name: str) -> pd.DataFrame:
        merged = disease_truth(
            datasets[name].labels, disease_owners(table.labels), len(table.diseases)
        )
        return pd.DataFrame(merged.numpy(), columns=table.diseases)

    def image(index: int) -> np.ndarray:
        return np.asarray(context.cache.pixels[scored.image_rows[index][0]], dtype=np.float32) / 255

    rows = Rows(
        scored.study_ids,
        scored.patient_ids,
        scored.texts,
        truth(split),
        split=split,
        image=image,
        saliency=saliency_of(reader, datasets[split]),
        saliency_pooling=reader.classifier.resolved()["pooling"],
        views=view_names(context, scored),
    )
    training = Training(
        texts=rows_of["train"].texts,
        val_texts=rows_of["val"].texts,
        labels=truth("train"),
        pixels=small_pictures(rows_of["train"], context.cache),
        features=features["train"],
        test_pixels=small_pictures(scored, context.cache),
        test_features=features[split],
        val_labels=truth("val"),
        val_pixels=small_pictures(rows_of["val"], context.cache),
        val_features=features["val"],
    )
    evaluation = evaluate(
        rows,
        systems,
        training,
        kind="annotation" if settings["generator"]["target"] == "annotation" else "report",
        seed=int(settings["seed"]),
        resamples=int(options["resamples"]),
        meteor=str(options["meteor"]),
        meteor_seconds=float(options["meteor_seconds"]),
        hub=HubOptions.of_settings(options),
        meta={
            "data": context.collection.info.get("source", "unknown"),
            "training studies": len(rows_of["train"]),
            "validation studies": len(rows_of["val"]),
            "commit": current_commit(),
            **({"abstention": abstention_words(selections[-1])} if selections else {}),
        },
    )
    if selections:
        with atomic_path(out / "abstention.csv") as partial:
            pd.DataFrame(selections).to_csv(partial, index=False, float_format="%.6g")
    write_evaluation(evaluation, out, show_ids=bool(options["show_ids"]))
    return evaluation


def saliency_of(reader: Reader, dataset: StudyDataset) -> SaliencyOf:
    """The map of a disease's likeliest label in the first image of a study, when asked for."""

    def saliency(index: int, disease: str) -> np.ndarray | None:
        place = reader.diseases.index(disease)
        batch = dataset[index]
        images = to_unit(batch.images[batch.views])
        with torch.no_grad():
            logits = reader.classifier(images.unsqueeze(0), batch.views[batch.views].unsqueeze(0))
        owned = [at for at, owner in enumerate(reader.owners) if owner == place]
        if not owned:
            return None
        label = max(owned, key=lambda at: float(logits[0, at]))
        maps = saliency_map(reader.classifier, images, label)
        return None if maps is None else maps[0].numpy()

    return saliency


@torch.no_grad()
def image_withheld(
    name: str, reader: Reader, features: np.ndarray, indications: Sequence[str]
) -> list[System]:
    """The trained decoder that is shown no image: what it writes of the mean training feature.

    Args:
        name: of the system whose decoder it is.
        reader: that system's.
        features: ``(M, D)``, the training studies' pooled features.
        indications: of the studies that are scored, empty where one has none. All get the same
            text, but from a decoder that reads the indication.

    Returns:
        One trivial system, or none where the reader has no decoder.
    """
    if reader.decoder is None or reader.vocabulary is None:
        return []
    mean = torch.from_numpy(features.mean(axis=0, keepdims=True))
    scores = reader.probabilities(reader.classifier.classify(mean))
    if reader.condition is None:
        found = reader.draft(mean, scores).tokens * len(indications)
    else:
        known = reader.join(mean.expand(len(indications), -1), indications)
        found = reader.draft(known, scores.expand(len(indications), -1)).tokens
    return [
        System(
            f"image withheld ({name})",
            [reader.vocabulary.decode(tokens) for tokens in found],
            trivial=True,
            note=f"The decoder of {name}, given the mean feature of the training studies for every "
            "study"
            + (", and its indication" if reader.condition is not None else "")
            + ": what its image adds is the difference to this.",
        )
    ]


def _written(records: StudyRecords) -> StudyRecords:
    keep = [index for index, text in enumerate(records.texts) if text]
    if len(keep) < len(records):
        log.info("%d studies without a reference text are not scored", len(records) - len(keep))
    return records.select(keep)


def write_predictions(
    out: Path, records: StudyRecords, drafts: list[str] | None, probabilities: pd.DataFrame
) -> None:
    """``reports.csv`` (study_id, reference, hypothesis) and ``probabilities.parquet``."""
    if drafts is not None:
        frame = pd.DataFrame(
            {"study_id": records.study_ids, "reference": records.texts, "hypothesis": drafts}
        )
        with atomic_path(out / "reports.csv") as partial:
            frame.to_csv(partial, index=False)
    with atomic_path(out / "probabilities.parquet") as partial:
        probabilities.to_parquet(partial, index=False)
