"""Archives as they should be, and as somebody with bad intent would make them."""

from __future__ import annotations

import dataclasses
import gzip
import io
import tarfile

import pytest

import cascade.io.unpack as module
from cascade.errors import InputError
from cascade.io.unpack import is_unpacked, unpack


@dataclasses.dataclass
class Kind:
    """A member that is no file."""

    code: bytes


FOLDER = Kind(tarfile.DIRTYPE)


def make(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, Kind):
                info.type, info.linkname = content.code, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_files_come_out_in_their_folders(tmp_path, mode):
    members = {"a": FOLDER, "a/1.png": b"one", "2.png": b"two", "/3.png": b"three"}
    archive, seen = make(tmp_path / "x.tgz", members, mode), []
    assert unpack(archive, tmp_path / "out", progress=lambda *two: seen.append(two)) == 3
    assert (tmp_path / "out" / "a" / "1.png").read_bytes() == b"one"
    assert (tmp_path / "out" / "3.png").read_bytes() == b"three"  # taken as relative
    assert is_unpacked(tmp_path / "out")
    assert seen[-1] == (archive.stat().st_size,) * 2
    assert names(tmp_path) == ["out", "x.tgz"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("../out.png", b"x", "leaves its folder"),
        ("a/../../out.png", b"x", "leaves its folder"),
        ("a.png", Kind(tarfile.SYMTYPE), "link or a device"),
        ("a.png", Kind(tarfile.LNKTYPE), "link or a device"),
        ("a.png", Kind(tarfile.CHRTYPE), "link or a device"),
    ],
)
def test_what_would_leave_the_folder_is_refused(tmp_path, name, content, words):
    archive = make(tmp_path / "x.tgz", {"good.png": b"good", name: content})
    with pytest.raises(InputError, match=words):
        unpack(archive, tmp_path / "sub" / "out")
    assert names(tmp_path) == ["sub", "x.tgz"]
    assert names(tmp_path / "sub") == []


def test_a_bomb_is_not_blown(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ALWAYS_ALLOWED", 1000)
    archive = make(tmp_path / "x.tgz", {"a.png": bytes(1_000_000)})
    with pytest.raises(InputError, match="too much for its size"):
        unpack(archive, tmp_path / "out")
    monkeypatch.setattr(module, "MOST_FILES", 1)
    with pytest.raises(InputError, match="2 files"):
        unpack(make(tmp_path / "y.tgz", {"a": b"", "b": b""}), tmp_path / "out")
    assert names(tmp_path) == ["x.tgz", "y.tgz"]


def test_damage_is_told(tmp_path):
    whole = make(tmp_path / "x.tgz", {f"{n}.png": bytes([n]) * 5000 for n in range(9)})
    bytes_ = whole.read_bytes()
    empty = make(tmp_path / "empty.tgz", {"a": FOLDER}).read_bytes()
    cut_tar = gzip.decompress(bytes_)[:7000]
    at_a_header = gzip.decompress(bytes_)[: 2 * (512 + 5120)]
    cut_zip = (bytes_[:-9], bytes_[: len(bytes_) // 2])
    for content in (*cut_zip, b"<html>", b"", empty, cut_tar, at_a_header):
        whole.write_bytes(content)
        with pytest.raises(InputError, match="damaged, cut short or no archive"):
            unpack(whole, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_remains_of_a_killed_run_are_cleared(tmp_path):
    (tmp_path / ".partial-out-abc").mkdir()
    (tmp_path / ".partial-out-abc" / "1.png").write_bytes(b"half")
    unpack(make(tmp_path / "x.tgz", {"1.png": b"one"}), tmp_path / "out")
    assert names(tmp_path) == ["out", "x.tgz"]


def test_a_folder_in_use_is_not_mixed_with(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(InputError, match="not empty"):
        unpack(make(tmp_path / "x.tgz", {"1.png": b"one"}), tmp_path / "out")
