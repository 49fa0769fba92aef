import os
import stat
import zipfile

import pytest

from cascade.errors import InputError
from cascade.inference.sources import EntryReader, UnsafeEntryError, archives, find_entries
from cascade.inference.sources import entry as limits

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
DICOM = bytes(128) + b"DICM" + bytes(100)


def listed(source, **kwargs):
    """Paths to refusals, and the number of files ignored."""
    ignored = [0]
    found = {e.path: e.failure for e in find_entries(source, ignored=ignored, **kwargs)}
    return found, ignored[0]


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def test_a_tree_gives_images_by_name_and_by_content(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.DCM").write_bytes(b"")  # an image by its name, whatever it holds
    (tmp_path / "a" / "1.2.840.5").write_bytes(DICOM)
    (tmp_path / "photo").write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "DICOMDIR").write_bytes(DICOM)  # an index
    (tmp_path / "._1.dcm").write_bytes(b"fork")
    assert listed(tmp_path) == ({"a/b/1.DCM": None, "a/1.2.840.5": None, "photo": None}, 3)


@pytest.mark.parametrize(
    "head",
    [
        b"\x08\x00\x05\x00CS\x0a\x00",  # explicit VR
        b"\x08\x00\x05\x00\x0a\x00\x00\x00",  # implicit VR, 10 bytes
        b"II*\0" + bytes(8),
        b"\xff\xd8\xff\xe0" + bytes(8),
    ],
)
def test_headers_of_images(head):
    assert limits.looks_like_image(head)


@pytest.mark.parametrize("head", [b"", b"\x08\x00", b"\x08\x00\x05\x00\xff\xff\xff\x7f", b"PK\3\4"])
def test_headers_of_other_files(head):
    assert not limits.looks_like_image(head)


def test_the_output_folder_is_not_looked_into(tmp_path):
    (tmp_path / "x.png").write_bytes(PNG)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "y.png").write_bytes(PNG)
    assert listed(tmp_path, exclude=tmp_path / "out") == ({"x.png": None}, 0)


def test_links_are_followed_inside_the_source_only(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(PNG)
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "real" / "x.png").write_bytes(PNG)
    (root / "in.png").symlink_to(root / "real" / "x.png")
    (root / "out.png").symlink_to(outside / "secret.png")
    (root / "outdir").symlink_to(outside)
    (root / "loop").symlink_to(root)
    refused = "a symbolic link that leaves the source"
    assert listed(root)[0] == {
        "real/x.png": None,
        "in.png": None,
        "out.png": refused,
        "outdir": refused,
    }


def test_a_pipe_is_passed_over(tmp_path):
    os.mkfifo(tmp_path / "pipe.dcm")
    assert listed(tmp_path) == ({}, 1)


def test_a_dangling_link_is_a_failure(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert listed(tmp_path)[0] == {"gone.png": "FileNotFoundError: No such file or directory"}


def test_a_forbidden_folder_is_a_failure(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def forbid(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbid)
    assert listed(tmp_path)[0] == {"locked": "PermissionError: Permission denied"}


def test_a_name_that_is_not_text(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb") as file:
        file.write(PNG)
    assert listed(tmp_path)[0] == {"\\xff.png": None}


def test_zip_members(tmp_path):
    make_zip(
        tmp_path / "s.zip",
        [
            ("a/1.dcm", DICOM),
            ("a/2", PNG),
            ("read me.txt", b"none"),
            ("__MACOSX/._1.dcm", b"fork"),
            ("inner.zip", b"PK"),
            ("../up.dcm", DICOM),
            ("/abs.dcm", DICOM),
            ("C:\\x.dcm", DICOM),
            ("folder/", b""),
        ],
    )
    escape = "a path that leaves the zip"
    assert listed(tmp_path) == (
        {
            "s.zip!a/1.dcm": None,
            "s.zip!a/2": None,
            "s.zip!inner.zip": "a zip inside a zip is not opened",
            "s.zip!../up.dcm": escape,
            "s.zip!/abs.dcm": escape,
            "s.zip!C:/x.dcm": escape,
        },
        2,
    )
    assert listed(tmp_path / "s.zip") == listed(tmp_path)  # a zip as the source itself


def test_a_name_twice_in_a_zip_gives_two_paths(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        file = make_zip(tmp_path / "s.zip", [("1.dcm", b"one"), ("1.dcm", b"two")])
    reader = EntryReader()
    contents = {e.path: reader.open(e).read() for e in find_entries(file)}
    reader.close()
    assert contents == {"s.zip!1.dcm": b"one", "s.zip!1.dcm#2": b"two"}


def test_a_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    make_zip(tmp_path / "s.zip", [(link, b"/etc/hostname")])
    assert listed(tmp_path)[0] == {"s.zip!link.dcm": "a symbolic link inside a zip"}


def test_a_zip_bomb_is_refused_unread(tmp_path):
    make_zip(tmp_path / "s.zip", [("bomb.dcm", bytes(4 << 20)), ("small.dcm", bytes(1 << 16))])
    assert listed(tmp_path)[0] == {
        "s.zip!bomb.dcm": "compressed more than 200 to 1: a zip bomb?",
        "s.zip!small.dcm": None,
    }


def test_too_large_and_encrypted_members_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 1 << 20)
    info = zipfile.ZipInfo("x.dcm")
    info.file_size = info.compress_size = (1 << 20) + 1
    assert archives.refuse_member(info) == "larger than 1 MiB"
    info.flag_bits = 1
    assert archives.refuse_member(info) == "encrypted: unpack it with its password first"


def test_a_size_that_lies_gives_no_more_than_it_declares(tmp_path):
    file = make_zip(tmp_path / "s.zip", [("x.dcm", os.urandom(5000))])
    data = file.read_bytes().replace((5000).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    file.write_bytes(data)
    (entry,) = find_entries(file)
    reader = EntryReader()
    with pytest.raises(zipfile.BadZipFile):
        reader.open(entry)
    reader.close()


def test_a_zip_that_is_none_is_a_failure(tmp_path):
    (tmp_path / "s.zip").write_bytes(b"not a zip")
    assert listed(tmp_path)[0] == {"s.zip": "BadZipFile: not a readable zip"}


def test_a_damaged_member_is_left_to_the_reader(tmp_path):
    file = make_zip(tmp_path / "s.zip", [("nameless", PNG)])
    data = bytearray(file.read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"  # in the compressed bytes
    file.write_bytes(data)
    assert listed(file)[0] == {"s.zip!nameless": None}


def test_opening(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(PNG)
    (tmp_path / "y.png").write_bytes(b"")
    make_zip(tmp_path / "z.zip", [("z.dcm", b"")])
    entries = {e.path: e for e in find_entries(tmp_path)}
    reader = EntryReader()
    assert reader.open(entries["x.png"]) == tmp_path.resolve() / "x.png"
    for path in ("y.png", "z.zip!z.dcm"):
        with pytest.raises(UnsafeEntryError, match="the file is empty"):
            reader.open(entries[path])
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 10)
    with pytest.raises(UnsafeEntryError, match="larger than"):
        reader.open(entries["x.png"])
    reader.close()


def test_missing_source(tmp_path):
    with pytest.raises(InputError, match="does not exist: give a folder"):
        list(find_entries(tmp_path / "nowhere"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        list(find_entries(tmp_path / "pipe"))
