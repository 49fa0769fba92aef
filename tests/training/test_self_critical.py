from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cascade.labels.table import Label
from cascade.metrics.nlg import annotation_words
from cascade.models.decoders import create_decoder
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.text.vocabulary import BOS, EOS, PAD, UNK, Vocabulary
from cascade.training.report_generator import ReportGeneratorModule, TextBatch
from cascade.training.self_critical import SelfCritical, self_critical_loss

VOCABULARY = Vocabulary.build(["normal", "opacity/left", "opacity/right"], "annotation")
OPACITY, NORMAL = 4, 6
SCORES = torch.ones(8, 1)
FEATURES = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))


def make(max_length=4, flat=False, name="gru", first_word="free", **options):
    torch.manual_seed(0)
    classifier = StudyClassifier(create_encoder("tiny", width=4), 1)
    decoder = create_decoder(name, len(VOCABULARY), 32, hidden=8, **options)
    if flat:  # a policy of its bias alone
        for parameter in decoder.parameters():
            parameter.data.zero_()
    labels = [Label("normal", "normal")]
    return Reader(
        classifier,
        labels,
        False,
        decoder,
        VOCABULARY,
        max_length=max_length,
        first_word=first_word,
    ).eval()


class Naming:
    """1 for drafts that name the word, 0 for others; remembers what it was asked."""

    def __init__(self, word="opacity"):
        self.word, self.asked = word, []

    def __call__(self, hypotheses, references):
        self.asked.append(list(hypotheses))
        return np.array([float(self.word in text) for text in hypotheses])


def test_the_gradient_of_one_word_by_hand():
    """With p = softmax(bias): dloss/dbias_k = -sum of gain * (drawn is k, less p_k) / draws."""
    reader, reward = make(max_length=1, flat=True), Naming()
    reader.decoder.output.bias.data[NORMAL] = 0.5  # greedy: normal, worth 0
    features, scores = torch.zeros(200, 32), torch.ones(200, 1)
    found = self_critical_loss(reader, features, scores, [""] * 200, reward, seed=3)
    found.loss.backward()
    drawn, greedy = reward.asked
    assert set(greedy) == {"normal"}
    counts = {text: drawn.count(text) for text in set(drawn)}
    assert set(counts) == {"", "normal", "opacity", "left", "right"}  # "" is the end at once
    assert found.drawn == pytest.approx(counts["opacity"] / 200)
    assert found.greedy == 0.0
    weights = np.zeros(len(VOCABULARY))
    weights[EOS] = weights[4:] = 1.0
    weights[NORMAL] = np.exp(0.5)
    p = weights / weights.sum()
    for text, k in (("", EOS), ("normal", NORMAL), ("opacity", OPACITY)):
        share = counts[text] / 200
        assert share == pytest.approx(p[k], abs=0.12)
    won = counts["opacity"]  # of gain 1; all others gain nothing
    expected = -won * (np.eye(len(VOCABULARY))[OPACITY] - p) / 200
    gradient = reader.decoder.output.bias.grad
    assert gradient.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert gradient[[PAD, BOS, UNK]].tolist() == [0.0] * 3
    assert gradient[OPACITY] < 0  # a step against it makes the word likelier


def test_what_is_worth_less_than_the_greedy_draft_becomes_less_likely():
    reader, reward = make(max_length=1, flat=True), Naming()
    reader.decoder.output.bias.data[OPACITY] = 0.5  # greedy: opacity, worth 1
    found = self_critical_loss(
        reader, torch.zeros(50, 32), torch.ones(50, 1), [""] * 50, reward, seed=1
    )
    found.loss.backward()
    gradient = reader.decoder.output.bias.grad
    assert found.greedy == 1.0
    assert gradient[OPACITY] < 0
    assert gradient[NORMAL] > 0


def test_nothing_is_learned_where_all_drafts_are_worth_the_same():
    reader = make()
    found = self_critical_loss(
        reader, FEATURES, SCORES, [""] * 8, lambda said, _: np.ones(len(said)), seed=1
    )
    found.loss.backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in reader.decoder.parameters())


def test_a_given_word_and_a_forced_end_are_not_drawn():
    reader, reward = make(max_length=1, flat=True, first_word="label"), Naming("normal")
    found = self_critical_loss(reader, FEATURES, SCORES, [""] * 8, reward, seed=1)
    assert reward.asked == [["normal"] * 8] * 2
    assert found.loss.item() == 0.0  # one word, given; its end, forced


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {"embedding": 4, "dropout": 0.5}),
        ("hierarchical_lstm", {"embedding": 4, "sentence": 6}),
        ("attention_lstm", {"embedding": 4, "attention": 4}),
        ("transformer", {"heads": 2, "layers": 1}),
    ],
)
def test_the_loss_is_minus_gain_times_the_log_probability_that_was_drawn_from(name, options):
    reader, reward = make(name=name, **options), Naming("left")
    reader.decoder.train()
    found = self_critical_loss(reader, FEATURES, SCORES, [""] * 8, reward, seed=5)
    assert reader.decoder.training  # as it was
    reader.decoder.eval()
    total, words = 0.0, 0
    for row, (drawn, greedy) in enumerate(zip(*reward.asked, strict=True)):
        ids = VOCABULARY.encode(drawn)[1:]  # with the end
        ids = ids if len(ids) <= 4 else ids[:4]
        with torch.no_grad():
            logits, _ = reader.decoder(FEATURES[row : row + 1], torch.tensor([[BOS, *ids[:-1]]]))
        logits[..., [PAD, BOS, UNK]] = -torch.inf
        logs = logits.log_softmax(dim=2)[0]
        gain = float("left" in drawn) - float("left" in greedy)
        total -= gain * sum(float(logs[at, k]) for at, k in enumerate(ids))
        words += len(ids)
    assert found.loss.item() == pytest.approx(total / words, abs=1e-5)


@pytest.mark.parametrize("name", ["gru", "hierarchical_lstm"])
def test_training_raises_the_reward(name):
    reader, reward = make(name=name), Naming()
    optimizer = torch.optim.Adam(reader.decoder.parameters(), lr=0.02)
    values = []
    for step in range(60):
        optimizer.zero_grad()
        found = self_critical_loss(reader, FEATURES, SCORES, [""] * 8, reward, seed=step)
        found.loss.backward()
        optimizer.step()
        values.append(found.drawn)
    assert np.mean(values[:5]) < 0.8
    assert np.mean(values[-5:]) > 0.95


TOKENS = torch.tensor([[BOS, 4, 5, EOS], [BOS, 6, EOS, PAD]])
BATCH = TextBatch(FEATURES[:2], SCORES[:2], TOKENS, ["opacity/left", "normal"])


def module(epoch, weight=0.25, **options):
    critical = SelfCritical(2, Naming(), 0.5, weight)
    made = ReportGeneratorModule(
        make(embedding=4), {}, 0.0, annotation_words, epochs=3, critical=critical, **options
    )
    made._trainer = SimpleNamespace(current_epoch=epoch, max_epochs=5)
    made.logged = {}
    made.log = lambda name, value, **_: made.logged.__setitem__(
        name, float(torch.as_tensor(value).detach())
    )
    return made


def test_both_losses_are_mixed_by_the_weight():
    taught = module(2)
    plain = taught.training_step(BATCH, 0).item()
    assert set(taught.logged) == {"train/loss"}
    mixed = module(3, seed=1)
    loss = mixed.training_step(BATCH, 7).item()
    critique = self_critical_loss(
        mixed._reader[0], BATCH.features, BATCH.scores, ["", ""], Naming(), 1012 * 100_003 + 7
    )
    assert mixed.logged["train/reward_drawn"] == critique.drawn
    assert mixed.logged["train/reward_greedy"] == critique.greedy
    assert loss == pytest.approx(0.75 * critique.loss.item() + 0.25 * plain, rel=1e-5)
    alone = module(3, weight=0.0, seed=1)
    assert alone.training_step(BATCH, 7).item() == pytest.approx(critique.loss.item(), abs=1e-6)
    assert "train/loss" not in alone.logged


def test_the_rate_is_its_own_and_the_schedule_is_left():
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1)
    steps = []
    schedule = SimpleNamespace(step=lambda *a: steps.append(a))
    for epoch, rate, stepped in ((2, 0.1, 1), (3, 0.5, 1), (4, 0.5, 1)):
        made = module(epoch)
        made._trainer.optimizers = [optimizer]
        made.on_train_epoch_start()
        made.lr_scheduler_step(schedule, None)
        assert optimizer.param_groups[0]["lr"] == rate
        assert len(steps) == stepped


def test_own_words_reach_their_end_with_cross_entropy():
    for epoch, expected in ((1, 0.2), (2, 0.4), (4, 0.4)):
        assert module(epoch, scheduled_sampling=0.4).own_word_probability() == pytest.approx(
            expected
        )


def test_validation_tells_the_reward():
    made = module(0, reward=Naming())
    made._reader[0].decoder.output.bias.data[OPACITY] = 50.0
    with torch.no_grad():
        made.validation_step(BATCH, 0)
    made.on_validation_epoch_end()
    assert made.logged["val/reward"] == 1.0
