"""``engine=local``: this machine decodes ahead and lets full batches through its network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cascade.inference.decode import Decoded
from cascade.inference.engines.operators import EngineParts, predict_images, read_studies
from cascade.inference.index import FileWork, Index, StudyWork
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
    """Decodes ahead, fills batches across studies, reads each study once it is complete."""

    def __init__(self, parts: EngineParts) -> None:
        """Remember the parts."""
        self._parts = parts
        self._views = int(getattr(parts.predictor, "views", 1))
        self._under_way: dict[int, ReadStudy] = {}

    def read(self, index: Index, claim: Callable[[ReadImage], None]) -> Iterator[list[ReadStudy]]:
        """Read the studies that are not done.

        Args:
            index: of the archive.
            claim: told of each decoded image in the order in which they come; it marks one that
                repeats another, which the network then does not see.

        Yields:
            Some studies at a time, complete.
        """
        pending: list[ReadImage] = []
        since = 0
        pieces = (_Piece(study, file) for study in index.work() for file in study.files)
        # enough for the batch that is filled while another is in the network
        size = self._parts.batch_size
        ahead = size + 2 * self._parts.decoders.workers
        decoded = self._parts.decoders.decode(pieces, ahead, self._parts.in_order)
        with contextlib.closing(decoded):
            for piece, found in decoded:
                image = self._add(piece, found)
                claim(image)
                since += 1
                if not image.settled:
                    pending.append(image)
                # Files without an image wait too, so that the order stays that of the work.
                if len(pending) == size or since >= 4 * size + 64:
                    yield from self._predict(pending)
                    pending, since = [], 0
        yield from self._predict(pending)

    def _add(self, piece: _Piece, decoded: Decoded) -> ReadImage:
        study = self._under_way.setdefault(piece.study.rank, ReadStudy(piece.study))
        image = read_image(piece.file, decoded, self._parts.key, self._parts.pictures)
        study.images.append(image)
        return image

    def _predict(self, images: list[ReadImage]) -> Iterator[list[ReadStudy]]:
        parts = self._parts
        predict_images(images, parts.predictor, parts.indications)
        ready = self._take_complete()
        read_studies(ready, parts.predictor, self._views, parts.batch_size, parts.indications)
        for study in self._under_way.values():
            study.choose(self._views)  # a study of a thousand images keeps a few of them
        if ready:
            yield ready

    def _take_complete(self) -> list[ReadStudy]:
        ready = []
        for rank, study in list(self._under_way.items()):
            if study.complete:
                ready.append(self._under_way.pop(rank))
            elif self._parts.in_order:
                break
        return ready
