"""The benchmarks at their smallest: they run and say what they should; nothing is timed here."""

import importlib
import io
import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "scripts" / "benchmarks"


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """Run a benchmark in this process; its records."""
    monkeypatch.syspath_prepend(str(FOLDER))
    threads, before = torch.get_num_threads(), set(sys.modules)

    def run(name, *arguments):
        out = tmp_path / f"{name}.jsonl"
        monkeypatch.setattr(sys, "argv", [name, *arguments, "--out", str(out)])
        importlib.import_module(name).main()
        return [json.loads(line) for line in out.read_text().splitlines()]

    yield run
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


SMALL_DECODING = ("--batch", "2", "--training", "0", "--repeats", "1", "--widths", "1,2")


@pytest.mark.parametrize("decoder", ["gru", "gpt2"])
def test_drafts_of_the_peer_are_equal(bench, decoder):
    speed, growth = bench("decoding", "--decoders", decoder, "--lengths", "2,3", *SMALL_DECODING)
    assert speed["benchmark"] == f"decoding speed {decoder}"
    for kind in ("annotations", "reports"):
        for width in (1, 2):
            found = speed[f"{kind}_beam_{width}"]
            assert found["reports_per_s"] > 0
            assert found["peer_reports_per_s"] > 0
        assert speed[f"{kind}_beam_1"]["equal"] == 1.0
    assert len(growth["token_us"]) == len(growth["kib_by_length"]) == 2
    assert growth["kib_by_width"] == sorted(growth["kib_by_width"])


def test_memory_is_that_of_the_tensors_alive(bench):
    held = importlib.import_module("_memory").HeldMemory()
    with held:
        one = torch.zeros(256)  # a KiB
        two = one + 1
        del one
        three = two + 1  # two at once, never three
        view = three[:4]
    assert held.peak == 2048
    del two, three
    assert held.held == 1024  # the view holds it
    del view
    assert held.held == 0


def test_the_cache_and_the_peer_give_the_same_pictures(bench):
    sizes = ("--studies", "3", "--source-size", "48", "--size", "32", "--batch-size", "2")
    (found,) = bench("loading", *sizes, "--encoders", "tiny", "--steps", "1", "--repeats", "1")
    speeds = [found[f"{name}_images_per_s"] for name in ("build", "cold", "warm", "dicom", "png")]
    assert min(speeds) > 0
    assert 0 < found["share_of_step"]["tiny"] < 1


def test_training_is_set_against_a_bare_loop(bench):
    sizes = ("--studies", "4", "--size", "32", "--batch-size", "2", "--repeats", "1")
    (found,) = bench("training", "--encoders", "tiny", *sizes)
    assert (found["benchmark"], found["images"]) == ("training tiny", 4)
    assert found["ratio"] > 0


def test_what_is_for_a_gpu_runs(bench):
    sizes = ("--sizes", "32", "--batch-sizes", "2", "--encoder", "tiny", "--length", "2")
    few = ("--steps", "2", "--repeats", "1", "--workers", "0", "--decoders", "lstm")
    training, reports = bench("gpu", "--device", "cpu", *sizes, *few)
    assert training["pipeline_images_per_s"] > 0
    assert 0 <= training["waiting_at_most"] < 1
    assert reports["lstm_beam_3_reports_per_s"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(bench, capsys):
    (found,) = bench("gpu")
    assert found["skipped"] == "no CUDA"
    assert capsys.readouterr().out.startswith("gpu: no CUDA device here, nothing measured\n")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("decoding", ["--parts", "speed,fox"]),
        ("decoding", ["--decoders", "fox"]),
        ("decoding", ["--repeats", "0"]),
        ("loading", ["--steps", "0"]),
        ("training", ["--encoders", "tiny", "--studies", "64,64"]),
        ("gpu", ["--sizes", "32,64", "--batch-sizes", "2"]),
    ],
)
def test_wrong_arguments_are_refused(bench, name, arguments):
    with pytest.raises(SystemExit) as stopped:
        bench(name, *arguments)
    assert stopped.value.code == 2


def test_a_section_of_the_page_is_replaced_and_the_others_stay(bench, monkeypatch, tmp_path):
    page = importlib.import_module("_page")
    path = tmp_path / "page.md"

    def write(name, when, printed):
        monkeypatch.setattr(sys, "argv", ["_page.py", str(path), name, when])
        monkeypatch.setattr(sys, "stdin", io.StringIO(printed))
        page.main()

    write("startup", "Monday", 'startup: fast\n{"benchmark": "startup", "ms": 3}\n')
    cell = {"reports_per_s": 20, "peer_reports_per_s": 10, "ratio": 2.0, "equal": 0.5}
    cell |= {"likelier": 3, "less_likely": 1}
    record = {"benchmark": "decoding speed gru", "reports_beam_1": cell}
    write("decoding", "Monday", f"decoding speed gru: long\n{json.dumps(record)}\n")
    write("startup", "Tuesday", 'startup: faster\n{"benchmark": "startup", "ms": 2}\n')
    text = path.read_text()
    assert list(page.sections(text)) == ["decoding", "startup"]
    assert "`scripts/bench startup` on Tuesday." in text
    assert "`scripts/bench decoding` on Monday." in text
    assert "- startup: faster\n" in text
    assert '"ms": 3' not in text
    assert "| gru, reports | 20 : 10 = **2.00**, 50% (+3 -1) |\n" in text
    assert "- decoding speed" not in text
