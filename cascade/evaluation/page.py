"""The evaluation as one HTML page that opens from disk: no network, light and dark.

Each section has a module, which works out plain values and finished SVG, and a template beside it
in ``templates/evaluation/``:

===============  =======================  ========================================
section          module                   template
===============  =======================  ========================================
in short         ``page_scores``          ``summary.html.j2``
reports, strata  ``page_scores``          ``reports.html.j2``, ``strata.html.j2``
what it says     ``page_findings``        ``diseases.html.j2``, ``clinical.html.j2``
detection        ``page_detection``       ``detection.html.j2``
examples         ``examples``             ``examples.html.j2``
how it was done  here                     ``method.html.j2``
===============  =======================  ========================================

``page_common`` holds what they share, ``charts`` draws, ``page_marks`` holds texts against their
references. Everything is inline: style, charts, pictures, and a little script for sorting and
filtering. Texts of reports are escaped by the templates. Studies are named by their row in
``reports.csv``, unless ids are asked for.
"""

from __future__ import annotations

import functools
import math

import jinja2

import cascade
from cascade.evaluation import examples, page_detection, page_findings, page_scores
from cascade.evaluation.charts import shorten
from cascade.evaluation.definitions import DEFINITIONS
from cascade.evaluation.html import page_environment
from cascade.evaluation.page_common import Look, signed
from cascade.evaluation.scoring import Evaluation

__all__ = ["render_page", "signed"]

_FACTS = {
    "split": "Split",
    "studies": "Studies",
    "patients": "Patients",
    "normal_studies": "Of these normal",
    "tokenizer": "Tokeniser",
    "seed": "Seed",
    "resamples": "Bootstrap resamples",
    "commit": "Commit",
}
_HIDDEN = frozenset({*_FACTS, "kind", "confidence", "not_run", "tokenizers"})


def render_page(evaluation: Evaluation, *, show_ids: bool = False) -> str:
    """The page as HTML.

    Args:
        evaluation: of ``evaluate``.
        show_ids: print study ids in the examples; by default the row of ``reports.csv`` (the first
            study is row 1) stands for the study.
    """
    look = Look(evaluation)
    return _template().render(
        evaluation=evaluation,
        main=look.main,
        meta=evaluation.meta,
        notice=cascade.RESEARCH_NOTICE,
        legend=look.legend(),
        summary=page_scores.summary(look),
        reports=page_scores.reports(look),
        strata=page_scores.strata(look),
        detection=page_detection.section(look),
        diseases=page_findings.diseases(look),
        clinical=page_findings.clinical_section(look),
        examples=examples.section(look, show_ids),
        facts=_facts(evaluation),
        definitions=[*DEFINITIONS, *_not_run(evaluation)],
    )


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Facts for the foot of the page."""
    known = evaluation.meta
    facts = [(name, known[key]) for key, name in _FACTS.items() if known.get(key) is not None]
    facts += [(k.replace("_", " ").capitalize(), v) for k, v in known.items() if k not in _HIDDEN]
    facts.append(("Cascade", cascade.__version__))
    return [(name, str(value)) for name, value in facts]


def _not_run(evaluation: Evaluation) -> list[tuple[str, str]]:
    """A definition of what is not there, with the reasons, or none."""
    told = [f"{name}: {reason}" for name, reason in evaluation.meta["not_run"].items()]
    return [("Not run", f"{'. '.join(told)}.")] if told else []


@functools.cache
def _template() -> jinja2.Template:
    environment = page_environment("cascade.evaluation", "templates/evaluation")
    environment.tests["nan"] = lambda value: isinstance(value, float) and math.isnan(value)
    environment.filters |= {"figure": page_detection.figure_text, "shorten": shorten}
    return environment.get_template("page.html.j2")
