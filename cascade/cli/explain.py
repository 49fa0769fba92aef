"""Every error as one line that names the thing and the remedy, and its exit status."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cascade.errors import CascadeError, InputError


def conf_dir() -> Path:
    """The folder of the shipped settings: inside the wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def suggest(word: str, choices: Sequence[str]) -> str:
    """``did you mean 'x'?`` where a choice is close, or nothing.

    >>> suggest("trian", ["train", "mine"])
    "did you mean 'train'?"
    """
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


SET_BY_CASCADE = {
    "trainer.max_epochs": "classifier.epochs and generator.epochs",
    "trainer.callbacks": "callbacks=NAME",
    "trainer.logger": "logger=NAME",
    "trainer.default_root_dir": "out=DIR",
}
"""Lightning's settings that have another place here, and that place."""


def unknown_setting(key: str, command: str, keys: Sequence[str]) -> str:
    """The line for a setting that does not exist, with the nearest that does."""
    if key in SET_BY_CASCADE:
        return f"{key} is not set here but by {SET_BY_CASCADE[key]}"
    groups = [other for other in keys if other.partition("@")[0] == key]
    last = key.rsplit(".", 1)[-1]
    same_name = [other for other in keys if other.rsplit(".", 1)[-1] == last]
    hint = f"did you mean {' or '.join(groups)}?" if groups else ""
    hint = hint or suggest(key, same_name)
    hint = hint or (f"did you mean {same_name[0]!r}?" if same_name else suggest(key, keys))
    parts = [f"unknown setting {key!r}:", hint, f"`cascade {command} --cfg job` lists all settings"]
    return " ".join(part for part in parts if part)


def unknown_choice(name: str, group: str, options: Sequence[str]) -> str:
    """The line for a file of ``conf/`` that does not exist, with those that do."""
    return f"unknown choice {name!r} for {group}; {_listed(name, options)}"


def _listed(name: str, options: Sequence[str]) -> str:
    return f"choices: {', '.join(options) or 'none'}. {suggest(name, options)}".strip()


def explain(error: BaseException, command: str) -> tuple[str, int]:
    """One line about an error, and the exit status it asks for."""
    if isinstance(error, CascadeError):
        return str(error), error.exit_status
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return _no_space(str(cause.filename or "")), CascadeError.exit_status
        if "No space left on device" in str(cause):  # as safetensors and pyarrow say it
            return _no_space(""), CascadeError.exit_status
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return "out of memory: lower batch_size or data.image_size", CascadeError.exit_status
    from_hydra = type(error).__module__.partition(".")[0] in ("hydra", "omegaconf")
    if from_hydra or "Config group override" in str(error):
        return explain_hydra_error(error, command), InputError.exit_status
    if isinstance(error, OSError) and error.filename is not None:
        reason = error.strerror or type(error).__name__
        if isinstance(error, FileExistsError | NotADirectoryError | PermissionError):
            return (
                f"{error.filename}: {reason}; choose another path, or move what is in the way",
                InputError.exit_status,
            )
        return f"{error.filename}: {reason}", CascadeError.exit_status
    return (
        f"internal error, please report it: {type(error).__name__}: {error} "
        "(debug=true shows the traceback)",
        CascadeError.exit_status,
    )


def _no_space(path: str) -> str:
    where = f"on the disk that holds {path}" if path else "on the disk"
    return f"no space left {where}: free some, or choose another out="


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _config_keys(command: str) -> list[str]:
    """Every dotted key that the command's settings have, groups too."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    def walk(node: object, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        keys = []
        for key, value in node.items():
            keys += [f"{prefix}{key}", *walk(value, f"{prefix}{key}.")]
        return keys

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose(command, return_hydra_config=True)
        groups = [str(group) for group in config.hydra.runtime.choices if "@" in str(group)]
        settings = OmegaConf.to_container(config, resolve=False)
    assert isinstance(settings, dict)
    del settings["hydra"]
    return [*walk(settings, ""), *groups]


_SYNTAX = (
    "settings are KEY=VALUE, lists KEY=[A,B]; "
    "a value with , : = [ ] { } needs quotes: \"KEY='VALUE'\""
)


def explain_hydra_error(error: BaseException, command: str) -> str:
    """One line that names the wrong setting and what would be right."""
    text = "\n".join(str(each) for each in _chain(error))
    if "override_grammar" in text and "Error parsing override" not in text:
        return f"cannot read the settings ({text.splitlines()[0]}): {_SYNTAX}"
    if malformed := re.search(r"Error parsing override '(.*)'", text):
        return f"cannot read {malformed.group(1)!r}: {_SYNTAX}"
    if several := re.search(r"Ambiguous value for argument '(.*)'", text):
        word = several.group(1)
        key, _, value = word.partition("=")
        return f"{word} names several values: -m runs each, quotes make it one: \"{key}='{value}'\""
    if "Config group override must be" in text:
        return "a choice of null is not possible here: name one, or leave it away"
    override = re.search(r"Could not override '([^']+)'", text)
    override = override or re.search(r"Key '([^']+)' is not in struct", text)
    if override and "Could not find" not in text:
        key = override.group(1)
        keys = _config_keys(command)
        if key not in keys:
            return unknown_setting(key, command, keys)
    if missing := re.search(r"Could not (?:find|load) '([^']+)'", text):
        group, _, name = missing.group(1).rpartition("/")
        listed = text[missing.end() :].partition("Config search path")[0]
        options = re.findall(r"^\t(.+)$", listed, flags=re.MULTILINE)
        if options:
            return unknown_choice(name, group, options)
    if absent := re.search(r"Missing mandatory value: (\S+)", text):
        return f"the setting {absent.group(1)} is needed: {absent.group(1)}=VALUE"
    if refused := re.search(r"Error in call to target '([^']+)'", text):
        reason = error.__cause__ or error
        return f"{refused.group(1).rsplit('.', 1)[-1]} refuses its settings: {reason}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines[:2])) or type(error).__name__
