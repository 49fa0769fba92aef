import pytest
import torch
import torchvision.models
from safetensors.torch import save_file

from cascade.errors import InputError
from cascade.models.encoders import create_encoder, load_weights


def tiny():
    return create_encoder("tiny", width=4)


def equal(one, other):
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.realdata
def test_the_real_squeezenet_weights_load_whole(real_data):
    encoder = create_encoder("squeezenet1_1")
    path = real_data / "weights" / "squeezenet1_1_imagenet_features.safetensors"
    assert load_weights(encoder, path)[1:] == (50, [], [], [])


@pytest.mark.parametrize("container", [None, "state_dict", "model", "teacher", "model_state_dict"])
@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "encoder.",
        "backbone.",
        "module.encoder.",
        "classifier.encoder.",  # of our bundles
        "network.encoder.",  # of our checkpoints
    ],
)
def test_our_own_names_load_from_whatever_a_training_put_around_them(container, prefix, tmp_path):
    source, target = tiny(), tiny()
    state = {f"{prefix}{key}": value for key, value in source.state_dict().items()}
    state["head.weight"] = torch.ones(2, 32)
    torch.save({container: state, "epoch": 3} if container else state, tmp_path / "own.pth")
    report = load_weights(target, tmp_path / "own.pth")
    assert report == ("own.pth", len(source.state_dict()), [], [], ["head.weight"])
    assert equal(source, target)


def test_a_name_of_ones_own_before_the_librarys_does_not_matter(tmp_path):
    net = torchvision.models.squeezenet1_1(weights=None)
    state = {f"module.trunk.{key}": value for key, value in net.state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    report = load_weights(create_encoder("squeezenet1_1"), tmp_path / "w.pt")
    assert (report.loaded, report.missing) == (50, [])  # (conv1 + 8 fires of 3) x weight and bias
    assert report.unused == [f"module.trunk.classifier.1.{kind}" for kind in ("bias", "weight")]


def test_the_published_densenet_names_are_known(tmp_path):
    # densenet121-a639ec97.pth is older than torchvision's code: norm.1 is norm1 today
    net = torchvision.models.densenet121(weights=None)
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.")
        if "denselayer" in key
        else key: value
        for key, value in net.state_dict().items()
        if not key.endswith("num_batches_tracked")  # older than these, too
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    report = load_weights(create_encoder("densenet121"), tmp_path / "old.pth")
    assert (report.loaded, report.missing) == (604, [])  # 120 convolutions + 121 norms of 4


def test_a_tensor_of_another_shape_stays_random_and_is_named(tmp_path):
    encoder = tiny()
    state = {key: torch.ones_like(value) for key, value in encoder.state_dict().items()}
    state["stages.0.0.0.weight"] = torch.ones(9, 1, 3, 3)
    state["head.weight"] = torch.ones(2, 32)
    save_file(state, tmp_path / "w.safetensors")
    before = encoder.stages[0][0][0].weight.clone()
    report = load_weights(encoder, tmp_path / "w.safetensors")
    assert report.loaded == len(state) - 2
    assert report.missing == report.mismatched == ["stages.0.0.0.weight"]
    assert report.unused == ["head.weight", "stages.0.0.0.weight"]
    assert torch.equal(encoder.stages[0][0][0].weight, before)
    assert encoder.origin == (
        f"w.safetensors: {len(state) - 2} tensors loaded, 1 left random (stages.0.0.0.weight; "
        "1 of another shape), 2 of the file unused (head.weight, stages.0.0.0.weight)"
    )


def test_less_than_half_of_the_encoder_is_refused_and_nothing_is_loaded(tmp_path):
    encoder = tiny()
    state = encoder.state_dict()
    weights = [key for key in state if not key.endswith("num_batches_tracked")]
    assert len(weights) == 35  # 7 convolutions + 7 norms of 4
    before = encoder.stages[0][0][0].weight.clone()
    for count, refused in ((17, True), (18, False)):
        part = {key: torch.ones_like(state[key]) for key in weights[:count]}
        save_file(part, tmp_path / "w.safetensors")
        if refused:
            with pytest.raises(InputError, match=r"gives 17 of the encoder's 35 tensors \(missing"):
                load_weights(encoder, tmp_path / "w.safetensors")
            assert torch.equal(encoder.stages[0][0][0].weight, before)
            assert encoder.origin == "random"
        else:
            assert load_weights(encoder, tmp_path / "w.safetensors").loaded == 18


def write_nothing(path):
    return None


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("absent.pth", write_nothing, "does not exist"),
        ("absent.safetensors", write_nothing, "does not exist"),
        ("text.pth", lambda p: p.write_text("no"), "not a readable weight file"),
        ("text.safetensors", lambda p: p.write_text("no"), "not a readable weight file"),
        ("net.pth", lambda p: torch.save(tiny(), p), "a pickled network is not read"),
        ("list.pth", lambda p: torch.save([torch.ones(1)], p), "holds a list, not named weights"),
        ("other.pth", lambda p: torch.save({"a": torch.ones(1)}, p), "another network's weights"),
        ("empty.pth", lambda p: torch.save({}, p), "another network's weights"),
    ],
)
def test_a_bad_weight_file_is_one_line(name, write, message, tmp_path):
    write(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        load_weights(tiny(), tmp_path / name)
    assert "\n" not in str(caught.value)


def test_weights_of_torchvision_are_taken_from_the_hubs_cache_and_never_fetched(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    encoder = create_encoder("squeezenet1_1")
    with pytest.raises(
        InputError, match=r"nothing is downloaded: put squeezenet1_1-\w+\.pth"
    ) as no:
        load_weights(encoder, "torchvision:IMAGENET1K_V1")
    folder = tmp_path / "hub" / "checkpoints"
    assert str(folder) in str(no.value)
    url = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    folder.mkdir(parents=True)
    net = torchvision.models.squeezenet1_1(weights=None)
    torch.save(net.state_dict(), folder / url.rpartition("/")[2])
    assert load_weights(encoder, "torchvision:IMAGENET1K_V1").loaded == 50


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("resnet18", "torchvision:IMAGENET", r"expected one of \['DEFAULT', 'IMAGENET1K_V1'\]"),
        ("tiny", "torchvision:DEFAULT", "torchvision has no weights of this encoder"),
    ],
)
def test_weights_that_torchvision_does_not_have(name, source, message):
    with torch.device("meta"):
        encoder = create_encoder(name)
    with pytest.raises(InputError, match=message):
        load_weights(encoder, source)
