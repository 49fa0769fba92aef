"""``cascade relabel``: a trained pair's joint contexts become the next round's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
cascade relabel model=RUN/model collection=DIR label_table=DIR out=DIR

Reads the joint image/text contexts out of a trained decoder, clusters them within each disease, and writes
the label table of the next round: `opacity` becomes `opacity#1`, `opacity#2`, ... Only training studies
shape clusters. Each new label is described by its commonest words.

  relabel.rule=count    diseases with relabel.min_cases studies, one context per relabel.cases_per_cluster
  relabel.rule=paper    diseases with at least mean + deviation of the counts
  relabel.shuffle=true  the control: clusters of the same sizes, dealt at random

Example:
  cascade relabel model=runs/generator/model collection=collections/nih label_table=labels/nih \\
      out=labels/nih-round-2
"""


def run(config: DictConfig) -> None:
    """Relabel."""
    from cascade.cli.support import existing, output_directory, plain
    from cascade.errors import InputError

    settings = plain(config)
    collection, model = existing(settings, "collection"), existing(settings, "model")
    from cascade.labels.table import read_label_table
    from cascade.pipeline.stages import adopt_bundle, open_context, relabel_round

    out = output_directory()
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: choose another out=, or delete it first")
    if out.is_dir():
        out.rmdir()
    table = read_label_table(existing(settings, "label_table"))
    context = open_context(adopt_bundle(settings, model), collection)
    refined = relabel_round(context, table, model, out)
    counts = refined.counts()
    for label in refined.labels:
        print(f"{label.name:36} {counts.loc[label.name, 'present']:6d}  {label.description}")
    print(f"label table: {out}")
