"""A GPT-2 of a local folder: its sizes, its weights, the words that it knows."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from cascade.errors import InputError
from cascade.models.decoders import create_decoder
from cascade.models.decoders.gpt2_folder import folder_vocabulary
from cascade.text.preparation import Preparation
from cascade.text.subwords import byte_letters
from cascade.text.vocabulary import BOS, EOS, PAD, Vocabulary

WORDS = {"Ġno": 0, "no": 1, "Ġeffusion": 2, "heart": 3, "<|endoftext|>": 4, "x": 5}
VOCABULARY = Vocabulary.build(["no effusion", "no pneumothorax", "heart"], "words")


@pytest.fixture
def folder(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=6, n_embd=8, n_layer=2, n_head=2, n_positions=16, bos_token_id=4, eos_token_id=4
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    (tmp_path / "gpt2" / "vocab.json").write_text(json.dumps(WORDS), encoding="utf-8")
    return tmp_path / "gpt2"


def make(folder, **options):
    torch.manual_seed(0)
    return create_decoder("gpt2", len(VOCABULARY), 6, folder=str(folder), **options).eval()


def test_its_sizes_are_the_folders(folder):
    decoder = make(folder, hidden=99, layers=9)
    assert (decoder.hidden, decoder.layers, decoder.positions) == (8, 2, 16)
    again = create_decoder("gpt2", len(VOCABULARY), 6, **decoder.resolved())
    again.load_state_dict(decoder.state_dict())


def test_its_weights_are_the_folders_and_the_image_is_new(folder):
    decoder = make(folder)
    before = decoder.network.h[0].crossattention.c_attn.weight.clone()
    said = decoder.load_initial(VOCABULARY)
    assert "5 of 8 tokens known to it" in said  # BOS, EOS, no, effusion, heart
    saved = load_file(folder / "model.safetensors")
    own = decoder.network.state_dict()
    for name, value in saved.items():
        if "wte" not in name:
            assert torch.equal(own[name.removeprefix("transformer.")], value), name
    assert torch.equal(decoder.network.h[0].crossattention.c_attn.weight, before)
    vectors = saved["transformer.wte.weight"]
    table = decoder.network.wte.weight
    for token, row in (("no", 0), ("effusion", 2), ("heart", 3)):
        assert torch.equal(table[VOCABULARY.ids[token]], vectors[row])
    assert torch.equal(table[BOS], vectors[4])
    assert torch.equal(table[EOS], vectors[4])
    mean = vectors.mean(dim=0)
    for index in (PAD, VOCABULARY.ids["pneumothorax"]):
        assert (table[index] - mean).abs().max() < 0.01


def test_without_an_image_it_writes_as_it_did(folder):
    """With what is new silenced, its states are those of the library's own GPT-2."""
    from transformers import GPT2LMHeadModel

    decoder = make(folder)
    decoder.load_initial(VOCABULARY)
    for block in decoder.network.h:
        block.crossattention.c_proj.weight.data.zero_()
        block.crossattention.c_proj.bias.data.zero_()
    theirs = GPT2LMHeadModel.from_pretrained(folder).eval()
    ours = [BOS, *(VOCABULARY.ids[word] for word in ("no", "effusion", "heart"))]
    with torch.no_grad():
        _, states = decoder(torch.randn(1, 6, 2, 2), torch.tensor([ours]))
        expected = theirs.transformer(torch.tensor([[4, 0, 2, 3]])).last_hidden_state
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-4)


def test_without_a_folder_nothing_is_loaded():
    decoder = create_decoder("gpt2", len(VOCABULARY), 6, hidden=8, layers=1, heads=2)
    assert decoder.load_initial(VOCABULARY) is None


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "bert"}, "is of a bert model, decoder=gpt2 needs gpt2"),
        ({"n_embd": None}, "lacks a size of a GPT-2"),
        ({"layer_norm_epsilon": 0.1}, "layer_norm_epsilon=0.1 is not supported"),
        ({"activation_function": "none"}, "unknown decoder.activation=none"),
    ],
)
def test_a_config_of_something_else(values, message, folder):
    change(folder, **values)
    with pytest.raises(ValueError, match=message):
        make(folder)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"holds no config\.json: give a folder of a GPT-2"):
        make(tmp_path / "absent")
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="is not a JSON object"):
        make(tmp_path)


def test_weights_that_are_absent_pickled_damaged_or_of_other_sizes(folder):
    file = folder / "model.safetensors"
    whole = load_file(file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        make(folder).load_initial(VOCABULARY)
    save_file({name: value for name, value in whole.items() if "h.1" not in name}, file)
    with pytest.raises(ValueError, match=r"does not fit its config\.json: h\.1\."):
        make(folder).load_initial(VOCABULARY)
    save_file({**whole, "transformer.wpe.weight": torch.zeros(3, 8)}, file)
    with pytest.raises(ValueError, match=r"does not fit its config\.json: wpe"):
        make(folder).load_initial(VOCABULARY)
    file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no model\.safetensors \(a \.bin file is a pickle"):
        make(folder).load_initial(VOCABULARY)


def test_without_the_library_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match="decoder=gpt2 needs the transformers library"):
        create_decoder("gpt2", 9, 6)
    assert create_decoder("transformer", 9, 6).hidden == 256


def test_heads_divide_the_size():
    with pytest.raises(ValueError, match=r"decoder\.heads=3 do not divide decoder\.hidden=8"):
        create_decoder("gpt2", 9, 6, hidden=8, heads=3)


@pytest.fixture
def words(tmp_path):
    """The files of a tokenizer as GPT-2 has them, of all bytes and two merges."""
    names = [*byte_letters(), "no", "Ġno", "<|endoftext|>"]
    ids = {name: index for index, name in enumerate(names)}
    (tmp_path / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    lines = ["#version: 0.2", "n o", "Ġ no", ""]
    (tmp_path / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_the_tokenizer_of_a_folder_is_a_bpe_of_ours(words):
    from transformers import GPT2Tokenizer

    vocabulary = folder_vocabulary(words, Preparation(normalise=True))
    assert len(vocabulary) == 4 + 256 + 2
    text = "No, no knot"
    theirs = GPT2Tokenizer(str(words / "vocab.json"), str(words / "merges.txt"))
    split = theirs.tokenize(" " + text)  # every word with the space before it
    assert vocabulary.split(text) == split
    assert split[-4:] == ["Ġ", "k", "no", "t"]
    assert vocabulary.decode(vocabulary.encode(text)) == text
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again.encode(text) == vocabulary.encode(text)


def test_a_tokenizer_with_a_mark_of_its_own(words):
    vocabulary = folder_vocabulary(words, Preparation(normalise=True, marks="predict"))
    assert vocabulary.tokens[4] == "<mark>"
    assert vocabulary.decode(vocabulary.encode("no XXXX")) == "no XXXX"


def test_a_tokenizer_that_is_absent_or_another(words):
    (words / "merges.txt").write_text("n o o")
    with pytest.raises(ValueError, match=r"merges\.txt is not a GPT-2's"):
        folder_vocabulary(words, Preparation())
    (words / "merges.txt").write_text("q u")
    with pytest.raises(InputError, match="does not fit together"):
        folder_vocabulary(words, Preparation())
    (words / "merges.txt").unlink()
    with pytest.raises(ValueError, match=r"merges\.txt cannot be read"):
        folder_vocabulary(words, Preparation())
    (words / "vocab.json").unlink()
    with pytest.raises(ValueError, match=r"vocab\.json cannot be read"):
        folder_vocabulary(words, Preparation())
