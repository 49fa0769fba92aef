"""Weights of an encoder from a local file, and a report of what the file gave.

Names are matched, whatever a training wrapped around them; nothing is downloaded.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from cascade.errors import InputError

if TYPE_CHECKING:
    from cascade.models.encoders.base import Encoder

LEAST_SHARE = 0.5
"""A file that gives less of an encoder's tensors is refused."""


class LoadReport(NamedTuple):
    """What a weight file gave.

    Attributes:
        file: its name.
        loaded: number of the encoder's tensors that were loaded.
        missing: tensors of the encoder that stay random, by the encoder's names.
        mismatched: those of ``missing`` that the file has in another shape.
        unused: what else the file holds, by the file's names.
    """

    file: str
    loaded: int
    missing: list[str]
    mismatched: list[str]
    unused: list[str]

    def summary(self) -> str:
        """One line for the log and the model card.

        >>> LoadReport("w.pth", 3, ["a", "b"], ["b"], []).summary()
        'w.pth: 3 tensors loaded, 2 left random (a, b; 1 of another shape), 0 of the file unused'
        """
        shape = f"; {len(self.mismatched)} of another shape" if self.mismatched else ""
        missing = f" ({_first(self.missing)}{shape})" if self.missing else ""
        unused = f" ({_first(self.unused)})" if self.unused else ""
        return (
            f"{self.file}: {self.loaded} tensors loaded, {len(self.missing)} left random{missing}, "
            f"{len(self.unused)} of the file unused{unused}"
        )


def _first(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def load_weights(encoder: Encoder, source: str | Path) -> LoadReport:
    """Load trunk weights from a local safetensors file, or a ``.pth`` read with ``weights_only``.

    Names may be ours or those of the library that the trunk comes from, behind prefixes such as
    ``module.`` or ``backbone.``. A tensor of another shape is not loaded.

    Args:
        encoder: its ``origin`` says afterwards where its weights come from.
        source: a file, or ``torchvision:NAME`` for published weights that lie in the cache of
            torch's hub already.

    Raises:
        InputError: not a weight file, weights that are not at hand, or less than half of the
            encoder's tensors in it.
    """
    path = find_weights(encoder, source)
    read = read_state(path)
    given = {_plain(key): key for key in read}
    own = encoder.state_dict()
    names = _match(own, given)
    matched: dict[str, Tensor] = {}
    mismatched: list[str] = []
    for key, plain in names.items():
        try:
            value = encoder.adapt(key, read[given[plain]])
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        if value.shape == own[key].shape:
            matched[key] = value
        else:
            mismatched.append(key)
    # How many batches were seen counts for nothing once a momentum is given; old files lack it.
    missing = [k for k in own if k not in matched and not k.endswith("num_batches_tracked")]
    used = {given[names[key]] for key in matched}
    unused = sorted(key for key in read if key not in used)
    report = LoadReport(path.name, len(matched), missing, mismatched, unused)
    if len(matched) < LEAST_SHARE * (len(matched) + len(missing)):
        raise InputError(
            f"{path} gives {len(matched)} of the encoder's {len(matched) + len(missing)} tensors "
            f"(missing: {_first(missing)}; in the file: {_first(unused)}): another network's "
            "weights?"
        )
    encoder.load_state_dict(matched, strict=False)
    encoder.origin = report.summary()
    return report


def find_weights(encoder: Encoder, source: str | Path) -> Path:
    """The file of ``encoder.weights``.

    Raises:
        InputError: torchvision has no such weights, or they are not on this machine.
    """
    library, colon, name = str(source).partition(":")
    if not colon or library != "torchvision":
        return Path(source)
    if encoder.torchvision is None:
        raise InputError(f"encoder.weights={source}: torchvision has no weights of this encoder")
    from torchvision.models import get_model_weights

    known = get_model_weights(encoder.torchvision)
    if name not in known.__members__:
        raise InputError(f"encoder.weights={source}: expected one of {sorted(known.__members__)}")
    url = known[name].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        raise InputError(
            f"encoder.weights={source} is not on this machine, and nothing is downloaded: put "
            f"{path.name} ({url}) into {path.parent}, or give encoder.weights=FILE"
        )
    return path


_CONTAINERS = ("state_dict", "model_state_dict", "model", "teacher", "net", "encoder")


def read_state(path: Path) -> dict[str, Tensor]:
    """The named tensors of a weight file, those of a checkpoint included.

    Raises:
        InputError: no file, or none of weights.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"the weight file {path} does not exist") from error
    except Exception as error:  # each reader has its own errors for a bad file
        raise InputError(
            f"{path} is not a readable weight file: {type(error).__name__} (a pickled network is "
            "not read: save its state_dict())"
        ) from error
    while isinstance(state, dict):
        inner = next((state[key] for key in _CONTAINERS if isinstance(state.get(key), dict)), None)
        if inner is None:
            break
        state = inner
    if not isinstance(state, dict):
        raise InputError(f"{path} holds a {type(state).__name__}, not named weights")
    return {str(key): value for key, value in state.items() if isinstance(value, Tensor)}


_PREFIXES = ("module.", "model.", "encoder.", "backbone.", "features.", "layers.", "_orig_mod.")
# Published files older than torchvision's code: "norm.1" is now "norm1", "linear_1" is now "0".
_OLD_NAMES = [
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(mlp\.)linear_1\."), r"\g<1>0."),
    (re.compile(r"(mlp\.)linear_2\."), r"\g<1>3."),
]


def _plain(name: str) -> str:
    """A name without what training and nesting put before it.

    >>> _plain("module.features.denseblock1.denselayer1.norm.1.weight")
    'denseblock1.denselayer1.norm1.weight'
    """
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                name, changed = name[len(prefix) :], True
    for pattern, new in _OLD_NAMES:
        name = pattern.sub(new, name)
    return name


def _library_name(key: str) -> str:
    """What the library calls a tensor of ours.

    >>> _library_name("stages.1.3.squeeze.weight"), _library_name("pool_norm.bias")
    ('3.squeeze.weight', 'classifier.0.bias')
    """
    if key.startswith("pool_norm."):  # of ConvNeXt
        return key.replace("pool_norm.", "classifier.0.")
    return _plain(key.split(".", 2)[2])


def _match(own: dict[str, Tensor], given: dict[str, str]) -> dict[str, str]:
    """For each tensor of ours the name in the file: by our names or the library's.

    All stand behind one more prefix, the commonest that fits, such as ``densenet121.``.
    """
    best: dict[str, str] = {}
    for rename in (str, _library_name):
        names = {key: rename(key) for key in own}
        wanted = set(names.values())
        prefixes = Counter(
            name[: -len(end)] for name in given for end in _ends(name) if end in wanted
        )
        if not prefixes or len(wanted) < len(names):  # stages of a library's have no name twice
            continue
        most = max(prefixes.values())
        prefix = min((p for p, count in prefixes.items() if count == most), key=len)
        found = {key: prefix + name for key, name in names.items() if prefix + name in given}
        best = max(best, found, key=len)
    return best


def _ends(name: str) -> list[str]:
    """A dotted name and all its ends.

    >>> _ends("a.b.c")
    ['a.b.c', 'b.c', 'c']
    """
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]
