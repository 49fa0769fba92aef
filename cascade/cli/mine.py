"""``cascade mine``: a collection's annotations become a label table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
cascade mine collection=DIR [labels=RULE] out=DIR

Mines disease labels from a collection's annotations: labels.parquet and labels.json, with counts.

  labels=terms      many labels a study: each disease its annotation names (labels.min_studies=N)
  labels=patterns   the paper's rule: annotations that are exactly one disease (labels.min_images=N)

Labels are chosen on training studies alone; labels.fit_on=all counts every study, to compare
archives.

Examples:
  cascade mine collection=collections/openi out=labels/openi
  cascade mine collection=collections/openi labels=patterns labels.fit_on=all out=labels/openi-paper
"""


def run(config: DictConfig) -> None:
    """Mine."""
    from cascade.cli.support import existing, new_output_directory, plain

    settings = plain(config)
    from rich.console import Console
    from rich.table import Table

    from cascade.io.collection import read_collection
    from cascade.pipeline.collecting import mine

    out = new_output_directory()
    table = mine(settings, read_collection(existing(settings, "collection")), out)
    shown = Table(title=f"{len(table.labels)} labels", title_justify="left")
    counts = table.counts()
    shown.add_column("label")
    for column in counts.columns:
        shown.add_column(column, justify="right")
    for label, row in counts.iterrows():
        shown.add_row(str(label), *(str(value) for value in row))
    Console().print(shown)
    print(f"label table: {out}")
