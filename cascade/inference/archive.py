"""Annotate every image of an archive: nothing lost, nothing repeated.

List, decode (in this process or in worker processes), predict a batch at a time, append the rows to
the journal and sync it, and at the end write the tables in order of path. A kill at any moment
costs the batch under way; the same call again goes on where it stopped. ``annotations.json``,
written last, says that the work is complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cascade.errors import CascadeError, InputError
from cascade.inference.decode import Decoded, Read, decode_entries, read_entry
from cascade.inference.indications import indications_hash
from cascade.inference.journal import SUMMARY, Journal, check_same_work, only_writer
from cascade.inference.prediction import Prediction, PredictorProtocol
from cascade.inference.privacy import safe_reason, short_hash
from cascade.inference.rows import (
    duplicate_row,
    failed_row,
    predicted_row,
    write_tables,
)
from cascade.inference.sources import (
    SUFFIXES,
    Entry,
    find_entries,
    printable,
)
from cascade.io.files import explain_write_errors, read_json, write_json
from cascade.io.radiograph import Radiograph
from cascade.metrics.operating import DEFAULT_POINT

FORMAT_VERSION = 1
_MOST_REASONS = 100


LATERAL = ("a lateral view by its header: one image at a time is read as a frontal view",)


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of an archive: ``found == annotated + sum(failed.values()) + skipped``.

    Attributes:
        found: rows: images, and things that might have been images but could not be looked into.
        annotated: rows with probabilities, doubtful ones included.
        doubtful: those of them whose draft is withheld.
        failed: how many failed for each reason.
        skipped: images whose SOP Instance UID came before, with the same pixels.
        ignored: files of no image kind; they have no row.
        resumed: rows that an earlier, interrupted run had done.
        already_complete: True where an earlier run had finished, and nothing was done now.
    """

    found: int
    annotated: int
    doubtful: int
    failed: dict[str, int]
    skipped: int
    ignored: int
    resumed: int = 0
    already_complete: bool = False

    def __str__(self) -> str:
        """Lines to print.

        >>> print(Summary(4, 2, 1, {"the file is empty": 1}, 1, 7))
        4 images: 2 annotated (1 doubtful, draft withheld), 1 duplicate skipped, 1 failed
        7 other files ignored
        failed: 1 x the file is empty
        """
        parts = [f"{self.annotated} annotated"]
        if self.doubtful:
            parts[0] += f" ({self.doubtful} doubtful, draft withheld)"
        if self.skipped:
            parts.append(f"{_counted(self.skipped, 'duplicate')} skipped")
        if self.failed:
            parts.append(f"{sum(self.failed.values())} failed")
        lines = [f"{_counted(self.found, 'image')}: {', '.join(parts)}"]
        if self.already_complete:
            lines.append("an earlier run had finished this work: nothing was done now")
        elif self.resumed:
            lines.append(f"{self.resumed} of them by an earlier run")
        if self.ignored:
            lines.append(f"{_counted(self.ignored, 'other file')} ignored")
        lines += [f"failed: {count} x {reason}" for reason, count in self.failed.items()]
        return "\n".join(lines)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


class _Item(NamedTuple):
    """What waits for its batch: a finished row, or an image with what is known of it."""

    path: str
    instance: str | None
    row: dict[str, Any] | None
    image: Radiograph | None
    about: dict[str, Any]


def annotate_archive(
    source: Path,
    predictor: PredictorProtocol,
    out: Path,
    *,
    read: Read = read_entry,
    batch_size: int = 16,
    workers: int = 0,
    image_size: int | None = None,
    limit: int | None = None,
    suffixes: Collection[str] = SUFFIXES,
    key: str = "",
    indications: Mapping[str, str] | None = None,
    operating_point: str = DEFAULT_POINT,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Annotate the images of ``source`` into ``out``, or go on with doing so.

    ``out`` receives ``annotations.jsonl`` and ``annotations.parquet`` (one row an image, in order
    of path; ``cascade.inference.rows`` says what a row holds) and ``annotations.json``, the
    summary. Called again on a finished ``out`` it does nothing and says so in the summary.

    Args:
        source: a folder tree, a ``.zip`` or one image file.
        predictor: annotates decoded images.
        out: a directory, new, or left by an interrupted run over the same source and model.
        read: decodes a path or an open file; ``read_entry`` by default. With
            workers it must be a function of a module that they can import.
        batch_size: images a call of the predictor.
        workers: processes that decode ahead of the network; 0 decodes in this process. With
            workers a decoder that dies costs one file, without it ends the run.
        image_size: letterbox each image to this side where it is decoded. The predictor's own size
            gives the same results as None and keeps memory and copying small.
        limit: annotate the first so many images by path.
        suffixes: names that end so are images whatever they hold.
        key: a secret that keys the hash of UIDs; see ``short_hash``.
        indications: by path, for a predictor that reads them; a path that is not there has none.
        operating_point: the predictor's; a finished or begun ``out`` of another one is refused.
        progress: called after each batch is on disk with rows done and rows in all.

    Returns:
        What became of the images, in earlier runs and this one.

    Raises:
        InputError: no image in the source; a number out of range; ``out`` is a file, is in use,
            is the source itself, or holds other work.
        CascadeError: the disk is full, or the network failed on every image of a batch.
    """
    source, out = Path(source), Path(out)
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("workers", workers, 0),
        ("image_size", 1 if image_size is None else image_size, 1),
        ("limit", 1 if limit is None else limit, 1),
    ):
        if value < least:
            raise InputError(f"{name}={value}: expected {least} or more")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another out=")
    if source.is_dir() and out.resolve() == source.resolve():
        raise InputError(f"{out} is the source itself: choose another out=")
    resolved = source.resolve()
    work = {
        "source": f"{printable(resolved.name)} ({short_hash(printable(str(resolved)))})",
        "model": predictor.model_id,
        "limit": limit,
        "suffixes": sorted(suffixes),
        "identifier_key": short_hash("cascade", key),
        "indications": indications_hash(indications),
        "operating_point": operating_point,
    }
    if (finished := _finished(out, work)) is not None:
        return finished
    ignored = [0]
    entries = sorted(find_entries(source, suffixes, out, ignored), key=lambda entry: entry.path)
    if not entries:
        raise InputError(
            f"no image file in {source} ({ignored[0]} other file(s)): "
            "expected DICOM, PNG, JPEG or TIFF"
        )
    with explain_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with only_writer(out):
        if (finished := _finished(out, work)) is not None:
            return finished
        with Journal(out, work) as journal:
            todo = [entry for entry in entries[:limit] if entry.path not in journal.done]
            resumed = len(journal.done)
            decoded = decode_entries(todo, read, workers, image_size)
            total = len(todo) + resumed
            run = _Run(predictor, journal, batch_size, key, indications, total, progress)
            with contextlib.closing(decoded):
                run.annotate(decoded)
            write_tables(journal.rows, list(journal.labels), out)
            summary = _summarise(journal, ignored[0], resumed)
            counts = dataclasses.asdict(summary)
            del counts["already_complete"]
            write_json(
                out / SUMMARY, {"format_version": FORMAT_VERSION, "work": work, "summary": counts}
            )
            journal.remove()
    return summary


def _finished(out: Path, work: dict[str, Any]) -> Summary | None:
    """The summary of a finished run over the same work; InputError for other work."""
    if not (out / SUMMARY).is_file():
        return None
    value = read_json(out / SUMMARY)
    value = value if isinstance(value, dict) else {}
    if value.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{out / SUMMARY} has another format: choose another out=, or delete it")
    check_same_work(value.get("work"), work, out)
    # A kill may have come between the summary and this.
    Journal.remove_from(out)
    return Summary(**value["summary"], already_complete=True)


def _summarise(journal: Journal, ignored: int, resumed: int) -> Summary:
    statuses = journal.statuses
    reasons = journal.failures.most_common(_MOST_REASONS)
    failed = dict(reasons)
    if rest := statuses["failed"] - sum(failed.values()):
        failed["other reasons"] = rest
    return Summary(
        found=len(journal.done),
        annotated=statuses["draft"] + statuses["doubtful"],
        doubtful=statuses["doubtful"],
        failed=failed,
        skipped=statuses["duplicate"],
        ignored=ignored,
        resumed=resumed,
    )


class _Run:
    """Decoded images to rows in the journal, in the order in which they come."""

    def __init__(
        self,
        predictor: PredictorProtocol,
        journal: Journal,
        batch_size: int,
        key: str,
        indications: Mapping[str, str] | None,
        total: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._predictor = predictor
        self._model = (predictor.model_id, predictor.version)
        self._journal = journal
        self._batch_size = batch_size
        self._key = key
        self._indications = indications
        self._total = total
        self._progress = progress
        # An image is known by its UID and its pixels: archives hold different images of one UID
        # (files made from others by hand), and none of them may be lost.
        self._first = dict(journal.instances)
        self._namesakes: dict[str, str] = {}
        for instance, path in self._first.items():
            self._namesakes.setdefault(instance.partition(":")[0], path)

    def annotate(self, decoded: Iterator[tuple[Entry, Decoded]]) -> None:
        pending: list[_Item] = []
        images = 0
        for entry, result in decoded:
            pending.append(self._item(entry.path, result))
            images += pending[-1].image is not None
            # Rows without an image wait too, so that the journal keeps the order of the listing
            # and the first of two duplicates is the same one after any interruption.
            if images == self._batch_size or len(pending) >= 4 * self._batch_size + 64:
                self._write(pending)
                pending, images = [], 0
        if pending:
            self._write(pending)

    def _item(self, path: str, result: Decoded) -> _Item:
        image = result.image
        if image is None:
            row = failed_row(path, self._model, result.reason or "unknown", notes=result.warnings)
            return _Item(path, None, row, None, {})
        study, uid = (
            short_hash(uid, self._key) if uid else None
            for uid in (image.facts.study_instance_uid, image.facts.sop_instance_uid)
        )
        notes = list(dict.fromkeys([*image.notes, *result.warnings]))
        about = {"study": study, "view": image.view, "notes": notes}
        if uid is None:
            return _Item(path, None, None, image, about)
        instance = f"{uid}:{result.checksum:08x}"
        first = self._first.setdefault(instance, path)
        if first != path:
            row = duplicate_row(path, self._model, first, **about)
            return _Item(path, instance, row, None, {})
        namesake = self._namesakes.setdefault(uid, path)
        if namesake != path:
            notes.append(f"same SOP Instance UID as {namesake}, other pixels")
        return _Item(path, instance, None, image, about)

    def _write(self, items: Sequence[_Item]) -> None:
        known = [item for item in items if item.image is not None]
        asked = (
            None
            if self._indications is None
            else [self._indications.get(item.path, "") for item in known]
        )
        pixels = [item.image.pixels for item in known if item.image is not None]
        predictions = iter(self._predict(pixels, asked))
        batch = []
        for item in items:
            row = item.row
            if item.image is not None:
                row = self._predicted(item, item.image, next(predictions))
            assert row is not None
            batch.append((row, item.instance))
        self._journal.append(batch)
        if self._progress is not None:
            self._progress(len(self._journal.done), self._total)

    def _predicted(
        self, item: _Item, image: Radiograph, prediction: Prediction | str
    ) -> dict[str, Any]:
        if isinstance(prediction, str):
            return failed_row(item.path, self._model, prediction, **item.about)
        try:
            doubts = image.doubts + (LATERAL if image.view == "lateral" else ())
            return predicted_row(item.path, self._model, prediction, doubts, **item.about)
        except ValueError as error:
            return failed_row(item.path, self._model, safe_reason(error), **item.about)

    def _predict(self, images: list[np.ndarray], asked: list[str] | None) -> list[Prediction | str]:
        """Predictions, or for an image that the network cannot take, the reason.

        Raises:
            CascadeError: it takes none of them: then the fault is not the images'.
        """
        if not images:
            return []
        try:
            predictions = self._predictor.predict(images, asked)
        except Exception as error:
            if len(images) == 1:
                return [safe_reason(error)]
            alone = [
                self._predict([image], None if asked is None else [asked[number]])[0]
                for number, image in enumerate(images)
            ]
            if all(isinstance(each, str) for each in alone):
                raise CascadeError(
                    f"the network failed on all {len(images)} images of a batch "
                    f"({safe_reason(error)}); what was done before is kept: run again to go on"
                ) from error
            return alone
        if len(predictions) != len(images):
            raise CascadeError(f"{len(predictions)} predictions of {len(images)} images")
        return list(predictions)
