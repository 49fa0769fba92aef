from __future__ import annotations

import gzip
import os
import stat
import zipfile
from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.io import mimic_cxr
from cascade.io.mimic_cxr import read_mimic_cxr

REPORT = (
    "FINAL REPORT\n EXAMINATION: Chest.\n\n FINDINGS:\n Clear lungs.\n\n IMPRESSION:\n Normal.\n"
)
ONE, TWO = "files/p10/p10000001/s50000001", "files/p11/p11000002/s50000002"
METADATA = "dicom_id,subject_id,study_id,ViewPosition,Rows\n"
LABELS = "subject_id,study_id,No Finding,Edema,Pleural Effusion\n"


def write(root: Path, name: str, content: str | bytes = b"") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def pack(path: Path, *members: tuple[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Two studies with everything that the two releases have."""
    write(tmp_path, f"{ONE}.txt", REPORT)
    write(tmp_path, f"{TWO}.txt", " IMPRESSION: Effusion.")
    for name in (f"{ONE}/aa-1.jpg", f"{ONE}/bb-2.jpg", f"{TWO}/cc-3.jpg"):
        write(tmp_path, name)
    write(
        tmp_path,
        "mimic-cxr-2.0.0-metadata.csv.gz",
        METADATA
        + "aa-1,10000001,50000001,PA,1\nbb-2,10000001,50000001,LATERAL,1\n"
        + "cc-3,11000002,50000002,AP,1\ndd-4,11000002,50000002,,1\n",
    )
    write(
        tmp_path,
        "mimic-cxr-2.0.0-split.csv",
        "dicom_id,study_id,subject_id,split\naa-1,50000001,10000001,validate\n"
        "bb-2,50000001,10000001,validate\ncc-3,50000002,11000002,test\n",
    )
    write(
        tmp_path,
        "mimic-cxr-2.0.0-chexpert.csv.gz",
        LABELS + "10000001,50000001,1.0,,\n11000002,50000002,,-1.0,0.0\n",
    )
    write(tmp_path, "mimic-cxr-2.0.0-negbio.csv", LABELS + "11000002,50000002,,1.0,\n")
    return tmp_path


def test_everything_that_is_there_is_used(whole: Path):
    collection = read_mimic_cxr(whole)
    studies, images = collection.studies, collection.images
    assert studies["study_id"].tolist() == ["s50000001", "s50000002"]
    assert studies["patient_id"].tolist() == ["p10000001", "p11000002"]
    assert studies["findings"].tolist() == ["Clear lungs.", None]
    assert studies["impression"].tolist() == ["Normal.", "Effusion."]
    assert studies["split"].tolist() == ["val", "test"]
    assert studies["labels"].tolist() == [
        {"No Finding": 1.0},
        {"Edema": -1.0, "Pleural Effusion": 0.0},
    ]
    assert images["image_id"].tolist() == ["aa-1", "bb-2", "cc-3", "dd-4"]
    assert images["path"].tolist() == [
        f"{ONE}/aa-1.jpg",
        f"{ONE}/bb-2.jpg",
        f"{TWO}/cc-3.jpg",
        None,
    ]
    assert images["view"].tolist() == ["frontal", "lateral", "frontal", "unknown"]
    info = collection.info
    assert info["tables"]["chexpert"] == "mimic-cxr-2.0.0-chexpert.csv.gz"
    assert info["missing"] == ["records", "studies"]
    assert (info["reports_read"], info["images_missing"], info["rejected"]) == (2, 1, [])


def test_the_labeller_and_the_views_are_chosen(whole: Path):
    collection = read_mimic_cxr(whole, labels="negbio", views=["pa"])
    assert collection.studies["labels"].tolist() == [None, {"Edema": 1.0}]
    assert collection.images["image_id"].tolist() == ["aa-1"]
    assert collection.info["images_of_other_views"] == {"AP": 1, "LATERAL": 1, "none": 1}
    assert read_mimic_cxr(whole, labels="none").studies["labels"].tolist() == [None, None]
    with pytest.raises(InputError, match=r"unknown labels 'x', expected one of \['chexpert'"):
        read_mimic_cxr(whole, labels="x")


def test_files_alone_are_enough(tmp_path: Path):
    write(tmp_path, f"{ONE}.txt", REPORT)
    write(tmp_path, f"{ONE}/aa.jpg")
    write(tmp_path, f"{ONE}/aa.dcm")
    write(tmp_path, f"{TWO}/bb.dcm")
    write(tmp_path, "LICENSE.txt", "not a report")
    write(tmp_path, "thumbnails/cc.jpg")
    collection = read_mimic_cxr(tmp_path)
    assert collection.images["path"].tolist() == [f"{ONE}/aa.dcm", f"{TWO}/bb.dcm"]
    assert collection.studies["findings"].tolist() == ["Clear lungs.", None]
    assert collection.studies["split"].tolist() == [None, None]
    info = collection.info
    assert info["studies_without_report"] == 1
    assert info["missing"] == ["metadata", "records", "split", "studies", "chexpert"]
    assert info["labels"] is None


def test_packed_reports_are_read_in_place(tmp_path: Path):
    archive = pack(
        tmp_path / "mimic-cxr-reports.zip",
        (f"{ONE}.txt", REPORT),
        ("files/p10/LICENSE.txt", "x"),
        ("../p10000009/s5.txt", "x"),
        ("/p10000009/s6.txt", "x"),
        ("files/p10\\p10000009/s7.txt", "x"),
        ("files/p10/p10000009/s8.txt", b"caf\xe9"),
        ("files/p10/p10000009/s9.txt", " \n"),
        ("files/p10/p10000009/s10.txt", b"x" * (mimic_cxr.MAX_REPORT_BYTES + 1)),
    )
    before = sorted(tmp_path.rglob("*"))
    collection = read_mimic_cxr(tmp_path)
    assert collection.studies["study_id"].tolist() == ["s50000001"]
    reasons = [row["reason"] for row in collection.info["rejected"]]
    words = ("leaves", "leaves", "leaves", "not UTF-8", "empty", "more than the limit")
    assert [word in reason for word, reason in zip(words, reasons, strict=True)] == [True] * 6
    assert collection.info["rejected"][-1]["file"] == "files/p10/p10000009/s10.txt"
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "images").mkdir()
    named = read_mimic_cxr(tmp_path / "images", reports=archive)
    assert named.counts == collection.counts


def test_reports_and_images_elsewhere(whole: Path, tmp_path: Path):
    other = tmp_path / "other"
    write(other, "reports/p10/p10000001/s50000001.txt", "IMPRESSION: Other.")
    write(other, "images/p11/p11000002/s50000002/cc-3.dcm")
    collection = read_mimic_cxr(whole, reports=other / "reports", images=other / "images")
    assert collection.studies["impression"].tolist() == ["Other.", None]
    assert collection.images["path"].dropna().tolist() == ["p11/p11000002/s50000002/cc-3.dcm"]
    assert collection.image_root == (other / "images").resolve()


def test_a_damaged_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    archive = pack(tmp_path / "mimic-cxr-reports.zip", (f"{ONE}.txt", REPORT))
    whole = archive.read_bytes()
    archive.write_bytes(whole[:40])
    with pytest.raises(InputError, match=r"is damaged .* download it again"):
        read_mimic_cxr(tmp_path)
    archive.write_bytes(whole.replace(b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\xff"))  # a version of zip
    with pytest.raises(InputError, match=r"is damaged \(zip file version"):
        read_mimic_cxr(tmp_path)
    archive.write_bytes(whole.replace(b"Clear", b"Cleer"))
    with pytest.raises(InputError, match=r"nothing of MIMIC-CXR .* Bad CRC-32"):
        read_mimic_cxr(tmp_path)
    archive.write_bytes(whole)
    monkeypatch.setattr(mimic_cxr, "MAX_REPORTS_BYTES", 10)
    with pytest.raises(InputError, match="unpacks to more than 10 bytes"):
        read_mimic_cxr(tmp_path)


def test_a_link_in_an_archive_is_no_report(tmp_path: Path):
    link = zipfile.ZipInfo(f"{TWO}.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "mimic-cxr-reports.zip", "w") as archive:
        archive.writestr(f"{ONE}.txt", REPORT)
        archive.writestr(link, "../../secret.txt")
    rejected = read_mimic_cxr(tmp_path).info["rejected"]
    assert rejected == [{"file": f"{TWO}.txt", "reason": "not a regular file"}]


def test_bad_report_files_are_rows(whole: Path):
    write(whole, f"{ONE}.txt", b"caf\xe9")
    write(whole, f"{TWO}.txt", b"")
    collection = read_mimic_cxr(whole)
    assert collection.info["rejected"] == [
        {"file": f"{ONE}.txt", "reason": "not UTF-8 (byte 3)"},
        {"file": f"{TWO}.txt", "reason": "empty"},
    ]
    assert collection.counts["studies"] == 2
    assert collection.studies["findings"].tolist() == [None, None]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("aa-1,10000001,50000001,AP,1", "stands in two rows"),
        ("ee-5,10000009,50000001,AP,1", "s50000001 has another patient elsewhere (p10000001"),
        ("ee-5,,50000001,AP,1", "'' is no id"),
        ("ee-5,10000001,5e7,AP,1", "'5e7' is no id"),
        ("../x,10000001,50000001,AP,1", "'../x' is no dicom_id"),
    ],
)
def test_bad_rows_of_a_table_are_counted(row: str, words: str, whole: Path):
    text = METADATA + f"aa-1,10000001,50000001,PA,1\n{row}\n"
    write(whole, "mimic-cxr-2.0.0-metadata.csv.gz", text)
    rejected = read_mimic_cxr(whole).info["rejected"]
    assert rejected[0]["file"] == "mimic-cxr-2.0.0-metadata.csv.gz:3"
    assert words in rejected[0]["reason"]


def test_contradicting_tables_and_folders_are_rejected(whole: Path):
    write(
        whole,
        "mimic-cxr-2.0.0-split.csv",
        "dicom_id,study_id,subject_id,split\n"
        "aa-1,50000001,10000001,train\nbb-2,50000001,10000001,test\n"
        "cc-3,50000001,10000001,train\ndd-4,50000002,11000002,dev\n",
    )
    write(whole, "mimic-cxr-2.0.0-chexpert.csv.gz", LABELS + "10000001,50000001,2,,\n")
    write(whole, f"{TWO}/aa-1.png")
    rejected = read_mimic_cxr(whole).info["rejected"]
    assert [row["reason"] for row in rejected] == [
        "s50000001 has another split elsewhere (train, here test)",
        "cc-3 has another study elsewhere (s50000002, here s50000001)",
        "unknown split 'dev'",
        "the label 'No Finding' is '2', expected 1, 0, -1 or nothing",
    ]


def test_a_file_name_that_is_not_utf_8_is_rejected(whole: Path):
    name = os.fsencode(whole / ONE) + b"/caf\xe9.jpg"
    with open(name, "wb"):
        pass
    rejected = read_mimic_cxr(whole).info["rejected"]
    assert rejected == [{"file": f"{ONE}/caf\\udce9.jpg", "reason": "its name is no dicom_id"}]


def test_the_newest_tables_are_taken(whole: Path):
    write(whole, "mimic-cxr-2.1.0-chexpert.csv", LABELS + "10000001,50000001,,,1\n")
    collection = read_mimic_cxr(whole)
    assert collection.info["tables"]["chexpert"] == "mimic-cxr-2.1.0-chexpert.csv"
    assert collection.studies["labels"].tolist() == [{"Pleural Effusion": 1.0}, None]


def test_the_lists_of_the_dicom_release(tmp_path: Path):
    write(
        tmp_path,
        "cxr-record-list.csv.gz",
        f"subject_id,study_id,dicom_id,path\n10000001,50000001,aa-1,{ONE}/aa-1.dcm\n",
    )
    write(
        tmp_path,
        "cxr-study-list.csv.gz",
        f"subject_id,study_id,path\n10000001,50000001,{ONE}.txt\n11000002,50000002,{TWO}.txt\n",
    )
    collection = read_mimic_cxr(tmp_path)
    assert collection.counts == {
        "studies": 2,
        "patients": 2,
        "images_named": 1,
        "images_found": 0,
    }


def test_what_is_not_the_collection(tmp_path: Path):
    with pytest.raises(InputError, match=r"does not exist: download MIMIC-CXR"):
        read_mimic_cxr(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds nothing of MIMIC-CXR .* from PhysioNet"):
        read_mimic_cxr(tmp_path)
    with pytest.raises(InputError, match=r"the reports .* do not exist"):
        read_mimic_cxr(tmp_path, reports=tmp_path / "none.zip")
    write(tmp_path, "mimic-cxr-2.0.0-split.csv", "dicom_id,split\na,train\n")
    with pytest.raises(InputError, match="no column 'subject_id', 'study_id'"):
        read_mimic_cxr(tmp_path)
    write(tmp_path, "mimic-cxr-2.0.0-split.csv.gz")
    (tmp_path / "mimic-cxr-2.0.0-split.csv").unlink()
    cut = gzip.compress(b"dicom_id,subject_id,study_id,split\n" * 50)[:40]
    (tmp_path / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(cut)
    with pytest.raises(InputError, match="cannot be read"):
        read_mimic_cxr(tmp_path)
