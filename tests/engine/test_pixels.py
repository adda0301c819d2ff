from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from impasto_server.engine import Recipe, Scene, Session, Style, pixels
from support.random_networks import picture

LIKE = torch.empty(0)


def test_a_picture_is_unchanged_after_conversion_to_a_tensor_and_back():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.dstack([values, values.T, 255 - values]), "RGB")
    tensor = pixels.to_tensor(image, like=LIKE)
    assert tensor.shape == (1, 3, 16, 16)
    assert np.array_equal(np.asarray(pixels.to_picture(tensor)), np.asarray(image))


def test_the_network_gets_normalised_rgb():
    """Trap 12: the network must not get 0..255 or BGR."""
    red = pixels.to_tensor(Image.new("RGB", (2, 2), (255, 0, 0)), like=LIKE)[0, :, 0, 0]
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0 - 0.406) / 0.225]
    torch.testing.assert_close(red, torch.tensor(expected))


def test_margins_mirror_the_image_however_wide():
    image = pixels.to_tensor(picture(30, 20, 1), like=LIKE)
    assert pixels.with_margin(image, 0) is image
    mirrored = torch.nn.functional.pad(image, (7, 7, 7, 7), mode="reflect")
    assert torch.equal(pixels.with_margin(image, 7), mirrored)
    wide = pixels.with_margin(image, 64)
    assert wide.shape == (1, 3, 20 + 128, 30 + 128)
    assert torch.equal(wide[:, :, 64:84, 64:94], image)


def checkerboard(picture):
    """Returns the amplitude of the checkerboard pattern in a picture, in grey levels of 255.

    It is the root mean square over blocks of 2 × 2 pixels.
    """
    grey = np.asarray(picture).astype(float).mean(2)
    height, width = (side // 2 * 2 for side in grey.shape)
    blocks = grey[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return np.sqrt(((blocks[:, [0, 1], :, [0, 1]] - blocks[:, [0, 1], :, [1, 0]]).sum(0) ** 2).mean()) / 4


def test_the_checkerboard_of_a_checkerboard_is_its_amplitude():
    board = 100 + 10 * (-1.0) ** np.add.outer(np.arange(12), np.arange(17))
    assert checkerboard(np.dstack([board] * 3)) == pytest.approx(10)
    assert checkerboard(picture(31, 20, 1)) < 1


@pytest.mark.parametrize("size", [(160, 120), (16, 16), (17, 301)])
def test_the_start_noise_has_deviation_1_but_no_checkerboard(size):
    drawn = torch.cat([pixels.noise(size, seed, like=LIKE) for seed in range(20)])
    assert drawn.shape == (20, 3, size[1], size[0])
    assert abs(drawn.mean()) < 0.1
    assert abs(drawn.std() - 1) < 0.1
    # The edges have the same deviation.
    assert abs(drawn[..., 0].std() - 1) < 0.2
    assert not torch.equal(drawn[0], drawn[1])
    for image in drawn[:3]:
        # White noise has 0.29.
        assert checkerboard(image.permute(1, 2, 0)) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["balanced", "gatys", "neighbours"])
def test_a_texture_of_a_smooth_painting_has_no_checkerboard(builtin_network, objective):
    scene = Scene(texture=(64, 48), styles=[Style(picture(96, 80, 2))])
    made = Session(Recipe(objective=objective, evaluations=15), scene, builtin_network)
    for _ in made:
        pass
    # A start from white noise leaves 10.
    assert checkerboard(made.picture()) < 3
