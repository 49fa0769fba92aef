"""``cascade annotate``: draft annotations of an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

HELP = """\
cascade annotate source=PATH model=DIR out=DIR

Drafts an annotation for every study of an archive: studies/part-*.jsonl and .parquet, a row a
study, and images/part-*, a row a file. A file that cannot be read is a row with its reason; a
picture unlike the training radiographs is marked doubtful and its draft withheld. Killed, the same
command goes on; no file is annotated twice.

  source=        a folder tree, a .zip, .tar, .tar.gz or .tgz (never unpacked), one file,
                 a DICOMDIR, a .csv with a column path, - for paths from standard input, or
                 https://host/dicom-web (docs/archives.md: credentials, +query.StudyDate=2024...)
  limit=N        the first N files only
  since=DATE until=DATE modality=[CR,DX] body_part=[CHEST]
                 leave out files whose header says otherwise, or nothing
  order=ready    rows as they are ready: a slow file holds nobody up (default: path)
  formats=[...]  tables, of jsonl, parquet, csv, and documents of each study, of sr,
                 tid1500 (DICOM), fhir, text, pdf: docs/archives.md
  identifiers=hash  what rows and documents say of the patient: keep, hash (documents then need a
                 secret in CASCADE_IDENTIFIER_KEY, which keys the hashes) or drop
  shard_rows=N   rows a file of the tables
  file_paths=hash  rows name no path
  push=URL       a DICOMweb server that is sent the SRs at the end; needs identifiers=keep
  previews=true  each image as a PNG, with whatever is burned into it
  quarantine=DIR receives a copy of every file that cannot be read
  operating_point=NAME   at which findings are called present: best_f1 (default),
                 high_sensitivity or high_specificity, by thresholds chosen on validation
  abstain_below=P  drafts of less confidence are withheld: auto (what the bundle says), none or P
  batch_size=N   images through the network at a time
  engine=ray     decode and read on a Ray cluster that sees the source and the model under the same
                 paths: ray_address=..., else RAY_ADDRESS, else one begun here, with workers=N
  device=auto    every CUDA device; or some: cuda:0+cuda:1
  workers=N      processes that decode ahead of it; one a core by default (0: none, without limits)
  file_seconds=S file_memory_mb=M
                 what a worker may take over a file: one that takes more has failed
  indications=FILE.csv  for a model that reads the indication (generator.condition=indication):
                 columns path (as in the annotations) and indication; else all count as missing

Examples:
  cascade annotate source=archive/ model=runs/nih/model out=annotations
  cascade annotate source=archive/ model=runs/nih/model out=trial limit=50
  find . -name '*.dcm' -print0 | cascade annotate source=- model=runs/nih/model out=annotations
  cascade annotate source=https://pacs.example/dicom-web +query.StudyDate=20240101-20240131 \\
      model=runs/nih/model out=annotations formats=[jsonl,text] identifiers=drop

Exit status 1 if any file failed. docs/archives.md is the guide.
"""


MOST_WORKERS = 16
"""More would only wait for one network."""


def run(config: DictConfig) -> None:
    """Annotate."""
    from cascade.cli.support import existing, output_directory, plain

    settings = plain(config)
    check_source(settings)
    model = existing(settings, "model")
    from cascade.errors import CascadeError, InputError
    from cascade.inference.archive import annotate_archive
    from cascade.inference.engines.devices import load_predictor, share_cores
    from cascade.inference.indications import read_indications
    from cascade.inference.sources import open_source
    from cascade.pipeline.progress import archive_bar, say

    asked = None
    if settings["indications"]:
        asked = read_indications(existing(settings, "indications"))
    out: Path = output_directory()
    point = str(settings["operating_point"])
    options = archive_options(settings)
    push_to = settings["push"]
    if push_to is not None:
        from cascade.inference.push import check_push

        check_push(push_to, options.formats, options.identifiers)
    source = open_source(settings["source"], exclude=out, query=settings["query"], key=options.key)
    share_cores(options.workers)
    predictor = load_predictor(model, settings["device"], point)
    if asked is not None and predictor.reader.condition is None:
        raise InputError(
            f"{model} reads no indication: leave indications= away, or take a model that was "
            "trained with generator.condition=indication"
        )
    if predictor.operating_point is None:
        say("the model has no operating points (it is of before): no finding is called")
    with archive_bar() as update:
        summary = annotate_archive(
            source,
            predictor,
            out,
            options,
            image_size=predictor.image_size,
            abstain_below=abstention(settings["abstain_below"], predictor),
            indications=asked,
            operating_point=point,
            progress=update,
            make_engine=chosen_engine(settings, model, point),
        )
    print(summary)
    print(f"annotations: {out / 'studies'} and {out / 'images'}")
    if push_to is not None:
        send(out, push_to)
    if summary.failed:
        raise CascadeError(f"{summary.failures} file(s) failed: the rows of {out} give the reasons")


def check_source(settings: dict[str, Any]) -> None:
    """Look whether a source that lies on disk is there.

    Raises:
        InputError: it is not, or none is named.
    """
    from cascade.cli.support import existing

    source = settings.get("source")
    if not (isinstance(source, str) and (source == "-" or "://" in source)):
        existing(settings, "source")
    elif settings["identifiers"] == "drop":
        settings["file_paths"] = "hash"  # a server's paths are hashes of its UIDs, by another key


def chosen_engine(settings: dict[str, Any], model: Path, point: str) -> Any:
    """Who reads the studies: this machine, or a cluster."""
    from functools import partial

    if settings["engine"] == "local":
        from cascade.inference.engines.local import LocalEngine

        return LocalEngine
    from cascade.inference.engines.devices import load_predictor
    from cascade.inference.engines.ray import RayEngine

    return partial(
        RayEngine,
        load=partial(load_predictor, model.resolve(), settings["device"], point),
        address=settings["ray_address"],
        workers=settings["workers"],
    )


def send(out: Path, url: str) -> None:
    """Send the SRs, those that were sent before left out.

    Raises:
        CascadeError: the server did not take them all.
    """
    from cascade.errors import CascadeError
    from cascade.inference.push import push_documents
    from cascade.pipeline.progress import progress_bar

    with progress_bar("sending") as update:
        pushed = push_documents(out, url, progress=update)
    print(pushed)
    if pushed.failed:
        raise CascadeError(f"the server did not take every document of {out}: run again to go on")


def archive_options(settings: dict[str, Any]) -> Any:
    """The settings as ``Options``, checked before the model is loaded.

    Raises:
        InputError: one of them cannot be.
    """
    import os
    from pathlib import Path

    from cascade.inference.archive import Options
    from cascade.inference.identifiers import KEY_VARIABLE
    from cascade.inference.listing import Filters
    from cascade.inference.workers import cores

    most = min(cores(), MOST_WORKERS)
    workers = most if settings["workers"] is None else settings["workers"]
    if settings["engine"] == "ray":  # these only list: the cluster decodes
        workers = min(workers, most)
    same = ["batch_size", "file_seconds", "file_memory_mb", "order", "limit"]
    same += ["formats", "shard_rows", "file_paths", "identifiers", "previews"]
    filters = Filters.parse(*(settings[key] for key in ("since", "until", "modality", "body_part")))
    quarantine = settings["quarantine"]
    options = Options(
        **{key: settings[key] for key in same},
        workers=workers,
        filters=filters,
        quarantine=None if quarantine is None else Path(str(quarantine)),
        key=os.environ.get(KEY_VARIABLE, ""),
    )
    options.check()
    return options


def abstention(value: str, predictor: Any) -> float | None:
    """``abstain_below`` as a number; None where the model never abstains.

    Raises:
        InputError: neither a word nor a probability.
    """
    from cascade.errors import InputError

    if value == "auto":
        found: float | None = getattr(predictor, "abstain_below", None)
        return found
    if value == "none":
        return None
    try:
        least = float(value)
    except ValueError:
        least = -1.0
    if not 0 <= least <= 1:
        raise InputError(f"abstain_below={value}: expected auto, none, or a number of 0 to 1")
    return least
