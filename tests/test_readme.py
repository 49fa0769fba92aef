"""The README names only what is there."""

import importlib
import os
import re
from pathlib import Path

import pytest

from cascade.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```[a-z]*\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", README, flags=re.M | re.S))


def command_lines():
    """Lines of code blocks and code spans that call ``cascade`` with a command."""
    lines = [line.removeprefix("$ ").strip() for block in BLOCKS for line in block.splitlines()]
    found = []
    for line in [*lines, *(span.strip() for span in SPANS)]:
        match = re.match(r"(?:\S*/)?cascade\s+([a-z]\S*)", line)
        if match:
            found.append((match.group(1), line))
    return found


def test_it_is_no_medical_device():
    assert re.search(r"not a medical device", README, flags=re.IGNORECASE)


def test_every_command_exists():
    named = {word for word, _ in command_lines()}
    assert named
    assert named <= set(COMMANDS)


def test_every_command_is_named():
    missing = set(COMMANDS) - {word for word, _ in command_lines()} - set(SPANS)
    assert not missing


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command):
    text = importlib.import_module(f"cascade.cli.{command}").HELP
    assert f"cascade {command}" in text


def test_every_script_exists():
    named = set(re.findall(r"(?<![\w/])scripts/[\w/]+(?:\.py)?", README))
    assert {"scripts/demo", "scripts/test"} <= named
    for script in named:
        assert (ROOT / script).exists(), script


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target


def test_ci_calls_the_test_command():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "scripts/test" in lines
    assert lines.index("scripts/test") < lines.index("scripts/check")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
