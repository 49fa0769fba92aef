"""Reports a second while decoding, against Hugging Face ``generate`` on the same network.

    speed   greedy and beam search against the peer: ratio, and the share of equal drafts
    growth  time a token at 16, 64 and 256 tokens; time and memory a study by beam width

For ``speed`` each decoder, at its default sizes, is briefly trained to write the phantom's
annotations (about 15 tokens) and reports (about 60) from features that carry their words, so that
drafts end where texts do. The peer drives the same weights through the same step (GPT-2: the
library's own), from the same features, with the same limit and the same end. Runs alternate;
medians of several. For ``growth`` the weights are random and no draft ends before its limit.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _memory import HeldMemory
from _peer import VERSION, peer_generate, peer_of
from _report import machine, parser, report
from _texts import (
    FEATURES,
    KINDS,
    SIDE,
    VOCABULARY,
    draw_texts,
    endless,
    features_of,
    taught_decoder,
)

from cascade.models.decoders import DECODERS, Decoder
from cascade.models.generation import NEVER, generate
from cascade.text.vocabulary import BOS, EOS

LENGTHS, WIDTHS = (16, 64, 256), (1, 2, 4, 8)
GROWTH_LENGTH = 64
"""Tokens of the drafts whose beam grows."""


def seconds(measure: Callable[[], Any]) -> float:
    began = time.perf_counter()
    measure()
    return time.perf_counter() - began


def speed(name: str, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    said, figures = [], {}
    for kind, (_, limit, _) in KINDS.items():
        texts = draw_texts(kind, max(options.batch, 48))
        kept = options.weights and options.weights / f"{kind}-{name}.safetensors"
        torch.set_num_threads(machine()["cores"])
        decoder = taught_decoder(name, texts, options.training, kept)
        torch.set_num_threads(options.threads)
        features = features_of(decoder, texts.maps[: options.batch])
        peer = peer_of(name, decoder)
        for width in options.widths:
            found = compare(name, decoder, peer, features, limit, width, options.repeats)
            figures[f"{kind}_beam_{width}"] = found
            said.append(
                f"{kind} of {found['tokens']:.0f} tokens, beam {width}: "
                f"{found['reports_per_s']:.0f} against {found['peer_reports_per_s']:.0f} "
                f"reports/s, ratio {found['ratio']:.2f}, {found['equal']:.0%} equal"
                + (
                    f" ({found['likelier']} likelier, {found['less_likely']} less)"
                    * (found["equal"] < 1)
                )
            )
    return "; ".join(said), {"transformers": VERSION, **figures}


def compare(
    name: str, decoder: Decoder, peer: Any, features: Any, limit: int, width: int, repeats: int
) -> dict[str, Any]:
    """Ours and the peer in turn; the first run of each warms up and gives the drafts."""

    def ours() -> Any:
        return generate(decoder, features, limit, width)

    def theirs() -> list[list[int]]:
        return peer_generate(name, decoder, peer, features, limit, width, 0.0)

    drafts, others = ours(), theirs()
    runs = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    own, other = (statistics.median(column) for column in zip(*runs, strict=True))
    different = [
        row for row, (a, b) in enumerate(zip(drafts.tokens, others, strict=True)) if a != b
    ]
    gains = [
        float(drafts.log_probabilities[row]) - log_probability(decoder, features[row], others[row])
        for row in different
    ]
    count = len(features)
    return {
        "reports_per_s": round(count / own, 1),
        "peer_reports_per_s": round(count / other, 1),
        # of each pair, so that a load that comes and goes weighs on both alike
        "ratio": round(statistics.median(theirs / mine for mine, theirs in runs), 3),
        "equal": round(1 - len(different) / count, 3),
        "likelier": sum(gain > 0 for gain in gains),
        "less_likely": sum(gain <= 0 for gain in gains),
        "tokens": statistics.mean(map(len, drafts.tokens)),
    }


def log_probability(decoder: Decoder, features: Any, tokens: list[int]) -> float:
    """Of a whole draft, as ours counts it: the draft is forced word by word and its end is free."""
    with torch.no_grad():
        read = torch.tensor([[BOS, *tokens]])
        logits = decoder.teach(features.unsqueeze(0), read).logits[0]
        logits[:, NEVER] = -torch.inf
        wanted = torch.tensor([*tokens, EOS]).unsqueeze(1)
        return float(logits.log_softmax(dim=1).gather(1, wanted).sum())


def growth(name: str, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    texts = draw_texts("annotations", options.batch)
    room = {"positions": max(options.lengths) + 1} if name in ("transformer", "gpt2") else {}
    decoder = endless(taught_decoder(name, texts, 0.0, **room))
    features = features_of(decoder, texts.maps)
    runs = alternating(
        [functools.partial(generate, decoder, features, length) for length in options.lengths],
        options.repeats,
    )
    token_us = [
        1e6 * each / options.batch / (length + 1)  # the end is a token, too
        for each, length in zip(runs, options.lengths, strict=True)
    ]
    length = min(GROWTH_LENGTH, max(options.lengths))
    study_ms = [
        1e3 * each / options.batch
        for each in alternating(
            [functools.partial(generate, decoder, features, length, width) for width in WIDTHS],
            options.repeats,
        )
    ]
    by_length = [held_kib(decoder, features, n, 1) for n in options.lengths]
    by_width = [held_kib(decoder, features, length, width) for width in WIDTHS]
    flat = token_us[-1] / token_us[0]
    return (
        f"{listed(token_us, 0)} us a token at {listed(options.lengths)} tokens (last against first "
        f"{flat:.2f}), {listed(study_ms, 1)} ms a study at beam {listed(WIDTHS)} and {length} "
        f"tokens ({WIDTHS[-1]} against 1: {study_ms[-1] / study_ms[0]:.1f}); a study holds "
        f"{listed(by_length, 0)} KiB at those lengths, {listed(by_width, 0)} KiB at those widths",
        {
            "lengths": list(options.lengths),
            "token_us": [round(each, 1) for each in token_us],
            "last_against_first": round(flat, 3),
            "widths": list(WIDTHS),
            "width_tokens": length,
            "study_ms": [round(each, 2) for each in study_ms],
            "kib_by_length": [round(each, 1) for each in by_length],
            "kib_by_width": [round(each, 1) for each in by_width],
        },
    )


def alternating(measures: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Median seconds of each, run in turn; one run of each beforehand warms up."""
    for measure in measures:
        measure()
    rounds = [[seconds(measure) for measure in measures] for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def held_kib(decoder: Decoder, features: Any, length: int, width: int) -> float:
    """KiB of tensors alive at the fullest moment of a search, for each study; features excluded."""
    with HeldMemory() as held:
        generate(decoder, features, length, width)
    return held.peak / 1024 / len(features)


def listed(values: Any, digits: int = 0) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


PARTS = {"speed": speed, "growth": growth}


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--parts", default=",".join(PARTS), help="(%(default)s)")
    arguments.add_argument("--decoders", default=",".join(DECODERS), help="(%(default)s)")
    arguments.add_argument("--widths", default="1,3", help="beams set against the peer's (1,3)")
    arguments.add_argument("--lengths", default="16,64,256", help="tokens of growth (%(default)s)")
    arguments.add_argument("--batch", type=int, default=32, help="studies decoded at once (32)")
    arguments.add_argument("--training", type=float, default=1.0, help="share of the training (1)")
    arguments.add_argument("--repeats", type=int, default=5, help="runs of each (5)")
    arguments.add_argument("--threads", type=int, default=1, help="of torch (1)")
    arguments.add_argument("--weights", type=Path, help="keep the trained weights in this folder")
    options = arguments.parse_args()
    parts, names = options.parts.split(","), options.decoders.split(",")
    if not set(parts) <= set(PARTS) or not set(names) <= set(DECODERS):
        arguments.error(
            f"--parts are some of {', '.join(PARTS)}, --decoders of {', '.join(DECODERS)}"
        )
    if min(options.repeats, options.batch, options.threads) < 1:
        arguments.error("--repeats, --batch and --threads must be 1 or more")
    options.widths = [int(width) for width in options.widths.split(",")]
    options.lengths = [int(length) for length in options.lengths.split(",")]
    torch.set_num_threads(options.threads)
    for part in parts:
        for name in names:
            load = os.getloadavg()[0]
            sentence, figures = PARTS[part](name, options)
            note = (
                f"batch {options.batch}, vocabulary {VOCABULARY}, features {FEATURES} x {SIDE} x "
                f"{SIDE}, medians of {options.repeats}, {options.threads} thread(s); "
                f"{machine()['cpu']}, load {load:.1f}"
            )
            figures |= {
                "batch": options.batch,
                "training": options.training,
                "repeats": options.repeats,
                "threads": options.threads,
                "torch": torch.__version__,
                "load_before": round(load, 2),
            }
            if part == "speed":
                note = f"transformers {VERSION}; {note}"
            report(f"decoding {part} {name}", f"{sentence} ({note})", figures, options.out)


if __name__ == "__main__":
    main()
