import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture

from cascade.data.cache import build_cache, to_uint8
from cascade.data.datasets import StudyDataset, study_records
from cascade.data.transforms import to_unit
from cascade.errors import InputError
from cascade.inference.bundle import bundle_id, write_bundle
from cascade.inference.engines import devices as devices_module
from cascade.inference.engines.devices import Replicas, load_predictor, share_cores
from cascade.inference.predictor import Predictor
from cascade.io.collection import Collection, Image, Study
from cascade.io.image import read_radiograph
from cascade.labels.table import Label, LabelTable
from cascade.models.decoders import create_decoder
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.models.suitability import Suitability
from cascade.text.vocabulary import Vocabulary

SIZE = 48
LABELS = [Label("normal", "normal"), Label("opacity#1", "opacity"), Label("opacity#2", "opacity")]
DECODER = {"name": "lstm", "embedding": 4, "hidden": 8}


def blobs(count, shape=(90, 70), seed=0):
    """A soft bright body, a little different each time, as 8-bit pictures."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    pictures = []
    for a, b in generator.uniform(-0.2, 0.2, (count, 2)):
        picture = np.exp(-((x - a) ** 2 + (y - b) ** 2)) + generator.normal(0, 0.01, shape)
        picture = (picture - picture.min()) / (picture.max() - picture.min())
        pictures.append((picture * 255).astype(np.uint8))
    return pictures


@pytest.fixture
def collection(tmp_path):
    for row, picture in enumerate(blobs(40)):
        Picture.fromarray(picture).save(tmp_path / f"{row}.png")
    rows = range(40)
    return Collection.build(
        [Study(f"s{row}", f"p{row}", mesh=("normal",), split="train") for row in rows],
        [Image(f"i{row}", f"s{row}", f"{row}.png", "frontal") for row in rows],
        tmp_path,
    )


@pytest.fixture
def dataset(collection, tmp_path):
    cache = build_cache(collection, SIZE, tmp_path / "cache")
    ids = list(collection.studies["study_id"])
    values = pd.DataFrame({"normal": 1.0}, index=ids, dtype=np.float32)
    table = LabelTable(values, [Label("normal", "normal")], False, {})
    return StudyDataset(study_records(collection, cache, "train"), cache, table)


def bundle(directory, dataset, target="annotation", decoder=True, suitable=True, points=None):
    torch.manual_seed(0)
    pictures = to_unit(torch.from_numpy(np.array(dataset.cache.pixels))).unsqueeze(1)
    words = ["normal", "opacity/left"] if target == "annotation" else ["no effusion ."]
    kind = "annotation" if target == "annotation" else "words"
    vocabulary = Vocabulary.build(words, kind)
    network = create_decoder(vocab_size=len(vocabulary), num_features=32, **DECODER)
    network.output.bias.data[4] = 9.0  # drafts should not be empty
    reader = Reader(
        StudyClassifier(create_encoder("tiny", width=4), 3),
        LABELS,
        False,
        network if decoder else None,
        vocabulary if decoder else None,
        Suitability.fit(pictures[:30], pictures[30:]) if suitable else None,
        max_length=3,
        operating_points=points,
    ).eval()
    write_bundle(
        reader,
        directory,
        encoder={"name": "tiny", "width": 4},
        decoder=DECODER if decoder else None,
        image_size=SIZE,
        views=1,
        target=target,
        facts={},
    )
    return directory


def test_a_file_reads_as_it_does_through_the_dataset(collection, dataset, tmp_path):
    predictor = Predictor(bundle(tmp_path / "model", dataset), device="cpu")
    rows = [3, 0, 7]
    files = [read_radiograph(tmp_path / f"{row}.png").pixels for row in rows]
    predictions = predictor.predict(files)
    batch = dataset.__getitems__(rows)
    reading = predictor.reader.read(to_unit(batch.images), batch.views)
    assert [p.annotation for p in predictions] == reading.drafts
    assert [p.confidence for p in predictions] == reading.confidences.tolist()
    for prediction, row in zip(predictions, reading.diseases.tolist(), strict=True):
        assert prediction.probabilities == dict(zip(["normal", "opacity"], row, strict=True))
    assert predictions[0].annotation
    assert predictor.model_id == bundle_id(tmp_path / "model")


def test_sizes_may_differ_and_neighbours_do_not_matter(dataset, tmp_path):
    predictor = Predictor(bundle(tmp_path / "model", dataset), device="cpu")
    images = [blobs(1, shape)[0].astype(np.float32) / 255 for shape in ((90, 70), (48, 48))]
    together = predictor.predict(images)
    for image, one in zip(images, together, strict=True):
        (alone,) = predictor.predict([image])
        assert (alone.annotation, alone.doubts) == (one.annotation, one.doubts)
        assert alone.probabilities == pytest.approx(one.probabilities, abs=1e-5)
    assert predictor.predict([]) == []


def test_a_test_pattern_is_doubted_and_a_radiograph_is_not(dataset, tmp_path):
    predictor = Predictor(bundle(tmp_path / "model", dataset), device="cpu")
    good = blobs(1, seed=9)[0].astype(np.float32) / 255
    pattern = np.indices((64, 64)).sum(axis=0) // 8 % 2  # a checkerboard
    black = np.zeros((64, 64))
    predictions = predictor.predict([good, *(a.astype(np.float32) for a in (pattern, black))])
    assert [bool(p.doubts) for p in predictions] == [False, True, True]
    assert predictions[1].doubts[0].startswith("unlike the training radiographs: ")


def test_without_a_sense_of_doubt_nothing_is_doubted(dataset, tmp_path):
    predictor = Predictor(bundle(tmp_path / "model", dataset, suitable=False), device="cpu")
    assert predictor.predict([np.zeros((64, 64), dtype=np.float32)])[0].doubts == ()


def test_without_a_decoder_there_are_probabilities_alone(dataset, tmp_path):
    predictor = Predictor(bundle(tmp_path / "model", dataset, decoder=False), device="cpu")
    (prediction,) = predictor.predict([blobs(1)[0].astype(np.float32) / 255])
    assert (prediction.annotation, prediction.sentences, prediction.confidence) == ("", "", 0.0)
    assert list(prediction.probabilities) == ["normal", "opacity"]


def test_an_annotation_is_put_into_sentences_and_a_report_is_left_as_it_is(dataset, tmp_path):
    image = [blobs(1)[0].astype(np.float32) / 255]
    (terms,) = Predictor(bundle(tmp_path / "a", dataset), "cpu").predict(image)
    assert terms.sentences.startswith("There is")
    assert terms.sentences.endswith(".")
    (prose,) = Predictor(bundle(tmp_path / "b", dataset, "findings"), "cpu").predict(image)
    assert prose.sentences == prose.annotation


def points(normal, opacity):
    names = ("best_f1", "high_sensitivity", "high_specificity")
    return {
        disease: {
            "positives": 9,
            "negatives": 9,
            **{
                name: {"threshold": at, "sensitivity": 1.0, "specificity": 1.0, "f1": 1.0}
                if at is not None
                else {"threshold": None, "reason": "validation has no positive"}
                for name, at in zip(names, thresholds, strict=True)
            },
        }
        for disease, thresholds in (("normal", normal), ("opacity", opacity))
    }


def test_findings_are_called_at_the_operating_point(dataset, tmp_path):
    image = [blobs(1)[0].astype(np.float32) / 255]
    bare = Predictor(bundle(tmp_path / "bare", dataset), "cpu")
    (prediction,) = bare.predict(image)
    assert (prediction.findings, prediction.operating_point) == (None, None)
    chance = prediction.probabilities["opacity"]
    chosen = points((1.0, 0.0, None), (chance, chance / 2, chance + 1e-3))
    model = bundle(tmp_path / "model", dataset, points=chosen)
    expected = {
        "best_f1": ("opacity",),  # at its threshold and above
        "high_sensitivity": ("normal", "opacity"),
        "high_specificity": (),  # normal has no threshold and is never called
    }
    for name, findings in expected.items():
        (prediction,) = Predictor(model, "cpu", name).predict(image)
        assert (prediction.findings, prediction.operating_point) == (findings, name)
    with pytest.raises(InputError, match="operating_point=youden: expected one of best_f1, "):
        Predictor(model, "cpu", "youden")


def test_a_draft_is_compared_with_the_probabilities(dataset, tmp_path):
    image = [blobs(1)[0].astype(np.float32) / 255]
    chosen = points((0.0, 1.0, None), (None, 0.0, None))
    (prediction,) = Predictor(bundle(tmp_path / "model", dataset, points=chosen), "cpu").predict(
        image
    )
    assert prediction.findings == ("normal",)
    assert prediction.contradictions == ("normal: called present, the draft names findings",)
    (bare,) = Predictor(bundle(tmp_path / "bare", dataset), "cpu").predict(image)
    assert bare.contradictions == ()


def test_views_of_a_study_are_read_together(collection, dataset, tmp_path):
    predictor = Predictor(bundle(tmp_path / "model", dataset), device="cpu")
    files = [read_radiograph(tmp_path / f"{row}.png").pixels for row in (3, 0, 7)]
    both, alone = predictor.predict_studies([files[:2], files[2:]], ["", ""])
    pixels = np.stack([to_uint8(image, SIZE) for image in files])
    images = to_unit(torch.from_numpy(pixels))[:, None]
    reading = predictor.reader.read(images[None, :2], torch.ones(1, 2, dtype=torch.bool))
    assert both.annotation == reading.drafts[0]
    assert list(both.probabilities.values()) == pytest.approx(reading.diseases[0].tolist())
    (single,) = predictor.predict(files[2:])
    assert alone.probabilities == pytest.approx(single.probabilities, abs=1e-6)
    assert (predictor.views, predictor.labels) == (1, ["normal", "opacity"])
    assert predictor.predict_studies([]) == []


def test_a_study_is_as_odd_as_its_oddest_view(dataset, tmp_path):
    predictor = Predictor(bundle(tmp_path / "model", dataset), device="cpu")
    good = blobs(1, seed=9)[0].astype(np.float32) / 255
    pattern = (np.indices((64, 64)).sum(axis=0) // 8 % 2).astype(np.float32)
    fine, odd = predictor.predict_studies([[good], [good, pattern]])
    assert (bool(fine.doubts), bool(odd.doubts)) == (False, True)


def test_bytes_of_the_own_letterbox_are_read_as_the_picture(dataset, tmp_path):
    predictor = Predictor(bundle(tmp_path / "model", dataset), device="cpu")
    picture = blobs(1)[0].astype(np.float32) / 255
    assert predictor.predict([picture]) == predictor.predict([to_uint8(picture, SIZE)])


def test_devices_share_a_batch(dataset, tmp_path):
    model = bundle(tmp_path / "model", dataset)
    pictures = [picture.astype(np.float32) / 255 for picture in blobs(5)]
    one, two = load_predictor(model, "cpu"), load_predictor(model, "cpu, cpu")
    assert isinstance(two, Replicas)
    assert isinstance(one, Predictor)
    assert (two.model_id, two.image_size, two.labels) == (one.model_id, SIZE, one.labels)
    for count in (0, 1, 2, 5):
        for ours, theirs in zip(
            two.predict(pictures[:count], [""] * count), one.predict(pictures[:count]), strict=True
        ):
            assert ours.annotation == theirs.annotation
            assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-5)
    studies = [pictures[:2], pictures[2:3], pictures[3:]]
    assert [found.annotation for found in two.predict_studies(studies)] == [
        found.annotation for found in one.predict_studies(studies)
    ]
    with pytest.raises(InputError, match="device=cpu,: expected auto"):
        load_predictor(model, "cpu,")


def test_the_network_takes_the_cores_that_decoders_leave(monkeypatch):
    before = torch.get_num_threads()
    try:
        for cores, workers, threads in ((8, 3, 5), (8, 8, 1), (2, 0, 2), (64, 1, 8)):
            torch.set_num_threads(8)
            monkeypatch.setattr(devices_module, "cores", lambda cores=cores: cores)
            share_cores(workers)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
