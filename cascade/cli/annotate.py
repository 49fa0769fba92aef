"""``cascade annotate``: draft annotations of an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
cascade annotate source=PATH model=DIR out=DIR

Drafts an annotation for every radiograph in a folder tree, a .zip or one file: annotations.jsonl
and annotations.parquet, one row an image. A file that cannot be read is a row with its reason; a
picture unlike the training radiographs is marked doubtful and its draft withheld. Killed, the same
command goes on; no file is annotated twice.

  operating_point=NAME   at which findings are called present: best_f1 (default),
                 high_sensitivity or high_specificity, by thresholds chosen on validation
  batch_size=N   images through the network at a time
  workers=N      processes that decode ahead of it (0: in this process)
  limit=N        the first N images only
  indications=FILE.csv  for a model that reads the indication (generator.condition=indication):
                 columns path (as in the annotations) and indication; else all count as missing

Example:
  cascade annotate source=archive/ model=runs/nih/model out=annotations

Exit status 1 if any file failed.
"""


def run(config: DictConfig) -> None:
    """Annotate."""
    from pathlib import Path

    from cascade.cli.support import existing, output_directory, plain

    settings = plain(config)
    source, model = existing(settings, "source"), existing(settings, "model")
    from cascade.errors import CascadeError, InputError
    from cascade.inference.archive import annotate_archive
    from cascade.inference.indications import read_indications
    from cascade.inference.predictor import Predictor
    from cascade.pipeline.progress import progress_bar, say

    asked = None
    if settings["indications"]:
        asked = read_indications(existing(settings, "indications"))
    out: Path = output_directory()
    point = str(settings["operating_point"])
    predictor = Predictor(model, settings["device"], point)
    if asked is not None and predictor.reader.condition is None:
        raise InputError(
            f"{model} reads no indication: leave indications= away, or take a model that was "
            "trained with generator.condition=indication"
        )
    if predictor.operating_point is None:
        say("the model has no operating points (it is of before): no finding is called")
    with progress_bar("annotating") as update:
        summary = annotate_archive(
            source,
            predictor,
            out,
            batch_size=int(settings["batch_size"]),
            image_size=predictor.image_size,
            workers=int(settings["workers"]),
            limit=settings["limit"],
            indications=asked,
            operating_point=point,
            progress=update,
        )
    print(summary)
    print(f"annotations: {out / 'annotations.jsonl'}")
    if summary.failed:
        count = sum(summary.failed.values())
        raise CascadeError(f"{count} file(s) failed: the rows of {out} give the reasons")
