"""The house keeps its shape: who imports whom, what is heavy, how long a module is."""

import ast
import importlib
import io
import os
import pkgutil
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

import cascade

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "cascade").rglob("*.py"))
MOST_LINES = 400
NOT_LINES = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def loaded_by(statements):
    """The top-level packages that a fresh Python holds after running the statements."""
    code = f"{statements}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(run.stdout.splitlines()[-1].split())


def test_rooms_import_only_what_stands_below_them():
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


def test_the_command_starts_without_anything_heavy():
    heavy = {"torch", "pandas", "numpy", "hydra", "omegaconf", "pydicom", "pytorch_lightning"}
    assert not loaded_by("import cascade.cli.main") & heavy
    assert not loaded_by("from cascade.cli.main import dispatch\ndispatch(['--help'])") & heavy


@pytest.mark.parametrize("room", ["io", "labels", "text", "metrics"])
def test_mining_reports_needs_no_torch(room):
    package = importlib.import_module(f"cascade.{room}")
    names = [m.name for m in pkgutil.walk_packages(package.__path__, f"cascade.{room}.")]
    assert names
    torch_like = {"torch", "torchvision", "pytorch_lightning", "lightning", "transformers", "hydra"}
    assert not loaded_by("\n".join(f"import {name}" for name in names)) & torch_like


def code_lines(source):
    """Lines that hold code: comments, docstrings and empty lines are free."""
    strings = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            strings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_LINES:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - strings)


def test_code_lines():
    assert code_lines('"""Doc."""\n\n# why\nx = [\n    1,\n]\n') == 3


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_is_long(file):
    lines = code_lines(file.read_text(encoding="utf-8"))
    assert lines <= MOST_LINES, f"{lines} lines of code: divide it"


def test_the_version_is_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", cascade.__version__)
