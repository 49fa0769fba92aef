from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.io.padchest import read_padchest

NAME = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
HEADER = ",ImageID,ImageDir,StudyID,PatientID,Projection,Report,MethodLabel,Labels\n"
ROWS = (
    "0,a.png,0,s1,1,PA,pinzamient de sen .,Physician,\"['normal', 'Kyphosis']\"\n"
    "1,b.png,0,s1,1,L,pinzamient de sen .,Physician,\"['normal', 'Kyphosis']\"\n"
    '2,c.png,1,s2,2,AP_horizontal,derram .,RNN_model,"[\' pleural effusion\', nan, ""a\'b""]"\n'
    "3,d.png,1,s3,3,COSTAL,,Physician,nan\n"
)


def write(root: Path, text: str = HEADER + ROWS, name: str = NAME) -> Path:
    raw = text.encode()
    (root / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return root


@pytest.mark.parametrize("name", [NAME, f"{NAME}.gz"])
def test_labels_by_hand_and_by_program(name: str, tmp_path: Path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0/a.png").touch()
    collection = read_padchest(write(tmp_path, name=name))
    studies, images = collection.studies, collection.images
    assert studies["study_id"].tolist() == ["s1", "s2", "s3"]
    assert studies["findings"].tolist() == ["pinzamient de sen .", "derram .", None]
    assert studies["mesh"].tolist() == [["normal", "Kyphosis"], [], []]
    assert studies["mesh_automatic"].tolist() == [[], ["pleural effusion", "a'b"], []]
    assert studies["labels"].tolist() == [
        {"normal": 1.0, "Kyphosis": 1.0},
        {"pleural effusion": 1.0, "a'b": 1.0},
        None,
    ]
    assert images["image_id"].tolist() == ["a.png", "b.png", "c.png", "d.png"]
    assert images["path"].tolist() == ["0/a.png", None, None, None]
    assert images["view"].tolist() == ["frontal", "lateral", "frontal", "unknown"]
    assert collection.info["language"] == "es"
    assert "English miner" in collection.info["note"]
    assert collection.info["rejected"] == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("4,a.png,0,s1,1,PA,,Physician,[]", "two rows"),
        ("4,e.png,0,s1,2,PA,,Physician,[]", "another patient_id"),
        ("4,,0,s4,4,PA,,Physician,[]", "names no image"),
        ("4,e.png,0,s4,4,PA,,Physician,[__import__('os')]", "not a list of quoted words"),
        ("4,e.png,0,s4,4,PA,,Physician,\"['mass'\"", "not a list of quoted words"),
    ],
)
def test_bad_rows_are_counted(row: str, words: str, tmp_path: Path):
    collection = read_padchest(write(tmp_path, HEADER + ROWS + row + "\n"))
    assert [entry["file"] for entry in collection.info["rejected"]] == [f"{NAME}:6"]
    assert words in collection.info["rejected"][0]["reason"]


def test_without_a_method_the_labels_count_as_automatic(tmp_path: Path):
    write(tmp_path, "ImageID,StudyID,PatientID,Labels\na.png,s,p,['mass']\n")
    collection = read_padchest(tmp_path)
    assert collection.studies["mesh_automatic"].tolist() == [["mass"]]
    assert collection.info["columns_missing"] == [
        "ImageDir",
        "Projection",
        "Report",
        "MethodLabel",
    ]


def test_what_is_not_the_collection(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_padchest(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no PADCHEST.* download"):
        read_padchest(tmp_path)
    write(tmp_path, "ImageID,StudyID\na,b\n")
    with pytest.raises(InputError, match="no column 'PatientID', 'Labels'"):
        read_padchest(tmp_path)
    with pytest.raises(InputError, match="image folder"):
        read_padchest(tmp_path, images=tmp_path / "none")
