"""``cascade evaluate``: scores beside the trivial baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
cascade evaluate model=RUN/model collection=DIR label_table=DIR out=DIR
cascade evaluate predictions=FILE.csv [references=FILE.csv] out=DIR

Scores a model on a split (test by default; split=val while you choose), or any system's texts from
a CSV of study_id, reference, hypothesis. Every figure stands beside the trivial baselines on the
same rows, with bootstrap intervals by patient. Writes metrics.json, CSV tables and index.html,
which opens from disk.

Several models, in both kinds of quotes: "model='before:runs/a/model,after:runs/b/model'".

Examples:
  cascade evaluate model=runs/generator/model collection=collections/nih label_table=labels/nih \\
      out=eval
  cascade evaluate predictions=other_system.csv kind=report out=eval
"""


def run(config: DictConfig) -> None:
    """Evaluate a model or a predictions file."""
    from cascade.cli.support import existing, output_directory, plain
    from cascade.errors import InputError

    settings = plain(config)
    out = output_directory()
    if settings["predictions"]:
        evaluation = _score_file(settings)
        from cascade.evaluation.tables import write_evaluation

        write_evaluation(evaluation, out, show_ids=bool(settings["evaluate"]["show_ids"]))
    elif settings["model"]:
        models = _models(str(settings["model"]))
        collection = existing(settings, "collection")
        from cascade.labels.table import read_label_table
        from cascade.pipeline.assessment import assess
        from cascade.pipeline.stages import adopt_bundle, open_context

        table = read_label_table(existing(settings, "label_table"))
        context = open_context(adopt_bundle(settings, list(models.values())[-1]), collection)
        evaluation = assess(context, table, models, out, settings["split"])
    else:
        raise InputError("evaluate needs model=DIR or predictions=FILE.csv")
    show(evaluation)
    print(f"evaluation page: {out / 'index.html'}")


def _models(text: str) -> dict[str, Path]:
    """``name:DIR,name:DIR`` or one path, as name -> path."""
    from cascade.errors import InputError

    models: dict[str, Path] = {}
    for part in text.split(","):
        name, colon, path = part.partition(":")
        if not colon:
            name, path = "model", part
        if name in models:
            raise InputError(f"model= names {name!r} twice: give each model a name, a:DIR,b:DIR")
        if not Path(path).exists():
            raise InputError(f"model={path} does not exist")
        models[name] = Path(path)
    return models


def _score_file(settings: dict[str, Any]) -> Any:
    from cascade.cli.support import existing
    from cascade.errors import InputError
    from cascade.evaluation.predictions import evaluate_predictions, read_predictions
    from cascade.metrics.hub import HubOptions

    if settings["kind"] not in ("report", "annotation"):
        raise InputError(f"unknown kind {settings['kind']!r}, expected 'report' or 'annotation'")
    references = existing(settings, "references") if settings["references"] else None
    table = read_predictions(existing(settings, "predictions"), references)
    return evaluate_predictions(
        table,
        kind=settings["kind"],
        seed=int(settings["seed"]),
        resamples=int(settings["evaluate"]["resamples"]),
        meteor=str(settings["evaluate"]["meteor"]),
        meteor_seconds=float(settings["evaluate"]["meteor_seconds"]),
        hub=HubOptions.of_settings(settings["evaluate"]),
    )


def show(evaluation: Any) -> None:
    """The tables on the terminal."""
    import shutil

    from cascade.evaluation.tables import format_tables

    print(format_tables(evaluation, width=max(100, shutil.get_terminal_size((110, 40)).columns)))
