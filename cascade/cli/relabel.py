"""``cascade relabel``: a trained pair's joint contexts become the next round's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
cascade relabel model=RUN/model collection=DIR label_table=DIR out=DIR

Reads the joint image/text contexts out of a trained decoder, clusters them within each disease,
and writes the label table of the next round: `opacity` becomes `opacity#1`, `opacity#2`, ... Only
training studies shape clusters. Each new label is described by its commonest words. Beside the
table: contexts.html, each context with its words and example radiographs (it stays with the run),
and contexts.json, with how stable each split is over seeds and bootstrap draws.

  relabel.rule=count    diseases with relabel.min_cases studies, a context for each
                        relabel.cases_per_cluster of them
  relabel.rule=paper    diseases with at least mean + deviation of the counts
  relabel.rule=gap      as many as the gap statistic finds, at most relabel.most_clusters
  relabel.rule=hdbscan  as many dense groups as there are; noise goes to the nearest one
  relabel.shuffle=true  the control: clusters of the same sizes, dealt at random

Example:
  cascade relabel model=runs/generator/model collection=collections/nih label_table=labels/nih \\
      out=labels/nih-round-2
"""


def run(config: DictConfig) -> None:
    """Relabel."""
    from cascade.cli.support import existing, new_output_directory, plain

    settings = plain(config)
    collection, model = existing(settings, "collection"), existing(settings, "model")
    from cascade.labels.table import read_label_table
    from cascade.pipeline.stages import adopt_bundle, open_context, relabel_round

    out = new_output_directory()
    out.rmdir()  # a folder that is there is taken for a finished table
    table = read_label_table(existing(settings, "label_table"))
    context = open_context(adopt_bundle(settings, model), collection)
    refined = relabel_round(context, table, model, out)
    present = refined.counts()["present"].tolist()
    for label, count in zip(refined.labels, present, strict=True):
        print(f"{label.name:36} {count:6d}  {label.description}")
    print(f"label table: {out}")
