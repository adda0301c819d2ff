"""Results for contents of every kind, from the real server, with a recipe that changes nothing."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import coded, mask, photo, still_recipe, stylize_request
from support.server_process import PATIENCE, ServerProcess


def result_for(server: ServerProcess, content: bytes, **recipe: Any) -> PIL.Image.Image:
    return result_of(server, stylize_request(content, recipe=still_recipe(**recipe)))


def result_of(server: ServerProcess, request: pb.StylizeRequest) -> PIL.Image.Image:
    responses = list(server.stub.Stylize(request, timeout=PATIENCE))
    states = [response.event.job.state for response in responses if response.event.HasField("job")]
    assert states[-1] == pb.JOB_STATE_SUCCEEDED
    data = b"".join(response.result.data for response in responses)
    picture = PIL.Image.open(io.BytesIO(data))
    picture.load()
    return picture


def assert_shows(picture: PIL.Image.Image, expected: PIL.Image.Image, *, within: int) -> None:
    assert picture.mode == expected.mode
    assert picture.size == expected.size
    assert np.abs(np.asarray(picture).astype(int) - np.asarray(expected).astype(int)).max() <= within


def test_a_picture_without_a_profile_gives_a_result_without_one(server: ServerProcess) -> None:
    picture = result_for(server, coded(photo()))
    assert_shows(picture, photo(), within=1)
    assert "icc_profile" not in picture.info


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_pictures_of_other_modes_give_rgb(server: ServerProcess, mode: str) -> None:
    image = photo().convert(mode)
    assert_shows(result_for(server, coded(image, "TIFF")), image.convert("RGB"), within=2)


def test_sixteen_bit_grey_pictures_are_painted(server: ServerProcess) -> None:
    grey = photo().convert("L")
    image = PIL.Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert_shows(result_for(server, coded(image)), grey.convert("RGB"), within=1)


def test_the_result_has_the_alpha_of_the_content(server: ServerProcess) -> None:
    image = photo().convert("RGBA")
    alpha = PIL.Image.linear_gradient("L").resize(image.size)
    image.putalpha(alpha)
    picture = result_for(server, coded(image))
    assert picture.mode == "RGBA"
    assert (np.asarray(picture.getchannel("A")) == np.asarray(alpha)).all()
    seen = np.asarray(alpha) > 0
    steps = np.asarray(picture.convert("RGB")).astype(int) - np.asarray(photo()).astype(int)
    assert np.abs(steps[seen]).max() <= 1


def test_alpha_is_resized_with_the_picture(server: ServerProcess) -> None:
    image = photo(64, 48).convert("RGBA")
    image.putalpha(77)
    picture = result_for(server, coded(image), longest_side=32)
    assert picture.size == (32, 24)
    assert picture.getchannel("A").getextrema() == (77, 77)


def test_the_exif_orientation_is_applied(server: ServerProcess) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    picture = result_for(server, coded(photo(), exif=exif))
    assert_shows(picture, photo().transpose(PIL.Image.Transpose.ROTATE_270), within=1)
    assert picture.getexif().get(0x0112, 1) == 1


def test_the_result_has_the_colour_profile_and_colours_of_the_content(server: ServerProcess) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Red and blue are swapped, so that colours mistaken for sRGB would be clearly wrong.
    profile = srgb.replace(b"rXYZ", b"temp").replace(b"bXYZ", b"rXYZ").replace(b"temp", b"bXYZ")
    picture = result_for(server, coded(photo(), icc_profile=profile))
    assert picture.info["icc_profile"] == profile
    assert_shows(picture, photo(), within=4)


def test_non_square_pictures_keep_their_proportions(server: ServerProcess) -> None:
    assert result_for(server, coded(photo(90, 30)), longest_side=60).size == (60, 20)
    assert result_for(server, coded(photo(30, 90)), longest_side=60).size == (20, 60)


@pytest.mark.slow
@pytest.mark.parametrize("objective", [pb.OBJECTIVE_BALANCED, pb.OBJECTIVE_WASSERSTEIN, pb.OBJECTIVE_GATYS])
@pytest.mark.parametrize(
    ("content", "style", "longest_side", "size"),
    [
        ((2000, 60), (60, 60), 640, (640, 19)),
        ((30, 500), (400, 20), None, (30, 500)),
        ((40, 30), (300, 200), None, (40, 30)),
        ((40, 30), (20, 28), 96, (96, 72)),
        ((16, 16), (300, 5), None, (16, 16)),
        ((5, 5), (1, 1), None, (16, 16)),
        ((33, 47), (1, 300), None, (33, 47)),
    ],
)
def test_pictures_of_any_size_and_shape_are_painted(
    server: ServerProcess,
    objective: pb.Objective,
    content: tuple[int, int],
    style: tuple[int, int],
    longest_side: int | None,
    size: tuple[int, int],
) -> None:
    recipe = pb.Recipe(objective=objective, evaluations=2, longest_side=longest_side)
    request = stylize_request(coded(photo(*content)), style=coded(photo(*style)), recipe=recipe)
    assert result_of(server, request).size == size


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "CMYK", "I;16"])
def test_styles_of_every_kind_are_accepted(server: ServerProcess, mode: str) -> None:
    if mode == "I;16":
        style = PIL.Image.fromarray(np.asarray(photo().convert("L")).astype(np.uint16) * 257)
    else:
        style = photo().convert(mode)
    result_of(server, stylize_request(style=coded(style, "TIFF"), recipe=pb.Recipe(evaluations=1)))


def test_grey_with_alpha_gives_rgb_with_alpha(server: ServerProcess) -> None:
    image = PIL.Image.merge("LA", (photo().convert("L"), PIL.Image.new("L", (32, 24), 90)))
    picture = result_for(server, coded(image))
    assert picture.mode == "RGBA"
    assert picture.getchannel("A").getextrema() == (90, 90)


def test_a_result_with_a_selection_keeps_profile_and_alpha(server: ServerProcess) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = photo(48, 32).convert("RGBA")
    image.putalpha(60)
    request = stylize_request(coded(image, icc_profile=srgb), recipe=pb.Recipe(evaluations=2))
    request.spec.selection.encoded = coded(mask(12, 8))
    picture = result_of(server, request)
    assert picture.info["icc_profile"] == srgb
    assert picture.getchannel("A").getextrema() == (60, 60)
    right = (30, 0, 48, 32)
    assert_shows(picture.convert("RGB").crop(right), photo(48, 32).crop(right), within=2)
