from __future__ import annotations

from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.io.nih_boxes import read_nih_boxes

HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"  # as published: one name, four columns


def write(folder: Path, *rows: str) -> Path:
    path = folder / "BBox_List_2017.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_boxes_are_shares_of_the_picture(tmp_path: Path):
    path = write(
        tmp_path, "00000013_005.png,Atelectasis,256,512,128,64,,,", "b.png,Infiltrate,0,0,1024,1,,,"
    )
    first, second = read_nih_boxes(path)
    assert first == ("00000013_005", "Atelectasis", 0.25, 0.5, 0.375, 0.5625)
    assert second[:4] == ("b", "Infiltration", 0, 0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.png,Lump,1,1,1,1,,,", "unknown label 'Lump'"),
        ("a.png,Mass,1,one,1,1,,,", "'one'"),
        ("a.png,Mass,1,1,0,1,,,", "no box within 1024"),
        ("a.png,Mass,2000,1,1,1,,,", "no box within 1024"),
        ("a.png,Mass,nan,1,1,1,,,", "no box within 1024"),
    ],
)
def test_a_row_that_is_no_box_is_named(tmp_path: Path, row: str, said: str):
    with pytest.raises(InputError, match=said) as caught:
        read_nih_boxes(write(tmp_path, "b.png,Mass,1,1,1,1,,,", row))
    assert "row 2" in str(caught.value)


def test_a_table_of_something_else(tmp_path: Path):
    (tmp_path / "x.csv").write_text("image,label\na,b\n")
    with pytest.raises(InputError, match="Image Index"):
        read_nih_boxes(tmp_path / "x.csv")


@pytest.mark.realdata
def test_the_boxes_at_hand(real_data):
    boxes = read_nih_boxes(real_data / "nih" / "boxes_1024.csv")
    assert len(boxes) == 53
    assert all(box.right <= 1.001 and box.bottom <= 1.001 for box in boxes)
