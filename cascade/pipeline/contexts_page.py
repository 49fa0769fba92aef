"""The contexts of a round as one HTML page and as ``contexts.json``; no network, light and dark.

The page shows radiographs and annotations of training studies: it stays with the run.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

import cascade
from cascade.data.cache import ImageCache
from cascade.data.datasets import StudyRecords
from cascade.evaluation.examples import picture
from cascade.evaluation.html import page_environment
from cascade.io.files import write_json, write_text
from cascade.relabel.composite import Refined
from cascade.relabel.splits import FORMAT_VERSION, Split
from cascade.relabel.stability import UNSTABLE

EXAMPLES_EACH = 4
"""Radiographs shown of a context."""


def write_contexts(
    refined: Refined, train: StudyRecords, cache: ImageCache, settings: Mapping[str, Any], out: Path
) -> None:
    """Write ``contexts.json`` and ``contexts.html`` into the folder of a label table.

    Args:
        refined: of ``relabel``, which read the training studies first.
        train: those, in the same order.
        cache: their images.
        settings: of the run.
        out: the folder.
    """
    options = settings["relabel"]
    write_json(
        out / "contexts.json",
        {
            "format_version": FORMAT_VERSION,
            "rule": {**options, "seed": settings["seed"]},
            "labels": len(refined.table.labels),
            "unstable_below": UNSTABLE,
            "diseases": [split.to_json() for split in refined.splits],
        },
    )
    show_ids = bool(settings["evaluate"]["show_ids"])
    write_text(out / "contexts.html", render_contexts(refined, train, cache, settings, show_ids))


def render_contexts(
    refined: Refined,
    train: StudyRecords,
    cache: ImageCache,
    settings: Mapping[str, Any],
    show_ids: bool = False,
) -> str:
    """The page. Study ids are on it only if asked for."""
    split = [one for one in refined.splits if one.k > 1]
    return _template().render(
        notice=cascade.RESEARCH_NOTICE,
        labels=len(refined.table.labels),
        diseases=refined.splits,
        split=[_section(one, train, cache, show_ids) for one in split],
        contexts=sum(one.k for one in split),
        unstable=[one.disease for one in split if one.stability.unstable],
        limit=UNSTABLE,
        number=_number,
        facts=_facts(settings),
        shuffled=bool(settings["relabel"].get("shuffle")),
    )


def _section(
    split: Split, train: StudyRecords, cache: ImageCache, show_ids: bool
) -> dict[str, Any]:
    """One disease: its contexts, each with sizes, words and examples."""
    training, others = split.sizes(True), split.sizes(False)
    largest = max(training)
    return {
        "disease": split.disease,
        "noise": split.noise,
        "warning": split.warning(),
        "contexts": [
            {
                "name": f"{split.disease}#{context + 1}",
                "training": training[context],
                "others": others[context],
                "width": 100 * training[context] / largest,
                "description": split.description(context),
                "words": split.words(context),
                "examples": [
                    _example(split, place, train, cache, show_ids)
                    for place in split.typical(context, EXAMPLES_EACH)
                ],
            }
            for context in range(split.k)
        ],
    }


def _example(
    split: Split, place: int, train: StudyRecords, cache: ImageCache, show_ids: bool
) -> dict[str, Any]:
    row = int(split.rows[place])
    pixels = np.asarray(cache.pixels[train.image_rows[row][0]], dtype=np.float32) / 255
    return {
        "picture": picture(pixels),
        "text": split.texts[place],
        "study": train.study_ids[row] if show_ids else None,
    }


def _facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    options = settings["relabel"]
    words = {
        "count": "k-means, a context for each {cases_per_cluster} training studies of a disease "
        "that has {min_cases} or more",
        "paper": "k-means, a context for each {cases_per_cluster} training studies of a disease "
        "whose count is at least mean + standard deviation of the counts",
        "gap": "k-means, the number by the gap statistic (at most {most_clusters}, {references} "
        "uniform draws) for diseases of {min_cases} or more training studies",
        "hdbscan": "HDBSCAN for diseases of {min_cases} or more training studies; what it calls "
        "noise goes to the nearest centre",
    }
    repeats = int(options.get("repeats", 0))
    return {
        "rule": f"{options['rule']}: {words[options['rule']].format(**options)}",
        "least studies of a context": options["min_cluster"],
        "repetitions": f"{repeats} other starts and {repeats} bootstrap draws",
        "contexts": "mean of the decoder's top states over the words of a disease, after the image",
        "seed": settings["seed"],
    }


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


@functools.cache
def _template() -> jinja2.Template:
    return page_environment("cascade.pipeline").get_template("contexts.html.j2")
