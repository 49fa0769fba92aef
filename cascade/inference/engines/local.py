"""``engine=local``: this machine decodes ahead and lets full batches through its network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cascade.inference.decode import Decoded, Decoders
from cascade.inference.engines.operators import Indications, predict_images, read_studies
from cascade.inference.index import FileWork, StudyWork
from cascade.inference.prediction import PredictorProtocol
from cascade.inference.sources import Entry
from cascade.inference.studies import ReadImage, ReadStudy, read_image


class _Piece(NamedTuple):
    """A file and the study that it belongs to."""

    study: StudyWork
    file: FileWork

    @property
    def entry(self) -> Entry:
        return self.file.entry


class LocalEngine:
    """Decodes ahead, fills batches across studies, reads each study once it is complete.

    Args:
        predictor: the network.
        decoders: read the files.
        batch_size: images a call of the predictor.
        in_order: studies are given back in the order of the work; False: as they are ready.
        key: of the hashes.
        indications: by path, for a model that reads them.
        pictures: give the pixels back too.
    """

    def __init__(
        self,
        predictor: PredictorProtocol,
        decoders: Decoders,
        batch_size: int,
        in_order: bool = True,
        key: str = "",
        indications: Indications = None,
        pictures: bool = False,
    ) -> None:
        """Remember the parts."""
        self._predictor, self._decoders = predictor, decoders
        self._batch_size, self._in_order = batch_size, in_order
        self._key, self._indications, self._pictures = key, indications, pictures
        self._views = int(getattr(predictor, "views", 1))
        self._under_way: dict[int, ReadStudy] = {}

    def read(
        self, work: Iterator[StudyWork], claim: Callable[[ReadImage], None]
    ) -> Iterator[list[ReadStudy]]:
        """Read studies.

        Args:
            work: the studies.
            claim: told of each decoded image in the order in which they come; it marks one that
                repeats another, which the network then does not see.

        Yields:
            Some studies at a time, complete.
        """
        pending: list[ReadImage] = []
        since = 0
        pieces = (_Piece(study, file) for study in work for file in study.files)
        # enough for the batch that is filled while another is in the network
        ahead = 2 * (self._batch_size + self._decoders.workers)
        decoded = self._decoders.decode(pieces, ahead, self._in_order)
        with contextlib.closing(decoded):
            for piece, found in decoded:
                image = self._add(piece, found)
                claim(image)
                since += 1
                if not image.settled:
                    pending.append(image)
                # Files without an image wait too, so that the order stays that of the work.
                if len(pending) == self._batch_size or since >= 4 * self._batch_size + 64:
                    yield from self._predict(pending)
                    pending, since = [], 0
        yield from self._predict(pending)

    def _add(self, piece: _Piece, decoded: Decoded) -> ReadImage:
        study = self._under_way.setdefault(piece.study.rank, ReadStudy(piece.study))
        image = read_image(piece.file, decoded, self._key, self._pictures)
        study.images.append(image)
        return image

    def _predict(self, images: list[ReadImage]) -> Iterator[list[ReadStudy]]:
        predict_images(images, self._predictor, self._indications)
        ready = self._take_complete()
        read_studies(ready, self._predictor, self._views, self._batch_size, self._indications)
        for study in self._under_way.values():
            study.choose(self._views)  # a study of a thousand images keeps a few of them
        if ready:
            yield ready

    def _take_complete(self) -> list[ReadStudy]:
        ready = []
        for rank, study in list(self._under_way.items()):
            if study.complete:
                ready.append(self._under_way.pop(rank))
            elif self._in_order:
                break
        return ready
