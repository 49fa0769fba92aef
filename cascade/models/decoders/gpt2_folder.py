"""A local folder of a GPT-2 as transformers saves it: sizes, weights and words, all untrusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from cascade.text.preparation import Preparation
from cascade.text.vocabulary import SPECIAL_TOKENS, Vocabulary, special_tokens

MAX_CONFIG_BYTES = 1 << 20
MAX_WEIGHTS_BYTES = 8 << 30
END_OF_TEXT = "<|endoftext|>"

_FIXED = {
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
}


def folder_vocabulary(folder: str | Path, prepare: Preparation) -> Vocabulary:
    """The tokenizer of a local GPT-2, ``vocab.json`` and ``merges.txt``, as our ``bpe``.

    The four special tokens come first; ``<|endoftext|>`` is left out, BOS and EOS stand for it.

    Raises:
        ValueError: files that are absent or do not fit together.
    """
    folder = Path(folder)
    names = read_json(folder / "vocab.json")
    try:
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / 'merges.txt'} cannot be read: {error}") from error
    special = special_tokens(prepare)
    never = {*special, *SPECIAL_TOKENS, END_OF_TEXT}
    tokens = [name for name in sorted(names, key=lambda name: names[name]) if name not in never]
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    if any(len(merge) != 2 for merge in merges):
        raise ValueError(f"{folder / 'merges.txt'} is not a GPT-2's: two pieces a line")
    return Vocabulary([*special, *tokens], "bpe", prepare, merges)


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a folder from elsewhere.

    Raises:
        ValueError: none, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not a JSON object")
    return value


def sizes_of(folder: Path) -> dict[str, Any]:
    """The sizes in a folder's ``config.json``.

    Raises:
        ValueError: no GPT-2's.
    """
    path = folder / "config.json"
    if not path.is_file() or path.stat().st_size > MAX_CONFIG_BYTES:
        raise ValueError(
            f"decoder.folder={folder} holds no config.json: give a folder of a GPT-2 as "
            "transformers saves it (config.json, model.safetensors, vocab.json), or leave it out"
        )
    config = read_json(path)
    if config.get("model_type") != "gpt2":
        raise ValueError(
            f"{path} is of a {config.get('model_type')} model, decoder=gpt2 needs gpt2"
        )
    for key, usual in _FIXED.items():
        if config.get(key, usual) != usual:
            raise ValueError(f"{path}: {key}={config[key]} is not supported, only {usual}")
    try:
        return {
            "hidden": int(config["n_embd"]),
            "layers": int(config["n_layer"]),
            "heads": int(config["n_head"]),
            "positions": int(config["n_positions"]),
            "inner": None if config.get("n_inner") is None else int(config["n_inner"]),
            "activation": str(config.get("activation_function", "gelu_new")),
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} lacks a size of a GPT-2: {error}") from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's ``model.safetensors``, named as in ``GPT2Model``.

    Raises:
        ValueError: none, damaged, or too large.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    if not path.is_file():
        pickles = (
            " (a .bin file is a pickle and is not read)"
            if _has(folder, "pytorch_model.bin")
            else ""
        )
        raise ValueError(f"decoder.folder={folder} holds no model.safetensors{pickles}")
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise ValueError(f"{path} is larger than {MAX_WEIGHTS_BYTES >> 30} GiB")
    try:
        tensors = load_file(str(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return {name.removeprefix("transformer."): value for name, value in tensors.items()}
