"""The recurrent cascade: classify, generate, read the contexts, relabel, go round again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade.data.locks import locked
from cascade.data.splits import take_training_share
from cascade.data.transforms import check_crops
from cascade.errors import InputError
from cascade.inference.bundle import read_bundle
from cascade.io.collection import Collection, read_collection
from cascade.io.files import atomic_directory, read_json, write_json
from cascade.labels.table import LabelTable, read_label_table
from cascade.pipeline.collecting import prepare
from cascade.pipeline.early import check_networks
from cascade.pipeline.mining import mine
from cascade.pipeline.names import VALIDATION_AUROC, VALIDATION_BLEU
from cascade.pipeline.progress import say
from cascade.pipeline.settings import claim_run
from cascade.pipeline.stages import (
    Context,
    open_images,
    relabel_round,
    train_classifier,
    train_generator,
)
from cascade.training.together import check_processes

Settings = Mapping[str, Any]


def run_cascade(settings: Settings, out: str | Path, shared: Path | None = None) -> list[Path]:
    """Run the whole cascade into a directory; finished stages of an earlier try are kept.

    Writes ``collection/`` (unless ``collection=`` names one), ``round-N/labels``,
    ``round-N/classifier``, ``round-N/generator``, and at the end ``model/``: the bundle of the
    round that scores best on validation.

    Args:
        settings: of the run. With ``stop.patience`` it may end before its last round.
        out: its directory.
        shared: of a sweep: where its jobs prepare a collection and mine labels once for all that
            want the same. ``collection/`` is a link there then.

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
    check_crops(settings)
    _check_relabelling(settings, rounds)
    check_processes(settings)
    if not (out / "round-1" / "classifier" / "model").is_dir():
        check_networks(settings)
    claim_run(out, settings)
    if not settings.get("collection") and not (out / "collection").is_dir():
        if shared is None:
            prepare(settings, out / "collection")
        else:
            _link_collection(settings, out, shared)
    collection = open_collection(settings, out)
    cache = open_images(settings, collection, out / "cache")
    context = Context(collection, cache, settings)

    first = out / "round-1" / "labels"
    if first.is_dir():
        table = read_label_table(first)
    elif shared is None:
        table = mine(settings, collection, first)
    else:
        table = _shared_labels(settings, collection, first, shared)
    more = " ..." if len(table.labels) > 12 else ""
    say(f"{len(table.labels)} labels: {', '.join(table.names[:12])}{more}")
    bundles: list[Path] = []
    stopped = None
    while stopped is None and len(bundles) < rounds:
        before = bundles[-1] if bundles else None
        bundles.append(_round(context, table, out, len(bundles) + 1, before))
        stopped = why_stop([validation_scores(each) for each in bundles], settings.get("stop"))
    if stopped is not None:
        say(f"no further round: {stopped}")
    choose_model(bundles, out, stopped or f"all {rounds} rounds were run (rounds={rounds})")
    return bundles


SCORES = {"bleu": VALIDATION_BLEU, "auroc": VALIDATION_AUROC}
"""The validation scores that rounds are compared by, as the card of a bundle names them."""


def why_stop(scores: Sequence[Mapping[str, float]], stop: Settings | None) -> str | None:
    """Whether validation has stopped gaining, in words; None to go on.

    Args:
        scores: validation scores of the rounds so far, test is not among them.
        stop: ``patience`` (None never stops), ``gain`` and ``score``.

    >>> found = [{"validation BLEU (mean of 1 to 4)": value} for value in (0.40, 0.45, 0.452)]
    >>> why_stop(found, {"patience": 1, "gain": 0.005, "score": "bleu"})
    'round 3 did not gain more than 0.005 validation BLEU (mean of 1 to 4) over round 2'
    """
    if not stop or stop.get("patience") is None:
        return None
    name, gain, patience = SCORES[stop["score"]], float(stop["gain"]), int(stop["patience"])
    values = [score.get(name, 0.0) for score in scores]
    best, idle = 0, 0
    for number, value in enumerate(values[1:], start=1):
        if value > values[best] + gain:
            best, idle = number, 0
        else:
            idle += 1
    if idle < patience:
        return None
    last = f"round {len(values)}"
    which = last if idle == 1 else f"rounds {len(values) - idle + 1} to {len(values)}"
    return f"{which} did not gain more than {gain:g} {name} over round {best + 1}"


def open_collection(settings: Settings, out: Path) -> Collection:
    """The collection of a run, with the share of training patients that its settings take."""
    collection = read_collection(settings.get("collection") or out / "collection")
    split = settings["split"]
    return take_training_share(collection, float(split["train_share"]), int(split["seed"]))


HARMLESS = ("image_size", "views", "workers", "cache", "obtain")
"""Settings of ``data`` that change nothing of the collection."""


def _shared_key(settings: Settings) -> str:
    """The same for settings that prepare the same collection."""
    data = {key: value for key, value in settings["data"].items() if key not in HARMLESS}
    split = {key: settings["split"][key] for key in ("fractions", "seed")}
    return _digest([data, split])


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _link_collection(settings: Settings, out: Path, shared: Path) -> None:
    folder = shared / f"collection-{_shared_key(settings)}"
    with locked(_lock_of(folder), lambda: say("another job prepares the collection: waiting")):
        if not folder.is_dir():
            prepare(settings, folder)
    (out / "collection").unlink(missing_ok=True)  # a link that leads nowhere any more
    (out / "collection").symlink_to(os.path.relpath(folder.resolve(), out.resolve()))


def _shared_labels(
    settings: Settings, collection: Collection, out: Path, shared: Path
) -> LabelTable:
    """Mine once for all jobs of the same collection and rule; each has a copy."""
    made_from = settings.get("collection") or _shared_key(settings)
    share = settings["split"]["train_share"], settings["split"]["seed"]
    rule = {key: value for key, value in settings["labels"].items() if key != "workers"}
    key = _digest([str(made_from), share, rule])
    folder = shared / f"labels-{key}"
    with locked(_lock_of(folder), lambda: say("another job mines the labels: waiting")):
        if not folder.is_dir():
            mine(settings, collection, folder)
    with atomic_directory(out) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
    return read_label_table(out)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


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


def choose_model(bundles: list[Path], out: Path, ended: str = "") -> Path:
    """Copy the round that scores best on validation to ``out/model``; test is not looked at.

    ``rounds.json`` says which, by what, and why there is no further round.
    """
    scores = [validation_scores(bundle) for bundle in bundles]
    best = max(range(len(bundles)), key=lambda i: scores[i].get(SCORES["bleu"], 0.0))
    model = out / "model"
    chosen = {"chosen": best + 1, "rounds": scores, "by": SCORES["bleu"], "ended": ended}
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
