from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.io import rows
from cascade.io.rows import label_list
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
        ("C:\\x\\a.png,s,p,", "leaves the folder"),
        ("a\x00b.png,s,p,", "its image holds a control character"),
        ("a.png,s\x1b[31m,p,", "its study_id holds a control character"),
        (f"a.png,{'s' * 1025},p,", "its study_id is longer than 1024 characters"),
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
    assert read_table(path).studies["findings"].iloc[0] == "bell and tab here"


LABELLED = "image,study_id,Edema,Mass\n"


def test_a_column_a_label(tmp_path: Path):
    text = LABELLED + "a.png,s,1.0,-1\nb.png,s,1,-1.0\nc.png,t,0,\nd.png,u,,nan\n"
    collection = read_table(write(tmp_path, text), label_columns=["Edema", "Mass"])
    assert collection.studies["labels"].tolist() == [
        {"Edema": 1.0, "Mass": -1.0},
        {"Edema": 0.0},
        None,
    ]
    assert collection.studies["mesh"].tolist() == [[], [], []]
    assert collection.info["label_columns"] == ["Edema", "Mass"]
    assert collection.info["rejected"] == []
    with pytest.raises(InputError, match="no column 'Nodule'"):
        read_table(tmp_path / "t.csv", label_columns=["Nodule"])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("b.png,s,0,", "other labels in an earlier row"),
        ("b.png,s2,2,", "the label 'Edema' is '2', expected 1, 0, -1 or nothing"),
        ("b.png,s2,,yes", "the label 'Mass' is 'yes'"),
        (f"b.png,s2,,{'9' * 200}", f"the label 'Mass' is '{'9' * 40}...'"),
    ],
)
def test_a_label_that_is_none_rejects_its_row(row: str, words: str, tmp_path: Path):
    path = write(tmp_path, LABELLED + f"a.png,s,1,\n{row}\n")
    collection = read_table(path, label_columns=["Edema", "Mass"])
    assert collection.studies["labels"].tolist() == [{"Edema": 1.0}]
    assert [entry["file"] for entry in collection.info["rejected"]] == ["t.csv:3"]
    assert words in collection.info["rejected"][0]["reason"]


def test_a_cell_that_is_a_list(tmp_path: Path):
    text = "image,labels,labels_automatic,caption\n"
    text += "a.png,\"['Mass', 'No Finding']\",['edema'],PA view\n"
    collection = read_table(write(tmp_path, text))
    assert collection.studies["mesh"].tolist() == [["Mass", "normal"]]
    assert collection.studies["mesh_automatic"].tolist() == [["edema"]]
    assert collection.images["caption"].tolist() == ["PA view"]


def test_a_list_is_read_and_never_run():
    assert label_list("[]") == label_list("['']") == label_list("") == []
    assert label_list(r"""["it's", 'a\'b', 'x, y' ,nan]""") == ["it's", "a'b", "x, y"]
    for cell in ("[print(1)]", "['a' 'b']", "['a'", "[a]", "['a', ['b']]", "[" * 100_000):
        with pytest.raises(InputError, match="not a list of quoted words"):
            label_list(cell)


def test_texts_that_do_not_count_are_counted(tmp_path: Path):
    text = "image,study_id,findings\na.png,s,Clear.\nb.png,s,Clear.\nc.png,s,Other.\n"
    assert read_table(write(tmp_path, text)).info["rows_of_another_text"] == 1


def test_a_huge_cell_rejects_its_row(tmp_path: Path):
    text = f'image,report\na.png,Clear.\nb.png,"{"x" * 10_000_000}"\n'
    collection = read_table(write(tmp_path, text))
    assert collection.info["rejected"] == [
        {"file": "t.csv:3", "reason": f"its report is longer than {rows.MAX_CELL} characters"}
    ]


def test_columns_that_nobody_needs_are_not_looked_at(tmp_path: Path):
    path = write(tmp_path, "image,x,x,report,\na.png,\x00,2,Clear.,\nb.png\n")
    collection = read_table(path)
    assert collection.studies["findings"].tolist() == ["Clear.", None]
    assert collection.info["rejected"] == []
    with pytest.raises(InputError, match="two columns 'x': rename one"):
        read_table(path, columns={"caption": "x"})


def test_rows_longer_than_the_header_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="not a CSV table: .* Expected 2 fields in line 2, saw 3"):
        read_table(write(tmp_path, "image,report\na.png,b,c\nd.png,e,f\n"))
    with pytest.raises(InputError, match="not a CSV table: .* EOF inside string"):
        read_table(write(tmp_path, 'image,report\na.png,"b\nd.png,e\n'))


def test_gzipped_and_where_it_is_not_utf_8(tmp_path: Path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"image\na.png\n"))
    assert read_csv(path)["image"].tolist() == ["a.png"]
    path.write_bytes(gzip.compress(b"image\na.png\n" * 100)[:-12])
    with pytest.raises(InputError, match="cannot be read"):
        read_csv(path)
    path.write_bytes(gzip.compress(b"image\na.png\ncaf\xe9.png\n"))
    with pytest.raises(InputError, match=r"is not UTF-8 \(line 3\): save it as UTF-8"):
        read_csv(path)
    path.write_bytes(gzip.compress(b"caf\xe9.png\n" + bytes(range(32, 127)) * 9)[:-9])
    with pytest.raises(InputError, match="is not UTF-8|cannot be read"):
        read_csv(path)
    path = write(tmp_path, '"two\nlines",\x1b[31m\na,b\n')
    with pytest.raises(InputError, match=r"columns are two lines, '\\x1b\[31m'$"):
        read_csv(path, ["image"])


def test_more_rows_than_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cascade.io.table._CHUNK", 2)
    path = write(tmp_path, "image,study_id\n" + "".join(f"{n}.png,{n}\n" for n in range(7)))
    with path.open("a") as file:
        file.write("3.png,9\n")
    collection = read_table(path)
    assert collection.studies["study_id"].tolist() == list("0123456")
    assert collection.info["rejected"][0]["file"] == "t.csv:9"
