from __future__ import annotations

from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.io.nih import FINDINGS, annotation, read_nih
from cascade.io.table import read_csv

REDUCED = "image,patient_id,view,sex,age,labels,official\n"
FIRST_HEADER = (  # the first edition's has commas inside its brackets and one at the end
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\r\n"
)
ORIGINAL = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,View Position\n"


def write(root: Path, name: str, text: str, *images: str) -> Path:
    (root / name).write_text(text)
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()
    return root


def test_the_reduced_layout(tmp_path: Path):
    write(
        tmp_path,
        "labels.csv",
        REDUCED + "a.jpg,1,PA,M,5,Effusion|Atelectasis,train\nb.jpg,2,LL,F,6,No Finding,test\n",
        "images/a.jpg",
    )
    collection = read_nih(tmp_path)
    assert collection.studies["study_id"].tolist() == ["a", "b"]
    assert collection.studies["mesh"].tolist() == [["Atelectasis", "Effusion"], ["normal"]]
    assert collection.studies["split"].tolist() == ["train", "test"]
    assert collection.images["path"].tolist() == ["images/a.jpg", None]
    assert collection.images["view"].tolist() == ["frontal", "lateral"]


def test_the_original_layout(tmp_path: Path):
    write(
        tmp_path,
        "Data_Entry_2017_v2020.csv",
        ORIGINAL
        + "a.png,Pleural_Thickening,0,1,60,AP\nb.png,No Finding,0,2,60,PA\nc.png,Mass,0,3,60,PA\n",
        "images_001/images/a.png",
    )
    write(tmp_path, "train_val_list.txt", "a.png\n")
    write(tmp_path, "test_list.txt", "b.png\n")
    collection = read_nih(tmp_path)
    assert collection.studies["mesh"].tolist() == [["Pleural Thickening"], ["normal"], ["Mass"]]
    assert collection.studies["split"].tolist() == ["train", "test", None]
    assert collection.images["path"].tolist() == ["images_001/images/a.png", None, None]
    assert read_nih(tmp_path / "Data_Entry_2017_v2020.csv").counts == collection.counts


def test_the_files_as_the_nih_gives_them(tmp_path: Path):
    first = FIRST_HEADER + (
        "00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143,\r\n"
        "00000002_000.png,No Finding,0,2,081Y,M,PA,2500,2048,0.171,0.171\r\n"
        "00000003_000.png,Hernia,0,3,081Y,F,AP,2582,2991,0.143,0.143,\r\n"
    )
    write(tmp_path, "Data_Entry_2017.csv", "")
    (tmp_path / "Data_Entry_2017.csv").write_bytes(first.encode())
    (tmp_path / "train_val_list.txt").write_bytes(b"00000001_000.png\r\n00000009_000.png\r\n")
    (tmp_path / "test_list.txt").write_bytes(b"\xef\xbb\xbf00000002_000.png\r\n")
    for name in ("images_001/images/00000001_000.png", "images_012/images/00000008_000.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    collection = read_nih(tmp_path)
    assert collection.studies["mesh"].tolist() == [
        ["Cardiomegaly", "Emphysema"],
        ["normal"],
        ["Hernia"],
    ]
    assert collection.studies["split"].tolist() == ["train", "test", None]
    assert collection.images["path"].tolist() == ["images_001/images/00000001_000.png", None, None]
    info = collection.info
    assert info["label_list"] == "Data_Entry_2017.csv"
    assert info["lists"] == {
        "train_val_list.txt": {"names": 2, "not_in_the_table": 1},
        "test_list.txt": {"names": 1, "not_in_the_table": 0},
    }
    assert (info["lists_missing"], info["images_in_no_list"], info["files_unused"]) == ([], 1, 1)
    assert info["rejected"] == []

    corrected = first.replace(",\r\n", "\r\n").replace("Cardiomegaly", "Mass")
    write(tmp_path, "Data_Entry_2017_v2020.csv", corrected)
    (tmp_path / "test_list.txt").unlink()
    collection = read_nih(tmp_path)
    assert collection.info["label_list"] == "Data_Entry_2017_v2020.csv"
    assert collection.studies["mesh"].tolist()[0] == ["Mass", "Emphysema"]
    assert collection.info["lists_missing"] == ["test_list.txt"]


def test_lists_that_cannot_be_right(tmp_path: Path):
    write(tmp_path, "Data_Entry_2017.csv", ORIGINAL + "a.png,Mass,0,1,60,AP\n")
    (tmp_path / "train_val_list.txt").write_bytes(b"a.png\r\n")
    (tmp_path / "test_list.txt").write_bytes(b"a.png\r\n")
    with pytest.raises(InputError, match=r"1 image\(s\) stand in both lists .* a.png: download"):
        read_nih(tmp_path)
    (tmp_path / "test_list.txt").write_bytes(b"caf\xe9.png")
    with pytest.raises(InputError, match="test_list.txt is not UTF-8"):
        read_nih(tmp_path)


def test_the_order_is_fixed():
    assert annotation("|".join(reversed(FINDINGS))) == FINDINGS
    assert annotation("") == ()


def test_bad_rows_are_counted(tmp_path: Path):
    rows = (
        "a.jpg,1,PA,M,5,Mass,train\na.jpg,1,PA,M,5,Mass,train\nb.jpg,2,PA,M,5,Cold,train\n"
        "c.jpg,3,PA,M,5,Mass,dev\n,4,PA,M,5,Mass,train\nd.jpg,5,PA,M,5,No Finding|Mass,train\n"
    )
    collection = read_nih(write(tmp_path, "labels.csv", REDUCED + rows))
    assert len(collection.studies) == 1
    reasons = [row["reason"] for row in collection.info["rejected"]]
    words = ("two rows", "unknown label 'Cold'", "unknown split", "no image", "beside a finding")
    assert [word in reason for word, reason in zip(words, reasons, strict=True)] == [True] * 5
    assert collection.info["rejected"][0]["file"] == "labels.csv:3"


def test_what_is_not_the_collection(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_nih(tmp_path / "none")
    with pytest.raises(InputError, match="Data_Entry_2017"):
        read_nih(tmp_path)
    write(tmp_path, "labels.csv", "image,labels\na.jpg,Mass\n")
    with pytest.raises(InputError, match="no column 'patient_id', 'view'"):
        read_nih(tmp_path)
    write(tmp_path, "labels.csv", REDUCED + "a.jpg,1,PA,M,5,Cold,train\n")
    with pytest.raises(InputError, match="no row .* unknown label 'Cold'"):
        read_nih(tmp_path)
    with pytest.raises(InputError, match="image folder"):
        read_nih(tmp_path, images=tmp_path / "none")


@pytest.mark.realdata
def test_the_real_images(real_data: Path):
    collection = read_nih(real_data / "nih")
    assert collection.counts == {
        "studies": 1451,
        "patients": 1117,
        "images_named": 1451,
        "images_found": 1451,
    }
    assert collection.info["rejected"] == []
    assert collection.studies["split"].value_counts().to_dict() == {
        "train": 778,
        "test": 587,
        "val": 86,
    }


@pytest.mark.realdata
def test_the_real_labels_in_the_original_layout(real_data: Path, tmp_path: Path):
    table = read_csv(real_data / "nih" / "labels.csv")
    lines = [
        f"{row.image},{row.labels.replace('Pleural Thickening', 'Pleural_Thickening')},0,"
        f"{row.patient_id},{row.age},{row.sex},{row.view},320,320,0.1,0.1,\r\n"
        for row in table.itertuples()
    ]
    (tmp_path / "Data_Entry_2017.csv").write_bytes((FIRST_HEADER + "".join(lines)).encode())
    lists = {"test_list.txt": ["test"], "train_val_list.txt": ["train", "val"]}
    for name, splits in lists.items():
        chosen = table["image"][table["official"].isin(splits)]
        (tmp_path / name).write_bytes("".join(f"{image}\r\n" for image in chosen).encode())
    original = read_nih(tmp_path, images=real_data / "nih" / "images")
    reduced = read_nih(real_data / "nih")
    assert original.studies["mesh"].tolist() == reduced.studies["mesh"].tolist()
    merged = reduced.studies["split"].replace("val", "train").tolist()
    assert original.studies["split"].tolist() == merged
    assert original.counts == reduced.counts
    assert original.info["images_in_no_list"] == original.info["files_unused"] == 0
    assert original.info["rejected"] == []
