"""Settings are checked once, before any work: their types, their ranges and their choices.

The shipped defaults say which type a setting has; ``RULES`` adds what a default cannot say. So a
setting added to ``conf/`` is checked without a line here.
"""

from __future__ import annotations

import copy
import dataclasses
import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cascade.cli.explain import SET_BY_CASCADE, suggest, unknown_setting
from cascade.errors import InputError
from cascade.pipeline.settings import flatten


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is asked of a value beyond the type of its default.

    Attributes:
        kind: int, float, str, ...; None: as the default. A default of null without a kind is text.
        least: numbers below it are refused.
        above: numbers have to be greater than this.
        most: numbers above it are refused.
        below: numbers have to be less than this.
        choices: the words that are allowed.
        optional: null is allowed though the default is not null.
    """

    kind: type | None = None
    least: float | None = 0
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False


_ONE = Rule(least=1)
_SHARE = Rule(below=1)
_BALANCE = Rule(choices=("none", "labels", "normal"))

RULES: dict[str, Rule] = {
    "seed": Rule(most=2**32 - 1),
    "*.seed": Rule(most=2**32 - 1),
    "rounds": _ONE,
    "batch_size": _ONE,
    "limit": Rule(int, least=1),
    "workers": Rule(int),
    "engine": Rule(choices=("local", "ray")),
    "order": Rule(choices=("path", "ready")),
    "file_paths": Rule(choices=("keep", "hash")),
    "identifiers": Rule(choices=("keep", "hash", "drop")),
    "shard_rows": _ONE,
    "file_seconds": Rule(above=0, optional=True),
    "file_memory_mb": Rule(least=1, optional=True),
    "stage": Rule(choices=("classifier", "generator")),
    "kind": Rule(choices=("report", "annotation")),
    "split": Rule(choices=("train", "val", "test")),
    "launcher.jobs": Rule(int, least=1),
    "launcher.*": Rule(int, least=1),
    "launcher.name": Rule(choices=("basic", "joblib", "submitit", "submitit_local")),
    "launcher.partition": Rule(str),
    "search.trials": _ONE,
    "search.startup": _ONE,
    "split.train_share": Rule(above=0, most=1),
    "data.image_size": Rule(least=16),
    "data.views": _ONE,
    "data.studies": _ONE,
    "data.size": Rule(least=32, most=4096),
    "data.image_format": Rule(choices=("dicom", "png")),
    "labels.fit_on": Rule(choices=("train", "all")),
    "labels.disease": Rule(choices=("finding", "paper")),
    "labels.patterns": Rule(choices=("disease", "set")),
    "labels.label_set": Rule(choices=("chestxray14", "chexpert", "paper17")),
    "labels.unmentioned": Rule(choices=("unknown", "absent")),
    "labels.workers": _ONE,
    "encoder.width": _ONE,
    "encoder.unfreeze": Rule(int, optional=True),
    "encoder.gradual": Rule(int, least=1),
    "encoder.norm": Rule(choices=("batch", "none")),
    "encoder.image_size": Rule(least=16),
    "classifier.pooling": Rule(choices=("mean", "max", "lse", "noisy_or", "gated_attention")),
    "classifier.fusion": Rule(choices=("mean", "max", "attention")),
    "classifier.lse_r": Rule(above=0),
    "classifier.attention": _ONE,
    "decoder.embedding": _ONE,
    "decoder.hidden": _ONE,
    "decoder.layers": _ONE,
    "decoder.sentence": _ONE,
    "decoder.attention": _ONE,
    "decoder.heads": _ONE,
    "decoder.positions": Rule(least=2),
    "decoder.feedforward": Rule(int, least=1),
    "decoder.project": Rule(choices=("linear", "pca")),
    "decoder.inner": Rule(int, least=1),
    "*.dropout": _SHARE,
    "*.epochs": _ONE,
    "*.next_epochs": _ONE,
    "*.batch_size": _ONE,
    "*.feature_batch_size": _ONE,
    "*.balance": _BALANCE,
    "*.augment": Rule(optional=True),
    "classifier.compile": Rule(choices=("inductor", "aot_eager", "eager")),
    "*.augment.crop": Rule(int, least=16, optional=True),
    "*.optimizer.name": Rule(choices=("adamw", "sgd", "rmsprop")),
    "*.optimizer.lr": Rule(above=0),
    "*.optimizer.momentum": _SHARE,
    "*.optimizer.layer_decay": Rule(above=0, most=1),
    "*.optimizer.warmup": Rule(most=1),
    "*.optimizer.schedule": Rule(
        choices=(
            "constant",
            "constant_with_warmup",
            "linear",
            "cosine",
            "cosine_with_restarts",
            "polynomial",
            "inverse_sqrt",
            "step",
            "plateau",
        )
    ),
    "*.optimizer.every": _ONE,
    "*.optimizer.drop": Rule(above=0, below=1),
    "classifier.normal_share": Rule(above=0, most=1),
    "classifier.uncertain": Rule(choices=("ignore", "positive", "negative", "soft")),
    "classifier.loss": Rule(choices=("bce", "focal", "asymmetric")),
    "classifier.clip": _SHARE,
    "classifier.class_weights": Rule(choices=("none", "inverse", "effective")),
    "classifier.effective_beta": _SHARE,
    "classifier.calibration": Rule(choices=("none", "temperature", "platt", "isotonic")),
    "operating_point": Rule(choices=("best_f1", "high_sensitivity", "high_specificity")),
    "generator.target": Rule(choices=("annotation", "impression", "findings", "both")),
    "generator.condition": Rule(choices=("none", "indication")),
    "generator.condition_size": _ONE,
    "generator.condition_hidden": Rule(most=1),
    "generator.first_word": Rule(choices=("free", "label")),
    "generator.tokenizer": Rule(
        choices=("auto", "annotation", "words", "cased", "bpe", "wordpiece", "folder")
    ),
    "generator.vocabulary_size": Rule(int, least=5),
    "generator.min_count": _ONE,
    "generator.marks": Rule(choices=("keep", "drop", "predict")),
    "generator.list_numbers": Rule(choices=("keep", "drop")),
    "generator.max_length": _ONE,
    "generator.copies": _ONE,
    "generator.smoothing": _SHARE,
    "generator.scheduled_sampling": Rule(most=1),
    "generator.monitor": Rule(choices=("bleu", "reward")),
    "generator.self_critical.epochs": Rule(),
    "generator.self_critical.reward": Rule(choices=("cider", "labels")),
    "generator.self_critical.lr": Rule(above=0),
    "generator.self_critical.weight": Rule(most=1),
    "generator.decoding": Rule(choices=("beam", "sample")),
    "generator.temperature": Rule(above=0),
    "generator.top_p": Rule(above=0, most=1),
    "generator.width": _ONE,
    "generator.length_penalty": Rule(least=None),
    "generator.map_memory": Rule(above=0),
    "evaluate.meteor": Rule(choices=("reports", "always", "never")),
    "evaluate.meteor_seconds": Rule(above=0),
    "evaluate.hub": Rule(choices=("chexbert", "radgraph", "radcliq")),
    "evaluate.hub_seconds": Rule(above=0),
    "relabel.rule": Rule(choices=("count", "paper", "gap", "hdbscan")),
    "relabel.cases_per_cluster": _ONE,
    "relabel.min_cluster": _ONE,
    "relabel.most_clusters": Rule(least=2),
    "relabel.references": _ONE,
    "stop.patience": Rule(int, least=1),
    "stop.gain": Rule(below=1),
    "stop.score": Rule(choices=("bleu", "auroc")),
}
"""By dotted key, ``*`` for any beginning; the first that fits counts."""

FREE = ("trainer", "callbacks", "logger")
"""Lightning's own words: passed on as they are, and Lightning checks them."""

OPEN = (
    "encoder",
    "decoder",
    "classifier.optimizer",
    "generator.optimizer",
    "data.columns",
    "query",
)
"""Where ``+key=value`` may add what the defaults do not have; who reads it checks it."""


def check_settings(
    command: str, settings: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Check settings against the defaults of the same choices.

    Args:
        command: which command's they are.
        settings: resolved, plain values.
        defaults: likewise, as shipped.

    Returns:
        The settings; a number given where a text is expected (a folder named 2017) is made text.

    Raises:
        InputError: one of them is unknown, gone, or of another type, range or choice.
    """
    given, shipped = flatten(settings), flatten(defaults)
    checked = copy.deepcopy(dict(settings))
    for key, value in given.items():
        if key in SET_BY_CASCADE:
            raise InputError(unknown_setting(key, command, ()))
        if _within(key, FREE):
            continue
        if key in shipped:
            _put(checked, key, check_value(key, value, shipped[key]))
        elif members := _members(key, shipped):
            if not (value is None and rule_of(key).optional):
                raise InputError(
                    f"{key}={_shown(value)}: expected settings within it, such as "
                    f"{key}.{members[0]}=VALUE"
                )
        elif not _within(key, OPEN):
            raise InputError(unknown_setting(key, command, list(shipped)))
    for key in shipped:
        if not _within(key, ("callbacks", "logger")) and not _present(key, given):
            raise InputError(f"the setting {key} is needed: take its ~ or =null away")
    return checked


def check_value(key: str, value: Any, default: Any) -> Any:
    """One value against its default and its rule; returns it, a number made text where text is due.

    >>> check_value("seed", 3, 1)
    3
    >>> check_value("data.root", 2017, None)
    '2017'

    Raises:
        InputError: another type, range or choice.
    """
    rule = rule_of(key)
    if value is None and (default is None or rule.optional):
        return None
    kind = rule.kind or (str if default is None else type(default))
    if kind is str and _is_number(value):
        value = str(value)
    if not _fits(value, kind, default) or not _in_range(value, rule):
        close = suggest(str(value), rule.choices) if isinstance(value, str) else ""
        expected = _expected(key, kind, rule, default)
        raise InputError(f"{key}={_shown(value)}: expected {expected}{close and '; ' + close}")
    return value


def rule_of(key: str) -> Rule:
    """The rule of a dotted key: its own, or else that of a pattern."""
    if key in RULES:
        return RULES[key]
    fitting = (rule for pattern, rule in RULES.items() if fnmatch.fnmatchcase(key, pattern))
    return next(fitting, Rule())


def _fits(value: Any, kind: type, default: Any) -> bool:
    if kind is float:
        return _is_number(value) and math.isfinite(value)
    if kind is int:
        return _is_number(value) and isinstance(value, int)
    if kind is str:
        return isinstance(value, str) and (bool(value.strip()) or value == default)
    if kind is list and default and _is_number(default[0]):  # a list of numbers stays one
        return isinstance(value, list) and all(_is_number(item) for item in value)
    return isinstance(value, kind)


def _in_range(value: Any, rule: Rule) -> bool:
    if isinstance(value, str):
        return not rule.choices or value in rule.choices
    if isinstance(value, list) and rule.choices:
        return all(item in rule.choices for item in value)
    if not _is_number(value):
        return True
    return not (
        (rule.least is not None and value < rule.least)
        or (rule.above is not None and value <= rule.above)
        or (rule.most is not None and value > rule.most)
        or (rule.below is not None and value >= rule.below)
    )


def _expected(key: str, kind: type, rule: Rule, default: Any) -> str:
    if rule.choices and kind is list:
        return f"some of {', '.join(rule.choices)}, as {key}=[{rule.choices[0]}]"
    if rule.choices:
        return f"one of {', '.join(rule.choices)}"
    if kind not in (int, float):
        words: dict[type, str] = {
            str: "a text",
            bool: "true or false",
            list: f"a list of numbers, {key}={default}" if default else f"a list, {key}=[A,B]",
            dict: "settings within it",
        }
        return words.get(kind, kind.__name__)
    bounds = [
        f"more than {rule.above:g}" if rule.above is not None else "",
        f"{rule.least:g} or more" if rule.least is not None and rule.above is None else "",
        f"at most {rule.most:.12g}" if rule.most is not None else "",
        f"less than {rule.below:g}" if rule.below is not None else "",
    ]
    return ", ".join(["a whole number" if kind is int else "a number", *filter(None, bounds)])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _within(key: str, groups: Sequence[str]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _members(key: str, flat: Mapping[str, Any]) -> list[str]:
    return [name[len(key) + 1 :] for name in flat if name.startswith(f"{key}.")]


def _present(key: str, given: Mapping[str, Any]) -> bool:
    """Whether a shipped key is given: itself, something within it, or its group as a whole."""
    parts = key.split(".")
    groups = (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return any(group in given for group in groups) or bool(_members(key, given))


def _put(settings: dict[str, Any], key: str, value: Any) -> None:
    *groups, name = key.split(".")
    for group in groups:
        settings = settings[group]
    settings[name] = value
