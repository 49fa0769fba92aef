from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cascade.errors import CascadeError, InputError
from cascade.io.files import (
    PARTIAL_PREFIX,
    atomic_directory,
    atomic_path,
    explain_write_errors,
    read_json,
    write_json,
    write_text,
)


def fail_after_writing(path: Path):
    path.write_text("half")
    raise ZeroDivisionError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.txt") as partial:
        fail_after_writing(partial)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_the_temporary_name_keeps_the_suffix_and_is_marked(tmp_path: Path):
    with atomic_path(tmp_path / "sub" / "t.parquet") as partial:
        assert partial.suffix == ".parquet"
        assert partial.name.startswith(PARTIAL_PREFIX)
        partial.write_text("x")
    assert (tmp_path / "sub" / "t.parquet").read_text() == "x"


def test_a_failed_directory_leaves_nothing(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "d") as partial:
        fail_after_writing(partial / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_holds_something_is_not_overwritten(tmp_path: Path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine").touch()
    with pytest.raises(InputError, match="not empty"), atomic_directory(tmp_path / "d"):
        pass
    assert (tmp_path / "d" / "mine").exists()


def test_an_empty_directory_is_taken(tmp_path: Path):
    (tmp_path / "d").mkdir()
    with atomic_directory(tmp_path / "d") as partial:
        (partial / "a").write_text("x")
    assert (tmp_path / "d" / "a").read_text() == "x"


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, CascadeError, "no space left"),
        (errno.EACCES, InputError, "choose another out="),
        (errno.EIO, OSError, "why"),
    ],
)
def test_write_errors_name_the_remedy(number: int, kind: type[Exception], words: str):
    with pytest.raises(kind, match=words), explain_write_errors(Path("there")):
        raise OSError(number, "why")


def test_json_round_trip_and_its_errors(tmp_path: Path):
    write_json(tmp_path / "a.json", {"é": [1, None]})
    assert read_json(tmp_path / "a.json") == {"é": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()
    with pytest.raises(InputError, match="is missing"):
        read_json(tmp_path / "b.json")
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        read_json(tmp_path / "c.json")
