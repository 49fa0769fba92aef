import numpy as np
import pytest
from PIL import Image as Picture

from cascade.io.collection import Collection, Image, Study


@pytest.fixture
def collection(tmp_path):
    """Three studies: two views, frontal only, lateral only; one file missing, one broken."""
    for name, value in (("a0", 10), ("a1", 20), ("b0", 30), ("c0", 40)):
        pixels = np.full((8, 8), value, dtype=np.uint8)
        pixels[0, 0], pixels[0, 1] = 0, 255  # pictures are stretched over their range
        Picture.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    studies = [
        Study("a", "p1", mesh=("Opacity/left",), split="train", findings="Left  opacity."),
        Study("b", "p2", mesh=("normal",), split="train"),
        Study("c", "p3", mesh=("normal",), split="val"),
    ]
    images = [
        Image("a1", "a", "a1.png", "lateral"),
        Image("a0", "a", "a0.png", "frontal"),
        Image("b0", "b", "b0.png", "unknown"),
        Image("b1", "b", "bad.png", "frontal"),
        Image("c0", "c", "c0.png", "lateral"),
        Image("c1", "c", None, "frontal"),
    ]
    return Collection.build(studies, images, tmp_path)
