"""What an engine does with decoded images: the network over them, then over their studies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from cascade.errors import CascadeError
from cascade.inference.decode import Decoders
from cascade.inference.index import Index
from cascade.inference.prediction import Prediction, PredictorProtocol
from cascade.inference.privacy import safe_reason
from cascade.inference.studies import ReadImage, ReadStudy

Indications = Mapping[str, str] | None
_Said = Prediction | str


class EngineParts(NamedTuple):
    """What an engine works with.

    Attributes:
        predictor: the network.
        decoders: read the files.
        batch_size: images a call of the predictor.
        in_order: studies are given back in the order of the work; False: as they are ready.
        key: of the hashes.
        indications: by path, for a model that reads them.
        pictures: give the pixels back too.
    """

    predictor: PredictorProtocol
    decoders: Decoders
    batch_size: int
    in_order: bool = True
    key: str = ""
    indications: Indications = None
    pictures: bool = False


class Engine(Protocol):
    """Reads the studies of an archive."""

    def read(self, index: Index, claim: Callable[[ReadImage], None]) -> Iterator[list[ReadStudy]]:
        """Read the studies that are not done.

        Args:
            index: of the archive.
            claim: told of each decoded image; it marks one that repeats another.

        Yields:
            Some studies at a time, complete.
        """


def predict_images(
    images: Sequence[ReadImage], predictor: PredictorProtocol, indications: Indications = None
) -> None:
    """Let the network say something of each image, or note why it cannot.

    Args:
        images: with a picture each.
        predictor: says it.
        indications: by path.

    Raises:
        CascadeError: it fails on every image of several: then the fault is not the images'.
    """
    pictures = [image.decoded.image.pixels for image in images if image.decoded.image is not None]
    asked = None
    if indications is not None:
        asked = [indications.get(image.file.path, "") for image in images]
    found = _predict(predictor.predict, pictures, asked)
    for image, prediction in zip(images, found, strict=True):
        image.prediction = prediction


def read_studies(
    studies: Sequence[ReadStudy],
    predictor: PredictorProtocol,
    views: int,
    batch_size: int,
    indications: Indications = None,
) -> None:
    """Let the network read together the chosen images of complete studies; pixels go then.

    Args:
        studies: complete.
        predictor: reads them.
        views: how many of a study its model was trained on.
        batch_size: most images a call, unless a single study has more.
        indications: by path; a study's is the first of its images that has one.

    Raises:
        CascadeError: as ``predict_images``.
    """
    for study in studies:
        study.images.sort(key=lambda image: image.file.path)
        study.choose(views)
    batch: list[ReadStudy] = []
    for study in studies:
        if len(study.chosen) < 2:
            continue
        if batch and sum(len(each.chosen) for each in (*batch, study)) > batch_size:
            _read(batch, predictor, indications)
            batch = []
        batch.append(study)
    _read(batch, predictor, indications)
    for study in studies:
        for image in study.images:
            image.drop_pixels()


def _read(
    studies: Sequence[ReadStudy], predictor: PredictorProtocol, indications: Indications
) -> None:
    pictures = [
        [each.decoded.image.pixels for each in study.chosen if each.decoded.image is not None]
        for study in studies
    ]
    asked = None
    if indications is not None:
        asked = [
            next(filter(None, (indications.get(i.file.path, "") for i in study.images)), "")
            for study in studies
        ]
    found = _predict(predictor.predict_studies, pictures, asked)
    for study, prediction in zip(studies, found, strict=True):
        study.reading = prediction


def _predict(
    predict: Callable[[Any, Any], list[Prediction]],
    pictures: Sequence[Any],
    asked: Sequence[str] | None,
) -> list[_Said]:
    """Predictions, or for what the network cannot take, the reason."""
    if not pictures:
        return []
    try:
        predictions = predict(pictures, asked)
    except Exception as error:
        if len(pictures) == 1:
            return [safe_reason(error)]
        alone = [
            _predict(predict, [picture], None if asked is None else [asked[number]])[0]
            for number, picture in enumerate(pictures)
        ]
        if all(isinstance(each, str) for each in alone):
            raise CascadeError(
                f"the network failed on all {len(pictures)} images of a batch "
                f"({safe_reason(error)}); what was done before is kept: run again to go on"
            ) from error
        return alone
    if len(predictions) != len(pictures):
        raise CascadeError(f"{len(predictions)} predictions of {len(pictures)} images")
    return [_finite(prediction) for prediction in predictions]


def _finite(prediction: Prediction) -> _Said:
    numbers = [prediction.confidence, *prediction.probabilities.values()]
    if all(math.isfinite(number) for number in numbers):
        return prediction
    return "ValueError: the network gave a number that is not finite"
