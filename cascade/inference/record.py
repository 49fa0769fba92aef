"""Studies that are read become rows, and what is on disk becomes what is done."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cascade.errors import CascadeError
from cascade.inference.identifiers import Identifiers
from cascade.inference.index import Done, Index, Instance
from cascade.inference.results import StudyResult, Writer
from cascade.inference.shards import Shards, ShardState
from cascade.inference.sources import Entry, EntryReader
from cascade.inference.studies import ReadImage, ReadStudy, RowMaker, probabilities
from cascade.io.files import atomic_path, sweep

_NOT_COPIED = "not copied to the quarantine"


class Claims:
    """Tells images that came before.

    An image is known by its UID and its pixels: archives hold different images of one UID (files
    made from others by hand), and none of them may be lost.
    """

    def __init__(self, index: Index) -> None:
        """Those that are done are in the index."""
        self._index = index
        self._under_way: dict[Instance, ReadImage] = {}
        self._uids: dict[str, str] = {}

    def __call__(self, image: ReadImage) -> None:
        """Mark an image that repeats another, or that bears another's UID."""
        if (instance := image.instance) is None:
            return
        if (original := self._under_way.get(instance)) is not None:
            image.repeats, image.original = original.file.path, original
            return
        if (done := self._index.first(instance)) is not None:
            image.repeats, image.probabilities = done
            return
        self._under_way[instance] = image
        namesake = self._index.namesake(instance.uid) or self._uids.get(instance.uid)
        self._uids.setdefault(instance.uid, image.file.path)
        image.namesake = namesake

    def forget(self, studies: Iterable[ReadStudy]) -> None:
        """Leave studies that are done to the index."""
        for study in studies:
            for image in study.images:
                if image.instance is not None and image.repeats is None:
                    self._under_way.pop(image.instance, None)
                    self._uids.pop(image.instance.uid, None)


class Quarantine:
    """A folder that receives a copy of each file that cannot be read.

    Args:
        folder: it need not be there.
        shown: a path as the rows show it; the copy has this name.
    """

    def __init__(self, folder: Path, shown: Callable[[str], str] = str) -> None:
        """Remember the folder."""
        self._folder, self._shown = folder, shown
        self._opener = EntryReader()
        sweep(folder)

    def take(self, path: str, entry: Entry) -> bool:
        """Copy a file as it lies in the source; False where it cannot be had safely.

        Raises:
            CascadeError: the disk is full.
        """
        parts = [part[:200] for part in PurePosixPath(self._shown(path)).parts]
        # Of a path that leads elsewhere nothing is copied, but a name may still look like one.
        safe = [part for part in parts if part not in ("..", "/")] or ["file"]
        try:
            found = self._opener.open(entry)
            with (
                atomic_path(self._folder.joinpath(*safe)) as partial,
                partial.open("wb") as target,
                contextlib.ExitStack() as stack,
            ):
                source = stack.enter_context(found.open("rb")) if isinstance(found, Path) else found
                shutil.copyfileobj(source, target)
        except CascadeError:
            raise
        except Exception:  # refused, damaged or gone
            return False
        return True


class Documents:
    """What is written of a study beside its rows.

    Args:
        out: the output directory.
        writers: of documents.
        identifiers: what rows and documents say of whose study it is.
    """

    def __init__(self, out: Path, writers: Sequence[Writer], identifiers: Identifiers) -> None:
        """Remember the parts."""
        self._out, self._writers, self._identifiers = out, writers, identifiers

    def complete(self, row: dict[str, Any], study: ReadStudy) -> None:
        """Add to a study's row what the policy lets it say."""
        evidence = (image.decoded.evidence for image in study.images)
        row |= self._identifiers.of_row(next(filter(None, evidence), None))

    def write(
        self, row: dict[str, Any], images: list[dict[str, Any]], study: ReadStudy
    ) -> list[str]:
        """Write the documents of a study; returns why there is none of a kind, in notes.

        Raises:
            CascadeError: the disk is full.
        """
        if row["status"] == "duplicate":  # there are documents of it already
            return []
        evidence = [image.decoded.evidence for image in study.images]
        pictures = None
        if any(each.needs_pictures for each in self._writers):
            read = [image.decoded.image for image in study.images]
            pictures = [None if picture is None else picture.pixels for picture in read]
        result = StudyResult(row, images, evidence, pictures)
        refused = ((each.name, each.write(result, self._out)) for each in self._writers)
        return [f"no {name}: {why}" for name, why in refused if why is not None]


class Recorder:
    """Writes the rows of studies and marks them done, some studies at a time.

    Args:
        index: of the archive.
        shards: by kind.
        rows: makes the rows.
        documents: what is written beside them.
        quarantine: of files that cannot be read; None: they are left where they are.
    """

    def __init__(
        self,
        index: Index,
        shards: Mapping[str, Shards],
        rows: RowMaker,
        documents: Documents,
        quarantine: Quarantine | None = None,
    ) -> None:
        """Write what an interrupted run has left due."""
        self._index, self._shards = index, shards
        self._rows, self._documents, self._quarantine = rows, documents, quarantine
        self._finish_due()

    def record(self, studies: Sequence[ReadStudy]) -> Counter[str]:
        """Write the rows of studies and mark them done; returns the status of their images.

        Raises:
            CascadeError: the disk is full.
        """
        done = [self._write(study) for study in studies]
        self._index.commit(done, self._synced())
        self._finish_due()
        return Counter(status for each in done for _, status, _ in each.files)

    def _write(self, study: ReadStudy) -> Done:
        rows = [self._rows.image(image) for image in study.images]
        if self._quarantine is not None:
            for image, row in zip(study.images, rows, strict=True):
                if image.decoded.image is None and not self._quarantine.take(
                    image.file.path, image.file.entry
                ):
                    row["notes"] = [*row["notes"], _NOT_COPIED]
        whole = self._rows.study(study, rows)
        self._documents.complete(whole, study)
        whole["notes"] = [*whole["notes"], *self._documents.write(whole, rows, study)]
        self._shards["images"].append(rows)
        self._shards["studies"].append([whole])
        return Done(study.work.rank, whole["status"], _files(study, rows), _instances(study))

    def _synced(self) -> list[ShardState]:
        return [state for shards in self._shards.values() for state in shards.sync()]

    def _finish_due(self) -> None:
        finished = [state for shards in self._shards.values() for state in shards.finish_due()]
        if finished:
            self._index.commit([], finished)

    def finish(self) -> None:
        """Close the open shards.

        Raises:
            CascadeError: the disk is full.
        """
        for shards in self._shards.values():
            shards.close_shard()
        self._index.commit([], self._synced())
        self._finish_due()


def _files(study: ReadStudy, rows: Sequence[dict[str, Any]]) -> list[tuple[int, str, str | None]]:
    return [
        (image.file.id, row["status"], row["reason"] if row["status"] == "failed" else None)
        for image, row in zip(study.images, rows, strict=True)
    ]


def _instances(study: ReadStudy) -> list[tuple[Instance, str, dict[str, float] | None]]:
    return [
        (image.instance, image.file.path, probabilities(image))
        for image in study.images
        if image.instance is not None and image.repeats is None
    ]
