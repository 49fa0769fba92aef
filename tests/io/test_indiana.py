from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.io.indiana import read_indiana
from cascade.io.openi import read_openi

REPORTS = """uid,MeSH,Problems,image,indication,comparison,findings,impression
1,normal,normal,Xray Chest PA and Lateral,Cough.,None.,"Clear, all of it.",Normal.
10,"Catheters, Indwelling/left;Opacity/lung",Opacity,PA,,,"Two
lines.",
2,No Indexing,No Indexing,PA,Fall.,,,Fine.
"""
PROJECTIONS = """uid,filename,projection
1,1_IM-0001-4001.dcm.png,Frontal
1,1_IM-0001-3001.dcm.png,Lateral
10,10_IM-0002-2001.dcm.png,Lateral
10,10_IM-0002-1001.dcm.png,Frontal
2,2_IM-0652-1001.dcm.png,Oblique
"""


def write(root: Path, reports: str = REPORTS, projections: str = PROJECTIONS) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "indiana_reports.csv").write_text(reports, encoding="utf-8")
    (root / "indiana_projections.csv").write_text(projections, encoding="utf-8")
    return root


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def test_the_pair_is_read(tmp_path: Path):
    seen: list[int] = []
    collection = read_indiana(write(tmp_path), progress=seen.append)
    studies = collection.studies
    assert seen == [1, 2, 3]
    assert studies["study_id"].tolist() == ["CXR1", "CXR2", "CXR10"]
    assert studies["patient_id"].tolist() == studies["study_id"].tolist()
    assert studies["mesh"].tolist() == [
        ["normal"],
        [],
        ["Catheters, Indwelling/left", "Opacity/lung"],
    ]
    assert studies["findings"].tolist() == ["Clear, all of it.", None, "Two lines."]
    assert studies["impression"].tolist() == ["Normal.", "Fine.", None]
    assert studies["indication"].tolist() == ["Cough.", "Fall.", None]
    assert studies["comparison"].tolist() == ["None.", None, None]
    assert dict(zip(collection.images["image_id"], collection.images["view"], strict=True)) == {
        "CXR1_1_IM-0001-3001": "lateral",
        "CXR1_1_IM-0001-4001": "frontal",
        "CXR2_IM-0652-1001": "unknown",
        "CXR10_IM-0002-1001": "frontal",
        "CXR10_IM-0002-2001": "lateral",
    }
    assert collection.info["rejected"] == []
    assert (collection.info["unindexed"], collection.info["images_found"]) == (1, 0)


def test_images_are_matched_in_every_naming_scheme(tmp_path: Path):
    write(tmp_path)
    touch(
        tmp_path,
        "images/images_normalized/1_IM-0001-4001.dcm.png",
        "b/CXR1_1_IM-0001-3001.png",
        "b/CXR10_IM-0002/1.png",  # the second by name, though the table has it first
        "b/holiday.png",
    )
    collection = read_indiana(tmp_path)
    table = collection.images.dropna(subset="path")
    assert dict(zip(table["image_id"], table["path"], strict=True)) == {
        "CXR1_1_IM-0001-3001": "b/CXR1_1_IM-0001-3001.png",
        "CXR1_1_IM-0001-4001": "images/images_normalized/1_IM-0001-4001.dcm.png",
        "CXR10_IM-0002-2001": "b/CXR10_IM-0002/1.png",
    }
    assert collection.info["files_unused"] == {"count": 1, "first": ["b/holiday.png"]}


def test_files_and_images_elsewhere(tmp_path: Path):
    write(tmp_path / "tables")
    touch(tmp_path / "images", "2_IM-0652-1001.dcm.png")
    collection = read_indiana(
        tmp_path,
        reports=tmp_path / "tables/indiana_reports.csv",
        projections=tmp_path / "tables/indiana_projections.csv",
        images=tmp_path / "images",
    )
    assert collection.info["images_found"] == 1
    assert len(read_indiana(tmp_path / "tables/indiana_reports.csv").studies) == 3
    with pytest.raises(InputError, match="image folder .* does not exist"):
        read_indiana(tmp_path / "tables", images=tmp_path / "none")


def test_a_split_file(tmp_path: Path):
    split = tmp_path / "split.json"
    split.write_text('{"train": ["CXR1_1_IM-0001"], "test": ["CXR2_IM-0652", "CXR3_IM-1"]}')
    collection = read_indiana(write(tmp_path), split_file=split)
    assert collection.studies["split"].tolist() == ["train", "test", None]
    assert collection.info["split_file"] == {
        "name": "split.json",
        "unknown_ids": 1,
        "studies_outside": 1,
    }


@pytest.mark.parametrize("uid", ["1", "CXR1", " 1 ", "1.0", "01"])
def test_ways_to_write_a_uid(uid: str, tmp_path: Path):
    write(tmp_path, REPORTS.replace("\n1,", f"\n{uid},"))
    assert read_indiana(tmp_path).studies["study_id"].tolist()[0] == "CXR1"


def test_bad_rows_are_listed_with_a_reason(tmp_path: Path):
    reports = REPORTS + ",normal,,,,,No uid.,\nx7,normal,,,,,Odd.,\n2,normal,,,,,Again.,\n"
    projections = (
        PROJECTIONS
        + "1,1_IM-0001-4001.dcm.png,Frontal\n3,3_IM-1.dcm.png,Frontal\n2,,Frontal\n"
        + ",2_IM-7.dcm.png,Frontal\n2,10_IM-7.dcm.png,Frontal\n"
    )
    collection = read_indiana(write(tmp_path, reports, projections))
    assert len(collection.studies) == 3
    assert len(collection.images) == 5
    assert collection.info["rejected"] == [
        {"file": "indiana_reports.csv:5", "reason": "no uid"},
        {"file": "indiana_reports.csv:6", "reason": "uid 'x7' is not a number"},
        {"file": "indiana_reports.csv:7", "reason": "study CXR2 stands in an earlier row already"},
        {
            "file": "indiana_projections.csv:7",
            "reason": "image '1_IM-0001-4001.dcm.png' stands in an earlier row already",
        },
        {
            "file": "indiana_projections.csv:8",
            "reason": "image '3_IM-1.dcm.png' of study CXR3, which has no report",
        },
        {"file": "indiana_projections.csv:9", "reason": "the row has no filename"},
        {"file": "indiana_projections.csv:10", "reason": "no uid"},
        {
            "file": "indiana_projections.csv:11",
            "reason": "image '10_IM-7.dcm.png' is not of study CXR2 by its name",
        },
    ]


def test_control_characters_are_dropped(tmp_path: Path):
    write(tmp_path, REPORTS.replace("Cough.", "Co\x07u\x1b\u200bgh."))
    assert read_indiana(tmp_path).studies["indication"].iloc[0] == "Cough."


def test_a_long_report(tmp_path: Path):
    write(tmp_path, REPORTS.replace("Fall.", "Fall. " * 1_700_000))
    assert len(read_indiana(tmp_path).studies["indication"].iloc[1]) == 6 * 1_700_000 - 1


def test_wrong_files_are_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"none does not exist: indiana_reports\.csv and"):
        read_indiana(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no indiana_reports\.csv: .* data\.reports=FILE"):
        read_indiana(tmp_path)
    write(tmp_path)
    for name, words in (
        ("indiana_reports.csv", "no column 'MeSH', 'indication'"),
        ("indiana_projections.csv", "no column 'filename'"),
    ):
        write(tmp_path)
        (tmp_path / name).write_text("uid,findings,impression,comparison,projection\n1,a,b,c,d\n")
        with pytest.raises(InputError, match=words):
            read_indiana(tmp_path)
        (tmp_path / name).write_bytes(REPORTS.replace("Clear", "caf\xe9").encode("latin-1"))
        with pytest.raises(InputError, match=f"{name} is not UTF-8"):
            read_indiana(tmp_path)
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(InputError, match=f"{name} "):
            read_indiana(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(InputError, match=f"holds no {name}"):
            read_indiana(tmp_path)
    write(tmp_path, "uid,MeSH,indication,comparison,findings,impression\nx,,,,,\n")
    with pytest.raises(InputError, match=r"no row of .*reports\.csv can be read; .* not a number"):
        read_indiana(tmp_path)


@pytest.mark.realdata
def test_the_pair_made_from_the_archive_reads_as_the_archive(real_data: Path, tmp_path: Path):
    root = real_data / "openi"
    split = root / "r2gen_split.json"
    archive = read_openi(root, split_file=split)
    captions = archive.images.groupby("study_id")["caption"].first().to_dict()
    texts = ["indication", "comparison", "findings", "impression"]
    with (tmp_path / "indiana_reports.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["uid", "MeSH", "Problems", "image", *texts])
        for row in archive.studies.to_dict("records"):
            mesh = ";".join(row["mesh"]) or "No Indexing"
            problems = ";".join(term.split("/")[0] for term in row["mesh"])
            uid = row["study_id"].removeprefix("CXR")
            caption = captions.get(row["study_id"]) or ""
            out.writerow([uid, mesh, problems, caption, *(row[name] or "" for name in texts)])
    # the true list names each image but four, whose view nobody knows
    named = (root / "projections.csv").read_text(encoding="utf-8").splitlines()
    listed = {line.split(",")[1].removesuffix(".dcm.png") for line in named}
    for image_id in archive.images["image_id"]:
        key = image_id.removeprefix("CXR").replace("1_1_IM-0001", "1_IM-0001")
        if key not in listed:
            named.append(f"{key.split('_')[0]},{key}.dcm.png,")
    (tmp_path / "indiana_projections.csv").write_text("\n".join(named) + "\n", encoding="utf-8")

    pair = read_indiana(tmp_path, images=root, split_file=split)
    assert pair.info["rejected"] == []
    for column in ("study_id", "patient_id", *texts, "mesh", "split"):
        assert pair.studies[column].tolist() == archive.studies[column].tolist(), column
    for column in ("image_id", "study_id", "path", "view"):
        assert pair.images[column].tolist() == archive.images[column].tolist(), column
    assert pair.counts == archive.counts
