"""The numbers by which paintings are judged."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch

from impasto_server.bench import judging
from impasto_server.bench.judging import (
    HYPERCOLUMN_LAYERS,
    hypercolumns,
    judge,
    palette_distance,
    relaxed_emd,
    self_similarity_error,
)
from impasto_server.engine import Network
from support.random_networks import picture, random_weights
from support.samples import photo


def noise(width: int, height: int, seed: int = 0) -> PIL.Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(values, "RGB")


def plain(color: tuple[int, int, int], size: tuple[int, int] = (20, 16)) -> PIL.Image.Image:
    return PIL.Image.new("RGB", size, color)


def test_a_picture_that_is_its_own_content_and_style_has_distances_of_0(network: Network) -> None:
    image = picture(48, 36)
    numbers = judge(image, image, image, network)
    assert numbers.relaxed_emd == pytest.approx(0, abs=1e-5)
    assert numbers.self_similarity_error == 0
    assert numbers.palette_distance == 0


def test_the_style_is_nearer_to_itself_than_another_picture_and_noise_is_farthest(
    network: Network,
) -> None:
    style, content = picture(48, 48, seed=1), picture(48, 48, seed=2)
    of_style, of_content, of_noise = (
        judge(image, content, style, network) for image in (style, content, noise(48, 48))
    )
    assert of_style.relaxed_emd < of_content.relaxed_emd < of_noise.relaxed_emd
    assert of_style.palette_distance < of_content.palette_distance
    assert of_content.self_similarity_error < of_style.self_similarity_error


def test_numbers_are_the_same_each_time(network: Network) -> None:
    arguments = picture(70, 50, 1), picture(90, 60, 2), picture(50, 70, 3), network
    assert judge(*arguments) == judge(*arguments)


def test_a_picture_has_a_hypercolumn_of_all_layers_for_each_four_by_four_pixels(network: Network) -> None:
    columns = hypercolumns(picture(41, 30), network, 10_000)
    assert columns.shape == (11 * 8, 2 * 64 + 2 * 128 + 3 * 256 + 3 * 512)


def test_each_layer_is_averaged_over_a_position_and_divided_by_its_channels(network: Network) -> None:
    image = picture(32, 32)
    columns = hypercolumns(image, network, 10_000)
    features = network(judging.to_tensor(image, like=torch.empty(0)), HYPERCOLUMN_LAYERS)
    first, third = features["relu1_1"][0] / 64, features["relu3_1"][0] / 256
    # The position in row 2 and column 5 of 8 × 8.
    torch.testing.assert_close(columns[2 * 8 + 5, :64], first[:, 8:12, 20:24].mean((1, 2)))
    torch.testing.assert_close(columns[2 * 8 + 5, 384 : 384 + 256], third[:, 2, 5])


def test_the_requested_number_of_positions_is_drawn_without_repeats(network: Network) -> None:
    image = picture(64, 64)
    drawn, all_of_them = hypercolumns(image, network, 40), hypercolumns(image, network, 256)
    assert len(drawn) == 40
    places = torch.cdist(drawn, all_of_them).argmin(1)
    assert len(places.unique()) == 40
    assert torch.equal(places, places.sort().values)
    torch.testing.assert_close(drawn, all_of_them[places])


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (100, 16), (33, 64)])
def test_pictures_of_any_size_have_hypercolumns(network: Network, size: tuple[int, int]) -> None:
    columns = hypercolumns(picture(*size), network, 10_000)
    assert len(columns) == -(-size[0] // 4) * -(-size[1] // 4)
    assert columns.isfinite().all()


def test_vgg_19_also_has_the_layers_of_the_hypercolumns() -> None:
    assert hypercolumns(photo(), Network(random_weights("vgg19")), 5).shape == (5, 2688)


def test_the_relaxed_distance_is_the_larger_of_the_two_mean_nearest_distances() -> None:
    # The cosines with b's first row are 1 and 0.8 (from 3-4-5). No row of a is near b's second row.
    a = torch.tensor([[2.0, 0, 0], [0.8, 0.6, 0]])
    b = torch.tensor([[1.0, 0, 0], [0, 0, 5.0]])
    # a → b: (0 + 0.2) / 2; b → a: (0 + 1) / 2.
    assert relaxed_emd(a, b) == pytest.approx(0.5)
    assert relaxed_emd(b, a) == pytest.approx(0.5)
    assert relaxed_emd(a, b[:1]) == pytest.approx(0.1)


def test_the_relaxed_distance_ignores_the_lengths_and_the_order_of_hypercolumns() -> None:
    a = torch.rand(30, 8, generator=torch.Generator().manual_seed(0))
    assert relaxed_emd(a, a.flip(0) * 7) == pytest.approx(0, abs=1e-6)


def test_the_self_similarity_error_compares_distances_divided_by_the_mean_of_their_row() -> None:
    # Two rows of a are equal and one is at a right angle: the distances are (0, 0, 1), (0, 0, 1), (1, 1, 0),
    # their means 1/3, 1/3, 2/3.
    a = torch.tensor([[1.0, 0], [3.0, 0], [0, 1.0]])
    # All rows of b are at right angles: distances of one 0 and two 1, means 2/3.
    b = torch.eye(3)
    # |0−0| + |0−1.5| + |3−1.5| = 3 in the first two rows, 0 in the third.
    assert self_similarity_error(a, b) == pytest.approx((3 + 3 + 0) / 9)
    assert self_similarity_error(b, a) == pytest.approx(6 / 9)
    assert self_similarity_error(a, a * 5) == pytest.approx(0, abs=1e-6)


def test_the_self_similarity_error_of_a_uniform_picture_is_finite() -> None:
    assert self_similarity_error(torch.ones(4, 3), torch.eye(4, 3) + 0.1) == pytest.approx(1, abs=0.1)
    assert self_similarity_error(torch.ones(4, 3), torch.ones(4, 3)) == 0


def test_different_numbers_of_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="4 positions cannot be compared with 3"):
        self_similarity_error(torch.eye(4), torch.eye(3))


def test_the_palette_distance_of_two_single_colours_is_half_their_distance() -> None:
    # The projection of a unit vector onto another direction has a mean length of 1/2 over the sphere.
    black, grey = plain((0, 0, 0)), plain((30, 0, 0))
    assert palette_distance(black, grey) == pytest.approx(15, rel=0.02)
    assert palette_distance(grey, black) == palette_distance(black, grey)
    assert palette_distance(black, plain((0, 0, 30))) == pytest.approx(15, rel=0.02)
    white = palette_distance(black, plain((255, 255, 255)))
    assert white == pytest.approx(255 * 3**0.5 / 2, rel=0.02)


def test_the_palette_distance_counts_the_shares_of_colours() -> None:
    halves = plain((0, 0, 0), (10, 10))
    halves.paste((200, 0, 0), (0, 0, 5, 10))
    black, red = plain((0, 0, 0)), plain((200, 0, 0))
    assert palette_distance(halves, black) == pytest.approx(palette_distance(red, black) / 2, rel=1e-6)


def test_the_palette_distance_ignores_places_and_sizes() -> None:
    image = noise(24, 20)
    twice = image.resize((48, 40), PIL.Image.Resampling.NEAREST)
    assert palette_distance(image, image.rotate(90, expand=True)) == 0
    assert palette_distance(image, twice) == pytest.approx(0, abs=1e-9)


def test_large_pictures_are_made_smaller_before_they_are_measured(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "LONGEST_SIDE", 32)
    seen = []
    measured = judging.hypercolumns
    monkeypatch.setattr(
        judging, "hypercolumns", lambda image, *rest: seen.append(image.size) or measured(image, *rest)
    )
    judge(picture(80, 60), picture(40, 30), picture(30, 30), network)
    assert seen == [(32, 24), (28, 28), (32, 24)]
