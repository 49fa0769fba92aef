from __future__ import annotations

from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.io.table import read_csv, read_table


def write(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    return tmp_path / "t.csv"


def test_a_table_with_its_own_column_names(tmp_path: Path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a.png").touch()
    path = write(
        tmp_path,
        "File,Text,Tags,Side\n"
        'x/a.png,"FINDINGS: Clear.\nIMPRESSION: Normal.",No Finding,PA\n'
        "x/b.png,Opacity on the left.,Opacity/lung/left | Cardiomegaly,lateral\n"
        "x/c.png,,,\n",
        "utf-8-sig",
    )
    columns = {"image": "File", "report": "Text", "labels": "Tags", "view": "Side"}
    collection = read_table(path, columns=columns)
    studies = collection.studies
    assert studies["study_id"].tolist() == ["x/a.png", "x/b.png", "x/c.png"]
    assert studies["patient_id"].tolist() == studies["study_id"].tolist()
    assert studies["findings"].tolist() == ["Clear.", "Opacity on the left.", None]
    assert studies["impression"].tolist() == ["Normal.", None, None]
    assert studies["mesh"].tolist() == [["normal"], ["Opacity/lung/left", "Cardiomegaly"], []]
    assert collection.images["path"].tolist() == ["x/a.png", None, None]
    assert collection.images["view"].tolist() == ["frontal", "lateral", "unknown"]
    assert collection.info["images_missing"] == 2
    assert collection.image_root == tmp_path.resolve()


def test_rows_of_a_study_are_joined(tmp_path: Path):
    path = write(
        tmp_path,
        "image,study_id,patient_id,findings,report,labels,split\n"
        "a.png,s,p,Clear.,ignored,Mass,training\nb.png,s,p,Other.,,Mass|Nodule,\n",
    )
    collection = read_table(path)
    study = collection.studies.iloc[0]
    assert len(collection.studies) == 1
    assert (study["patient_id"], study["split"], study["findings"]) == ("p", "train", "Clear.")
    assert study["mesh"] == ["Mass", "Nodule"]
    assert collection.images["study_id"].tolist() == ["s", "s"]


def test_reports_without_images(tmp_path: Path):
    collection = read_table(write(tmp_path, "study_id,report\ns,Clear.\n"))
    assert collection.counts["images_named"] == 0


def test_a_missing_declared_column_is_named_with_those_there_are(tmp_path: Path):
    path = write(tmp_path, "image,notes\na.png,b\n")
    with pytest.raises(InputError, match=r"no column 'report'; its columns are image, notes"):
        read_table(path, columns={"report": "report"})
    with pytest.raises(InputError, match="unknown column role 'text'"):
        read_table(path, columns={"text": "notes"})
    with pytest.raises(InputError, match="no column 'image'"):
        read_table(write(tmp_path, "file\na.png\n"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("../a.png,s,p,", "leaves the folder"),
        ("/etc/a.png,s,p,", "leaves the folder"),
        ("ok.png,s,p,", "two rows"),
        ("a.png,,p,", "no study_id"),
        ("a.png,s,p,dev", "unknown split"),
        ("a.png,s0,q,", "another patient_id"),
        ("a.png,s0,p,test", "another split"),
    ],
)
def test_bad_rows_are_counted(row: str, words: str, tmp_path: Path):
    path = write(tmp_path, f"image,study_id,patient_id,split\nok.png,s0,p,train\n{row}\n")
    collection = read_table(path)
    assert len(collection.studies) == 1
    assert [entry["file"] for entry in collection.info["rejected"]] == ["t.csv:3"]
    assert words in collection.info["rejected"][0]["reason"]


def test_an_absolute_path_inside_the_folder_is_taken(tmp_path: Path):
    (tmp_path / "a.png").touch()
    path = write(tmp_path, f"image\n{tmp_path.resolve()}/a.png\n")
    assert read_table(path).images["path"].tolist() == ["a.png"]


def test_nothing_but_bad_rows(tmp_path: Path):
    with pytest.raises(InputError, match="no row .* leaves the folder"):
        read_table(write(tmp_path, "image\n../a.png\n"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a CSV"),
        (b"image\n", "no rows"),
        (b"image,report\na.png,caf\xe9\n", "not UTF-8"),
        (b"image\na.png\nb.png,c,d,e\n", "not a CSV"),
    ],
)
def test_what_is_no_table(content: bytes, words: str, tmp_path: Path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_table(tmp_path / "t.csv")


def test_missing_and_large(tmp_path: Path):
    with pytest.raises(InputError, match="is missing"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_csv(tmp_path)
    path = write(tmp_path, f'image,report\na.png,"{"long " * 400_000}"\n')
    assert len(read_table(path).studies["findings"].iloc[0]) > 1_900_000


def test_control_characters_do_not_break_a_row(tmp_path: Path):
    path = write(tmp_path, "image,report\na.png,bell \x07 and tab\there\n")
    assert read_table(path).studies["findings"].iloc[0] == "bell \x07 and tab here"
