from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from impasto_server.engine import pixels
from random_networks import picture

LIKE = torch.empty(0)


def test_pictures_survive_the_way_to_tensors_and_back():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.dstack([values, values.T, 255 - values]), "RGB")
    tensor = pixels.to_tensor(image, like=LIKE)
    assert tensor.shape == (1, 3, 16, 16)
    assert np.array_equal(np.asarray(pixels.to_picture(tensor)), np.asarray(image))


def test_the_network_gets_normalised_rgb():
    """Trap 12: not 0..255, not BGR."""
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
