"""Every file of ``conf/`` composes, and names only what is there.

Nothing here imports torch: the tables of names are read from their source.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cascade.cli.checks import RULES, check_settings, rule_of
from cascade.cli.explain import conf_dir
from cascade.cli.main import COMMANDS
from cascade.pipeline.settings import flatten

ROOT = Path(__file__).resolve().parent.parent
CONF = conf_dir()
GROUPS = {
    "data": ["data"],
    "labels": ["labels"],
    "encoder": ["encoder"],
    "decoder": ["decoder"],
    "optimizer": ["optimizer@classifier.optimizer", "optimizer@generator.optimizer"],
    "trainer": ["trainer"],
    "callbacks": ["callbacks"],
    "logger": ["logger"],
    "experiment": ["experiment"],
    "launcher": ["launcher"],
    "sweep": ["sweep"],
    "paths": ["paths"],
}
OPTIONS = [
    f"{key}={file.stem}"
    for group, keys in GROUPS.items()
    for key in keys
    for file in sorted((CONF / group).glob("*.yaml"))
]
FILES = sorted(CONF.rglob("*.yaml"))
LIGHTNING = {"trainer", "callbacks", "logger"}


def settings_of(command, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(command, overrides=list(overrides))
    # Outside of a job Hydra's own words cannot be resolved.
    config.out = "x"
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    return settings


def table_of(module, name):
    """The keys of a dictionary, or a tuple, that a module assigns to ``name``; nothing imported."""
    tree = ast.parse((ROOT / "cascade" / module).read_text(encoding="utf-8"))
    for node in tree.body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            assert isinstance(node.value, ast.Dict | ast.Tuple)
            names = node.value.keys if isinstance(node.value, ast.Dict) else node.value.elts
            return {name.value for name in names}
    raise AssertionError(f"{module} has no {name}")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_and_passes_its_own_checks(command):
    settings = settings_of(command)
    assert settings["command"] == command
    given = {key: "x" for key, value in settings.items() if value == "???"}
    assert check_settings(command, settings | given, settings | given) == settings | given


def test_every_command_has_settings_and_every_file_at_the_top_a_command():
    names = {file.stem for file in CONF.glob("*.yaml")}
    assert names - {"common", "training"} == set(COMMANDS)


def test_every_group_is_tried_here():
    assert {folder.name for folder in CONF.iterdir() if any(folder.glob("*.yaml"))} == set(GROUPS)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_into_a_run(option):
    settings = settings_of("run", option)
    assert check_settings("run", settings, settings) == settings


def choices_of(option):
    """The groups that an experiment chooses, as overrides, without the experiment."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("run", overrides=[option], return_hydra_config=True)
    chosen = config.hydra.runtime.choices
    keys = [key for keys in GROUPS.values() for key in keys if key not in ("experiment", "paths")]
    return [f"{key}={chosen[key]}" for key in keys if chosen.get(key) is not None]


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.startswith("experiment")])
def test_an_experiment_changes_only_settings_that_exist(option):
    changed, shipped = settings_of("run", option), settings_of("run", *choices_of(option))
    assert check_settings("run", changed, shipped) == changed
    known = flatten(shipped)
    for key in flatten(changed):
        assert key in known or any(name.startswith(f"{key}.") for name in known), key


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_only_lightning_is_named_by_its_import_path(file):
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    group = file.relative_to(CONF).parts[0]
    targets = {key: value for key, value in flatten(content).items() if key.endswith("_target_")}
    if targets:
        assert group in LIGHTNING or {key.split(".")[0] for key in targets} <= LIGHTNING
    for target in targets.values():
        package, _, name = target.rpartition(".")
        assert package.split(".")[0] == "pytorch_lightning"
        spec = importlib.util.find_spec("pytorch_lightning")  # not imported: seconds
        assert spec is not None
        assert spec.submodule_search_locations is not None
        place = Path(spec.submodule_search_locations[0]).joinpath(*package.split(".")[1:])
        exported = (place / "__init__.py").read_text(encoding="utf-8")
        assert f'"{name}"' in exported, f"{package} has no {name}"


@pytest.mark.parametrize(
    ("group", "module", "table"),
    [
        ("encoder", "models/encoders/__init__.py", "ENCODERS"),
        ("decoder", "models/decoders/__init__.py", "DECODERS"),
        ("optimizer", "training/optimizers.py", "OPTIMIZERS"),
        ("data", "pipeline/sources.py", "SOURCES"),
    ],
)
def test_the_files_of_a_group_are_the_names_of_its_table(group, module, table):
    files = sorted((CONF / group).glob("*.yaml"))
    names = [yaml.safe_load(file.read_text(encoding="utf-8"))["name"] for file in files]
    assert names == [file.stem for file in files]
    assert set(names) == table_of(module, table)


def test_the_checks_know_the_names_of_the_tables():
    optimizers = table_of("training/optimizers.py", "OPTIMIZERS")
    assert set(rule_of("classifier.optimizer.name").choices) == optimizers
    assert set(rule_of("classifier.pooling").choices) == table_of("models/pooling.py", "POOLINGS")
    assert set(rule_of("classifier.fusion").choices) == table_of("models/fusion.py", "FUSIONS")
    schedules = table_of("training/optimizers.py", "SCHEDULES")
    assert set(rule_of("classifier.optimizer.schedule").choices) == schedules


def test_every_rule_is_of_a_setting():
    options = ["data=openi", "labels=patterns", "labels=text", "optimizer@classifier.optimizer=sgd"]
    options += ["launcher=submitit", "encoder=nin", "encoder=vit_b_16", "decoder=transformer"]
    options += ["decoder=gpt2"]
    shipped = [settings_of(command) for command in COMMANDS]
    shipped += [settings_of("run", option) for option in options]
    keys = {key for settings in shipped for key in flatten(settings)}
    groups = {key.rpartition(".")[0] for key in keys}
    for pattern in RULES:
        fitting = [key for key in keys | groups if rule_of(key) is RULES[pattern]]
        assert fitting, f"the rule {pattern} is of no setting"
