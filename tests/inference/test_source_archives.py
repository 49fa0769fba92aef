"""Tars, gzipped or not: listed in place, read by offset, trusted in nothing."""

import gzip
import io
import os
import tarfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.inference.decode import Decoders, How
from cascade.inference.sources import Entry, EntryReader, UnsafeEntryError, find_entries
from cascade.inference.sources import entry as limits
from cascade.inference.sources.seekable_gzip import MOST_POINTS, SeekableGzip
from cascade.io.radiograph import Radiograph
from tests.inference.test_sources import DICOM, PNG, listed

LINK = "a link inside an archive"


def member(name, data=b"", **changes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, data


def make_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


MEMBERS = [
    member("a/1.dcm", DICOM),
    member("a", type=tarfile.DIRTYPE),
    member("a/2", PNG),
    member("read me.txt", b"none"),
    member("DICOMDIR", DICOM),
    member("inner.zip", b"PK"),
    member("../up.dcm", DICOM),
    member("/abs.dcm", DICOM),
    member("link.dcm", type=tarfile.SYMTYPE, linkname="/etc/hostname"),
    member("hard.dcm", type=tarfile.LNKTYPE, linkname="a/1.dcm"),
    member("null.dcm", type=tarfile.CHRTYPE),
    member("a/1.dcm", PNG),
]


@pytest.mark.parametrize(
    ("name", "mode"), [("s.tar", "w"), ("s.tar.gz", "w:gz"), ("s.tgz", "w:gz")]
)
def test_tar_members(tmp_path, name, mode):
    make_tar(tmp_path / name, MEMBERS, mode)
    escape = "a path that leaves the archive"
    found, ignored = listed(tmp_path)
    assert found == {
        f"{name}!a/1.dcm": None,
        f"{name}!a/2": None,
        f"{name}!inner.zip": "an archive inside an archive is not opened",
        f"{name}!../up.dcm": escape,
        f"{name}!/abs.dcm": escape,
        f"{name}!link.dcm": LINK,
        f"{name}!hard.dcm": LINK,
        f"{name}!null.dcm": "a device inside an archive",
        f"{name}!a/1.dcm#2": None,
    }
    assert ignored == 2
    reader = EntryReader()
    entries = [e for e in find_entries(tmp_path / name) if e.failure is None]
    contents = [reader.open(e).read() for e in reversed(entries)]  # backwards
    assert contents == [PNG, PNG, DICOM]
    assert {e.in_parent for e in entries} == {mode == "w:gz"}
    assert [Entry.from_json(e.to_json()) for e in entries] == entries
    reader.close()


def test_an_empty_member(tmp_path):
    (entry,) = find_entries(make_tar(tmp_path / "s.tar", [member("x.dcm")]))
    with pytest.raises(UnsafeEntryError, match="the file is empty"):
        EntryReader().open(entry)


def test_a_member_too_large(tmp_path, monkeypatch):
    file = make_tar(tmp_path / "s.tar", [member("x.dcm", bytes(5000))])
    (entry,) = find_entries(file)
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 1000)
    assert listed(file)[0] == {"s.tar!x.dcm": "larger than 0 MiB"}
    with pytest.raises(UnsafeEntryError, match="larger than"):
        EntryReader().open(entry)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_tar_cut_short_keeps_what_stands_before(tmp_path, mode, share):
    members = [member(f"{number}.dcm", os.urandom(3000)) for number in range(5)]
    file = make_tar(tmp_path / "s.tar", members, mode)
    data = file.read_bytes()
    # of a plain tar the blocks of zeros at the end are not counted
    whole = len(data) if mode == "w:gz" else 5 * (512 + 3072)
    file.write_bytes(data[: int(share * whole)])
    found = listed(file)[0]
    assert found.pop("s.tar") == "damaged or cut short: what stands behind is not listed"
    assert 0 < len(found) <= 5


def test_a_tar_without_its_end(tmp_path):
    """Cut between two members, where tarfile sees nothing wrong."""
    file = make_tar(tmp_path / "s.tar", [member("1.dcm", DICOM), member("2.dcm", DICOM)])
    file.write_bytes(file.read_bytes()[: 512 + 512])
    assert set(listed(file)[0]) == {"s.tar!1.dcm", "s.tar"}


def test_damage_between_members(tmp_path):
    file = make_tar(tmp_path / "s.tar", [member(f"{n}.dcm", DICOM) for n in range(3)])
    data = bytearray(file.read_bytes())
    data[1024 + 148 : 1024 + 156] = b"7777777\0"  # the checksum of the second header
    file.write_bytes(data)
    found = listed(file)[0]
    assert found["s.tar"] == "damaged or cut short: what stands behind is not listed"


def test_what_is_no_tar(tmp_path):
    (tmp_path / "s.tar").write_bytes(b"nothing of the kind" * 100)
    (tmp_path / "t.tgz").write_bytes(b"\x1f\x8bnothing")
    (tmp_path / "u.tar.bz2").write_bytes(b"BZh")
    cut = "damaged or cut short: what stands behind is not listed"
    assert listed(tmp_path)[0] == {
        "s.tar": cut,
        "t.tgz": cut,
        "u.tar.bz2": "an archive of this compression is not read: unpack it",
    }


def test_a_gzip_bomb_is_stopped(tmp_path):
    file = tmp_path / "s.tgz"
    info = tarfile.TarInfo("x.dcm")
    info.size = 64 << 20
    with gzip.open(file, "wb") as stream:
        stream.write(info.tobuf())
        for _ in range(64):
            stream.write(bytes(1 << 20))
        stream.write(bytes(1024))
    found = listed(file)[0]
    assert found["s.tgz"] == "damaged or cut short: what stands behind is not listed"


def test_a_header_that_claims_gigabytes(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 7 << 30
    (tmp_path / "s.tar").write_bytes(info.tobuf() + bytes(2048))
    assert listed(tmp_path)[0] == {
        "s.tar": "a header beyond measure: what stands behind is not listed"
    }


def test_a_truncated_member_is_a_reason(tmp_path):
    entry = Entry("s.tar!x", tmp_path / "s.tar", 512, size=100)
    (tmp_path / "s.tar").write_bytes(bytes(550))
    with pytest.raises(UnsafeEntryError, match="cut short within this file"):
        EntryReader().open(entry)


def content_as_warning(source):
    """A module's function, so that a worker can import it."""
    import warnings

    import numpy as np

    warnings.warn(f"length {len(source.read())}", stacklevel=1)
    return Radiograph(np.ones((2, 2), np.float32))


class Item:
    def __init__(self, entry):
        self.entry = entry


def test_workers_are_sent_the_bytes_of_a_gzipped_tar(tmp_path):
    file = make_tar(tmp_path / "s.tgz", MEMBERS[:3], "w:gz")
    entries = list(find_entries(file))
    with Decoders(How(content_as_warning), workers=1) as decoders:
        found = [d.warnings for _, d in decoders.decode(map(Item, entries), 2)]
        assert found == [(f"length {len(DICOM)}",), (f"length {len(PNG)}",)]
        ((_, keys),) = decoders.keys([entries])
    assert len(keys) == 2


# --- the gzip reader ----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    padding=st.integers(0, 3),
    reads=st.lists(st.tuples(st.integers(0, 1400), st.integers(0, 400)), max_size=12),
    repeat=st.integers(1, 400),
)
def test_any_place_of_any_gzip(parts, padding, reads, repeat):
    parts = [part * repeat for part in parts]
    plain = b"".join(parts)
    raw = io.BytesIO(b"".join(map(gzip.compress, parts)) + bytes(padding))
    file = SeekableGzip(raw, len(plain) + 1)
    file._spacing = 1000
    for place, size in reads:
        file.seek(place * repeat)
        assert file.read(size) == plain[place * repeat :][:size]
        assert file.tell() == place * repeat + len(plain[place * repeat :][:size])


def test_the_states_kept_are_few():
    plain = os.urandom(1 << 16) * 40
    file = SeekableGzip(io.BytesIO(gzip.compress(plain, 1)), len(plain))
    file._spacing = 1 << 12
    file.seek(len(plain))
    assert file.read(1) == b""
    assert 2 < len(file._points) <= MOST_POINTS + 1
    file.seek(100_000)
    assert file.read(10) == plain[100_000:100_010]


def test_a_gzip_beyond_measure():
    file = SeekableGzip(io.BytesIO(gzip.compress(bytes(1 << 20))), 1000)
    with pytest.raises(zlib.error, match="beyond measure"):
        file.read(1 << 20)


def test_a_gzip_cut_short():
    file = SeekableGzip(io.BytesIO(gzip.compress(os.urandom(5000))[:-100]), 10_000)
    with pytest.raises(EOFError):
        file.read(5000)


def test_reads_without_measure_and_places_that_are_none():
    file = SeekableGzip(io.BytesIO(gzip.compress(b"abc")), 10)
    with pytest.raises(ValueError, match="without measure"):
        file.read()
    with pytest.raises(ValueError, match="negative"):
        file.seek(-1)
    with pytest.raises(io.UnsupportedOperation):
        file.seek(0, io.SEEK_END)
    file.seek(1)
    assert file.seek(1, io.SEEK_CUR) == 2
    assert file.read(5) == b"c"
