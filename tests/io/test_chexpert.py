from __future__ import annotations

from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.io.chexpert import CHEXPERT_LABELS, read_chexpert

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Support Devices\n"
SMALL = "CheXpert-v1.0-small/train/patient00001/study1"


def write(root: Path, name: str, text: str, *images: str) -> Path:
    (root / name).write_text(text)
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()
    return root


def test_the_lists_become_studies_with_splits(tmp_path: Path):
    write(
        tmp_path,
        "train.csv",
        HEADER
        + f"{SMALL}/view1_frontal.jpg,F,60,Frontal,AP,,-1.0,1.0\n"
        + f"{SMALL}/view2_lateral.jpg,F,60,Lateral,,,-1.0,1.0\n"
        + "CheXpert-v1.0-small/train/patient00002/study3/view1_frontal.jpg,M,60,,PA,1.0,0.0,\n",
        "train/patient00001/study1/view1_frontal.jpg",
    )
    write(
        tmp_path,
        "valid.csv",
        HEADER + "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg,F,1,,,,,\n",
        "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg",
    )
    collection = read_chexpert(tmp_path)
    studies, images = collection.studies, collection.images
    assert studies["study_id"].tolist() == [
        "patient00001_study1",
        "patient00002_study3",
        "patient64541_study1",
    ]
    assert studies["patient_id"].tolist() == ["patient00001", "patient00002", "patient64541"]
    assert studies["split"].tolist() == ["train", "train", "val"]
    assert studies["labels"].tolist() == [
        {"Edema": -1.0, "Support Devices": 1.0},
        {"No Finding": 1.0, "Edema": 0.0},
        None,
    ]
    assert images["view"].tolist() == ["frontal", "lateral", "frontal", "frontal"]
    assert images["path"].tolist() == [
        "train/patient00001/study1/view1_frontal.jpg",
        None,
        None,
        "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg",
    ]
    assert collection.info["projections"] == {"AP": 1, "PA": 1}
    assert len(collection.info["labels_missing"]) == len(CHEXPERT_LABELS) - 3
    assert collection.info["rejected"] == []


def test_one_list_has_no_splits(tmp_path: Path):
    write(tmp_path, "train.csv", HEADER + f"{SMALL}/view1_frontal.jpg,F,6,Frontal,AP,1,,\n")
    assert read_chexpert(tmp_path).studies["split"].tolist() == [None]
    assert read_chexpert(tmp_path / "train.csv").studies["split"].tolist() == [None]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (f"{SMALL}/view1_frontal.jpg,F,6,Frontal,AP,,1,", "two rows"),
        (f"{SMALL}/view2_frontal.jpg,F,6,Frontal,AP,,0,", "other labels in an earlier row"),
        ("patient1/view1_frontal.jpg,F,6,Frontal,AP,,,", "names no patient and study"),
        (f"{SMALL}/view2_frontal.jpg,F,6,Frontal,AP,,yes,", "label 'Edema' is 'yes'"),
    ],
)
def test_bad_rows_are_counted(row: str, words: str, tmp_path: Path):
    text = HEADER + f"{SMALL}/view1_frontal.jpg,F,6,Frontal,AP,,1,\n{row}\n"
    collection = read_chexpert(write(tmp_path, "train.csv", text))
    assert len(collection.studies) == 1
    assert [entry["file"] for entry in collection.info["rejected"]] == ["train.csv:3"]
    assert words in collection.info["rejected"][0]["reason"]


def test_what_is_not_the_collection(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_chexpert(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds none of train.csv.* download CheXpert"):
        read_chexpert(tmp_path)
    write(tmp_path, "train.csv", "Path,Sex\na,F\n")
    with pytest.raises(InputError, match="none of CheXpert's label columns"):
        read_chexpert(tmp_path)
    write(tmp_path, "train.csv", "File,Edema\na,1\n")
    with pytest.raises(InputError, match="no column 'Path'"):
        read_chexpert(tmp_path)
    with pytest.raises(InputError, match="image folder"):
        read_chexpert(tmp_path, images=tmp_path / "none")
