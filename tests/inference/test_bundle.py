import json
import shutil

import pytest
import torch

from cascade.errors import InputError
from cascade.inference.bundle import bundle_id, read_bundle, write_bundle
from cascade.labels.table import Label
from cascade.models.calibration import Agreement, Calibration
from cascade.models.decoders import create_decoder
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.models.suitability import Suitability
from cascade.models.view_check import ViewCheck
from cascade.text.preparation import Preparation
from cascade.text.vocabulary import Vocabulary

FILES = [
    "README.md",
    "config.json",
    "labels.json",
    "model.safetensors",
    "preprocessing.json",
    "vocabulary.json",
]
LABELS = [
    Label("normal", "normal", "nothing found"),
    Label("opacity#1", "opacity", "left 90%"),
    Label("opacity#2", "opacity", "right 80%"),
]
ENCODER = {"name": "tiny", "width": 4}
DECODER = {"name": "gru", "embedding": 4, "hidden": 8, "layers": 2, "inject": True}


def make(decoder=True):
    torch.manual_seed(0)
    classifier = StudyClassifier(create_encoder(**ENCODER), 3)
    pictures = torch.rand(30, 1, 32, 32)
    suitability = Suitability.fit(pictures[:20], pictures[20:])
    suitability.check = ViewCheck(["frontal", "inverted", "other"], ["frontal"], {"frontal": 20})
    suitability.check.weight.normal_()
    if not decoder:
        return Reader(classifier, LABELS, True, suitability=suitability).eval()
    vocabulary = Vocabulary.build(["normal", "opacity/left", "opacity/right"], "annotation")
    network = create_decoder(vocab_size=len(vocabulary), num_features=32, **DECODER)
    network.set_feature_statistics(torch.randn(10, 32))
    reader = Reader(classifier, LABELS, True, network, vocabulary, suitability, "label", 5, 2, 0.5)
    return reader.eval()


def write(reader, directory, **facts):
    write_bundle(
        reader,
        directory,
        encoder={**ENCODER, "weights": "/home/me/imagenet.pth", "unfreeze": 1},
        decoder=DECODER if reader.decoder is not None else None,
        image_size=32,
        views=1,
        target="annotation",
        facts={"seed": 3, **facts},
    )


@pytest.fixture
def bundle(tmp_path):
    write(make(), tmp_path / "model")
    return tmp_path / "model"


IMAGES = torch.rand(4, 1, 1, 32, 32, generator=torch.Generator().manual_seed(2))
VIEWS = torch.ones(4, 1, dtype=torch.bool)


@pytest.mark.parametrize("decoder", [True, False])
def test_a_bundle_reads_as_it_was_written(decoder, tmp_path):
    reader = make(decoder)
    write(reader, tmp_path / "model")
    loaded, facts = read_bundle(tmp_path / "model")
    before, after = reader.read(IMAGES, VIEWS), loaded.read(IMAGES, VIEWS)
    assert torch.equal(before.features, after.features)
    assert torch.equal(before.labels, after.labels)
    assert before.drafts == after.drafts
    if decoder:
        assert torch.equal(before.confidences, after.confidences)
        assert loaded.vocabulary.tokens == reader.vocabulary.tokens
    assert torch.equal(reader.suitability(IMAGES[:, 0]), loaded.suitability(IMAGES[:, 0]))
    leads = [each.suitability.check.leads(IMAGES[:, 0]) for each in (reader, loaded)]
    assert torch.equal(*leads)
    assert (loaded.labels, loaded.exclusive) == (LABELS, True)
    for name in ("first_word", "max_length", "width", "length_penalty"):
        assert getattr(loaded, name) == getattr(reader, name)
    assert (facts["image_size"], facts["views"], facts["target"]) == (32, 1, "annotation")
    assert not any(module.training for module in loaded.modules())


@pytest.mark.parametrize("pooling", ["mean", "max", "lse", "noisy_or", "gated_attention"])
@pytest.mark.parametrize("fusion", ["mean", "max", "attention"])
def test_a_head_of_places_and_views_reads_as_it_was_written(pooling, fusion, tmp_path):
    reader = make()
    reader.classifier = StudyClassifier(
        create_encoder(**ENCODER), 3, pooling=pooling, fusion=fusion, lse_r=3.0, attention=8
    ).eval()
    write(reader, tmp_path / "model")
    loaded, _ = read_bundle(tmp_path / "model")
    assert loaded.classifier.resolved() == reader.classifier.resolved()
    images, views = IMAGES.view(2, 2, 1, 32, 32), torch.tensor([[True, True], [False, True]])
    before, after = reader.read(images, views), loaded.read(images, views)
    assert torch.equal(before.labels, after.labels)
    assert torch.equal(before.features, after.features)
    assert before.drafts == after.drafts


def test_a_bundle_of_before_there_were_poolings_is_a_mean(bundle):
    before = read_bundle(bundle)[0].read(IMAGES, VIEWS)
    config = json.loads((bundle / "config.json").read_text())
    del config["classifier"]
    (bundle / "config.json").write_text(json.dumps(config))
    loaded, _ = read_bundle(bundle)
    assert loaded.classifier.resolved()["pooling"] == "mean"
    assert torch.equal(loaded.read(IMAGES, VIEWS).labels, before.labels)


@pytest.mark.parametrize(
    "decoder",
    [
        {"name": "attention_lstm", "embedding": 4, "hidden": 8, "doubly_stochastic": 1.0},
        {"name": "transformer", "hidden": 8, "layers": 1, "heads": 2, "positions": 9},
        {"name": "gpt2", "hidden": 8, "layers": 1, "heads": 2, "positions": 9, "folder": None},
    ],
    ids=lambda decoder: decoder["name"],
)
def test_a_decoder_of_maps_reads_as_it_was_written(decoder, tmp_path):
    reader = make()
    reader.decoder = create_decoder(
        vocab_size=len(reader.vocabulary), num_features=32, **decoder
    ).eval()
    reader.decoder.set_feature_statistics(torch.randn(10, 1, 32, 2, 2))
    reader.no_repeat = 2
    write_bundle(
        reader,
        tmp_path / "model",
        encoder=ENCODER,
        decoder=decoder,
        image_size=32,
        views=1,
        target="annotation",
        facts={},
    )
    loaded, facts = read_bundle(tmp_path / "model")
    assert "folder" not in facts["decoder"]
    assert loaded.no_repeat == 2
    before, after = reader.read(IMAGES, VIEWS), loaded.read(IMAGES, VIEWS)
    assert torch.equal(before.features, after.features)
    assert before.drafts == after.drafts
    assert torch.equal(before.confidences, after.confidences)
    without = loaded.read(IMAGES, VIEWS, drafts=False)
    torch.testing.assert_close(without.features, after.features)


def test_a_bundle_knows_what_ends_a_sentence(tmp_path):
    reader = make()
    reader.vocabulary = Vocabulary.build(["no mass. clear."], "words")
    chosen = {"name": "hierarchical_lstm", "embedding": 4, "hidden": 8, "feedback": True}
    decoder = create_decoder(vocab_size=len(reader.vocabulary), num_features=32, **chosen).eval()
    decoder.load_initial(reader.vocabulary)
    reader.decoder, reader.max_length = decoder, 12
    write_bundle(
        reader,
        tmp_path / "model",
        encoder=ENCODER,
        decoder=chosen,
        image_size=32,
        views=1,
        target="findings",
        facts={},
    )
    loaded, _ = read_bundle(tmp_path / "model")
    assert loaded.decoder.sentence_ends.tolist() == decoder.sentence_ends.tolist()
    assert any(decoder.sentence_ends)
    assert loaded.read(IMAGES, VIEWS).drafts == reader.read(IMAGES, VIEWS).drafts


def test_a_bundle_reads_indications_as_it_was_trained(tmp_path):
    from cascade.models.condition import Condition

    reader = make()
    reader.condition = Condition(Condition.learn_vocabulary(["pain", "cough"]), 5)
    chosen = {"name": "lstm", "embedding": 4, "hidden": 8}
    reader.decoder = create_decoder(
        vocab_size=len(reader.vocabulary), num_features=32 + 5, **chosen
    )
    reader.eval()
    options = {"encoder": ENCODER, "decoder": chosen, "image_size": 32, "views": 1}
    write_bundle(reader, tmp_path / "model", target="annotation", facts={}, **options)
    assert "(it reads the indication too)" in (tmp_path / "model" / "README.md").read_text()
    loaded, facts = read_bundle(tmp_path / "model")
    assert loaded.condition.vocabulary.tokens == reader.condition.vocabulary.tokens
    asked = ["pain", "", "cough", "unheard of"]
    before = reader.read(IMAGES, VIEWS, indications=asked)
    after = loaded.read(IMAGES, VIEWS, indications=asked)
    assert before.drafts == after.drafts
    assert torch.equal(before.confidences, after.confidences)
    words = json.loads((tmp_path / "model" / "indications.json").read_text())
    assert words["size"] == 5
    change(tmp_path / "model", "indications.json", other=1)
    assert bundle_id(tmp_path / "model") != facts["model_id"]
    (tmp_path / "model" / "indications.json").write_text("{}")
    with pytest.raises(InputError, match="does not fit together"):
        read_bundle(tmp_path / "model")


def test_a_bundle_sends_nobody_to_a_folder(bundle):
    change(bundle, "config.json", decoder={**DECODER, "folder": "/home/me/gpt2"})
    assert read_bundle(bundle)[0].decoder.hidden == 8


def test_a_bundle_of_before_repeats_as_it_did(bundle):
    config = json.loads((bundle / "config.json").read_text())
    assert config.pop("no_repeat") == 0
    (bundle / "config.json").write_text(json.dumps(config))
    assert read_bundle(bundle)[0].no_repeat == 0


def test_a_bundle_keeps_how_words_are_drawn(tmp_path):
    reader = make()
    reader.decoding, reader.temperature, reader.top_p, reader.seed = "sample", 0.5, 0.9, 7
    write(reader, tmp_path / "model")
    loaded, _ = read_bundle(tmp_path / "model")
    assert (loaded.decoding, loaded.temperature, loaded.top_p, loaded.seed) == (
        "sample",
        0.5,
        0.9,
        7,
    )
    assert loaded.read(IMAGES, VIEWS).drafts == reader.read(IMAGES, VIEWS).drafts


def test_a_bundle_keeps_which_part_of_a_picture_is_read(tmp_path):
    reader = make()
    reader.classifier.encoder.crop = 24
    write(reader, tmp_path / "model")
    loaded, _ = read_bundle(tmp_path / "model")
    assert loaded.classifier.encoder.crop == 24
    assert torch.equal(loaded.read(IMAGES, VIEWS).features, reader.read(IMAGES, VIEWS).features)


def test_a_bundle_of_before_reads_whole_pictures(bundle):
    config = json.loads((bundle / "config.json").read_text())
    assert config.pop("crop") is None
    (bundle / "config.json").write_text(json.dumps(config))
    assert read_bundle(bundle)[0].classifier.encoder.crop is None


def test_a_bundle_of_before_searches_a_beam(bundle):
    config = json.loads((bundle / "config.json").read_text())
    for key in ("decoding", "temperature", "top_p", "seed"):
        del config[key]
    (bundle / "config.json").write_text(json.dumps(config))
    assert read_bundle(bundle)[0].decoding == "beam"


@pytest.mark.parametrize("name", ["words", "cased", "bpe", "wordpiece"])
def test_any_vocabulary_lies_in_its_file_alone(name, tmp_path):
    prepare = Preparation(normalise=True, marks="predict", lowercase=True)
    texts = ["No acute disease, seen by XXXX.", "2.5 cm nodule."]
    reader = make()
    reader.vocabulary = Vocabulary.build(texts, name, prepare=prepare)
    network = create_decoder(vocab_size=len(reader.vocabulary), num_features=32, **DECODER)
    reader.decoder = network.eval()
    write(reader, tmp_path / "model")
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == FILES
    loaded, _ = read_bundle(tmp_path / "model")
    assert loaded.vocabulary.to_json() == reader.vocabulary.to_json()
    for text in texts:
        ids = loaded.vocabulary.encode(text)
        assert ids == reader.vocabulary.encode(text)
        assert loaded.vocabulary.decode(ids) == text
    assert loaded.read(IMAGES, VIEWS).drafts == reader.read(IMAGES, VIEWS).drafts


@pytest.mark.parametrize("prepare", [{"marks": "hide"}, {"spell": True}, {"marks": []}])
def test_a_preparation_that_this_program_does_not_know(prepare, bundle):
    words = json.loads((bundle / "vocabulary.json").read_text())
    (bundle / "vocabulary.json").write_text(json.dumps({**words, "prepare": prepare}))
    with pytest.raises(InputError, match="does not fit together"):
        read_bundle(bundle)


def test_six_files_and_none_of_them_a_pickle(bundle):
    assert sorted(file.name for file in bundle.iterdir()) == FILES
    for file in bundle.iterdir():
        content = file.read_bytes()
        assert not content.startswith((b"\x80", b"PK"))  # a pickle, a zip of torch.save
    # safetensors: eight bytes of length, then a JSON header
    content = (bundle / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} <= {
        "F32",
        "I64",
    }


def test_it_names_no_file_of_the_trainers_machine(bundle):
    config = json.loads((bundle / "config.json").read_text())
    assert config["encoder"] == ENCODER
    assert not any(b"/home/me" in file.read_bytes() for file in bundle.iterdir())


def test_the_card_says_what_it_is_and_is_not_for(bundle):
    card = (bundle / "README.md").read_text()
    for words in (
        "Not for clinical use",
        "| seed | 3 |",
        "| opacity#2 | opacity | right 80% |",
        "Encoder `tiny` on 32 x 32\npixels, decoder `gru`, 3 labels of 2 diseases.",
    ):
        assert words in card


def test_equal_bundles_have_one_id(bundle, tmp_path):
    write(make(), tmp_path / "again")
    assert bundle_id(bundle) == bundle_id(tmp_path / "again") == read_bundle(bundle)[1]["model_id"]
    assert len(bundle_id(bundle)) == 16
    shutil.move(bundle, tmp_path / "moved")
    assert bundle_id(tmp_path / "moved") == bundle_id(tmp_path / "again")
    write(make(), tmp_path / "other", commit="abc")
    changed = make()
    changed.classifier.head.bias.data += 1e-6
    write(changed, tmp_path / "trained")
    ids = {bundle_id(tmp_path / name) for name in ("moved", "other", "trained")}
    assert len(ids) == 3


def test_nothing_is_written_over(bundle):
    before = bundle_id(bundle)
    with pytest.raises(InputError, match="is not empty"):
        write(make(), bundle)
    assert bundle_id(bundle) == before


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write(make(), tmp_path / "model", auroc=float("nan"))
    assert list(tmp_path.iterdir()) == []


def change(bundle, name, **values):
    content = json.loads((bundle / name).read_text())
    (bundle / name).write_text(json.dumps({**content, **values}))


def test_another_format_names_the_program_that_wrote_it(bundle):
    change(bundle, "config.json", format_version=2, program_version="9.9")
    with pytest.raises(InputError, match=r"has format 2, this program reads 1: use .*\(9\.9\)"):
        read_bundle(bundle)


def test_another_preprocessing_is_refused(bundle):
    change(bundle, "preprocessing.json", version=0)
    with pytest.raises(InputError, match=r"another preprocessing \(0, this program has 1\)"):
        read_bundle(bundle)


def test_no_bundle_at_all(tmp_path):
    with pytest.raises(InputError, match="not a model bundle .*give the model/ folder of a run"):
        read_bundle(tmp_path)
    with pytest.raises(InputError, match="not a model bundle"):
        read_bundle(tmp_path / "absent")


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("README.md",)])
def test_a_missing_file_is_named(name, bundle):
    (bundle / name).unlink()
    with pytest.raises(InputError, match=name):
        read_bundle(bundle)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("json")])
@pytest.mark.parametrize("content", ["{", "[1]", "3", "{}", '"text"'])
def test_a_damaged_json_is_one_line(name, content, bundle):
    (bundle / name).write_text(content)
    with pytest.raises(InputError, match=str(bundle)):
        read_bundle(bundle)


def test_damaged_weights_are_named(bundle):
    file = bundle / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="model.safetensors is damaged"):
        read_bundle(bundle)
    file.write_bytes(b"")
    with pytest.raises(InputError, match="model.safetensors is damaged"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {"name": "vgg"}}, "unknown encoder 'vgg'"),
        ({"encoder": {"name": "tiny", "width": 8}}, "does not fit together: .*size mismatch"),
        ({"encoder": {"name": "tiny", "depth": 8}}, "does not fit together: .*depth"),
        ({"decoder": None}, "does not fit together: .*Unexpected key"),
        ({"decoder": {**DECODER, "name": "rnn"}}, "unknown decoder 'rnn'"),
        ({"first_word": "any"}, "unknown first_word 'any'"),
        ({"suitability_components": None}, "does not fit together"),
        ({"view_check": {"classes": ["oblique"]}}, "does not fit together"),
    ],
)
def test_files_that_do_not_fit_together(changes, message, bundle):
    change(bundle, "config.json", **changes)
    with pytest.raises(InputError, match=message):
        read_bundle(bundle)


def test_a_bundle_of_before_has_no_check_of_views(tmp_path):
    reader = make()
    reader.suitability.check = None
    directory = tmp_path / "old"
    write(reader, directory)
    config = json.loads((directory / "config.json").read_text())
    assert config.pop("view_check") is None
    (directory / "config.json").write_text(json.dumps(config))
    loaded, _ = read_bundle(directory)
    assert loaded.suitability.check is None
    assert "doubted, however they lie" in (directory / "README.md").read_text()


def test_the_card_says_what_becomes_of_lateral_views(bundle, tmp_path):
    card = (bundle / "README.md").read_text()
    assert "by a check fitted to 20 frontal and 0 lateral training pictures" in card
    assert "the training set has no lateral views to learn from" in card
    for accepted, said in ((["frontal"], "is doubted."), (["frontal", "lateral"], "is read like")):
        reader = make()
        reader.suitability.check = ViewCheck(["frontal", "lateral", "other"], accepted)
        write(reader, tmp_path / said)
        assert f"a lateral view {said}" in (tmp_path / said / "README.md").read_text()


POINT = {"threshold": 0.4, "sensitivity": 0.9, "specificity": 0.8, "f1": 0.7, "reason": ""}
NONE = {"threshold": None, "reason": "validation has no positive"}
POINTS = {
    "normal": {
        "positives": 7,
        "negatives": 9,
        **dict.fromkeys(("best_f1", "high_sensitivity", "high_specificity"), POINT),
    },
    "opacity": {
        "positives": 0,
        "negatives": 16,
        **dict.fromkeys(("best_f1", "high_sensitivity", "high_specificity"), NONE),
    },
}


def calibrated():
    reader = make()
    seen = Agreement(16, 0.2, 0.3, 0.05, 0.25)
    reader.calibration = Calibration(
        True, "platt", [0.5] * 3, [0.1, -0.2, 0.0], kept=["opacity#2"], agreement=seen
    )
    reader.operating_points = POINTS
    return reader


def test_calibration_and_operating_points_are_kept(tmp_path):
    reader = calibrated()
    write(reader, tmp_path / "model")
    loaded, _ = read_bundle(tmp_path / "model")
    before, after = reader.read(IMAGES, VIEWS), loaded.read(IMAGES, VIEWS)
    assert torch.equal(before.labels, after.labels)
    assert torch.equal(before.diseases, after.diseases)
    assert not torch.allclose(after.labels, make().read(IMAGES, VIEWS).labels)
    assert loaded.operating_points == POINTS
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| as trained | 0.2000 | 0.3000 |" in card
    assert "| calibrated | 0.0500 | 0.2500 |" in card
    assert "not calibrated: opacity#2" in card
    assert "| normal | 7 | 9 | 0.4000 (0.90 / 0.80) |" in card
    assert "| opacity | 0 | 16 | validation has no positive |" in card


def test_bundles_of_before_are_not_calibrated(bundle):
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    del config["calibration"], config["operating_points"]
    path.write_text(json.dumps(config))
    loaded, _ = read_bundle(bundle)
    assert loaded.calibration.method == "none"
    assert loaded.operating_points is None
    assert torch.equal(loaded.read(IMAGES, VIEWS).labels, make().read(IMAGES, VIEWS).labels)


@pytest.mark.parametrize(
    "changes",
    [
        {"calibration": {"method": "platt"}},
        {"calibration": {**Calibration(True, "platt", [1.0]).to_json()}},
        {"operating_points": {"normal": POINTS["normal"]}},
        {
            "operating_points": {
                **POINTS,
                "opacity": {**POINTS["normal"], "best_f1": {"threshold": 7}},
            }
        },
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(bundle, changes):
    change(bundle, "config.json", **changes)
    with pytest.raises(InputError, match="does not fit together"):
        read_bundle(bundle)
