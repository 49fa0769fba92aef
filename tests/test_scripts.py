"""The scripts' own logic, with a fake Python and a fake pip; nothing is installed."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cascade.io.phantom import write_phantom

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ["demo", "test", "check", "bench"]
TOOLS = ["bash", "cat", "cp", "cut", "dirname", "env", "flock", "ls", "mkdir", "paste", "rm", "sed"]
TOOLS += ["sha256sum"]

FAKE_PYTHON = """\
#!/usr/bin/env bash
# Answers as FAKE_VERSION would; makes environments of itself; notes what pip installs.
echo "$*" >>"$FAKE_LOG"
case "$1 ${2:-} ${3:-}" in
"--version  ") echo "Python $FAKE_VERSION" ;;
"-c import sys; sys.exit"*) [[ $FAKE_VERSION != 3.9* ]] ;;
"-c import os"*) echo 2 ;;
"-c "*) echo python3.11-venv ;;
"-m venv "*)
    [[ ${FAKE_FAILS:-} != venv ]] || { echo "ensurepip is not available" && exit 1; }
    [[ ${FAKE_FAILS:-} != disk ]] || { echo "read-only file system" && exit 1; }
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip install") [[ ${FAKE_FAILS:-} != pip ]] || { echo "no route to host" && exit 1; } ;;
esac
"""


class Checkout:
    """A copy of what the scripts need, a PATH with nothing but a fake Python, and a log."""

    def __init__(self, folder):
        self.root, self.bin = folder / "a checkout", folder / "bin"
        self.log, self.elsewhere = folder / "log", folder / "elsewhere"
        self.bin.mkdir(parents=True)
        self.elsewhere.mkdir()
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.root)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.add_python()

    def add_python(self):
        (self.bin / "python3").write_text(FAKE_PYTHON)
        (self.bin / "python3").chmod(0o755)

    def run(self, script, *arguments, version="3.11.9", **environment):
        """Run a script from another folder; its result and what the fake Python was asked."""
        self.log.write_text("")
        result = subprocess.run(
            [self.root / "scripts" / script, *arguments],
            cwd=self.elsewhere,
            env={
                "PATH": str(self.bin),
                "FAKE_LOG": str(self.log),
                "FAKE_VERSION": version,
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return result, self.log.read_text()


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_needs_no_environment(checkout, script, word):
    result, asked = checkout.run(script, word)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"Usage: scripts/{script}")
    assert asked == ""
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_may_be_executed(script):
    assert os.access(ROOT / "scripts" / script, os.X_OK)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_first_run_installs_and_the_second_does_not(checkout):
    result, asked = checkout.run("test", "-k", "some thing")
    assert result.returncode == 0, result.stderr
    assert "making the environment" in result.stderr
    assert "pip install --quiet -c constraints.txt -e .[dev]" in asked
    assert asked.splitlines()[-1] == "-m pytest -n 2 --dist loadfile -k some thing"
    result, asked = checkout.run("test")
    assert result.stderr == ""
    assert "pip" not in asked


def test_the_runtime_alone_is_enough_for_the_demo(checkout):
    _, asked = checkout.run("demo", "seed=1")
    assert "-c constraints.txt -e .\n" in asked
    assert asked.splitlines()[-1] == "-m cascade demo seed=1"
    _, asked = checkout.run("test")
    assert "-e .[dev]" in asked
    _, asked = checkout.run("demo")
    assert "pip" not in asked


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_dependencies_are_installed(checkout, name):
    checkout.run("demo")
    with (checkout.root / name).open("a") as file:
        file.write("# changed\n")
    _, asked = checkout.run("demo")
    assert "pip install" in asked


def test_an_environment_is_installed_anew_for_another_checkout(checkout, tmp_path):
    shared = str(tmp_path / "shared")
    checkout.run("demo", CASCADE_VENV=shared)
    moved = tmp_path / "moved"
    checkout.root.rename(moved)
    checkout.root = moved
    _, asked = checkout.run("demo", CASCADE_VENV=shared)
    assert "pip install" in asked


def test_cascade_venv_is_relative_to_the_caller(checkout):
    result, _ = checkout.run("demo", CASCADE_VENV="env")
    assert result.returncode == 0, result.stderr
    assert (checkout.elsewhere / "env" / "bin" / "python").exists()
    assert not (checkout.root / ".venv").exists()


def test_python_is_too_old(checkout):
    result, _ = checkout.run("test", version="3.9.2")
    assert result.returncode == 1
    assert result.stderr == (
        "test: Python 3.11 or newer is needed (python3 is Python 3.9.2): "
        "install it, or let CASCADE_VENV name an environment that has it\n"
    )


def test_no_python_at_all(checkout):
    (checkout.bin / "python3").unlink()
    result, _ = checkout.run("demo")
    assert result.returncode == 1
    assert "no python3 on PATH" in result.stderr


def test_an_old_python3_beside_a_new_one(checkout):
    shutil.move(checkout.bin / "python3", checkout.bin / "python3.12")
    (checkout.bin / "python3").write_text("#!/usr/bin/env bash\nexit 1\n")
    (checkout.bin / "python3").chmod(0o755)
    result, _ = checkout.run("demo")
    assert result.returncode == 0, result.stderr


def test_the_environment_has_an_old_python(checkout):
    checkout.run("demo")
    (checkout.root / ".venv" / ".cascade-installed").unlink()
    result, _ = checkout.run("demo", version="3.9.2")
    assert result.returncode == 1
    assert "has Python 3.9.2, Python 3.11 or newer is needed: delete it" in result.stderr


def test_venv_is_missing(checkout):
    result, _ = checkout.run("test", FAKE_FAILS="venv")
    assert result.returncode == 1
    assert "install its venv package (Debian, Ubuntu: apt install python3.11-venv)" in result.stderr


def test_venv_fails_otherwise(checkout):
    result, _ = checkout.run("test", FAKE_FAILS="disk")
    assert result.returncode == 1
    assert "read-only file system" in result.stderr
    assert "failed, its reason stands above" in result.stderr


def test_pip_fails_and_is_tried_again(checkout):
    result, asked = checkout.run("test", FAKE_FAILS="pip")
    assert result.returncode == 1
    assert "no route to host" in result.stderr
    assert "pip failed, its reason stands above" in result.stderr
    assert "-m pytest" not in asked
    result, asked = checkout.run("test")
    assert result.returncode == 0
    assert "pip install" in asked


def test_a_folder_of_other_things_is_left_alone(checkout, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    result, _ = checkout.run("demo", CASCADE_VENV=str(tmp_path / "photos"))
    assert result.returncode == 1
    assert "is not a Python environment" in result.stderr
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_check_runs_all_four_whatever_fails(checkout):
    checkout.run("test")
    for tool, status in (("ruff", 1), ("mypy", 0), ("lint-imports", 0)):
        file = checkout.root / ".venv" / "bin" / tool
        file.write_text(f"#!/usr/bin/env bash\necho {tool} $*\nexit {status}\n")
        file.chmod(0o755)
    result, _ = checkout.run("check")
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        "== ruff",
        "ruff check .",
        "== ruff format",
        "ruff format --check .",
        "== mypy",
        "mypy",
        "== import-linter",
        "lint-imports --no-cache",
    ]
    assert result.stderr == "check: failed: ruff,ruff format\n"


def test_wrong_arguments(checkout):
    result, _ = checkout.run("check", "--fox")
    assert (result.returncode, result.stderr) == (
        2,
        "check: unknown argument --fox: scripts/check --help\n",
    )
    result, _ = checkout.run("bench", "stratup")
    assert result.returncode == 2
    assert "unknown benchmark stratup: expected all, " in result.stderr
    assert "startup" in result.stderr


def test_bench_runs_one_or_all(checkout):
    folder = checkout.root / "scripts" / "benchmarks"
    (folder / "training.py").write_text("")
    _, asked = checkout.run("bench", "startup", "--out", "x")
    assert asked.splitlines()[-1] == f"{folder}/startup.py --out x"
    _, asked = checkout.run("bench")
    ran = [Path(line).name for line in asked.splitlines() if line.endswith(".py")]
    assert ran == sorted(file.name for file in folder.glob("[!_]*.py"))


def test_the_startup_benchmark(tmp_path):
    out = tmp_path / "figures.jsonl"
    command = [sys.executable, ROOT / "scripts" / "benchmarks" / "startup.py", "--repeats", "1"]
    result = subprocess.run([*command, "--out", out], capture_output=True, text=True, check=True)
    sentence, figures = result.stdout.splitlines()
    assert sentence.startswith("startup: `cascade --help` ")
    assert out.read_text() == figures + "\n"


def test_the_labels_benchmark(tmp_path):
    write_phantom(tmp_path / "phantom", studies=3, size=32)
    (tmp_path / "openi").mkdir()
    with tarfile.open(tmp_path / "openi" / "NLMCXR_reports.tgz", "w:gz") as archive:
        archive.add(tmp_path / "phantom" / "ecgen-radiology", "ecgen-radiology")
    command = [sys.executable, ROOT / "scripts" / "benchmarks" / "labels.py", "--repeats", "1"]
    command += ["--parts", "archive,stream", "--sizes", "2,7", "--out", tmp_path / "figures.jsonl"]
    environment = {**os.environ, "CASCADE_REAL_DATA": str(tmp_path)}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    lines = (tmp_path / "figures.jsonl").read_text().splitlines()
    archive, stream = map(json.loads, lines)
    assert (archive["benchmark"], archive["reports"]) == ("labels archive", 3)
    assert stream["sizes"] == [2, 7]
    assert min(*stream["cached_reports_per_s"], *stream["uncached_reports_per_s"]) > 0
