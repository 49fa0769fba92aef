import pytest
import torch

from cascade.models.suitability import SIDE, Suitability


def chest_like(count, seed, side=64):
    """Two dark lungs in a bright body, each picture of its own size, place and exposure."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    pictures = []
    for a, b, c, d in torch.rand(count, 4, generator=generator) - 0.5:
        picture = 0.8 * torch.exp(-(x**2 + y**2) / (1 + 0.4 * a))
        for centre in (-0.45, 0.45):
            lung = ((x - centre - 0.1 * b) / 0.3) ** 2 + ((y - 0.1 * c) / (0.6 + 0.1 * d)) ** 2
            picture = picture - 0.5 * torch.exp(-(lung**2))
        noise = 0.02 * torch.randn(side, side, generator=generator)
        pictures.append(((1 + 0.3 * d) * picture + 0.1 + noise).clamp(0, 1))
    return torch.stack(pictures).unsqueeze(1)


@pytest.fixture(scope="module")
def model():
    return Suitability.fit(chest_like(200, 0), chest_like(100, 1))


def test_pictures_like_the_training_ones_are_accepted(model):
    assert (model(chest_like(100, 2)) <= 1).float().mean() >= 0.98


def test_all_validation_pictures_are_accepted(model):
    # 0.995 of them by the quantile, the last one by the margin or not at all
    assert (model(chest_like(100, 1)) <= 1).sum() >= 99


def test_inverted_striped_and_empty_pictures_are_refused(model):
    good = chest_like(20, 3)
    stripes = torch.zeros_like(good)
    stripes[..., ::8], stripes[..., 1::8] = 1.0, 1.0
    for bad in (1 - good, stripes, good.transpose(2, 3), torch.rand(20, 1, 64, 64)):
        assert (model(bad) > 1).all()
    assert (model(torch.zeros(1, 1, 64, 64)) > 1).all()


def test_exposure_and_size_do_not_count(model):
    good = chest_like(5, 4) * 0.5 + 0.2
    assert torch.allclose(model(good), model(good * 0.5 + 0.1), atol=1e-4)
    doubled = good.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(model(good), model(doubled), atol=1e-4)


def test_pictures_are_standardised_by_hand():
    picture = torch.zeros(1, 1, SIDE, SIDE)
    picture[..., : SIDE // 2] = 1.0  # half ones, half zeros: mean 1/2, deviation 1/2
    flat = Suitability.standardise(picture).view(SIDE, SIDE)
    assert flat[0, 0].item() == pytest.approx(1.0, abs=1e-3)
    assert flat[0, -1].item() == pytest.approx(-1.0, abs=1e-3)


def test_it_survives_a_state_dict(model):
    copy = Suitability(len(model.components))
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(chest_like(3, 5)), model(chest_like(3, 5)))


def test_few_and_equal_pictures_give_numbers():
    same = chest_like(1, 0).repeat(5, 1, 1, 1)
    model = Suitability.fit(same, same)
    assert bool((model(same) <= 1).all())
    assert bool((model(1 - same) > 1).all())
