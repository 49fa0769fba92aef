"""``cascade mine``: a collection's annotations or reports become a label table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig
    from rich.text import Text

    from cascade.labels.miner import Mention

HELP = """\
cascade mine collection=DIR [labels=RULE] out=DIR
cascade mine collection=DIR explain=STUDY_ID

Mines disease labels from a collection: labels.parquet and labels.json, with counts.

  labels=terms      many labels a study: each disease its annotation names (labels.min_studies=N)
  labels=patterns   the paper's rule: annotations that are exactly one disease (labels.min_images=N)
  labels=text       from the words of findings and impression; mentions.parquet holds the evidence
                    (labels.label_set=chestxray14|chexpert|paper17 labels.workers=N)
  labels=given      the labels that the source itself gives (CheXpert, MIMIC-CXR-JPG, PadChest)

terms:    labels.disease=paper names an organ by the piece that follows it, as the paper did;
          labels.rollup=true merges rare diseases along a tree until each has labels.min_studies
patterns: labels.disease=finding skips sides and places; labels.patterns=set takes whole sets of
          diseases; labels.overlap=true labels every study that holds the pattern
text:     labels.lean=false keeps every doubt uncertain; labels.unmentioned=absent takes silence
          for a no

Labels of annotations are chosen on training studies alone; labels.fit_on=all counts every study, to
compare archives.

gold=FILE.csv (a column of study ids, then one a label of 1, 0 or nothing) scores the table against
labels by hand, beside trivial rules: agreement.json, agreement.csv, disagreements.csv, and
agreement.html, which shows every disagreement with its report.

explain=STUDY_ID prints a report with its mentions marked, each with the rule that decided it, and
writes nothing.

Examples:
  cascade mine collection=collections/openi out=labels/openi
  cascade mine collection=collections/openi labels=patterns labels.fit_on=all out=labels/openi-paper
  cascade mine collection=collections/mimic labels=text labels.label_set=chexpert out=labels/mimic
  cascade mine collection=collections/openi labels=text gold=gold.csv out=labels/openi-text
  cascade mine collection=collections/openi explain=CXR1001
"""

SIGNS = {"present": ("+", "bold red"), "uncertain": ("?", "bold yellow"), "absent": ("-", "green")}


def run(config: DictConfig) -> None:
    """Mine, or explain one study."""
    from cascade.cli.support import existing, new_output_directory, output_directory, plain

    settings = plain(config)
    from cascade.io.collection import read_collection

    if settings["explain"] is not None:
        _explain(settings, read_collection(existing(settings, "collection")))
        out = output_directory()
        if not any(out.iterdir()):  # Hydra made it before we began
            out.rmdir()
        return
    from rich.console import Console
    from rich.table import Table

    from cascade.pipeline.mining import mine, score_against

    out = new_output_directory()
    gold = None if settings["gold"] is None else existing(settings, "gold")
    collection = read_collection(existing(settings, "collection"))
    table = mine(settings, collection, out)
    shown = Table(title=f"{len(table.labels)} labels", title_justify="left")
    counts = table.counts()
    shown.add_column("label")
    for column in counts.columns:
        shown.add_column(column, justify="right")
    for label, row in counts.iterrows():
        shown.add_row(str(label), *(str(value) for value in row))
    Console().print(shown)
    print(f"label table: {out}")
    if gold is not None:
        compared = Table(title="against the labels by hand", title_justify="left")
        compared.add_column("system")
        for name in ("micro F1", "macro F1"):
            compared.add_column(name, justify="right")
        for system in score_against(gold, table, collection, out, show_ids=settings["show_ids"]):
            figures = (system.figures[f"{part} f1"] for part in ("micro", "macro"))
            compared.add_row(
                system.name, *(f"{f.value:.3f} ({f.low:.3f}–{f.high:.3f})" for f in figures)
            )
        Console().print(compared)
        print(f"every disagreement: {out / 'agreement.html'}")


def _explain(settings: dict[str, Any], collection: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from cascade.pipeline.mining import explain_study

    console = Console(highlight=False)
    sections, mentions = explain_study(collection, settings["explain"])
    for name, text in sections.items():
        console.print(f"{name.upper()}", style="bold")
        console.print(marked(text, [m for m in mentions if m.section == name]))
        console.print()
    legend = "present [+], uncertain [?], absent [-]"
    shown = Table(title=f"{len(mentions)} mentions: {legend}", title_justify="left")
    for column in ("finding", "status", "words", "rule", "trigger", "section"):
        shown.add_column(column)
    for mention in mentions:
        row = (mention.finding, mention.status, mention.text, mention.rule, mention.cue)
        shown.add_row(*row, mention.section, style=SIGNS[mention.status][1])
    console.print(shown)


def marked(text: str, mentions: Sequence[Mention]) -> Text:
    """The text with each mention coloured and followed by its sign, to be read without colours too.

    >>> from cascade.labels.miner import mine_text
    >>> marked("No effusion.", mine_text("No effusion.")).plain
    'No effusion[-].'
    """
    from rich.text import Text

    result = Text(text)
    for mention in mentions:
        result.stylize(SIGNS[mention.status][1], mention.start, mention.end)
    ends: dict[int, list[str]] = {}
    for mention in mentions:
        sign = SIGNS[mention.status][0]
        signs = ends.setdefault(mention.end, [])
        if sign not in signs:
            signs.append(sign)
    pieces = result.divide(sorted(ends))
    return Text().join(
        [
            piece + Text("".join(f"[{s}]" for s in ends.get(end, "")))
            for piece, end in zip(pieces, [*sorted(ends), -1], strict=True)
        ]
    )
