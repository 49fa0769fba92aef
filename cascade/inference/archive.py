"""Annotate every image of an archive: nothing lost, nothing repeated.

List the files into an index, decode them (in this process or in worker processes), predict a batch
at a time, append the rows to shards, sync them and mark their studies done in the index. A kill at
any moment costs the batch under way; the same call again goes on where it stopped.
``annotations.json``, written last, says that the work is complete. docs/archives.md has the guide.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade.errors import InputError
from cascade.inference.decode import Decoders, How, Read, read_entry
from cascade.inference.engines.local import LocalEngine
from cascade.inference.engines.operators import Engine, EngineParts
from cascade.inference.identifiers import Identifiers, output_key
from cascade.inference.index import INDEX, Index, check_same_work, only_writer
from cascade.inference.indications import indications_hash
from cascade.inference.listing import Filters, list_into
from cascade.inference.prediction import PredictorProtocol
from cascade.inference.privacy import short_hash
from cascade.inference.record import Claims, Documents, Quarantine, Recorder
from cascade.inference.results import Writer
from cascade.inference.shards import Shards
from cascade.inference.sources import SUFFIXES, FileSource, Source
from cascade.inference.studies import RowMaker
from cascade.inference.summary import Summary, summarise
from cascade.inference.writers import TABLES, create_writers
from cascade.io.files import explain_write_errors, read_json, sweep, write_json
from cascade.metrics.operating import DEFAULT_POINT

SUMMARY = "annotations.json"
FORMAT_VERSION = 2
OF_BEFORE = ("annotations.jsonl", "annotations.parquet", "annotations.journal.jsonl")
ORDERS = ("path", "ready")
PATHS = ("keep", "hash")


Progress = Callable[[str, int, int | None, int], None]
"""Told of the stage, files done, of how many (None: not known yet), and how many of them failed."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How an archive is annotated; the defaults are those of ``cascade annotate``.

    Attributes:
        batch_size: images a call of the predictor.
        workers: processes that decode ahead of the network; 0 decodes in this process, where a
            decoder that dies ends the run.
        file_seconds: a worker may take over a file; None: as long as it likes.
        file_memory_mb: a worker may take for a file; None: as much as there is.
        image_size: letterbox each image to this side where it is decoded. The predictor's own size
            gives the same results as None and keeps memory and copying small.
        order: of the rows: ``path``, or ``ready``: a slow file holds nobody up.
        limit: only the first so many files, in the order of the listing.
        filters: which files are read.
        suffixes: names that end so are images whatever they hold.
        formats: from ``TABLES``, one at least, and documents of ``writers.FORMATS``.
        shard_rows: rows of a file of a table; a study's rows are never parted.
        file_paths: ``keep``, or ``hash``: the rows and what is left of the index name no path.
        quarantine: a folder that receives a copy of every file that cannot be read.
        abstain_below: a study's draft of less confidence is withheld; None: none is.
        previews: write each image as a PNG, with whatever is burned into it.
        identifiers: ``keep``, ``hash`` or ``drop``, see ``cascade.inference.identifiers``.
        key: a secret that keys the hashes of ``hash``.
    """

    batch_size: int = 16
    workers: int = 0
    file_seconds: float | None = 60.0
    file_memory_mb: int | None = 4096
    image_size: int | None = None
    order: str = "path"
    limit: int | None = None
    filters: Filters = Filters()
    suffixes: Collection[str] = SUFFIXES
    formats: Sequence[str] = ("jsonl", "parquet")
    shard_rows: int = 10_000
    file_paths: str = "keep"
    quarantine: Path | None = None
    abstain_below: float | None = None
    previews: bool = False
    identifiers: str = "hash"
    key: str = ""

    def check(self) -> None:
        """Look at all of it before any work.

        Raises:
            InputError: a number out of range, or an unknown word.
        """
        for name, least in (
            ("batch_size", 1),
            ("workers", 0),
            ("file_memory_mb", 1),
            ("image_size", 1),
            ("limit", 1),
            ("shard_rows", 1),
        ):
            if (value := getattr(self, name)) is not None and value < least:
                raise InputError(f"{name}={value}: expected {least} or more")
        if self.file_seconds is not None and not self.file_seconds > 0:
            raise InputError(f"file_seconds={self.file_seconds}: expected more than 0")
        for name, given, choices in (
            ("order", [self.order], ORDERS),
            ("file_paths", [self.file_paths], PATHS),
        ):
            for word in given:
                if word not in choices:
                    raise InputError(f"{name}={word}: expected one of {', '.join(choices)}")
        self.writers(self.key)
        if not set(self.formats) & set(TABLES):
            raise InputError(f"formats: expected at least one of {', '.join(TABLES)}")

    def writers(self, key: str) -> list[Writer]:
        """What writes the documents.

        Raises:
            InputError: as ``create_writers``.
        """
        return create_writers(
            self.formats, identifiers=self.identifiers, key=key, previews=self.previews
        )


def annotate_archive(
    source: Path | Source,
    predictor: PredictorProtocol,
    out: Path,
    options: Options | None = None,
    *,
    read: Read = read_entry,
    indications: Mapping[str, str] | None = None,
    operating_point: str = DEFAULT_POINT,
    progress: Progress | None = None,
    make_engine: Callable[[EngineParts], Engine] = LocalEngine,
    **changes: Any,
) -> Summary:
    """Annotate the images of ``source`` into ``out``, or go on with doing so.

    ``out`` receives ``images/part-*`` (a row an image) and ``studies/part-*`` (a row a study), as
    ``cascade.inference.rows`` describes them, ``index.sqlite`` and ``annotations.json``, the
    summary. Called again on a finished ``out`` it does nothing and says so in the summary.

    Args:
        source: a folder tree, an archive or one image file; or what ``open_source`` gives.
        predictor: annotates decoded images.
        out: a directory, new, or left by an interrupted run over the same source and model.
        options: how.
        read: decodes a path or an open file; ``read_entry`` by default. With workers it must be a
            function of a module that they can import.
        indications: by path, for a predictor that reads them; a path that is not there has none.
        operating_point: the predictor's; a finished or begun ``out`` of another one is refused.
        progress: called as files are listed, and after each batch is on disk.
        make_engine: who reads the studies; this machine by default.
        changes: fields of ``options`` by name.

    Returns:
        What became of the files, in earlier runs and this one.

    Raises:
        InputError: no image in the source; an option out of range; ``out`` is a file, is in use,
            is the source itself, or holds other work.
        CascadeError: the disk is full, the network failed on every image of a batch, or the worker
            processes do not start.
    """
    options = dataclasses.replace(options or Options(), **changes)
    options.check()
    out = Path(out)
    if isinstance(source, str | Path):
        source = FileSource(Path(source), options.suffixes, out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another out=")
    if isinstance(source, FileSource) and out.resolve() == source.path.resolve():
        raise InputError(f"{out} is the source itself: choose another out=")
    work = _work(
        source.description,
        predictor.model_id,
        options,
        indications,
        operating_point,
    )
    if (finished := _finished(out, work)) is not None:
        return finished
    new = not out.exists()
    with explain_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with only_writer(out):
        if (finished := _finished(out, work)) is not None:
            return finished
        _refuse_others(out)
        sweep(out)
        try:
            return _Run(
                source, predictor, out, options, work, read, indications, progress, make_engine
            ).go()
        except NothingToDo as error:
            (out / INDEX).unlink(missing_ok=True)
            if new:
                with contextlib.suppress(OSError):
                    out.rmdir()
            raise InputError(str(error)) from None


class NothingToDo(Exception):
    """A source without an image."""


def _work(
    source: str,
    model: str,
    options: Options,
    indications: Mapping[str, str] | None,
    operating_point: str,
) -> dict[str, Any]:
    """What the results depend on, by name."""
    return {
        "source": source,
        "model": model,
        "limit": options.limit,
        "filters": dataclasses.asdict(options.filters)
        | {
            "modality": list(options.filters.modality),
            "body_part": list(options.filters.body_part),
        },
        "suffixes": sorted(options.suffixes),
        "identifiers": options.identifiers,
        "identifier_key": short_hash("cascade", options.key),
        "indications": indications_hash(indications),
        "operating_point": operating_point,
        "formats": sorted(options.formats),
        "previews": options.previews,
        "shard_rows": options.shard_rows,
        "file_paths": options.file_paths,
        "abstain_below": options.abstain_below,
    }


def _finished(out: Path, work: dict[str, Any]) -> Summary | None:
    """The summary of a finished run over the same work; InputError for other work."""
    if not (out / SUMMARY).is_file():
        return None
    value = read_json(out / SUMMARY)
    value = value if isinstance(value, dict) else {}
    if value.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{out / SUMMARY} has another format: choose another out=, or delete it")
    check_same_work(value.get("work"), work, out)
    return Summary(**value["summary"], already_complete=True)


def _refuse_others(out: Path) -> None:
    """Refuse results that no index speaks of: they are someone's."""
    if (out / INDEX).exists():
        return
    for name in (*OF_BEFORE, "images", "studies"):
        if (out / name).exists():
            raise InputError(
                f"{out} holds {name}, which is not of this work: choose another out=, or delete it"
            )


class _Run:
    """One call's work, from the listing to the summary."""

    def __init__(
        self,
        source: Source,
        predictor: PredictorProtocol,
        out: Path,
        options: Options,
        work: dict[str, Any],
        read: Read,
        indications: Mapping[str, str] | None,
        progress: Progress | None,
        make_engine: Callable[[EngineParts], Engine],
    ) -> None:
        self._source, self._predictor, self._out = source, predictor, out
        self._options, self._work, self._read = options, work, read
        self._indications, self._progress = indications, progress
        self._make_engine = make_engine
        self._key = options.key

    def go(self) -> Summary:
        options = self._options
        limits = (options.workers, options.file_seconds, options.file_memory_mb)
        with Index(self._out, self._work) as index, contextlib.ExitStack() as stack:
            if options.identifiers == "drop":  # hashes that join the rows of this output alone
                self._key = index.secret(output_key("drop"))
            writers = options.writers(self._key)
            evidence = options.identifiers == "keep" or any(each.needs_evidence for each in writers)
            how = How(self._read, options.image_size, self._key, evidence)
            decoders = stack.enter_context(Decoders(how, *limits))
            if not index.listed:
                self._list(index, decoders)
            resumed, _ = index.done()
            shards = {
                kind: Shards(
                    self._out,
                    kind,
                    index.shards(),
                    options.shard_rows,
                    options.formats,
                    getattr(self._predictor, "labels", None),
                )
                for kind in ("images", "studies")
            }
            for each in shards.values():
                stack.callback(each.close)
            quarantine = None
            if options.quarantine is not None:
                quarantine = Quarantine(options.quarantine, self._shown)
            documents = Documents(self._out, writers, Identifiers(options.identifiers, self._key))
            recorder = Recorder(index, shards, self._rows(), documents, quarantine)
            pictures = any(each.needs_pictures for each in writers)
            self._annotate(index, decoders, recorder, pictures)
            recorder.finish()
            summary = summarise(index, resumed)
            index.finish()
        if options.file_paths != "keep":
            (self._out / INDEX).unlink()
        counts = dataclasses.asdict(summary)
        del counts["already_complete"]
        write_json(
            self._out / SUMMARY,
            {"format_version": FORMAT_VERSION, "work": self._work, "summary": counts},
        )
        return summary

    def _tell(self, stage: str, done: int, total: int | None, failed: int = 0) -> None:
        if self._progress is not None:
            self._progress(stage, done, total, failed)

    def _list(self, index: Index, decoders: Decoders) -> None:
        options, ignored = self._options, [0]
        entries = self._source.entries(ignored)
        list_into(
            index,
            entries,
            decoders,
            options.filters,
            options.limit,
            lambda found: self._tell("listing", found, None),
        )
        kept, filtered = index.counts()
        if not kept and filtered:
            reasons = ", ".join(
                f"{count} x {reason}" for reason, count in index.count("files", "filtered").items()
            )
            raise NothingToDo(
                f"the filters leave out every image of {self._source.name}: {reasons}"
            )
        if not kept:
            raise NothingToDo(
                f"no image file in {self._source.name} ({ignored[0]} other file(s)): "
                "expected DICOM, PNG, JPEG or TIFF"
            )
        index.end_listing(ignored[0])

    def _rows(self) -> RowMaker:
        options = self._options
        model = (self._predictor.model_id, self._predictor.version)
        views = int(getattr(self._predictor, "views", 1))
        return RowMaker(model, views, self._key, options.abstain_below, self._shown)

    def _shown(self, path: str) -> str:
        return path if self._options.file_paths == "keep" else short_hash(path, self._key)

    def _annotate(
        self, index: Index, decoders: Decoders, recorder: Recorder, pictures: bool
    ) -> None:
        options = self._options
        engine = self._make_engine(
            EngineParts(
                self._predictor,
                decoders,
                options.batch_size,
                options.order == "path",
                self._key,
                self._indications,
                pictures,
            )
        )
        total, _ = index.counts()
        done, failed = index.done()
        claims = Claims(index)
        for studies in engine.read(index, claims):
            statuses = recorder.record(studies)
            claims.forget(studies)
            done += statuses.total()
            failed += statuses["failed"]
            self._tell("annotating", done, total, failed)
