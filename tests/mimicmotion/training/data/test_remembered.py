import pytest
import torch

from mimicmotion.training.data import remembered
from mimicmotion.training.data.remembered import Remembered


@pytest.fixture
def seen() -> list[int]:
    """Numbers of pictures in each call of the network: always one, so that rows do not depend on others."""
    return []


@pytest.fixture
def network(seen):
    def work(pictures):
        seen.append(len(pictures))
        return pictures.mean(dim=1) * 2

    return Remembered(work)


def test_a_picture_is_computed_once_whatever_its_layout_and_company(network, seen):
    pictures = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    true = pictures.mean(dim=1) * 2
    assert torch.equal(network(pictures[[0, 1, 0]]), true[[0, 1, 0]])
    laid_out_otherwise = pictures.to(memory_format=torch.channels_last)
    assert torch.equal(network(laid_out_otherwise[[3, 1, 2, 3]]), true[[3, 1, 2, 3]])
    assert torch.equal(network(pictures), true)
    assert seen == [1] * 4


def test_what_is_done_to_an_answer_does_not_reach_the_next(network):
    picture = torch.ones(1, 3, 2, 2)
    network(picture).zero_()
    assert (network(picture) == 2).all()


def test_a_pixel_of_another_value_is_another_picture(network, seen):
    picture = torch.zeros(1, 3, 2, 2)
    network(picture)
    picture[0, 2, 1, 1] = 1e-7
    assert network(picture)[0, 1, 1] > 0
    assert seen == [1, 1]


def test_beyond_the_limit_nothing_more_is_kept_and_all_is_still_right(network, seen, monkeypatch):
    monkeypatch.setattr(remembered, "LIMIT_BYTES", 16)
    pictures = torch.randn(3, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for picture in pictures:
        network(picture[None])
    assert torch.equal(network(pictures), pictures.mean(dim=1) * 2)
    assert seen == [1] * 5


def test_one_colour_upright_and_on_its_side_are_two_pictures():
    network = Remembered(lambda pictures: pictures + 1)
    for size in ((6, 3), (3, 6)):
        assert network(torch.zeros(1, 3, *size)).shape == (1, 3, *size)
