"""Sources that name files: a CSV, standard input, a DICOMDIR."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from cascade.errors import InputError
from cascade.inference.sources import FileSource, open_source
from cascade.inference.sources.dicomdir import DIRECTORY, DicomdirSource
from cascade.inference.sources.lists import CsvSource, StdinSource
from tests.inference.test_source_archives import make_tar, member
from tests.inference.test_sources import DICOM, PNG

GONE = "FileNotFoundError: No such file or directory"


def failures(source):
    ignored = [0]
    return {e.path: e.failure for e in source.entries(ignored)}, ignored[0]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.dcm").write_bytes(DICOM)
    (tmp_path / "a" / "odd name").write_bytes(PNG)
    (tmp_path / "text.txt").write_bytes(b"text")
    make_tar(tmp_path / "s.tar", [member("x.dcm", DICOM), member("y.txt", b"text")])
    return tmp_path


def test_a_csv_names_files(files):
    rows = ["a/1.dcm,x", f"{files}/a/odd name,y", "gone.dcm,", "text.txt,", "a,", ",", "s.tar,"]
    (files / "list.csv").write_text("\ufeffpath,note\n" + "\n".join(rows), encoding="utf-8")
    source = open_source(files / "list.csv")
    assert failures(source) == (
        {
            "a/1.dcm": None,
            f"{files}/a/odd name": None,
            "gone.dcm": GONE,
            "text.txt": None,  # somebody says that it is one: reading it will tell
            "a": "a folder: name its files, or give it as the source",
            "s.tar!x.dcm": None,
        },
        1,
    )
    before = source.description
    (files / "list.csv").write_text("path\na/1.dcm\n")
    assert open_source(files / "list.csv").description != before


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"file\nx\n", "no column path"), (b"", "no column path"), (b"path\n\xff\xfe", "as a CSV")],
)
def test_a_csv_of_something_else(tmp_path, content, message):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        CsvSource(tmp_path / "list.csv")


@pytest.mark.parametrize("end", ["\n", "\0", "\r\n"])
def test_paths_from_standard_input(files, monkeypatch, end):
    monkeypatch.chdir(files)
    names = ["a/1.dcm", "a/odd name", "gone"]
    source = StdinSource(io.BytesIO(end.join([*names, ""]).encode()))
    assert failures(source) == ({"a/1.dcm": None, "a/odd name": None, "gone": GONE}, 0)
    assert failures(source)[0].keys() == set(names)  # again, and without an end
    assert failures(StdinSource(io.BytesIO(end.join(names).encode())))[0].keys() == set(names)


def test_the_same_paths_are_the_same_work():
    one, two, other = (StdinSource(io.BytesIO(t)).description for t in (b"a\nb", b"a\nb", b"a"))
    assert one == two != other


def test_standard_input_that_holds_no_paths():
    with pytest.raises(InputError, match="more than 64 KiB"):
        failures(StdinSource(io.BytesIO(b"x" * 300_000)))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_no_standard_input_breaks_it(data):
    failures(StdinSource(io.BytesIO(data)))


# --- DICOMDIR -----------------------------------------------------------------------------------


def record(kind, *parts):
    found = Dataset()
    found.DirectoryRecordType = kind
    if parts:
        found.ReferencedFileID = list(parts)
    return found


def write_dicomdir(folder, records, name="DICOMDIR"):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = DIRECTORY
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.FileSetID = "TEST"
    if records is not None:
        dataset.DirectoryRecordSequence = Sequence(records)
    dataset.save_as(folder / name, enforce_file_format=True)
    return folder / name


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_dicomdir_names_its_images(tmp_path):
    (tmp_path / "IMAGES").mkdir()
    (tmp_path / "IMAGES" / "CR0001").write_bytes(DICOM)
    (tmp_path / "IMAGES" / "cr0002.dcm;1").write_bytes(DICOM)  # as some systems show ISO 9660
    (tmp_path / "unlisted.dcm").write_bytes(DICOM)
    (tmp_path / "out").symlink_to("/etc/hostname")
    file = write_dicomdir(
        tmp_path,
        [
            record("PATIENT"),
            record("STUDY"),
            record("SERIES"),
            record("IMAGE", "IMAGES", "CR0001"),
            record("IMAGE", "IMAGES", "CR0002.DCM"),
            record("IMAGE", "IMAGES", "CR0001"),
            record("IMAGE", "IMAGES", "CR0003"),
            record("IMAGE", "..", "secret"),
            record("IMAGE", "OUT"),
            record("IMAGE", "IMAGES"),
            record("IMAGE"),
            record("IMAGE", *"ABCDEFGHI"),
        ],
    )
    source = open_source(file)
    assert isinstance(source, DicomdirSource)
    leaves = "a path that leaves the medium"
    assert failures(source) == (
        {
            "IMAGES/CR0001": None,
            "IMAGES/CR0002.DCM": None,
            "IMAGES/CR0003": "the file that its record names is missing",
            "../secret": leaves,
            "OUT": "a symbolic link that leaves the source",
            "IMAGES": "what its record names is no file",
            "DICOMDIR#11": "its record names no file",
            "A/B/C/D/E/F/G/H/I": leaves,
        },
        4,
    )


def test_a_dicomdir_that_is_none(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(b"hello")
    with pytest.raises(InputError, match="cannot be read as a DICOMDIR"):
        open_source(tmp_path / "DICOMDIR")
    write_dicomdir(tmp_path, None)
    with pytest.raises(InputError, match="no directory records"):
        open_source(tmp_path / "DICOMDIR")


def test_a_real_dicomdir_by_pydicom(tmp_path):
    from pydicom.fileset import FileSet

    from cascade.io.phantom import draw_study
    from cascade.io.phantom.write import to_dicom

    files = FileSet()
    for index in range(2):
        files.add(to_dicom(draw_study(0, index, 32, 0.0), 1, seed=0))
    files.write(tmp_path / "cd")
    found, ignored = failures(open_source(tmp_path / "cd" / "DICOMDIR"))
    assert list(found.values()) == [None, None]
    assert ignored == 6  # a patient, a study and a series each


def test_what_a_user_may_give(tmp_path):
    assert isinstance(open_source(tmp_path), FileSource)
    with pytest.raises(InputError, match="query= is asked of a DICOMweb server"):
        open_source(tmp_path, query={"PatientID": "1"})
    with pytest.raises(InputError, match="does not exist"):
        failures(open_source(tmp_path / "gone"))
    with pytest.raises(InputError, match="expected the address of a DICOMweb server"):
        open_source("http:///nowhere")
