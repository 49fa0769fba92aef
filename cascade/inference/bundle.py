"""The model bundle: a directory that holds all that annotating, evaluating and serving need.

``config.json``, ``model.safetensors``, ``vocabulary.json``, ``labels.json``, ``preprocessing.json``
and a model card, ``README.md``. No pickle, no code, no training data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cascade import RESEARCH_NOTICE, __version__
from cascade.data.cache import PREPROCESSING_VERSION
from cascade.errors import InputError
from cascade.inference.card import reliance_card
from cascade.io.files import atomic_directory, read_json, write_json, write_text
from cascade.labels.table import Label, labels_from_json
from cascade.metrics.operating import OPERATING_NAMES
from cascade.models.calibration import Calibration
from cascade.models.condition import Condition
from cascade.models.decoders import TRAINING_OPTIONS as DECODER_TRAINING_OPTIONS
from cascade.models.decoders import create_decoder
from cascade.models.encoders import TRAINING_OPTIONS, create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.models.suitability import Suitability
from cascade.models.view_check import ViewCheck
from cascade.text.vocabulary import Vocabulary

FORMAT_VERSION = 1
INDICATIONS = "indications.json"
"""Of a bundle whose decoder reads the indication: its words and the size of its vector."""
SAMPLING = ("decoding", "temperature", "top_p", "seed")
"""Settings of a reader that bundles of before lack."""
MAX_PARAMETERS_BYTES = 8 << 30


def write_bundle(
    reader: Reader,
    directory: str | Path,
    *,
    encoder: Mapping[str, Any],
    decoder: Mapping[str, Any] | None,
    image_size: int,
    views: int,
    target: str,
    facts: Mapping[str, Any],
) -> None:
    """Write a reader as a bundle, whole or not at all.

    Args:
        reader: trained.
        directory: empty or absent.
        encoder: ``name`` and the arguments that ``create_encoder`` needs to rebuild it.
        decoder: likewise, None for a reader without one.
        image_size: side in pixels of the pictures it reads.
        views: how many pictures of a study it reads.
        target: which text its decoder writes.
        facts: plain values for the model card: data, counts, scores on validation, seed, commit.

    Raises:
        InputError: the directory is not empty.
        CascadeError: the disk is full.
    """
    config: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "program_version": __version__,
        "encoder": {k: v for k, v in encoder.items() if k not in TRAINING_OPTIONS},
        "classifier": reader.classifier.resolved(),
        "decoder": _decoder_settings(reader, decoder),
        "target": target,
        "exclusive": reader.exclusive,
        "first_word": reader.first_word,
        "max_length": reader.max_length,
        "width": reader.width,
        "length_penalty": reader.length_penalty,
        "no_repeat": reader.no_repeat,
        "crop": reader.classifier.encoder.crop,
        **{key: getattr(reader, key) for key in SAMPLING},
        "calibration": reader.calibration.to_json(),
        "operating_points": reader.operating_points,
        "abstention": reader.abstention,
        "suitability_components": (
            len(reader.suitability.components) if reader.suitability is not None else None
        ),
        "view_check": _check_settings(reader.suitability),
        "facts": {**facts, "encoder weights": reader.classifier.encoder.origin},
    }
    with atomic_directory(directory) as partial:
        tensors = {name: tensor.contiguous() for name, tensor in reader.state_dict().items()}
        save_file(tensors, str(partial / "model.safetensors"))
        labels = [
            {"name": label.name, "disease": label.disease, "description": label.description}
            for label in reader.labels
        ]
        write_json(partial / "labels.json", {"labels": labels})
        words = reader.vocabulary.to_json() if reader.vocabulary is not None else None
        write_json(partial / "vocabulary.json", words)
        if reader.condition is not None:
            write_json(partial / INDICATIONS, reader.condition.to_json())
        write_json(
            partial / "preprocessing.json",
            {"version": PREPROCESSING_VERSION, "image_size": image_size, "views": views},
        )
        write_text(partial / "README.md", model_card(reader, config, image_size))
        write_json(partial / "config.json", config)


def _decoder_settings(reader: Reader, decoder: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What rebuilds the decoder; nothing of where its first weights came from."""
    if decoder is None or reader.decoder is None:
        return None
    kept = {k: v for k, v in decoder.items() if k not in DECODER_TRAINING_OPTIONS}
    return {**kept, **reader.decoder.resolved()}


def _check_settings(suitability: Suitability | None) -> dict[str, Any] | None:
    check = suitability.check if suitability is not None else None
    return check.to_json() if check is not None else None


def model_card(reader: Reader, config: Mapping[str, Any], image_size: int) -> str:
    """The bundle's README: what it is, from what, how good, and what it is not for."""
    facts = "\n".join(f"| {key} | {value} |" for key, value in config["facts"].items())
    labels = "\n".join(
        f"| {label.name} | {label.disease} | {label.description} |" for label in reader.labels
    )
    decoder = config["decoder"]["name"] if config["decoder"] else "none"
    asked = " (it reads the indication too)" if reader.condition is not None else ""
    return f"""\
# Model card

**{RESEARCH_NOTICE}**

A Cascade model bundle (format {config["format_version"]}, written by cascade
{config["program_version"]}). Encoder `{config["encoder"]["name"]}` on {image_size} x {image_size}
pixels, decoder `{decoder}`{asked}, {len(reader.labels)} labels of {len(reader.diseases)} diseases.

| fact | value |
| --- | --- |
{facts}

Scores above are of the validation split, on which the epoch was chosen: see the evaluation page for
the test split and the trivial baselines. Not for clinical use, not for children or other bodies
than the training data hold, not for other pictures than chest radiographs.

| label | disease | what it holds |
| --- | --- | --- |
{labels}

{reliance_card(reader)}"""


def read_bundle(directory: str | Path) -> tuple[Reader, dict[str, Any]]:
    """Load a bundle.

    Returns:
        The reader in evaluation mode, and a dictionary: the content of ``config.json`` with
        ``image_size``, ``views`` and ``model_id`` (a hash of the weights and the config).

    Raises:
        InputError: not a bundle, another format version, or files that do not fit together.
    """
    directory = Path(directory)
    if not (directory / "config.json").is_file():
        raise InputError(
            f"{directory} is not a model bundle (no config.json): give the model/ folder of a run"
        )
    config = read_json(directory / "config.json")
    if not isinstance(config, dict):
        raise InputError(f"{directory}/config.json is not a bundle's")
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            f"the bundle {directory} has format {version}, this program reads {FORMAT_VERSION}: "
            f"use the cascade that wrote it ({config.get('program_version', 'unknown')}) or train "
            "it again"
        )
    preprocessing = read_json(directory / "preprocessing.json")
    prepared = preprocessing.get("version") if isinstance(preprocessing, dict) else None
    if prepared != PREPROCESSING_VERSION:
        raise InputError(
            f"the bundle {directory} was trained on another preprocessing ({prepared}, this "
            f"program has {PREPROCESSING_VERSION}): train it again"
        )
    named = read_json(directory / "labels.json")
    words = read_json(directory / "vocabulary.json")
    try:
        facts = {**config, **{key: preprocessing[key] for key in ("image_size", "views")}}
        labels = labels_from_json(named["labels"])
        vocabulary = Vocabulary.from_json(words) if words is not None else None
        encoder = create_encoder(**config["encoder"])
        encoder.crop = config.get("crop")  # bundles of before have none
        encoder.origin = config.get("facts", {}).get("encoder weights", "unknown")
        asked = directory / INDICATIONS
        condition = Condition.from_json(read_json(asked)) if asked.is_file() else None
        decoder = None
        if config["decoder"] is not None and vocabulary is not None:
            chosen = {
                k: v for k, v in config["decoder"].items() if k not in DECODER_TRAINING_OPTIONS
            }
            size = encoder.num_features + (0 if condition is None else condition.size)
            decoder = create_decoder(vocab_size=len(vocabulary), num_features=size, **chosen)
        components = config["suitability_components"]
        check = config.get("view_check")  # bundles of before have none
        reader = Reader(
            StudyClassifier(encoder, len(labels), **config.get("classifier", {})),  # none before
            labels,
            config["exclusive"],
            decoder,
            vocabulary,
            None
            if components is None
            else Suitability(components, ViewCheck.from_json(check) if check else None),
            config["first_word"],
            config["max_length"],
            config["width"],
            config["length_penalty"],
            config.get("no_repeat", 0),  # bundles of before have none
            **{key: config[key] for key in SAMPLING if key in config},  # nor these
            condition=condition,
            calibration=Calibration.from_json(
                config.get("calibration"), config["exclusive"], len(labels)
            ),
            operating_points=_checked(config.get("operating_points"), labels),
            abstention=_checked_abstention(config.get("abstention")),
        )
        reader.load_state_dict(_read_tensors(directory / "model.safetensors"))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the bundle {directory} does not fit together: {reason}") from error
    reader.eval()
    return reader, {**facts, "model_id": bundle_id(directory)}


def _checked(points: Any, labels: list[Label]) -> dict[str, dict[str, Any]] | None:
    """Operating points of a config.

    Raises:
        KeyError, TypeError, ValueError: they are not of these labels' diseases.
    """
    if points is None:
        return None
    for disease in {label.disease for label in labels}:
        for name in OPERATING_NAMES:
            threshold = points[disease][name]["threshold"]
            if threshold is not None and not 0 <= float(threshold) <= 1:
                raise ValueError(f"the threshold {threshold} of {disease} is no probability")
    return dict(points)


def _checked_abstention(found: Any) -> dict[str, Any] | None:
    """The abstention of a config.

    Raises:
        KeyError, TypeError, ValueError: it has no threshold, or one that is no probability.
    """
    if found is None:
        return None
    threshold = found["threshold"]
    if threshold is not None and not 0 <= float(threshold) <= 1:
        raise ValueError(f"the confidence {threshold} is not in [0, 1]")
    return dict(found)


def _read_tensors(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_PARAMETERS_BYTES:
            raise InputError(f"{path} is larger than {MAX_PARAMETERS_BYTES >> 30} GiB")
        return load_file(str(path))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except SafetensorError as error:
        raise InputError(f"{path} is damaged: {error}") from error


def bundle_id(directory: str | Path) -> str:
    """Sixteen hex digits of the SHA-256 over the bundle's config, labels, words and weights."""
    digest = hashlib.sha256()
    names = (
        "config.json",
        "labels.json",
        "preprocessing.json",
        "vocabulary.json",
        "model.safetensors",
        INDICATIONS,
    )
    for name in names:
        if name == INDICATIONS and not (Path(directory) / name).is_file():
            continue
        digest.update(name.encode())
        with open(Path(directory) / name, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()[:16]
