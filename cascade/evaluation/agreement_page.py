"""Mined labels beside labels by hand, as one HTML page that opens from disk."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

import cascade
from cascade.evaluation.agreement import Agreement
from cascade.evaluation.html import page_environment
from cascade.evaluation.significance import Figure
from cascade.labels.label_sets import LabelSet
from cascade.labels.miner import SECTIONS, Mention, mine_sections
from cascade.labels.table import NORMAL

MOST_SHOWN = 2000


def render_agreement(
    systems: Sequence[Agreement],
    differing: pd.DataFrame,
    studies: pd.DataFrame,
    label_set: LabelSet,
    facts: Mapping[str, Any],
    *,
    show_ids: bool = False,
) -> str:
    """The page: scores beside those of trivial rules, and each disagreement with its report.

    Args:
        systems: the miner first, then what it is compared with.
        differing: of ``disagreements``.
        studies: the collection's, indexed by ``study_id``.
        label_set: which findings stand for a label.
        facts: named facts for the page's foot.
        show_ids: print study ids; by default a disagreement is named by its row in
            ``disagreements.csv``.
    """
    shown = differing.head(MOST_SHOWN)
    cards = [
        _card(number, row, studies.loc[[row["study_id"]]].iloc[0], label_set, show_ids)
        for number, row in enumerate(shown.to_dict("records"), start=1)
    ]
    return _template().render(
        notice=cascade.RESEARCH_NOTICE,
        systems=systems,
        main=systems[0],
        figure=_figure,
        number=_number,
        cards=cards,
        hidden=len(differing) - len(shown),
        total=len(differing),
        facts=dict(facts),
    )


def _card(
    number: int, row: Mapping[Any, Any], study: pd.Series, label_set: LabelSet, show_ids: bool
) -> dict[str, Any]:
    sections = {name: study[name] for name in SECTIONS if study[name]}
    mentions = mine_sections(sections)
    wanted = set(label_set.labels.get(row["label"], ()))
    if row["label"] == NORMAL:  # whatever may be there speaks against it
        wanted = {m.finding for m in mentions if m.status != "absent"}
    marked = [m for m in mentions if m.finding in wanted]
    return {
        "number": number,
        "name": row["study_id"] if show_ids else f"row {number}",
        "label": row["label"],
        "kind": row["kind"],
        "sections": [
            (name, mark_text(text, [m for m in marked if m.section == name]))
            for name, text in sections.items()
        ],
        "rules": [(m.finding, m.status, m.text, m.rule, m.cue) for m in marked],
        "annotation": "; ".join(study["mesh"]) if len(study["mesh"]) else "none",
    }


def mark_text(text: str, mentions: Sequence[Mention]) -> Markup:
    """The text as HTML, each mention in an element of its status; overlaps are cut at their ends.

    >>> from cascade.labels.miner import mine_text
    >>> print(mark_text("No mass.", mine_text("No mass.")))
    No <mark class="absent" title="mass: absent (no)">mass</mark>.
    """
    cuts = sorted({0, len(text), *(m.start for m in mentions), *(m.end for m in mentions)})
    parts = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        piece = escape(text[start:end])
        over = [m for m in mentions if m.start <= start and end <= m.end]
        if over:
            title = ", ".join(f"{m.finding}: {m.status} ({m.rule})" for m in over)
            piece = Markup('<mark class="{}" title="{}">{}</mark>').format(
                over[0].status, title, piece
            )
        parts.append(piece)
    return Markup("").join(parts)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _figure(value: Figure) -> Markup:
    if math.isnan(value.low):
        return Markup(_number(value.value))
    return Markup(f"{value.value:.3f}<br><small>{value.low:.3f}–{value.high:.3f}</small>")


@functools.cache
def _template() -> jinja2.Template:
    return page_environment("cascade.evaluation").get_template("agreement.html.j2")
