"""The recurrent cascade: classify, generate, read the contexts, relabel, go round again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade.errors import InputError
from cascade.inference.bundle import read_bundle
from cascade.io.collection import read_collection
from cascade.io.files import atomic_directory, read_json, write_json
from cascade.labels.table import LabelTable, read_label_table
from cascade.pipeline.collecting import prepare
from cascade.pipeline.mining import mine
from cascade.pipeline.progress import say
from cascade.pipeline.settings import claim_run
from cascade.pipeline.stages import (
    Context,
    open_images,
    relabel_round,
    train_classifier,
    train_generator,
)

Settings = Mapping[str, Any]


def run_cascade(settings: Settings, out: str | Path) -> list[Path]:
    """Run the whole cascade into a directory; finished stages of an earlier try are kept.

    Writes ``collection/`` (unless ``collection=`` names one), ``round-N/labels``,
    ``round-N/classifier``, ``round-N/generator``, and at the end ``model/``: the bundle of the
    round that scores best on validation.

    Returns:
        The whole bundle of each round.

    Raises:
        InputError: bad settings or data, or ``out`` holds a run of other settings.
        CascadeError: a stage failed in mid-work.
    """
    out = Path(out)
    rounds = int(settings["rounds"])
    if rounds < 1:
        raise InputError(f"rounds={rounds}: at least one round is needed")
    _check_relabelling(settings, rounds)
    claim_run(out, settings)
    folder = Path(settings["collection"]) if settings.get("collection") else out / "collection"
    if not settings.get("collection") and not folder.is_dir():
        prepare(settings, folder)
    collection = read_collection(folder)
    cache = open_images(settings, collection, out / "cache")
    context = Context(collection, cache, settings)

    first = out / "round-1" / "labels"
    table = read_label_table(first) if first.is_dir() else mine(settings, collection, first)
    more = " ..." if len(table.labels) > 12 else ""
    say(f"{len(table.labels)} labels: {', '.join(table.names[:12])}{more}")
    bundles: list[Path] = []
    for number in range(1, rounds + 1):
        bundles.append(_round(context, table, out, number, bundles[-1] if bundles else None))
    choose_model(bundles, out)
    return bundles


def _check_relabelling(settings: Settings, rounds: int) -> None:
    """A second round reads contexts from annotations: say before the first where there are none."""
    rule, target = settings["labels"]["rule"], settings["generator"]["target"]
    if rounds == 1:
        return
    if rule in ("text", "given"):
        raise InputError(
            f"labels={rule} names no terms of an annotation, where relabelling reads contexts: "
            "give rounds=1, or labels=terms or labels=patterns"
        )
    if target != "annotation":
        raise InputError(
            f"generator.target={target} has no contexts for another round: give rounds=1, or "
            "generator.target=annotation"
        )


def _round(
    context: Context, base: LabelTable, out: Path, number: int, previous: Path | None
) -> Path:
    folder = out / f"round-{number}"
    table = base
    if previous is not None:
        table = relabel_round(context, base, previous, folder / "labels")
        say(f"round {number}: {len(base.labels)} labels became {len(table.labels)} contexts")
    stages = [folder / "classifier" / "model", folder / "generator" / "model"]
    done = [" (done already)" * stage.is_dir() for stage in stages]
    say(f"round {number}: training the classifier on {len(table.labels)} labels{done[0]}")
    classifier = train_classifier(context, table, folder / "classifier", previous)
    say(f"round {number}: training the generator{done[1]}")
    return train_generator(context, table, classifier, folder / "generator")


def validation_scores(bundle: Path) -> dict[str, float]:
    """The validation scores that a bundle's card states."""
    facts = read_json(bundle / "config.json")["facts"]
    return {key: float(value) for key, value in facts.items() if key.startswith("validation")}


def choose_model(bundles: list[Path], out: Path) -> Path:
    """Copy the round that scores best on validation to ``out/model``; test is not looked at."""
    scores = [validation_scores(bundle) for bundle in bundles]
    best = max(
        range(len(bundles)), key=lambda i: scores[i].get("validation BLEU (mean of 1 to 4)", 0.0)
    )
    model = out / "model"
    chosen = {"chosen": best + 1, "rounds": scores, "by": "validation BLEU (mean of 1 to 4)"}
    if not model.is_dir() or _chosen(out) != best + 1:
        if model.is_dir():  # more rounds than before: the choice may move
            shutil.rmtree(model)
        with atomic_directory(model) as partial:
            for file in bundles[best].iterdir():
                shutil.copyfile(file, partial / file.name)
        read_bundle(model)
    write_json(out / "rounds.json", chosen)
    say(f"round {best + 1} of {len(bundles)} is best on validation: {model}")
    return model


def _chosen(out: Path) -> int | None:
    path = out / "rounds.json"
    return read_json(path)["chosen"] if path.is_file() else None
