"""The smallest collection, label table and bundle, and the command called in this process."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as Picture

from cascade.cli.main import dispatch
from cascade.io.collection import Collection, Image, Study, write_collection

STUDIES = 12
SPLITS = ("train",) * 8 + ("val",) * 2 + ("test",) * 2


@dataclasses.dataclass
class Outcome:
    status: int
    out: str
    err: str

    @property
    def line(self):
        """The one line of an error; anything more, or a traceback, fails the test."""
        assert "Traceback" not in self.err + self.out
        lines = [line for line in self.err.splitlines() if line.startswith("cascade: ")]
        assert len(lines) == 1, self.err
        assert self.err.rstrip().endswith(lines[0]), self.err
        return lines[0].removeprefix("cascade: ")


@pytest.fixture
def cascade(capsys, tmp_path, monkeypatch):
    """Run one command line in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        capsys.readouterr()
        status = dispatch([str(word) for word in words])
        caught = capsys.readouterr()
        return Outcome(status, caught.out, caught.err)

    return run


def make_collection(folder, *, mesh=None, splits=SPLITS, side=16, prefix="s", broken=()):
    """Studies with one PNG each beside the collection; every second one has opacity."""
    root = folder.with_name(folder.name + "-images")
    root.mkdir(parents=True)
    studies, images = [], []
    for number, split in enumerate(splits):
        terms = ("Opacity/lung/base/left",) if number % 2 else ("normal",)
        name = f"{prefix}{number}"
        studies.append(Study(name, f"p{name}", mesh=mesh(number) if mesh else terms, split=split))
        images.append(Image(f"i{name}", name, f"{name}.png", "frontal"))
        if number in broken:
            (root / f"{name}.png").write_bytes(b"not an image")
        else:
            pixels = np.random.default_rng(number).integers(0, 255, (side, side), dtype=np.uint8)
            pixels[: side // 2] |= 128 * (number % 2)
            Picture.fromarray(pixels).save(root / f"{name}.png")
    write_collection(Collection.build(studies, images, root, {"source": "test"}), folder)
    return folder


def make_bundle(folder, diseases=("normal", "opacity")):
    """A classifier's bundle with random weights."""
    from cascade.inference.bundle import write_bundle
    from cascade.labels.table import Label
    from cascade.models.encoders import create_encoder
    from cascade.models.heads import StudyClassifier
    from cascade.models.reader import Reader

    network = StudyClassifier(create_encoder("tiny", width=4), len(diseases))
    write_bundle(
        Reader(network, [Label(name, name) for name in diseases], exclusive=False),
        folder,
        encoder={"name": "tiny", "width": 4},
        decoder=None,
        image_size=16,
        views=1,
        target="annotation",
        facts={},
    )
    return folder


def make_labels(folder, collection, **options):
    """The label table of a collection."""
    from cascade.io.collection import read_collection
    from cascade.labels.patterns import mine_terms
    from cascade.labels.table import write_label_table

    options = {"min_studies": 1} | options
    write_label_table(mine_terms(read_collection(collection), **options), folder)
    return folder


@pytest.fixture(scope="session")
def make():
    """The builders above, since tests cannot import this file."""
    return SimpleNamespace(collection=make_collection, labels=make_labels, bundle=make_bundle)


@pytest.fixture(scope="session")
def collection(tmp_path_factory):
    return make_collection(tmp_path_factory.mktemp("given") / "collection")


@pytest.fixture(scope="session")
def labels(collection):
    return make_labels(collection.with_name("labels"), collection)


@pytest.fixture(scope="session")
def bundle(collection):
    return make_bundle(collection.with_name("bundle"))
