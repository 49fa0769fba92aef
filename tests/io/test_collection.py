from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from cascade.errors import InputError
from cascade.io.collection import (
    Collection,
    Image,
    Study,
    read_collection,
    write_collection,
)

STUDIES = [
    Study("s1", "p1", findings="Clear.", mesh=("normal",), split="train"),
    Study("s2", "p2"),
]
IMAGES = [Image("i1", "s1", "a/i1.png", "frontal"), Image("i2", "s1", None)]


def test_round_trip(tmp_path: Path):
    made = Collection.build(STUDIES, IMAGES, tmp_path / "images", {"source": "test"})
    write_collection(made, tmp_path / "out")
    read = read_collection(tmp_path / "out")
    assert read.studies["mesh"].tolist() == [["normal"], []]
    assert read.studies["split"].tolist() == ["train", None]
    assert read.studies["findings"].tolist() == ["Clear.", None]
    assert read.images["path"].tolist() == ["a/i1.png", None]
    assert read.image_root == (tmp_path / "images").resolve()
    assert read.info["counts"] == made.counts
    assert made.counts == {"studies": 2, "patients": 2, "images_named": 2, "images_found": 1}
    assert read.image_path("a/i1.png") == (tmp_path / "images" / "a" / "i1.png").resolve()


def test_a_collection_moves_with_its_images(tmp_path: Path):
    inside = tmp_path / "one"
    write_collection(Collection.build(STUDIES, IMAGES, inside / "images"), inside / "out")
    shutil.move(inside, tmp_path / "two")
    assert read_collection(tmp_path / "two/out").image_root == (tmp_path / "two/images").resolve()


def test_no_image_at_all(tmp_path: Path):
    write_collection(Collection.build(STUDIES, [], tmp_path), tmp_path / "out")
    assert read_collection(tmp_path / "out").counts["images_named"] == 0


@pytest.mark.parametrize(
    ("studies", "images", "words"),
    [
        ([], [], "empty"),
        ([STUDIES[0], STUDIES[0]], [], "occurs twice"),
        ([STUDIES[0]], [IMAGES[0], IMAGES[0]], "occurs twice"),
        ([STUDIES[0]], [Image("i", "other", None)], "unknown study"),
        ([STUDIES[0]], [Image("i", "s1", None, "oblique")], "unknown view"),
        ([Study("s", "p", split="dev")], [], "unknown split"),
        ([STUDIES[0], Study("s3", "p1", split="test")], [], "more than one split"),
        ([STUDIES[0]], [Image("i", "s1", "../i.png")], "leaves the image root"),
        ([STUDIES[0]], [Image("i", "s1", "/i.png")], "leaves the image root"),
        ([Study("s", "p", labels={"Mass": 2.0})], [], "'s' gives the label 'Mass' as 2.0"),
        ([Study("s", "p", labels={"Mass": float("nan")})], [], "label 'Mass' as nan"),
    ],
)
def test_what_breaks_the_contract_is_refused(studies, images, words, tmp_path: Path):
    with pytest.raises(InputError, match=words):
        Collection.build(studies, images, tmp_path)


def test_what_is_no_collection_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_collection(tmp_path / "none")
    with pytest.raises(InputError, match="not a collection"):
        read_collection(tmp_path)
    write_collection(Collection.build(STUDIES, IMAGES, tmp_path), tmp_path / "out")
    info = json.loads((tmp_path / "out/collection.json").read_text())
    (tmp_path / "out/images.parquet").write_bytes(b"cut")
    with pytest.raises(InputError, match="cannot be read"):
        read_collection(tmp_path / "out")
    (tmp_path / "out/collection.json").write_text(json.dumps({**info, "format_version": 99}))
    with pytest.raises(InputError, match="format 99"):
        read_collection(tmp_path / "out")


def test_labels_automatic_terms_and_captions_survive_the_disk(tmp_path):
    studies = [
        Study("a", "p", mesh_automatic=("effusion",), labels={"Edema": -1.0, "Mass": 1.0}),
        Study("b", "p"),
        Study("c", "p", labels={}),
    ]
    images = [Image("i", "a", None, caption="PA chest"), Image("j", "b", None)]
    write_collection(Collection.build(studies, images, tmp_path), tmp_path / "c")
    read = read_collection(tmp_path / "c")
    assert read.studies["labels"].tolist() == [{"Edema": -1.0, "Mass": 1.0}, None, {}]
    assert read.studies["mesh_automatic"].tolist() == [["effusion"], [], []]
    assert read.images["caption"].tolist() == ["PA chest", None]


def test_a_collection_of_an_earlier_program_is_read(tmp_path):
    write_collection(
        Collection.build([Study("a", "p")], [Image("i", "a", None)], tmp_path), tmp_path / "c"
    )
    for name, new in (("studies", ["mesh_automatic", "labels"]), ("images", ["caption"])):
        path = tmp_path / "c" / f"{name}.parquet"
        pd.read_parquet(path).drop(columns=new).to_parquet(path)
    read = read_collection(tmp_path / "c")
    assert read.studies.loc[0, "mesh_automatic"] == []
    assert read.studies.loc[0, "labels"] is None
    assert read.images.loc[0, "caption"] is None
